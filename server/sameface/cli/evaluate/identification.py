"""`sameface evaluate identification`: measure open-set identification."""

from typing import Annotated

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
    Version,
    load,
)


def identification(
    folder: Folder = None,
    embeddings: Embeddings = None,
    splits: Annotated[int, typer.Option(min=1, help="how many times identities are split at random")] = 20,
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
    """Print FNIR at FPIR 1 % and 0.1 % and the rank-1 rate; half of the identities are enrolled, one sample each."""
    from sameface.evaluation.identification import identify
    from sameface.evaluation.records import conditions, identification_record
    from sameface.evaluation.report import Page, identification_pictures
    from sameface.evaluation.tables import conditions_table, identification_tables

    source = load(folder, embeddings, save, address, inference, version, model, forged=forged)
    found = identify(source.samples, splits=splits, replicates=replicates, seed=seed)
    measured_on = conditions(source.name, source.samples)
    tables = [*identification_tables(found), conditions_table(measured_on)]
    if html is not None:
        page = Page(
            title=f"Identification on {source.name}",
            summary="Samples are searched for in a gallery with one sample of each identity. Some identities are not "
            "enrolled.",
            tables=tables,
            pictures=identification_pictures(found, source.name),
        )
        write_page(html, page)
    show(tables, {**identification_record(found), "conditions": measured_on}, as_json)
