"""Few-shot classification: N-way K-shot episodes, and Omniglot's official one-shot runs. Pure numpy.

Everything is judged from scores [probes, references], so that a learned comparison can be measured like a cosine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.resampling import Estimate, draw_identities, estimate
from sameface.evaluation.samples import Vectors
from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.error_rates import Indices, Scores

Compare = Callable[[Indices, Indices], NDArray[np.floating]]
"""Scores of samples (positions) with other samples, [probes, references]."""

REPLICATES = 2000


@dataclass(frozen=True, slots=True)
class Episodes:
    """Tasks of telling a few classes apart. Samples are positions; classes are numbered within their episode."""

    support: Indices
    """The samples of each class that are shown, [episodes, ways, shots]."""
    queries: Indices
    """The samples to be classified, [episodes, queries]."""
    answers: Indices
    """The class of each query, 0 to ways − 1, [episodes, queries]."""


@dataclass(frozen=True, slots=True)
class Run:
    """One of Omniglot's official runs; samples are named by their path below the folder of all runs."""

    name: str
    tests: tuple[str, ...]
    training: tuple[str, ...]
    """One image of each class."""
    answers: Indices
    """For each test, which of ``training`` is of its class."""


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
    """Draw episodes at random: first the group (where there are groups), then classes, then samples, none twice.

    Args:
        labels: the class of every sample.
        ways: classes of an episode.
        shots: samples of each class that are shown.
        episodes: how many.
        seed: of what is drawn.
        within: the group of every sample; the classes of an episode are of one group, and groups are equally likely.
        queries: samples of each class to be classified.

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
    wide = [
        [np.array(positions) for positions in classes.values() if len(positions) >= shots + queries]
        for _, classes in sorted(members.items())
    ]
    wide = [classes for classes in wide if len(classes) >= ways]
    if not wide:
        raise NotEnoughData(
            f"no group has {ways} classes with {shots + queries} samples; draw fewer ways or shots",
            metadata={"classes": len(set(labels)), "samples": len(labels)},
        )
    rng = np.random.default_rng(seed)
    drawn = np.empty((episodes, ways, shots + queries), np.int64)
    for episode in range(episodes):
        classes = wide[int(rng.integers(len(wide)))]
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
    """Return each query's score with each class, that with its shots fused, [episodes, queries, ways].

    For a comparison that has no mean template. A score matrix of all samples is ``lambda p, r: matrix[np.ix_(p, r)]``.
    """
    ways, shots = episodes.support.shape[1:]
    fused = []
    for queries, support in zip(episodes.queries, episodes.support, strict=True):
        scores = np.asarray(compare(queries, support.reshape(-1)), dtype=np.float64).reshape(-1, ways, shots)
        fused.append(scores.mean(axis=2) if fusion == "mean" else scores.max(axis=2))
    return np.stack(fused)


def episode_accuracy(scores: NDArray[np.floating], answers: Indices) -> Scores:
    """Return the share of probes whose highest score is with the right reference.

    A tie between k references counts 1/k where the right one is among them: what guessing between them would give, so
    that a network which says the same about everything is at chance.

    Args:
        scores: [..., probes, references].
        answers: the right reference of each probe, [..., probes].

    Returns:
        One share for each episode or run, shape [...].

    >>> episode_accuracy(np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([0, 1])).item()
    0.75
    """
    best = scores == scores.max(axis=-1, keepdims=True)
    right = np.take_along_axis(best, np.asarray(answers)[..., None], axis=-1)[..., 0]
    shares: Scores = np.where(right, 1.0 / best.sum(axis=-1), 0.0).mean(axis=-1)
    return shares


def mean_accuracy(accuracies: Scores, *, seed: int = 0, confidence: float = 0.95) -> Estimate:
    """Return the mean over episodes or runs with its interval from a bootstrap over these."""
    drawn = draw_identities(accuracies.size, REPLICATES, seed)
    return estimate(float(accuracies.mean()), drawn @ accuracies / accuracies.size, accuracies.size, confidence)


def read_runs(folder: Path) -> tuple[Run, ...]:
    """Read ``run*/class_labels.txt`` of Omniglot's one-shot evaluation (Lake et al. 2015, Science 350, p. 1332).

    Every line names a test image and the training image of its class, as paths below ``folder``.

    Raises:
        InvalidArgument: there is no such file, or a line has another form.
    """
    runs = []
    for listing in sorted(folder.glob("run*/class_labels.txt")):
        rows = [line.split() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not rows or any(len(row) != 2 for row in rows):
            raise InvalidArgument(
                f"{listing} has a line with another number of columns than 2; expected a test and a training image",
                metadata={"field": "runs"},
            )
        there = {path.relative_to(folder).as_posix() for path in (listing.parent / "training").glob("*.png")}
        training = sorted(there | {shown for _, shown in rows})
        places = {name: place for place, name in enumerate(training)}
        answers = np.array([places[shown] for _, shown in rows])
        runs.append(Run(listing.parent.name, tuple(test for test, _ in rows), tuple(training), answers))
    if not runs:
        raise InvalidArgument(
            f"{folder} holds no run*/class_labels.txt; expected Omniglot's all_runs", metadata={"field": "runs"}
        )
    return tuple(runs)


def _units(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    # Opposite vectors have the mean 0, which is like nothing.
    units: NDArray[np.floating] = vectors / np.where(norms > 0, norms, 1.0)
    return units
