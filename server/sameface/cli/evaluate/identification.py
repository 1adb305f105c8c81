"""`sameface evaluate identification`: open-set searches of a gallery."""

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


def identification(
    folder: Folder = None,
    embeddings: Embeddings = None,
    splits: Annotated[int, typer.Option(min=1, help="how often identities are parted anew")] = 20,
    save: SaveEmbeddings = None,
    address: Address = None,
    inference: Runtime = "triton",
    version: Version = 0,
    replicates: Replicates = 1000,
    seed: Seed = 0,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Print FNIR at FPIR 1 % and 0.1 % and rank 1, with half of the identities enrolled by one photo each."""
    from sameface.evaluation.identification import identify
    from sameface.evaluation.records import conditions, identification_record
    from sameface.evaluation.report import Page, identification_pictures
    from sameface.evaluation.tables import conditions_table, identification_tables

    source = load(folder, embeddings, save, address, inference, version)
    found = identify(source.samples, splits=splits, replicates=replicates, seed=seed)
    around = conditions(source.name, source.samples)
    tables = [*identification_tables(found), conditions_table(around)]
    if html is not None:
        page = Page(
            title=f"Identification on {source.name}",
            lead="A photo is searched for among people enrolled with one photo each; some searched for are not there.",
            tables=tables,
            pictures=identification_pictures(found, source.name),
        )
        write_page(html, page)
    show(tables, {**identification_record(found), "conditions": around}, as_json)
