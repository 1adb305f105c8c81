"""The numbers behind the plots of a calibration. They hold no single score, so they may be shared. Pure numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.metrics.error_rates import Rates, Scores, det_curve

DET_POINTS = 512
BINS = 80


@dataclass(frozen=True, slots=True)
class Curves:
    """FMR and FNMR over thresholds, and histograms of scores."""

    thresholds: Scores
    """Evenly spaced over the range of the scores, shape [512]; empty without mated comparisons."""
    fmr: Rates
    fnmr: Rates
    edges: Scores
    """Edges of the histograms' bins, shape [81]."""
    mated: NDArray[np.int64]
    """Mated scores in each bin, shape [80]."""
    non_mated: NDArray[np.int64]
    """Non-mated scores in each bin, shape [80]."""


def curves(comparisons: Comparisons) -> Curves:
    """Return FMR, FNMR and histograms of comparisons."""
    scores = np.concatenate([comparisons.mated, comparisons.non_mated])
    low, high = float(scores.min()), float(scores.max())
    edges = np.linspace(low, high if high > low else low + 1e-3, BINS + 1)
    mated, _ = np.histogram(comparisons.mated, edges)
    non_mated, _ = np.histogram(comparisons.non_mated, edges)
    thresholds = fmr = fnmr = np.empty(0)
    if comparisons.mated.size:
        exact = det_curve(comparisons.mated, comparisons.non_mated)
        thresholds = np.linspace(low, high, DET_POINTS)
        # Rates change only at scores: between two scores they are those at the higher one.
        position = np.minimum(np.searchsorted(exact.thresholds, thresholds), exact.thresholds.size - 1)
        fmr, fnmr = exact.fmr[position], exact.fnmr[position]
    return Curves(thresholds, fmr, fnmr, edges, mated.astype(np.int64), non_mated.astype(np.int64))
