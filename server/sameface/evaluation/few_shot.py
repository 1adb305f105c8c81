"""Few-shot classification: N-way K-shot episodes, and Omniglot's official one-shot runs. Pure numpy.

All accuracies are computed from scores [probes, references], so a learned comparison is measured like a cosine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.resampling import Estimate, draw_identities, estimate
from sameface.evaluation.samples import Compare
from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.comparisons import Vectors
from sameface_qdrant.metrics.error_rates import Indices, Scores

REPLICATES = 2000


@dataclass(frozen=True, slots=True)
class Episodes:
    """Tasks of classifying samples among a few classes. Samples are positions; classes are numbered in each episode."""

    support: Indices
    """The labelled samples of each class, [episodes, ways, shots]."""
    queries: Indices
    """The samples to classify, [episodes, queries]."""
    answers: Indices
    """The class of each query, 0 to ways − 1, [episodes, queries]."""


@dataclass(frozen=True, slots=True)
class Run:
    """One of Omniglot's official runs. Samples are named by their paths below the folder of all runs."""

    name: str
    tests: tuple[str, ...]
    training: tuple[str, ...]
    """One image of each class."""
    answers: Indices
    """For each test image, the index in ``training`` of the image of its class."""


def draw_episodes(
    labels: Sequence[str],
    ways: int,
    shots: int,
    episodes: int,
    seed: int,
    within: Sequence[str] | None = None,
    *,
    queries: int = 1,
) -> Episodes:
    """Draw episodes at random: first a group (if there are groups), then classes, then samples, none of them twice.

    Args:
        labels: the class of every sample.
        ways: classes of an episode.
        shots: labelled samples of each class.
        episodes: how many to draw.
        seed: of the drawing.
        within: the group of every sample; all classes of an episode are of one group, and groups are equally likely.
        queries: samples of each class to classify.

    Raises:
        NotEnoughData: no group has ``ways`` classes with ``shots + queries`` samples.
    """
    if min(ways, shots, episodes, queries) < 1:
        raise InvalidArgument(
            f"ways {ways}, shots {shots}, episodes {episodes} and queries {queries} were given; expected 1 or more",
            metadata={"field": "episodes"},
        )
    members: dict[str, dict[str, list[int]]] = {}
    for position, label in enumerate(labels):
        members.setdefault("" if within is None else within[position], {}).setdefault(label, []).append(position)
    groups = [
        [np.array(positions) for positions in classes.values() if len(positions) >= shots + queries]
        for _, classes in sorted(members.items())
    ]
    groups = [classes for classes in groups if len(classes) >= ways]
    if not groups:
        raise NotEnoughData(
            f"no group has {ways} classes with {shots + queries} samples each; draw fewer ways or shots",
            metadata={"classes": len(set(labels)), "samples": len(labels)},
        )
    rng = np.random.default_rng(seed)
    drawn = np.empty((episodes, ways, shots + queries), np.int64)
    for episode in range(episodes):
        classes = groups[int(rng.integers(len(groups)))]
        for way, chosen in enumerate(rng.choice(len(classes), ways, replace=False)):
            drawn[episode, way] = rng.choice(classes[chosen], shots + queries, replace=False)
    answers = np.tile(np.repeat(np.arange(ways), queries), (episodes, 1))
    return Episodes(drawn[:, :, :shots], drawn[:, :, shots:].reshape(episodes, -1), answers)


def template_scores(episodes: Episodes, vectors: Vectors) -> Scores:
    """Return the cosine of each query with the mean of each class's unit vectors, [episodes, queries, ways]."""
    return np.stack(
        [
            np.asarray(vectors[queries] @ _units(vectors[support].mean(axis=1)).T, dtype=np.float64)
            for queries, support in zip(episodes.queries, episodes.support, strict=True)
        ]
    )


def fused_scores(episodes: Episodes, compare: Compare, fusion: Literal["mean", "max"] = "mean") -> Scores:
    """Return each query's score with each class, fused over the class's shots, [episodes, queries, ways].

    This is for a comparison that has no mean template. With a score matrix of all samples, ``compare`` is
    ``lambda p, r: matrix[np.ix_(p, r)]``.
    """
    ways, shots = episodes.support.shape[1:]
    fused = []
    for queries, support in zip(episodes.queries, episodes.support, strict=True):
        scores = np.asarray(compare(queries, support.reshape(-1)), dtype=np.float64).reshape(-1, ways, shots)
        fused.append(scores.mean(axis=2) if fusion == "mean" else scores.max(axis=2))
    return np.stack(fused)


def episode_accuracy(scores: NDArray[np.floating], answers: Indices) -> Scores:
    """Return the share of probes whose highest score is with the correct reference.

    A tie between k references counts 1/k if the correct one is among them. That is the expected share of a random
    choice between them, so a network with the same output for everything has the accuracy of chance.

    Args:
        scores: [..., probes, references].
        answers: the correct reference of each probe, [..., probes].

    Returns:
        One share for each episode or run, shape [...].

    >>> episode_accuracy(np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([0, 1])).item()
    0.75
    """
    best = scores == scores.max(axis=-1, keepdims=True)
    is_correct = np.take_along_axis(best, np.asarray(answers)[..., None], axis=-1)[..., 0]
    shares: Scores = np.where(is_correct, 1.0 / best.sum(axis=-1), 0.0).mean(axis=-1)
    return shares


def mean_accuracy(accuracies: Scores, *, seed: int = 0, confidence: float = 0.95) -> Estimate:
    """Return the mean over episodes or runs, with its interval from a bootstrap over these."""
    drawn = draw_identities(accuracies.size, REPLICATES, seed)
    return estimate(float(accuracies.mean()), drawn @ accuracies / accuracies.size, accuracies.size, confidence)


def read_runs(folder: Path) -> tuple[Run, ...]:
    """Read ``run*/class_labels.txt`` of Omniglot's one-shot evaluation (Lake et al. 2015, Science 350, p. 1332).

    Every line names a test image and the training image of its class, as paths below ``folder``.

    Raises:
        InvalidArgument: there is no such file, or a line does not have two columns.
    """
    runs = []
    for listing in sorted(folder.glob("run*/class_labels.txt")):
        rows = [line.split() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not rows or any(len(row) != 2 for row in rows):
            raise InvalidArgument(
                f"{listing} has a line without exactly 2 columns; expected a test image and a training image",
                metadata={"field": "runs"},
            )
        there = {path.relative_to(folder).as_posix() for path in (listing.parent / "training").glob("*.png")}
        training = sorted(there | {shown for _, shown in rows})
        places = {name: place for place, name in enumerate(training)}
        answers = np.array([places[shown] for _, shown in rows])
        runs.append(Run(listing.parent.name, tuple(test for test, _ in rows), tuple(training), answers))
    if not runs:
        raise InvalidArgument(
            f"{folder} contains no run*/class_labels.txt; expected Omniglot's folder all_runs",
            metadata={"field": "runs"},
        )
    return tuple(runs)


def _units(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    # The mean of opposite vectors is 0 and stays 0: its cosine with everything is 0.
    units: NDArray[np.floating] = vectors / np.where(norms > 0, norms, 1.0)
    return units
