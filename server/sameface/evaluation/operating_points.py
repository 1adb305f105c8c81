"""Thresholds for target false match rates, from all cross pairs of labelled photos."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.metrics import fnmr, threshold_at_fmr

TARGETS = (1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, slots=True)
class CrossPairs:
    """The scores of every pair of photos, once."""

    mated: NDArray[np.float64]
    non_mated: NDArray[np.float64]
    mated_weights: NDArray[np.float64]
    """Let every identity count the same, however many photos it has."""
    identities: int


@dataclass(frozen=True, slots=True)
class MeasuredThreshold:
    """A threshold for a target FMR with the FNMR that it costs."""

    target_fmr: float
    threshold: float
    fnmr: float
    """Over comparisons: every pair counts the same."""
    fnmr_by_identity: float
    """Every identity counts the same."""


def cross_pairs(vectors: NDArray[np.float64], identities: Sequence[str]) -> CrossPairs:
    """Return the cosine of every pair of unit vectors [photos, dimension], parted by identity."""
    names, labels = np.unique(np.asarray(identities), return_inverse=True)
    first, second = np.triu_indices(len(labels), 1)
    scores = (vectors @ vectors.T)[first, second]
    same = labels[first] == labels[second]
    owners = labels[first][same]
    return CrossPairs(scores[same], scores[~same], 1.0 / np.bincount(owners, minlength=len(names))[owners], len(names))


def measure_thresholds(pairs: CrossPairs, targets: Sequence[float] = TARGETS) -> tuple[MeasuredThreshold, ...]:
    """Return the lowest threshold of four decimals that keeps each target FMR."""
    thresholds = {target: math.ceil(threshold_at_fmr(pairs.non_mated, target) * 1e4) / 1e4 for target in targets}
    return tuple(
        MeasuredThreshold(
            target_fmr=target,
            threshold=threshold,
            fnmr=fnmr(pairs.mated, threshold),
            fnmr_by_identity=fnmr(pairs.mated, threshold, pairs.mated_weights),
        )
        for target, threshold in thresholds.items()
    )
