"""`sameface evaluate forgeries`: measure signature verification against skilled and random forgeries."""

from typing import Annotated, Literal

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


def forgeries(
    folder: Folder = None,
    embeddings: Embeddings = None,
    forged: Forged = None,
    templates: Annotated[int, typer.Option(min=1, help="genuine samples to enrol for each identity")] = 5,
    fusion: Annotated[Literal["max", "mean"], typer.Option(help="how a probe's scores with them are fused")] = "max",
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
    """Print the EER for skilled and for random forgeries, with one threshold for all signers.

    Example: `sameface evaluate forgeries --embeddings signatures.npz --templates 5 --fusion mean`
    """
    from sameface.evaluation.forgeries import claim_scores, draw_attempts, measure_forgeries, with_forgeries
    from sameface.evaluation.records import conditions, forgeries_record
    from sameface.evaluation.report import Page, forgery_pictures
    from sameface.evaluation.tables import conditions_table, forgeries_table

    source = load(folder, embeddings, save, address, inference, version, model, forged=forged)
    samples = source.samples
    vectors, signers, is_forgery = with_forgeries(samples)
    attempts = draw_attempts(signers, is_forgery, templates, seed)
    scores = [
        claim_scores(attempts, claims, lambda probes, references: vectors[probes] @ vectors[references].T, fusion)
        for claims in (attempts.genuine, attempts.skilled, attempts.random)
    ]
    found = measure_forgeries(attempts, scores[0], scores[1], scores[2], replicates=replicates, seed=seed)
    measured_on = conditions(source.name, samples)
    tables = [forgeries_table(attempts, found, fusion), conditions_table(measured_on)]
    if html is not None:
        summary = "Genuine samples, skilled forgeries and random forgeries of the claimed identity."
        pictures = forgery_pictures(attempts, scores[0], scores[1], scores[2], found.threshold)
        write_page(html, Page(f"Forgeries in {source.name}", summary, tables, pictures))
    show(tables, {**forgeries_record(attempts, found, fusion), "conditions": measured_on}, as_json)
