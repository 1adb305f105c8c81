"""`sameface evaluate verification`: all cross pairs at low false match rates."""

from pathlib import Path
from typing import Annotated

import typer

from sameface.cli.evaluate.results import show, write_page
from sameface.cli.evaluate.sources import (
    Address,
    AsJson,
    Embeddings,
    Folder,
    Html,
    Replicates,
    Runtime,
    SaveEmbeddings,
    Seed,
    Version,
    load,
)

GROUPS_SHOWN_AT = 1e-3
"""The FMR at which the terminal shows groups; the JSON and the report have them all."""


def verification(
    folder: Folder = None,
    embeddings: Embeddings = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="labels by photo or identity: the first column says which", show_default=False
        ),
    ] = None,
    save: SaveEmbeddings = None,
    address: Address = None,
    inference: Runtime = "triton",
    version: Version = 0,
    replicates: Replicates = 1000,
    seed: Seed = 0,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Print FNMR at FMR 1e-2 to 1e-5 and EER over all cross pairs, with intervals over identities, and by group."""
    from sameface.evaluation.groups import measure_groups, read_labels
    from sameface.evaluation.records import conditions, groups_record, verification_record
    from sameface.evaluation.report import Page, verification_pictures, worst_photo_pairs
    from sameface.evaluation.tables import conditions_table, group_tables, verification_tables
    from sameface.evaluation.verification import verify

    source = load(folder, embeddings, save, address, inference, version)
    samples = source.samples
    labels, left_out = ({}, ()) if groups is None else read_labels(groups, samples)
    found = verify(samples, replicates=replicates, seed=seed)
    by_group = measure_groups(found, labels)
    around = conditions(source.name, samples)
    tables = verification_tables(found)
    record = {**verification_record(found), "groups": groups_record(by_group), "conditions": around}
    if html is not None:
        high, low = ([], []) if source.folder is None else worst_photo_pairs(found, samples, source.folder)
        page = Page(
            title=f"Verification on {source.name}",
            lead="Two photos are compared: of one person, or of two? Scores are cosines, not probabilities.",
            tables=[*tables, *group_tables(by_group, left_out), conditions_table(around)],
            pictures=verification_pictures(found, samples),
            highest_non_mated=high,
            lowest_mated=low,
            pairs_note="One pair of each identity, or of each two. ",
        )
        write_page(html, page)
    show([*tables, *group_tables(by_group, left_out, GROUPS_SHOWN_AT), conditions_table(around)], record, as_json)
