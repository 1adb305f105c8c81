"""Biometric error rates (ISO/IEC 19795-1), the only place that computes them. Pure numpy.

A comparison is mated when both sides are of one subject, else non-mated; it accepts where score ≥ threshold. Scores
are cosines, but any score that grows with likeness will do. ``weights`` (one per score) let every identity count the
same however many comparisons it has; without them every comparison counts the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores: TypeAlias = NDArray[np.float64]
Hits: TypeAlias = NDArray[np.bool_]
Codes: TypeAlias = NDArray[np.int64]
"""Identities as integers; the same number is the same identity."""


@dataclass(frozen=True, slots=True)
class DetCurve:
    """Detection error trade-off: FMR and FNMR at every threshold where either changes, thresholds ascending."""

    thresholds: Scores
    fmr: Scores
    fnmr: Scores


def fmr(non_mated: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Return the false match rate: share of non-mated scores at or above the threshold.

    >>> fmr([0.1, 0.2, 0.3, 0.4], threshold=0.3)
    0.5
    """
    return _share(_scores(non_mated) >= threshold, weights)


def fnmr(mated: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Return the false non-match rate: share of mated scores below the threshold.

    >>> fnmr([0.1, 0.6, 0.7, 0.8], threshold=0.6)
    0.25
    """
    return _share(_scores(mated) < threshold, weights)


def threshold_at_fmr(non_mated: ArrayLike, target: float, weights: ArrayLike | None = None) -> float:
    """Return the lowest threshold whose FMR is at most ``target`` (0..1): just above a non-mated score, or the lowest.

    >>> fmr([0.1, 0.2, 0.3, 0.4], threshold_at_fmr([0.1, 0.2, 0.3, 0.4], 0.25))
    0.25
    """
    if not 0.0 <= target <= 1.0:
        raise ValueError(f"target is {target}; expected a rate between 0 and 1")
    scores = _scores(non_mated)
    shares = np.full(scores.shape, 1.0 / scores.size) if weights is None else _normalised(weights, scores)
    values, position = np.unique(scores, return_inverse=True)
    per_value = np.bincount(position, weights=shares)
    # accepted[i]: share of scores ≥ values[i]; rejecting everything up to values[i] leaves accepted[i + 1].
    accepted = np.append(np.cumsum(per_value[::-1])[::-1], 0.0)
    # Sums of many small shares carry rounding that must not cost a whole step.
    first = int(np.argmax(accepted <= target + 1e-12))
    return float(values[0]) if first == 0 else float(np.nextafter(values[first - 1], np.inf))


def rounded_up(threshold: float) -> float:
    """Return a threshold with four decimals that accepts nothing which the given one rejects, 1 at most.

    >>> rounded_up(0.32501), rounded_up(np.nextafter(0.325, 1.0))
    (0.3251, 0.3251)
    """
    steps = math.ceil(threshold * 1e4)
    # A product may be rounded down to the step below.
    return min(1.0, (steps if steps / 1e4 >= threshold else steps + 1) / 1e4)


def det_curve(
    mated: ArrayLike,
    non_mated: ArrayLike,
    mated_weights: ArrayLike | None = None,
    non_mated_weights: ArrayLike | None = None,
) -> DetCurve:
    """Return the DET curve over all distinct scores."""
    genuine, impostor = _scores(mated), _scores(non_mated)
    thresholds = np.unique(np.concatenate([genuine, impostor]))
    return DetCurve(
        thresholds,
        1.0 - _share_below(impostor, thresholds, non_mated_weights),
        _share_below(genuine, thresholds, mated_weights),
    )


def eer(
    mated: ArrayLike,
    non_mated: ArrayLike,
    mated_weights: ArrayLike | None = None,
    non_mated_weights: ArrayLike | None = None,
) -> float:
    """Return the equal error rate: mean of FMR and FNMR at the threshold where they are nearest to each other."""
    curve = det_curve(mated, non_mated, mated_weights, non_mated_weights)
    nearest = _nearest(curve)
    return float((curve.fmr[nearest] + curve.fnmr[nearest]) / 2)


def eer_threshold(
    mated: ArrayLike,
    non_mated: ArrayLike,
    mated_weights: ArrayLike | None = None,
    non_mated_weights: ArrayLike | None = None,
) -> float:
    """Return the threshold at which `eer` is taken, the lowest where there are several.

    >>> eer_threshold([0.4, 0.6, 0.7, 0.8], [0.1, 0.2, 0.3, 0.5])
    0.5
    """
    curve = det_curve(mated, non_mated, mated_weights, non_mated_weights)
    return float(curve.thresholds[_nearest(curve)])


def fpir(best_non_mated: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Return the false positive identification rate over searches of people who are not enrolled.

    ``best_non_mated`` holds the best candidate's score of each such search.
    """
    return fmr(best_non_mated, threshold, weights)


def fnir(
    mated_scores: ArrayLike,
    ranks: Sequence[int] | NDArray[np.int64],
    threshold: float,
    rank: int = 1,
    weights: ArrayLike | None = None,
) -> float:
    """Return the false negative identification rate over searches of enrolled people, FNIR(N, R, T).

    ``mated_scores`` holds the score of the right identity, ``ranks`` its place (1 is best); a search fails where the
    place is behind ``rank`` or the score is below the threshold.
    """
    places = np.asarray(ranks)
    return _share((_scores(mated_scores) < threshold) | (places > rank), weights)


def fte(failed: int, attempted: int) -> float:
    """Return the failure-to-enrol (or to-acquire) rate."""
    if attempted < 1 or not 0 <= failed <= attempted:
        raise ValueError(f"{failed} of {attempted} failed; expected 0 ≤ failed ≤ attempted and attempted ≥ 1")
    return failed / attempted


def _nearest(curve: DetCurve) -> int:
    """Return where FMR and FNMR are nearest to each other; rounding does not decide between two such places."""
    return int(np.argmin(np.round(np.abs(curve.fmr - curve.fnmr), 12)))


def _scores(values: ArrayLike) -> Scores:
    scores = np.asarray(values, dtype=np.float64).ravel()
    if scores.size == 0:
        raise ValueError("no scores were given; at least one is needed")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold a value that is not a finite number")
    return scores


def _normalised(weights: ArrayLike, scores: Scores) -> Scores:
    values = np.asarray(weights, dtype=np.float64).ravel()
    if values.shape != scores.shape or (values < 0).any() or values.sum() <= 0:
        raise ValueError(f"weights have shape {values.shape}; expected {scores.shape}, none negative, not all zero")
    normalised: Scores = values / values.sum()
    return normalised


def _share(hits: NDArray[np.bool_], weights: ArrayLike | None) -> float:
    if weights is None:
        return float(np.count_nonzero(hits) / hits.size)
    return float(_normalised(weights, hits.astype(np.float64))[hits].sum())


def _share_below(scores: Scores, thresholds: Scores, weights: ArrayLike | None) -> Scores:
    order = np.argsort(scores, kind="stable")
    shares = np.full(scores.shape, 1.0 / scores.size) if weights is None else _normalised(weights, scores)
    cumulative = np.concatenate([[0.0], np.cumsum(shares[order])])
    return cumulative[np.searchsorted(scores[order], thresholds, side="left")]
