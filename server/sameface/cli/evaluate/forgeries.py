"""`sameface evaluate forgeries`: signatures against imitations and against those of others."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from sameface.cli.evaluate.results import show, write_page
from sameface.cli.evaluate.sources import AsJson, Html, Replicates, Seed, load
from sameface_qdrant.errors import InvalidArgument


def forgeries(
    embeddings: Annotated[
        Path, typer.Option(metavar="NPZ", help="embeddings; the identity is the signer, or who is imitated")
    ],
    forged: Annotated[
        str, typer.Option("--forged", metavar="REGEX", help="what is found in the sample names of forgeries alone")
    ] = "/forgery/",
    templates: Annotated[int, typer.Option(min=1, help="genuine signatures that enrol each signer")] = 5,
    fusion: Annotated[Literal["max", "mean"], typer.Option(help="of the scores with these")] = "max",
    replicates: Replicates = 1000,
    seed: Seed = 0,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Print the EER of genuine signatures against skilled and random forgeries, one threshold for all signers."""
    from sameface.evaluation.forgeries import claim_scores, draw_attempts, measure_forgeries
    from sameface.evaluation.records import conditions, forgeries_record
    from sameface.evaluation.report import Page
    from sameface.evaluation.tables import conditions_table, forgeries_table

    samples = load(None, embeddings, None, None, "onnx", 0).samples
    try:
        is_forgery = [re.search(forged, name) is not None for name in samples.sample]
    except re.error as error:
        raise InvalidArgument(
            f"--forged is {forged!r}, which is no regular expression: {error}", metadata={"field": "forged"}
        ) from None
    attempts = draw_attempts(samples.identity, is_forgery, templates, seed)
    vectors = samples.vectors
    scores = [
        claim_scores(attempts, claims, lambda probes, references: vectors[probes] @ vectors[references].T, fusion)
        for claims in (attempts.genuine, attempts.skilled, attempts.random)
    ]
    found = measure_forgeries(attempts, scores[0], scores[1], scores[2], replicates=replicates, seed=seed)
    around = conditions(embeddings.name, samples)
    tables = [forgeries_table(attempts, found, fusion), conditions_table(around)]
    if html is not None:
        lead = "Is a signature the claimed signer's, an imitation of it, or somebody else's?"
        write_page(html, Page(f"Signatures of {embeddings.name}", lead, tables))
    show(tables, {**forgeries_record(attempts, found, fusion), "conditions": around}, as_json)
