"""`sameface info`: says what a running service is made of."""

from typing import TYPE_CHECKING

from sameface.cli.options import DEFAULT_ADDRESS, Address, AsJson, connected
from sameface.cli.output import as_dict, print_json, print_table

if TYPE_CHECKING:
    from sameface.client.answers.service import Model, ServerInfo, ServicePart


def info(address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Print the release of a running service, what runs its models, its store, whether its parts serve, its models."""
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
    away = [one for one in found.parts if not one.serving]
    rows += [(f"part {one.name}", _away(one)) for one in away]
    if found.parts and not away:
        rows.append(("parts", "all serve"))
    rows += [("model", _model(one)) for one in found.models]
    if found.template_maps:
        maps = ", ".join(f"{one.old_version} to {one.new_version}" for one in found.template_maps)
        rows.append(("galleries can migrate", f"from version {maps}"))
    return rows


def _away(one: "ServicePart") -> str:
    since = f" since {one.since_time:%Y-%m-%d %H:%M:%S} UTC" if one.since_time else ""
    return f"does not serve{since}: {one.reason}"


def _model(one: "Model") -> str:
    default = " (default of new galleries)" if one.default_embedder else ""
    return f"{one.name} v{one.version}{default}, {one.title}"
