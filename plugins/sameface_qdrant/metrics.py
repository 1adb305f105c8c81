"""Biometric error rates (ISO/IEC 19795-1), the only place that computes them. Pure numpy.

A comparison is mated when both sides are of one subject, else non-mated; it accepts where score ≥ threshold. Scores
are cosines, but any score that grows with likeness will do. ``weights`` (one per score) let every identity count the
same however many comparisons it has; without them every comparison counts the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
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


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of a rate, 0..1."""

    low: float
    high: float


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


def wilson_interval(errors: float, trials: float, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a rate; for independent trials alone (Wilson 1927, JASA 22, p. 209).

    >>> interval = wilson_interval(1, 10)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.0179, 0.4042)
    """
    if trials <= 0 or not 0 <= errors <= trials:
        raise ValueError(f"{errors} of {trials} were errors; expected 0 ≤ errors ≤ trials and trials above 0")
    z = NormalDist().inv_cdf(0.5 + _confidence(confidence) / 2)
    rate, shrink = errors / trials, 1.0 + z * z / trials
    centre = rate + z * z / (2 * trials)
    reach = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return Interval(max(0.0, (centre - reach) / shrink), min(1.0, (centre + reach) / shrink))


def rule_of_three(trials: float, confidence: float = 0.95) -> float:
    """Return the highest rate that ``trials`` independent trials without any error are compatible with.

    Exact, 1 − (1 − confidence)^(1/n); at 95 % that is nearly 3/n (ISO/IEC 19795-1, annex B; Jovanovic and Levy 1997,
    The American Statistician 51, p. 137).

    >>> round(rule_of_three(300), 4)
    0.0099
    """
    if trials <= 0:
        raise ValueError(f"there were {trials} trials; expected more than 0")
    return -math.expm1(math.log1p(-_confidence(confidence)) / trials)


def trials_for(rate: float, confidence: float = 0.95) -> int:
    """Return how many independent trials without error it takes to support a rate: `rule_of_three` turned round.

    >>> trials_for(1e-3)
    2995
    """
    return math.ceil(math.log1p(-_confidence(confidence)) / math.log1p(-rate))


def rate_interval(
    hits: Hits,
    first: Codes,
    second: Codes,
    *,
    confidence: float = 0.95,
    replicates: int = 400,
    seed: int = 0,
) -> Interval:
    """Return the interval of a rate over comparisons between identities ``first`` and ``second``.

    Where no identity takes part in two comparisons they are independent, and it is Wilson's. Otherwise it is the
    percentile interval of `IdentityBootstrap`; without any hit (where a bootstrap says nothing), or with hits only, it
    reaches as far as `rule_of_three` allows for `disjoint_pairs`.
    """
    if disjoint_pairs(first, second) == hits.size:
        return wilson_interval(int(hits.sum()), hits.size, confidence)
    if hits.any() and not hits.all():
        return percentiles(IdentityBootstrap(first, second, replicates, seed).rates(hits), confidence)
    reach = rule_of_three(disjoint_pairs(first, second), confidence)
    return Interval(1.0 - reach, 1.0) if hits.all() else Interval(0.0, reach)


def percentiles(rates: Scores, confidence: float = 0.95) -> Interval:
    """Return the interval that holds the middle of resampled rates."""
    low, high = np.quantile(rates, [0.5 - _confidence(confidence) / 2, 0.5 + confidence / 2])
    return Interval(float(low), float(high))


class IdentityBootstrap:
    """Resamples identities, not comparisons: those that share an identity are not independent of each other.

    Each replicate draws as many identities as there are, with replacement. A comparison between two counts as often as
    both were drawn together, the product of their counts (vertex bootstrap: Snijders and Borgatti 1999, Connections
    22, p. 161; for 1:1 matching: Fogliato, Patil and Perona 2024, arXiv 2306.01198); one within an identity counts as
    often as that was drawn (subsets bootstrap: Bolle, Ratha and Pankanti 2004, CVIU 93, p. 1). Where comparisons do not
    depend on each other at all, the first gives intervals that are too wide, up to √3 times.
    """

    def __init__(self, first: Codes, second: Codes, replicates: int = 400, seed: int = 0) -> None:
        identities, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
        count = identities.size
        self._first, self._second = codes[: first.size].astype(np.int32), codes[first.size :].astype(np.int32)
        rng = np.random.default_rng(seed)
        self._drawn = np.stack(
            [np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(replicates)]
        ).astype(np.float32)
        everything = np.ones(first.size, dtype=np.bool_)
        self._totals = self._sums(everything)

    def rates(self, hits: Hits) -> Scores:
        """Return the rate of hits in every replicate that drew a comparison, shape [at most replicates]."""
        drawn = self._totals > 0
        rates: Scores = self._sums(hits)[drawn] / self._totals[drawn]
        return rates

    def _sums(self, hits: Hits) -> Scores:
        """Return how much the chosen comparisons count in every replicate."""
        first, second = self._first[hits], self._second[hits]
        within = first == second
        crossed_first, crossed_second, owners = first[~within], second[~within], first[within]
        return np.array(
            [
                float(np.dot(drawn[crossed_first], drawn[crossed_second])) + float(drawn[owners].sum())
                for drawn in self._drawn
            ]
        )


def effective_trials(rate: float, resampled: Scores, least: float, most: float) -> float:
    """Return how many independent comparisons would leave a rate as uncertain as its resampled values show it to be.

    That is p·(1 − p)/variance: the number of comparisons over the design effect (Kish 1965, Survey Sampling, 8.2).
    """
    variance = float(np.var(resampled))
    return most if variance <= 0 else min(most, max(least, rate * (1.0 - rate) / variance))


def disjoint_pairs(first: Codes, second: Codes) -> int:
    """Return how many comparisons surely share no identity: all where none is in two, else what is in reach of all.

    That is one for each identity of mated comparisons, and one for every two identities of non-mated ones.
    """
    taking_part = np.concatenate([first, second[first != second]])
    identities = np.unique(taking_part).size
    if identities == taking_part.size:
        return first.size
    return max(1, identities if np.array_equal(first, second) else identities // 2)


def _nearest(curve: DetCurve) -> int:
    """Return where FMR and FNMR are nearest to each other; rounding does not decide between two such places."""
    return int(np.argmin(np.round(np.abs(curve.fmr - curve.fnmr), 12)))


def _confidence(value: float) -> float:
    if not 0.0 < value < 1.0:
        raise ValueError(f"confidence is {value}; expected between 0 and 1, for instance 0.95")
    return value


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
