"""`sameface evaluate forgeries`: measure signature verification against skilled and random forgeries."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from sameface.cli.evaluate.results import show, write_page
from sameface.cli.evaluate.sources import AsJson, Html, Replicates, Seed, load
from sameface_qdrant.errors import InvalidArgument


def forgeries(
    embeddings: Annotated[
        Path, typer.Option(metavar="NPZ", help="file of embeddings; the identity is the signer, also of a forgery")
    ],
    forged: Annotated[
        str, typer.Option("--forged", metavar="REGEX", help="matches the sample names of forgeries and no others")
    ] = "/forgery/",
    templates: Annotated[int, typer.Option(min=1, help="genuine signatures to enrol for each signer")] = 5,
    fusion: Annotated[Literal["max", "mean"], typer.Option(help="how a probe's scores with them are fused")] = "max",
    replicates: Replicates = 1000,
    seed: Seed = 0,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Print the EER for skilled and for random forgeries, with one threshold for all signers."""
    from sameface.evaluation.forgeries import claim_scores, draw_attempts, measure_forgeries
    from sameface.evaluation.records import conditions, forgeries_record
    from sameface.evaluation.report import Page
    from sameface.evaluation.tables import conditions_table, forgeries_table

    samples = load(None, embeddings, None, None, "onnx", 0).samples
    try:
        is_forgery = [re.search(forged, name) is not None for name in samples.sample]
    except re.error as error:
        raise InvalidArgument(
            f"--forged is {forged!r}, which is not a regular expression: {error}", metadata={"field": "forged"}
        ) from None
    attempts = draw_attempts(samples.identity, is_forgery, templates, seed)
    vectors = samples.vectors
    scores = [
        claim_scores(attempts, claims, lambda probes, references: vectors[probes] @ vectors[references].T, fusion)
        for claims in (attempts.genuine, attempts.skilled, attempts.random)
    ]
    found = measure_forgeries(attempts, scores[0], scores[1], scores[2], replicates=replicates, seed=seed)
    measured_on = conditions(embeddings.name, samples)
    tables = [forgeries_table(attempts, found, fusion), conditions_table(measured_on)]
    if html is not None:
        summary = "Genuine signatures, skilled forgeries and random forgeries of the claimed signer."
        write_page(html, Page(f"Signatures of {embeddings.name}", summary, tables))
    show(tables, {**forgeries_record(attempts, found, fusion), "conditions": measured_on}, as_json)
