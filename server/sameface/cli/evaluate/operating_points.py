"""`sameface evaluate operating-points`: measure thresholds for a model's card."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sameface.cli.evaluate.results import show
from sameface.cli.evaluate.sources import (
    Address,
    AsJson,
    FolderOfPhotos,
    Model,
    Runtime,
    Version,
    embed,
    photos_of,
    service,
)
from sameface.cli.output import note
from sameface.cli.serve import load_settings

if TYPE_CHECKING:
    from sameface.client import Contract

REPLICATES = 400
"""Resamples of the identities, for the number of independent comparisons."""


def operating_points(
    folder: FolderOfPhotos,
    write: Annotated[bool, typer.Option("--write", help="write the supported points into the model's card")] = False,
    accept_unsupported: Annotated[
        bool, typer.Option("--accept-unsupported", help="also write points that the comparisons do not support")
    ] = False,
    address: Address = None,
    inference: Runtime = "triton",
    version: Version = 0,
    model: Model = "",
    as_json: AsJson = False,
) -> None:
    """Print the thresholds for FMR 1e-3, 1e-4 and 1e-5 over every pair of the folder's images, with their FNMR.

    Example: `sameface evaluate operating-points my_photos --embedder-version 1001 --write`
    """
    from sameface.evaluation.cross_comparison import compare_all_samples
    from sameface.evaluation.operating_points import measure_operating_points, writable_points
    from sameface.evaluation.records import conditions, points_record
    from sameface.evaluation.resampling import draw_identities
    from sameface.evaluation.skilled_forgeries import compare_forgeries
    from sameface.evaluation.support import fmr_support, support_record
    from sameface.evaluation.tables import conditions_table, points_table

    labelled = photos_of(folder)
    with service(address, inference) as client:
        embedded = embed(client, folder, labelled.photos, version, model, forgeries=labelled.forgeries)
    compared = compare_all_samples(embedded.samples)
    found = fmr_support(compared, draw_identities(len(compared.identities), REPLICATES, 0))
    measured = measure_operating_points(compared, forged=compare_forgeries(embedded.samples, compared))
    name = folder.resolve().name
    points = points_record(measured, compared, found, name)
    if write and embedded.contract is not None:
        chosen = writable_points(measured, found, accept_unsupported=accept_unsupported)
        if left_out := [f"{one.target_fmr:g}" for one in measured if one not in chosen]:
            note(f"not written, because they are not supported: FMR {', '.join(left_out)}")
        _write_points(embedded.contract, points_record(chosen, compared, found, name, for_card=True))
    measured_on = conditions(name, embedded.samples)
    record = {"operating_points": points, "supported_fmr": support_record(found), "conditions": measured_on}
    show([points_table(measured, compared, found), conditions_table(measured_on)], record, as_json)


def _write_points(contract: "Contract", points: Sequence[dict[str, Any]]) -> None:
    from sameface.inference.cards import MeasuredPoint, ModelCard, read_card
    from sameface.models.seal import with_new_points, write_card

    path = load_settings(None).model_repository / contract.model / str(contract.version) / "card.json"
    card = read_card(path)
    measured = [MeasuredPoint.model_validate(point) for point in points]
    written, gone = with_new_points(card.operating_points, measured)
    write_card(path, ModelCard.model_validate({**card.model_dump(), "operating_points": written}))
    for told, those in (
        ("kept from the card as they were", [one for one in written if one not in measured]),
        ("removed from the card, because the new thresholds contradict them", gone),
    ):
        if those:
            note(f"{told}: {', '.join(f'FMR {one.fmr:g} (measured on {one.measured_on})' for one in those)}")
