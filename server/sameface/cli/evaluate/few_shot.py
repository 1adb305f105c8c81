"""`sameface evaluate few-shot` and `omniglot-runs`: measure classification from few examples of each class."""

import re
from collections.abc import Sequence
from pathlib import Path
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
    Runtime,
    SaveEmbeddings,
    Seed,
    Version,
    load,
)
from sameface_qdrant.errors import InvalidArgument


def few_shot(
    folder: Folder = None,
    embeddings: Embeddings = None,
    ways: Annotated[int, typer.Option(min=2, help="classes of an episode")] = 20,
    shots: Annotated[int, typer.Option(min=1, help="labelled samples of each class")] = 1,
    queries: Annotated[int, typer.Option(min=1, help="samples of each class to classify")] = 1,
    episodes: Annotated[int, typer.Option(min=2, help="how many episodes to draw")] = 1000,
    within: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="draw all classes of an episode from one group; this matches the group at the start of the identity",
            show_default=False,
        ),
    ] = None,
    forged: Forged = None,
    save: SaveEmbeddings = None,
    address: Address = None,
    inference: Runtime = "triton",
    version: Version = 0,
    model: Model = "",
    seed: Seed = 0,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Print the accuracy of N-way K-shot episodes. A class's score is the cosine with its mean embedding.

    Example: `sameface evaluate few-shot --embeddings drawings.npz --ways 20 --shots 1`
    """
    from sameface.evaluation.few_shot import draw_episodes, episode_accuracy, mean_accuracy, template_scores
    from sameface.evaluation.records import conditions, estimate_record
    from sameface.evaluation.report import Page
    from sameface.evaluation.tables import accuracy_table, conditions_table

    source = load(folder, embeddings, save, address, inference, version, model, forged=forged)
    samples = source.samples
    groups = None if within is None else _groups(samples.identity, within)
    drawn = draw_episodes(samples.identity, ways, shots, episodes, seed, groups, queries=queries)
    accuracy = mean_accuracy(episode_accuracy(template_scores(drawn, samples.vectors), drawn.answers), seed=seed)
    measured_on = conditions(source.name, samples)
    groups_of = 1 if groups is None else len(set(groups))
    notes = (
        f"{episodes:,} episodes of {ways} classes with {queries} samples to classify each, from "
        f"{len(set(samples.identity)):,} classes in {groups_of:,} group{'s' if groups_of > 1 else ''}.",
        "The interval is for the mean over episodes of these classes, not for other classes.",
        "Samples without an embedding are in no episode.",
    )
    table = accuracy_table("Few-shot", f"{ways}-way {shots}-shot", accuracy, notes)
    record = {
        "ways": ways,
        "shots": shots,
        "queries": queries,
        "episodes": episodes,
        "groups": groups_of,
        "accuracy": estimate_record(accuracy),
        "conditions": measured_on,
    }
    tables = [table, conditions_table(measured_on)]
    if html is not None:
        write_page(
            html, Page(f"Few-shot on {source.name}", "Samples are classified from few examples of each class.", tables)
        )
    show(tables, record, as_json)


def omniglot_runs(
    runs: Annotated[Path, typer.Argument(help="Omniglot's folder all_runs", show_default=False)],
    embeddings: Annotated[
        Path,
        typer.Option(
            metavar="NPZ", help="file of embeddings of its images; samples are named like run01/test/item01.png"
        ),
    ],
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Print the accuracy over Omniglot's official 20-way one-shot runs."""
    import numpy as np

    from sameface.evaluation.few_shot import episode_accuracy, mean_accuracy, read_runs
    from sameface.evaluation.records import conditions, estimate_record
    from sameface.evaluation.report import Page
    from sameface.evaluation.tables import accuracy_table, conditions_table

    source = load(None, embeddings, None, None, "onnx", 0)
    samples = source.samples
    rows = {name: row for row, name in enumerate(samples.sample)}
    listed = read_runs(runs)
    if missing := [name for run in listed for name in (*run.tests, *run.training) if name not in rows]:
        raise InvalidArgument(
            f"{embeddings} has no embedding of {len(missing)} images of the runs, for instance {missing[0]!r}; samples "
            "are named by their path below the folder of all runs",
            metadata={"field": "embeddings"},
        )
    shares = []
    for run in listed:
        tests, training = (samples.vectors[[rows[name] for name in names]] for names in (run.tests, run.training))
        shares.append(float(episode_accuracy(tests @ training.T, run.answers)))
    accuracy = mean_accuracy(np.array(shares))
    measured_on = conditions(source.name, samples)
    notes = (
        f"{len(listed)} runs, {sum(len(run.tests) for run in listed)} images to classify. The interval is over runs.",
        "Lake et al. 2015 (Science 350, p. 1332) report the error, which is 1 − accuracy.",
    )
    table = accuracy_table("Omniglot, official runs", "20-way 1-shot", accuracy, notes)
    record = {
        "runs": {run.name: share for run, share in zip(listed, shares, strict=True)},
        "accuracy": estimate_record(accuracy),
        "conditions": measured_on,
    }
    tables = [table, conditions_table(measured_on)]
    if html is not None:
        write_page(
            html, Page(f"Omniglot's official runs with {source.name}", "Twenty classes with one example each.", tables)
        )
    show(tables, record, as_json)


def _groups(identities: Sequence[str], pattern: str) -> list[str]:
    """Return the group of each identity: what the pattern, or its first parenthesised group, matches at its start."""
    try:
        matches = [re.match(pattern, identity) for identity in identities]
    except re.error as error:
        raise InvalidArgument(
            f"--within is {pattern!r}, which is not a regular expression: {error}", metadata={"field": "within"}
        ) from None
    for identity, match in zip(identities, matches, strict=True):
        if match is None:
            raise InvalidArgument(
                f"--within {pattern!r} does not match the identity {identity!r}; expected it to match each at its "
                "start, for instance '[^/]+'",
                metadata={"field": "within"},
            )
    return [match.group(1 if match.re.groups else 0) for match in matches if match is not None]
