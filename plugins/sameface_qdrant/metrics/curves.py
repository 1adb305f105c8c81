"""What a picture of a calibration shows: no single score is in it, so it may leave the machine. Pure numpy."""

from dataclasses import dataclass

import numpy as np

from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.metrics.error_rates import Codes, Scores, det_curve

DET_POINTS = 512
BINS = 80


@dataclass(frozen=True, slots=True)
class Curves:
    """Error rates over thresholds, and histograms of scores."""

    thresholds: Scores
    """Evenly spaced over the scores, shape [at most 512]; none without mated comparisons."""
    fmr: Scores
    fnmr: Scores
    edges: Scores
    """Of the histograms' bins, shape [81]."""
    mated: Codes
    """How many scores are in each bin, shape [80]."""
    non_mated: Codes


def curves(comparisons: Comparisons) -> Curves:
    """Return the curves of comparisons."""
    scores = np.concatenate([comparisons.mated, comparisons.non_mated])
    low, high = float(scores.min()), float(scores.max())
    edges = np.linspace(low, high if high > low else low + 1e-3, BINS + 1)
    mated, _ = np.histogram(comparisons.mated, edges)
    non_mated, _ = np.histogram(comparisons.non_mated, edges)
    nothing = np.empty(0)
    thresholds = fmr = fnmr = nothing
    if comparisons.mated.size:
        exact = det_curve(comparisons.mated, comparisons.non_mated)
        thresholds = np.linspace(low, high, DET_POINTS)
        # Between two neighbouring scores nothing changes: the rates are those at the next one.
        at = np.minimum(np.searchsorted(exact.thresholds, thresholds), exact.thresholds.size - 1)
        fmr, fnmr = exact.fmr[at], exact.fnmr[at]
    return Curves(thresholds, fmr, fnmr, edges, mated.astype(np.int64), non_mated.astype(np.int64))
