"""Confidence intervals of a group's rates and of differences between groups, also for groups of few people. Pure numpy.

A bootstrap over three people can only give rates that these three people have. Its interval is too narrow, and nothing
in it says so. Where people are few, the interval here also holds Wilson's interval for as many independent trials as
there are people (mated) or disjoint pairs of people (non-mated). A person's rate is between 0 and 1, so its variance is
at most that of one trial. A rate over every pair of people varies no more than one over disjoint pairs (Hoeffding 1963,
Journal of the American Statistical Association 58, p. 13, section 5b). So the interval may be too wide, and is not too
narrow.
"""

import math

import numpy as np

from sameface.evaluation.resampling import Estimate, estimate
from sameface_qdrant.metrics.error_rates import Rates
from sameface_qdrant.metrics.intervals import ConfidenceInterval, percentile_interval, wilson_interval

FEW_IDENTITIES = 10
"""With fewer identities a bootstrap's interval is too narrow."""


def group_estimate(value: float, resampled: Rates, people: int, independent: int, confidence: float = 0.95) -> Estimate:
    """Return the rate of a group with its interval.

    Args:
        value: the rate, 0 to 1.
        resampled: the rate in every resample; NaN is left out.
        people: identities in the group that have such a comparison.
        independent: how many of these comparisons can be chosen so that no two share an identity; 1 or more.
        confidence: of the interval, in (0, 1).
    """
    found = estimate(value, resampled, independent, confidence)
    if people >= FEW_IDENTITIES:
        return found
    return Estimate(found.value, _around(found.interval, wilson_interval(value * independent, independent, confidence)))


def group_difference(
    one: Estimate, other: Estimate, resampled: Rates, *, has_few: bool, confidence: float = 0.95
) -> Estimate:
    """Return the difference of two groups' rates, ``one`` less ``other``, with its interval.

    Where the bootstrap says too little (few people, or a rate of 0 or 1), the interval also holds that of
    `independent_difference`.

    Args:
        one: the rate of a group.
        other: the rate of the group that it is compared with.
        resampled: the difference in every resample; NaN is left out.
        has_few: whether one of the groups has few people.
        confidence: of the interval, in (0, 1).
    """
    from_both = independent_difference(one, other)
    known = resampled[np.isfinite(resampled)]
    if not known.size:
        return Estimate(one.value - other.value, from_both)
    interval = percentile_interval(known, confidence)
    if has_few or one.value in (0.0, 1.0) or other.value in (0.0, 1.0):
        interval = _around(interval, from_both)
    return Estimate(one.value - other.value, interval)


def independent_difference(one: Estimate, other: Estimate) -> ConfidenceInterval:
    """Return the interval of the difference of two independent rates from their own intervals.

    The method is that of Newcombe (1998, Statistics in Medicine 17, p. 873, method 10) for any two intervals, as Zou
    and Donner describe it (2008, Statistics in Medicine 27, p. 1693).
    """
    difference = one.value - other.value
    below = math.hypot(one.value - one.interval.low, other.interval.high - other.value)
    above = math.hypot(one.interval.high - one.value, other.value - other.interval.low)
    return ConfidenceInterval(max(-1.0, difference - below), min(1.0, difference + above))


def _around(one: ConfidenceInterval, other: ConfidenceInterval) -> ConfidenceInterval:
    return ConfidenceInterval(min(one.low, other.low), max(one.high, other.high))
