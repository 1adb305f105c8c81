"""Accuracy over a list of pairs: the protocol of LFW (Huang et al. 2007). Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.cross_comparison import NO_SCORE
from sameface.evaluation.dataset import Pair
from sameface.evaluation.samples import Samples
from sameface_qdrant.errors import InvalidArgument

FOLDS = 10
"""A list without folds is split into this many parts of consecutive pairs, so that a person is seldom in two folds."""


@dataclass(frozen=True, slots=True)
class PairAccuracy:
    """Shares of correct decisions, 0 to 1."""

    cross_validated: float
    """Mean over the folds. Each fold is decided at the threshold that is best on all other folds."""
    standard_error: float
    """Standard error of that mean over the folds."""
    best: float
    """At the threshold that is best on all pairs. Optimistic, because the threshold was chosen on the same pairs."""
    best_threshold: float


def pair_accuracy(scores: NDArray[np.float64], mated: NDArray[np.bool_], folds: NDArray[np.int64]) -> PairAccuracy:
    """Return the accuracy of decisions from scores; a pair is accepted where score ≥ threshold.

    Args:
        scores: [pairs].
        mated: whether both photos are of one person, [pairs].
        folds: the fold of each pair, [pairs].
    """
    correct = correct_decisions(scores, mated, folds)
    accuracies = [float(correct[folds == fold].mean()) for fold in np.unique(folds)]
    threshold = best_threshold(scores, mated)
    return PairAccuracy(
        cross_validated=float(np.mean(accuracies)),
        standard_error=float(np.std(accuracies, ddof=1) / np.sqrt(len(accuracies))),
        best=float(((scores >= threshold) == mated).mean()),
        best_threshold=threshold,
    )


def pair_scores(samples: Samples, pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """Return the cosine of every pair, [pairs]; `NO_SCORE` where one of the two could not be acquired.

    Raises:
        InvalidArgument: a pair names a sample that is not among the samples.
    """
    rows = {name: row for row, name in enumerate(samples.sample)}
    rows.update({one.sample: -1 for one in samples.failures})
    try:
        positions = np.array([(rows[pair.first], rows[pair.second]) for pair in pairs])
    except KeyError as error:
        raise InvalidArgument(
            f"the pairs name {error}, which is not among the samples", metadata={"field": "pairs"}
        ) from None
    scores = np.full(len(pairs), NO_SCORE)
    acquired = (positions >= 0).all(axis=1)
    vectors = samples.vectors.astype(np.float64)
    scores[acquired] = np.einsum("ij,ij->i", vectors[positions[acquired, 0]], vectors[positions[acquired, 1]])
    return scores


def folds_of(pairs: Sequence[Pair]) -> NDArray[np.int64]:
    """Return the fold of every pair, [pairs]. A list without folds is split into ten."""
    folds = np.array([pair.fold for pair in pairs])
    return folds if folds.max() else single_set_folds(np.array([pair.mated for pair in pairs]))


def correct_decisions(
    scores: NDArray[np.float64], mated: NDArray[np.bool_], folds: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return which decisions are correct, [pairs]. Each fold is decided at the threshold that is best on all others."""
    correct = np.zeros(len(scores), np.bool_)
    for fold in np.unique(folds):
        test = folds == fold
        correct[test] = (scores[test] >= best_threshold(scores[~test], mated[~test])) == mated[test]
    return correct


def best_threshold(scores: NDArray[np.float64], mated: NDArray[np.bool_]) -> float:
    """Return the threshold with the most correct decisions: in the middle between two neighbouring scores.

    >>> best_threshold(np.array([0.1, 0.3, 0.5, 0.9]), np.array([False, False, True, True]))
    0.4
    """
    order = np.argsort(scores, kind="stable")
    ordered, labels = scores[order], mated[order]
    # correct[k]: how many decisions are correct when the k lowest scores are rejected.
    correct = np.concatenate([[0], np.cumsum(~labels)]) + np.concatenate([np.cumsum(labels[::-1])[::-1], [0]])
    # No threshold lies between equal scores.
    possible = np.concatenate([[True], ordered[1:] > ordered[:-1], [True]])
    cut = int(np.argmax(np.where(possible, correct, -1)))
    if cut == 0:
        return float(ordered[0])
    if cut == len(ordered):
        return float(np.nextafter(ordered[-1], np.inf))
    return float((ordered[cut - 1] + ordered[cut]) / 2)


def single_set_folds(mated: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return ten folds of consecutive pairs for a list without folds, with mated and non-mated pairs in each."""
    folds = np.zeros(len(mated), dtype=np.int64)
    for kind in (mated, ~mated):
        positions = np.flatnonzero(kind)
        folds[positions] = np.arange(len(positions)) * FOLDS // max(1, len(positions))
    return folds
