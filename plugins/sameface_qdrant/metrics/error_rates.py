"""Biometric error rates (ISO/IEC 19795-1). Every error rate of the package is computed here. Pure numpy.

A comparison is mated when probe and reference are of the same subject; otherwise it is non-mated. It is a match when
score ≥ threshold. Scores are cosines here; any score works that is higher for more similar samples. ``weights`` holds
one weight per score. Without weights every comparison counts the same; with the weight 1/n for each of an identity's n
comparisons, every identity counts the same. Functions raise ValueError if there is no score, if a score is not finite,
or if a rate or a weight is out of range.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores: TypeAlias = NDArray[np.float64]
"""Comparison scores, and thresholds, which are scores too."""
Rates: TypeAlias = NDArray[np.float64]
"""Error rates, 0 to 1."""
Weights: TypeAlias = NDArray[np.float64]
"""How much each comparison counts, 0 or more."""
Mask: TypeAlias = NDArray[np.bool_]
"""Selects comparisons, for instance those that are errors."""
Indices: TypeAlias = NDArray[np.int64]
"""Identities or samples as integers; equal numbers mean the same one."""


@dataclass(frozen=True, slots=True)
class DetCurve:
    """Detection error trade-off: FMR and FNMR at every threshold where one of them changes."""

    thresholds: Scores
    """Ascending."""
    fmr: Rates
    fnmr: Rates


def fmr(non_mated: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Return the false match rate: the share of non-mated scores at or above the threshold.

    >>> fmr([0.1, 0.2, 0.3, 0.4], threshold=0.3)
    0.5
    """
    return _share(_scores(non_mated) >= threshold, weights)


def fnmr(mated: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Return the false non-match rate: the share of mated scores below the threshold.

    >>> fnmr([0.1, 0.6, 0.7, 0.8], threshold=0.6)
    0.25
    """
    return _share(_scores(mated) < threshold, weights)


def threshold_at_fmr(non_mated: ArrayLike, target: float, weights: ArrayLike | None = None) -> float:
    """Return the lowest threshold whose FMR is at most ``target`` (0 to 1).

    It is the next number above one of the non-mated scores, or the lowest of them.

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
    # Rounding in sums of many small shares must not raise the threshold by a whole step.
    first = int(np.argmax(accepted <= target + 1e-12))
    return float(values[0]) if first == 0 else float(np.nextafter(values[first - 1], np.inf))


def rounded_up(threshold: float, decimals: int = 4) -> float:
    """Round a threshold up, to 1 at most. A score that the given threshold rejects stays rejected.

    >>> rounded_up(0.32501), rounded_up(np.nextafter(0.325, 1.0))
    (0.3251, 0.3251)
    """
    scale = 10.0**decimals
    steps = math.ceil(threshold * scale)
    # Floating point may round the product down to the step below.
    return min(1.0, (steps if steps / scale >= threshold else steps + 1) / scale)


def det_curve(
    mated: ArrayLike,
    non_mated: ArrayLike,
    mated_weights: ArrayLike | None = None,
    non_mated_weights: ArrayLike | None = None,
) -> DetCurve:
    """Return the DET curve; its thresholds are the distinct scores."""
    mated_scores, non_mated_scores = _scores(mated), _scores(non_mated)
    thresholds = np.unique(np.concatenate([mated_scores, non_mated_scores]))
    return DetCurve(
        thresholds,
        1.0 - _share_below(non_mated_scores, thresholds, non_mated_weights),
        _share_below(mated_scores, thresholds, mated_weights),
    )


def eer(
    mated: ArrayLike,
    non_mated: ArrayLike,
    mated_weights: ArrayLike | None = None,
    non_mated_weights: ArrayLike | None = None,
) -> float:
    """Return the equal error rate: the mean of FMR and FNMR at the threshold where they differ least."""
    curve = det_curve(mated, non_mated, mated_weights, non_mated_weights)
    position = _equal_error_position(curve)
    return float((curve.fmr[position] + curve.fnmr[position]) / 2)


def eer_threshold(
    mated: ArrayLike,
    non_mated: ArrayLike,
    mated_weights: ArrayLike | None = None,
    non_mated_weights: ArrayLike | None = None,
) -> float:
    """Return the threshold of the `eer`; the lowest one if several have it.

    >>> eer_threshold([0.4, 0.6, 0.7, 0.8], [0.1, 0.2, 0.3, 0.5])
    0.5
    """
    curve = det_curve(mated, non_mated, mated_weights, non_mated_weights)
    return float(curve.thresholds[_equal_error_position(curve)])


def fpir(best_non_mated: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Return the false positive identification rate: the share of non-mated searches with a candidate.

    Args:
        best_non_mated: the highest score of each non-mated search. A search is non-mated when its subject is not
            enrolled.
        threshold: the lowest score that makes an identity a candidate.
        weights: one for each search.
    """
    return fmr(best_non_mated, threshold, weights)


def fnir(
    mated_scores: ArrayLike,
    ranks: Sequence[int] | NDArray[np.int64],
    threshold: float,
    rank: int = 1,
    weights: ArrayLike | None = None,
) -> float:
    """Return the false negative identification rate over mated searches, FNIR(N, R, T).

    A mated search fails when the mated identity has a rank beyond ``rank``, or a score below the threshold.

    Args:
        mated_scores: the mated identity's score in each search.
        ranks: the mated identity's rank in each search; 1 is the highest score.
        threshold: T, the lowest score that makes an identity a candidate.
        rank: R, the last rank that counts as found.
        weights: one for each search.
    """
    return _share((_scores(mated_scores) < threshold) | (np.asarray(ranks) > rank), weights)


def fte(failed: int, attempted: int) -> float:
    """Return the failure-to-enrol rate: the share of enrolment attempts that gave no template."""
    return _failure_rate(failed, attempted)


def fta(failed: int, attempted: int) -> float:
    """Return the failure-to-acquire rate: the share of samples that gave no embedding to compare."""
    return _failure_rate(failed, attempted)


def _failure_rate(failed: int, attempted: int) -> float:
    if attempted < 1 or not 0 <= failed <= attempted:
        raise ValueError(f"{failed} of {attempted} failed; expected 0 ≤ failed ≤ attempted and attempted ≥ 1")
    return failed / attempted


def _equal_error_position(curve: DetCurve) -> int:
    """Return the position where FMR and FNMR differ least; differences that are only rounding count as equal."""
    return int(np.argmin(np.round(np.abs(curve.fmr - curve.fnmr), 12)))


def _scores(values: ArrayLike) -> Scores:
    scores = np.asarray(values, dtype=np.float64).ravel()
    if scores.size == 0:
        raise ValueError("no scores were given; expected at least one")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a finite number; leave such scores out")
    return scores


def _normalised(weights: ArrayLike, scores: Scores) -> Weights:
    values = np.asarray(weights, dtype=np.float64).ravel()
    if values.shape != scores.shape or (values < 0).any() or values.sum() <= 0:
        raise ValueError(f"weights have shape {values.shape}; expected {scores.shape}, none negative, not all zero")
    normalised: Weights = values / values.sum()
    return normalised


def _share(errors: Mask, weights: ArrayLike | None) -> float:
    if weights is None:
        return float(np.count_nonzero(errors) / errors.size)
    return float(_normalised(weights, errors.astype(np.float64))[errors].sum())


def _share_below(scores: Scores, thresholds: Scores, weights: ArrayLike | None) -> Rates:
    order = np.argsort(scores, kind="stable")
    shares = np.full(scores.shape, 1.0 / scores.size) if weights is None else _normalised(weights, scores)
    cumulative = np.concatenate([[0.0], np.cumsum(shares[order])])
    return cumulative[np.searchsorted(scores[order], thresholds, side="left")]
