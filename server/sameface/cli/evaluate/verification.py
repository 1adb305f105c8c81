"""`sameface evaluate verification`: measure FNMR at low FMRs over every pair of samples."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sameface.cli.evaluate.results import show, write_page
from sameface.cli.evaluate.sources import (
    Address,
    AsJson,
    Embeddings,
    Folder,
    Forged,
    Html,
    Model,
    Replicates,
    Runtime,
    SaveEmbeddings,
    Seed,
    Source,
    Version,
    load,
)

if TYPE_CHECKING:
    from sameface.evaluation.report import PhotoPair
    from sameface.evaluation.verification import Verification

GROUPS_SHOWN_AT = 1e-3
"""The target FMR at which the terminal shows groups; JSON and report show groups at all targets."""


def verification(
    folder: Folder = None,
    embeddings: Embeddings = None,
    groups: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="labels of groups; the first column is photo or identity", show_default=False),
    ] = None,
    forged: Forged = None,
    save: SaveEmbeddings = None,
    address: Address = None,
    inference: Runtime = "triton",
    version: Version = 0,
    model: Model = "",
    replicates: Replicates = 1000,
    seed: Seed = 0,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Print FNMR at FMR 1e-2 to 1e-5 and EER over every pair of samples, with intervals, for all and by group.

    Example: `sameface evaluate verification my_photos --html report.html`
    """
    from sameface.evaluation.group_tables import group_tables
    from sameface.evaluation.groups import measure_groups
    from sameface.evaluation.labels import read_labels
    from sameface.evaluation.records import conditions, groups_record, verification_record
    from sameface.evaluation.report import Page, verification_pictures, worst_photo_pairs
    from sameface.evaluation.tables import conditions_table, verification_tables
    from sameface.evaluation.verification import verify

    source = load(folder, embeddings, save, address, inference, version, model, forged=forged)
    samples = source.samples
    labels, left_out = ({}, ()) if groups is None else read_labels(groups, samples)
    found = verify(samples, replicates=replicates, seed=seed)
    by_group = measure_groups(found, labels)
    measured_on = conditions(source.name, samples)
    tables = verification_tables(found)
    record = {**verification_record(found), "groups": groups_record(by_group), "conditions": measured_on}
    if html is not None:
        high, low = ([], []) if source.folder is None else worst_photo_pairs(found, samples, source.folder)
        page = Page(
            title=f"Verification on {source.name}",
            summary="Every sample is compared with every other one. Scores are cosines, not probabilities.",
            tables=[*tables, *group_tables(by_group, left_out), conditions_table(measured_on)],
            pictures=verification_pictures(found, samples),
            highest_non_mated=high,
            lowest_mated=low,
            best_forgeries=_forgeries(found, source),
            pairs_note="One pair for each identity or each two identities. ",
        )
        write_page(html, page)
    show([*tables, *group_tables(by_group, left_out, GROUPS_SHOWN_AT), conditions_table(measured_on)], record, as_json)


def _forgeries(found: "Verification", source: Source) -> "list[PhotoPair]":
    """Return the best forgeries, if their images are at hand."""
    from sameface.evaluation.report import photo_pairs
    from sameface.evaluation.skilled_forgeries import best_forgeries

    if found.skilled is None or source.folder is None:
        return []
    return photo_pairs(best_forgeries(source.samples, found.skilled.comparison), source.folder)
