"""`sameface evaluate operating-points`: measure thresholds for a model's card."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sameface.cli.evaluate.results import show
from sameface.cli.evaluate.sources import Address, AsJson, FolderOfPhotos, Model, Runtime, Version, embed, service
from sameface.cli.serve import load_settings

if TYPE_CHECKING:
    from sameface.client import Contract


def operating_points(
    folder: FolderOfPhotos,
    write: Annotated[bool, typer.Option("--write", help="write the points into the model's card")] = False,
    address: Address = None,
    inference: Runtime = "triton",
    version: Version = 0,
    model: Model = "",
    as_json: AsJson = False,
) -> None:
    """Print the thresholds for FMR 1e-3, 1e-4 and 1e-5 over every pair of the folder's photos, with their FNMR.

    Example: `sameface evaluate operating-points my_photos --embedder-version 1001 --write`
    """
    from sameface.evaluation.cross_comparison import compare_all_samples
    from sameface.evaluation.dataset import read_photos
    from sameface.evaluation.operating_points import measure_operating_points
    from sameface.evaluation.records import conditions
    from sameface.evaluation.tables import Table, conditions_table
    from sameface_qdrant.calibration.report import rate_text

    photos = read_photos(folder)
    with service(address, inference) as client:
        embedded = embed(client, folder, photos, version, model)
    compared = compare_all_samples(embedded.samples)
    measured = measure_operating_points(compared)
    name = folder.resolve().name
    points = [
        {
            "fmr": point.target_fmr,
            "threshold": point.threshold,
            "fnmr": round(point.fnmr, 5),
            "fnmr_by_identity": round(point.fnmr_by_identity, 5),
            "non_mated": compared.non_mated,
            "mated": int(compared.mated.size),
            "identities": len(compared.identities),
            "measured_on": name,
        }
        for point in measured
    ]
    if write and embedded.contract is not None:
        _write_points(embedded.contract, points)
    found = conditions(name, embedded.samples)
    rows = tuple(
        (f"{one.target_fmr:g}", f"{one.threshold:.4f}", rate_text(one.fnmr), rate_text(one.fnmr_by_identity))
        for one in measured
    )
    notes = (
        f"{compared.mated.size:,} mated and {compared.non_mated:,} non-mated comparisons: every pair of photos of "
        f"{len(compared.identities):,} identities.",
        "`sameface evaluate verification` shows the confidence intervals of these figures.",
    )
    table = Table("Operating points", ("FMR", "threshold", "FNMR", "FNMR by identity"), rows, notes)
    show([table, conditions_table(found)], {"operating_points": points, "conditions": found}, as_json)


def _write_points(contract: "Contract", points: list[dict[str, Any]]) -> None:
    from sameface.inference.cards import ModelCard, read_card
    from sameface.models.seal import write_card

    path = load_settings(None).model_repository / contract.model / str(contract.version) / "card.json"
    card = read_card(path)
    write_card(path, ModelCard.model_validate({**card.model_dump(), "operating_points": points}))
