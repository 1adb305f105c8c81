"""`sameface info`: says what a running service is made of."""

from typing import TYPE_CHECKING

from sameface.cli.options import DEFAULT_ADDRESS, Address, AsJson, connected
from sameface.cli.output import as_dict, print_json, print_table

if TYPE_CHECKING:
    from sameface.client.answers.service import Model, ServerInfo


def info(address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Print the release of a running service, what runs its models, its store, and every model version it serves."""
    with connected(address) as client:
        found = client.server_info()
    if as_json:
        print_json(as_dict(found))
        return
    print_table(("", ""), rows_of(found))


def rows_of(found: "ServerInfo") -> list[tuple[str, str]]:
    """Return what is printed of a service, with the name of each part."""
    rows = [
        ("sameface", found.version),
        ("models on", f"{found.inference_runtime} {found.inference_version}"),
        ("store", f"Qdrant {found.store_engine} {found.store_version}"),
    ]
    if found.inference_metrics_url:
        rows.append(("metrics of Triton", found.inference_metrics_url))
    return [*rows, *(("model", _model(one)) for one in found.models)]


def _model(one: "Model") -> str:
    default = " (default of new galleries)" if one.default_embedder else ""
    return f"{one.name} v{one.version}{default}, {one.title}"
