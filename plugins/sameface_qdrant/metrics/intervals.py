"""Confidence intervals of error rates, for independent and for dependent comparisons. Pure numpy.

Comparisons that share an identity are not independent. Intervals that assume independence are then far too narrow.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from sameface_qdrant.metrics.error_rates import Indices, Mask, Rates, Weights

_ROUNDING = 1e-9
"""Resampled rates that differ by less do so by rounding alone."""


@dataclass(frozen=True, slots=True)
class ConfidenceInterval:
    """A confidence interval of a rate, both ends 0 to 1."""

    low: float
    high: float


def wilson_interval(errors: float, trials: float, confidence: float = 0.95) -> ConfidenceInterval:
    """Return Wilson's score interval of a rate, for independent trials only (Wilson 1927, JASA 22, p. 209).

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
    return ConfidenceInterval(max(0.0, (centre - reach) / shrink), min(1.0, (centre + reach) / shrink))


def rule_of_three(trials: float, confidence: float = 0.95) -> float:
    """Return the upper confidence limit of a rate after ``trials`` independent trials without an error.

    It is 1 − (1 − confidence)^(1/n); at 95 % that is nearly 3/n (ISO/IEC 19795-1, annex B; Jovanovic and Levy 1997,
    The American Statistician 51, p. 137).

    >>> round(rule_of_three(300), 4)
    0.0099
    """
    if trials <= 0:
        raise ValueError(f"there were {trials} trials; expected more than 0")
    return -math.expm1(math.log1p(-_confidence(confidence)) / trials)


def trials_to_support(rate: float, confidence: float = 0.95) -> int:
    """Return how many independent trials without an error are needed to support a rate: the inverse of `rule_of_three`.

    >>> trials_to_support(1e-3)
    2995
    """
    return math.ceil(math.log1p(-_confidence(confidence)) / math.log1p(-rate))


def rate_interval(
    errors: Mask,
    first: Indices,
    second: Indices,
    *,
    confidence: float = 0.95,
    replicates: int = 400,
    seed: int = 0,
) -> ConfidenceInterval:
    """Return the confidence interval of an error rate over comparisons.

    Where no identity takes part in two comparisons, the comparisons are independent and the interval is Wilson's.
    Otherwise it is the percentile interval of `IdentityBootstrap`. If no comparison or every comparison is an error, a
    bootstrap cannot give an interval; the interval then ends at `rule_of_three` for `independent_comparisons`.

    Args:
        errors: which comparisons are errors, [comparisons].
        first: one identity of each comparison, [comparisons].
        second: the other identity; the same one if the comparison is mated.
        confidence: of the interval, in (0, 1).
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """
    independent = independent_comparisons(first, second)
    if independent == errors.size:
        return wilson_interval(int(errors.sum()), errors.size, confidence)
    if errors.any() and not errors.all():
        resampled = IdentityBootstrap(first, second, replicates, seed).rates(errors)
        return resampled_interval(errors, resampled, independent, confidence)
    limit = rule_of_three(independent, confidence)
    return ConfidenceInterval(1.0 - limit, 1.0) if errors.all() else ConfidenceInterval(0.0, limit)


def prediction_interval(rate: float, trials: float, probes: int, confidence: float = 0.95) -> ConfidenceInterval:
    """Return an interval for the rate that another sample of ``probes`` independent probes, or more, will show.

    It is the prediction interval of a binomial count after ``trials`` independent trials, with Jeffreys' prior (Brown,
    Cai and DasGupta 2001, Statistical Science 16, p. 101), so it is wider than a confidence interval: another sample
    has chance of its own. It also holds the confidence interval, which is what remains for very many probes.

    Args:
        rate: measured, 0 to 1.
        trials: how many independent trials it was measured on; see `effective_sample_size`.
        probes: least number of probes of the other sample.
        confidence: in (0, 1).

    >>> interval = prediction_interval(0.1, 1000, 200)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.06, 0.15)
    """
    known = wilson_interval(rate * trials, trials, confidence)
    hits, misses = rate * trials + 0.5, (1.0 - rate) * trials + 0.5
    counts = range(probes + 1)
    logarithms = [
        math.lgamma(probes + 1)
        - math.lgamma(count + 1)
        - math.lgamma(probes - count + 1)
        + _log_beta(count + hits, probes - count + misses)
        - _log_beta(hits, misses)
        for count in counts
    ]
    below = np.cumsum(np.exp(logarithms))
    tail = (1.0 - _confidence(confidence)) / 2
    low, high = (int(np.searchsorted(below, level)) / probes for level in (tail, 1.0 - tail))
    return ConfidenceInterval(min(known.low, low), max(known.high, min(1.0, high)))


def _log_beta(one: float, other: float) -> float:
    return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)


def percentile_interval(rates: Rates, confidence: float = 0.95) -> ConfidenceInterval:
    """Return the percentile interval of resampled rates."""
    low, high = np.quantile(rates, [0.5 - _confidence(confidence) / 2, 0.5 + confidence / 2])
    return ConfidenceInterval(float(low), float(high))


def resampled_interval(
    errors: Mask, resampled: Rates, independent: int, confidence: float = 0.95
) -> ConfidenceInterval:
    """Return the percentile interval of a rate, or Wilson's for ``independent`` trials if the rate does not vary.

    Two or three identities give the same comparisons in every replicate. The rate is not certain because of that.
    """
    if resampled.size == 0 or np.ptp(resampled) <= _ROUNDING:
        return wilson_interval(float(errors.mean()) * independent, independent, confidence)
    return percentile_interval(resampled, confidence)


class IdentityBootstrap:
    """A bootstrap that resamples identities, because comparisons that share an identity are not independent.

    Each replicate draws as many identities as there are, with replacement. A comparison of two identities counts as
    often as both were drawn together: the product of their counts (vertex bootstrap: Snijders and Borgatti 1999,
    Connections 22, p. 161; for 1:1 matching: Fogliato, Patil and Perona 2024, arXiv 2306.01198). A comparison within
    one identity counts as often as that identity was drawn (subsets bootstrap: Bolle, Ratha and Pankanti 2004, CVIU 93,
    p. 1). If comparisons of two identities are in fact independent, the intervals are too wide, by up to √3.
    `scipy.stats.bootstrap` resamples independent observations and has no such weights.
    """

    def __init__(self, first: Indices, second: Indices, replicates: int = 400, seed: int = 0) -> None:
        identities, numbered = np.unique(np.concatenate([first, second]), return_inverse=True)
        count = identities.size
        self._first, self._second = numbered[: first.size].astype(np.int32), numbered[first.size :].astype(np.int32)
        rng = np.random.default_rng(seed)
        self._counts = np.stack(
            [np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(replicates)]
        ).astype(np.float32)
        self._totals = self._weights(np.ones(first.size, dtype=np.bool_))

    def rates(self, chosen: Mask) -> Rates:
        """Return the share of the chosen comparisons in every replicate that has a comparison.

        Args:
            chosen: for instance those that are errors, [comparisons].

        Returns:
            Shape [at most replicates].
        """
        not_empty = self._totals > 0
        rates: Rates = self._weights(chosen)[not_empty] / self._totals[not_empty]
        return rates

    def _weights(self, chosen: Mask) -> Weights:
        """Return the weight of the chosen comparisons in every replicate."""
        first, second = self._first[chosen], self._second[chosen]
        within = first == second
        between_first, between_second, alone = first[~within], second[~within], first[within]
        return np.array(
            [
                float(np.dot(counts[between_first], counts[between_second])) + float(counts[alone].sum())
                for counts in self._counts
            ]
        )


def effective_sample_size(rate: float, resampled: Rates, least: float, most: float) -> float:
    """Return how many independent comparisons would give a rate the variance of its resampled values.

    That is p·(1 − p)/variance: the number of comparisons over the design effect (Kish 1965, Survey Sampling, 8.2).

    Args:
        rate: p, 0 to 1.
        resampled: the rate in each replicate of a bootstrap.
        least: lower limit of the result.
        most: upper limit of the result.
    """
    if resampled.size == 0 or np.ptp(resampled) <= _ROUNDING:
        # Too few identities to vary, see `resampled_interval`. That is no certainty.
        return least
    return min(most, max(least, rate * (1.0 - rate) / float(np.var(resampled))))


def independent_comparisons(first: Indices, second: Indices) -> int:
    """Return how many comparisons one can choose so that no two share an identity.

    If no identity takes part in two, it is all of them. Otherwise it is estimated: mated comparisons give one for each
    identity, non-mated ones give one for every two identities.
    """
    taking_part = np.concatenate([first, second[first != second]])
    identities = np.unique(taking_part).size
    if identities == taking_part.size:
        return first.size
    return max(1, identities if np.array_equal(first, second) else identities // 2)


def _confidence(value: float) -> float:
    if not 0.0 < value < 1.0:
        raise ValueError(f"confidence is {value}; expected between 0 and 1, for instance 0.95")
    return value
