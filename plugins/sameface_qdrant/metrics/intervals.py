"""How sure a rate is: intervals for independent and for dependent comparisons. Pure numpy.

Comparisons that share an identity are not independent; intervals that take them for so are far too narrow.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from sameface_qdrant.metrics.error_rates import Codes, Hits, Scores


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of a rate, 0..1."""

    low: float
    high: float


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


def _confidence(value: float) -> float:
    if not 0.0 < value < 1.0:
        raise ValueError(f"confidence is {value}; expected between 0 and 1, for instance 0.95")
    return value
