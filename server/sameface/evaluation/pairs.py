"""Accuracy over a list of pairs, the protocol of LFW (Huang et al. 2007)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOLDS = 10
"""A list with one set is split into this many parts of neighbouring pairs, so that a person seldom is in two."""


@dataclass(frozen=True, slots=True)
class PairAccuracy:
    """Shares of pairs that are decided rightly, 0 to 1."""

    cross_validated: float
    """Mean over the folds; each is decided at the threshold that is best on all others."""
    standard_error: float
    """Of that mean, over the folds."""
    best: float
    """At the one threshold that is best on all pairs: optimistic, because it has seen them."""
    best_threshold: float


def pair_accuracy(scores: NDArray[np.float64], mated: NDArray[np.bool_], folds: NDArray[np.int64]) -> PairAccuracy:
    """Return the accuracy of scores [pairs] against labels [pairs]; a pair is accepted where score ≥ threshold."""
    held_out = []
    for fold in np.unique(folds):
        test = folds == fold
        threshold = best_threshold(scores[~test], mated[~test])
        held_out.append(float(((scores[test] >= threshold) == mated[test]).mean()))
    threshold = best_threshold(scores, mated)
    return PairAccuracy(
        cross_validated=float(np.mean(held_out)),
        standard_error=float(np.std(held_out, ddof=1) / np.sqrt(len(held_out))),
        best=float(((scores >= threshold) == mated).mean()),
        best_threshold=threshold,
    )


def best_threshold(scores: NDArray[np.float64], mated: NDArray[np.bool_]) -> float:
    """Return the threshold with the most right decisions: in the middle between two neighbouring scores.

    >>> best_threshold(np.array([0.1, 0.3, 0.5, 0.9]), np.array([False, False, True, True]))
    0.4
    """
    order = np.argsort(scores, kind="stable")
    ordered, labels = scores[order], mated[order]
    # right[k]: decisions that are right where the k lowest scores are rejected.
    right = np.concatenate([[0], np.cumsum(~labels)]) + np.concatenate([np.cumsum(labels[::-1])[::-1], [0]])
    # Equal scores cannot be parted.
    possible = np.concatenate([[True], ordered[1:] > ordered[:-1], [True]])
    cut = int(np.argmax(np.where(possible, right, -1)))
    if cut == 0:
        return float(ordered[0])
    if cut == len(ordered):
        return float(np.nextafter(ordered[-1], np.inf))
    return float((ordered[cut - 1] + ordered[cut]) / 2)


def single_set_folds(mated: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a fold for every pair of a list with one set: neighbours together, mated and non-mated alike."""
    folds = np.zeros(len(mated), dtype=np.int64)
    for kind in (mated, ~mated):
        positions = np.flatnonzero(kind)
        folds[positions] = np.arange(len(positions)) * FOLDS // max(1, len(positions))
    return folds
