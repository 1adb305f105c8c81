"""Verification rates in resamples of the identities, for confidence intervals. Pure numpy.

This is the bootstrap of `sameface_qdrant.metrics.intervals.IdentityBootstrap`, for rates at a threshold that each
resample chooses. A non-mated comparison counts as often as both identities were drawn together: the product of their
counts. A mated comparison counts as often as its identity was drawn.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.cross_comparison import CrossComparison, TailTooShort
from sameface_qdrant.metrics.error_rates import Indices, Rates, Scores, Weights
from sameface_qdrant.metrics.intervals import ConfidenceInterval, percentile_interval, rule_of_three

Counts = NDArray[np.int64]
"""How often each identity is in each resample, [resamples, identities]."""
ROUNDING = 1e-12
_GROUPS, _RESAMPLES, _PAIRS = 1024, 64, 1024
"""Sizes that fit into a processor's cache: distinct scores in a block, resamples at a time, comparisons at a time."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate with its confidence interval."""

    value: float
    interval: ConfidenceInterval


@dataclass(frozen=True, slots=True)
class Resampled:
    """Rates in every resample; NaN where a resample has no comparison for the rate."""

    thresholds: Scores
    """[resamples, targets] The lowest thresholds for the target FMRs."""
    fnmr: Rates
    """[resamples, targets] Every comparison counts the same."""
    fnmr_by_identity: Rates
    """[resamples, targets] Every identity counts the same."""
    eer: Rates
    """[resamples]"""
    eer_by_identity: Rates
    """[resamples]"""


def draw_identities(identities: int, replicates: int, seed: int) -> Counts:
    """Return how often each identity is drawn in each resample, [replicates, identities]."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [np.bincount(rng.integers(0, identities, identities), minlength=identities) for _ in range(replicates)]
    )


def estimate(value: float, resampled: Rates, independent: int, confidence: float = 0.95) -> Estimate:
    """Return a rate with the percentile interval of its resampled values.

    A bootstrap says nothing about a rate of 0 or 1; there the interval is that of `rule_of_three`.

    Args:
        value: the rate, 0 to 1.
        resampled: the rate in every resample; NaN is left out.
        independent: how many independent trials there are.
        confidence: of the interval, in (0, 1).
    """
    # Rounding in sums of weights can leave a rate next to 0 or 1.
    value = 0.0 if value < ROUNDING else 1.0 if value > 1.0 - ROUNDING else value
    known = np.clip(resampled[np.isfinite(resampled)], 0.0, 1.0)
    interval = percentile_interval(known, confidence) if known.size else ConfidenceInterval(0.0, 1.0)
    if value in (0.0, 1.0):
        limit = rule_of_three(independent, confidence)
        if value == 0.0:
            interval = ConfidenceInterval(0.0, max(limit, interval.high))
        else:
            interval = ConfidenceInterval(min(1.0 - limit, interval.low), 1.0)
    return Estimate(value, interval)


def resample(comparison: CrossComparison, targets: Sequence[float], resample_counts: Counts) -> Resampled:
    """Return the rates in every resample.

    Args:
        comparison: the scores.
        targets: target FMRs.
        resample_counts: how often each identity is in each resample, [resamples, identities].

    Raises:
        TailTooShort: a threshold or the EER of a resample depends on non-mated scores that were not kept.
    """
    tail = ResampledTail(comparison, resample_counts)
    order = np.argsort(comparison.mated, kind="stable")
    mated, owners = comparison.mated[order], comparison.owners[order]
    weightings = (np.ones(owners.size), comparison.identity_weights[order])
    # The possible thresholds of an EER: every distinct score from the lowest kept one on.
    possible = np.unique(np.concatenate([tail.scores, mated[mated >= tail.scores[-1]]]))
    accepted = np.searchsorted(-tail.scores, -possible, side="right")
    rejected = np.searchsorted(mated, possible, side="left")
    thresholds = np.full((len(resample_counts), len(targets)), np.nan)
    fnmrs = np.full((2, len(resample_counts), len(targets)), np.nan)
    eers = np.full((2, len(resample_counts)), np.nan)
    for row, counts in enumerate(resample_counts):
        if not tail.totals[row]:
            continue
        thresholds[row] = [_threshold(tail, row, target, comparison.is_complete) for target in targets]
        refused = np.searchsorted(mated, thresholds[row], side="left")
        for kind, weights in enumerate(weightings):
            missed = np.append(0.0, np.cumsum(counts[owners] * weights))
            if missed[-1]:
                missed /= missed[-1]
                fnmrs[kind, row] = missed[refused]
                eers[kind, row] = _eer(tail, row, accepted, missed[rejected], comparison.is_complete)
    return Resampled(thresholds, fnmrs[0], fnmrs[1], eers[0], eers[1])


class ResampledTail:
    """The FMR of every resample at the highest distinct non-mated scores.

    The weights of blocks of comparisons are summed in advance, for many resamples at a time. The rest of a sum, within
    one block, is added on request. This takes a sixth of the time of summing everything for each resample.
    """

    def __init__(self, comparison: CrossComparison, resample_counts: Counts) -> None:
        between = comparison.sample_owners[comparison.tail_samples]
        self._first, self._second = np.ascontiguousarray(between[:, 0]), np.ascontiguousarray(between[:, 1])
        self._counts = resample_counts.astype(np.float32)
        # A threshold accepts equal scores together: these are the positions where each group of equal scores begins.
        starts = np.concatenate([[0], np.flatnonzero(np.diff(comparison.tail)) + 1, [comparison.tail.size]])
        self.scores: Scores = comparison.tail[starts[:-1]]
        """Distinct scores, descending."""
        self.totals: Scores = np.array(
            [pairs_between(comparison.samples_per_identity * counts) for counts in resample_counts], dtype=np.float64
        )
        """Weight of all non-mated comparisons, [resamples]."""
        self._starts = starts
        self._bounds = np.append(np.arange(0, self.scores.size, _GROUPS), self.scores.size)
        self._sums = self._block_sums()

    def share(self, row: int, groups: int) -> float:
        """Return the FMR of a resample when the ``groups`` highest distinct scores are accepted."""
        block = int(np.searchsorted(self._bounds, groups, side="right")) - 1
        weight = self._sums[row, block]
        if groups > self._bounds[block]:
            weight += float(self._weights(row, int(self._bounds[block]), groups).sum())
        return float(weight / self.totals[row])

    def most(self, row: int, share: float) -> int:
        """Return how many of the highest distinct scores can be accepted with an FMR of at most ``share``."""
        weight = (share + ROUNDING) * self.totals[row]
        block = int(np.searchsorted(self._sums[row], weight, side="right")) - 1
        if block == len(self._bounds) - 1:
            return self.scores.size
        low, high = int(self._bounds[block]), int(self._bounds[block + 1])
        inside = np.cumsum(self._weights(row, low, high))
        ends = self._starts[low + 1 : high + 1] - self._starts[low] - 1
        return low + int(np.searchsorted(self._sums[row, block] + inside[ends], weight, side="right"))

    def _weights(self, row: int, low: int, high: int) -> Scores:
        """Return the weights of the comparisons in the groups from ``low`` to before ``high``."""
        pairs = slice(self._starts[low], self._starts[high])
        counts = self._counts[row]
        weights: Scores = (counts[self._first[pairs]] * counts[self._second[pairs]]).astype(np.float64)
        return weights

    def _block_sums(self) -> Scores:
        """Return the weight of all comparisons before each bound, [resamples, bounds]."""
        edges = self._starts[self._bounds]
        sums = np.zeros((len(self._counts), edges.size))
        for row in range(0, len(self._counts), _RESAMPLES):
            counts = np.ascontiguousarray(self._counts[row : row + _RESAMPLES].T)
            for block, (low, high) in enumerate(pairwise(edges), start=1):
                for start in range(low, high, _PAIRS):
                    pairs = slice(start, min(high, start + _PAIRS))
                    # Small whole numbers are exact in 32 bits.
                    sums[row : row + _RESAMPLES, block] += np.einsum(
                        "pr,pr->r", counts[self._first[pairs]], counts[self._second[pairs]]
                    )
        return np.cumsum(sums, axis=1)


def pairs_between(samples: Weights) -> float:
    """Return how many pairs of samples are of two different identities.

    Args:
        samples: how many samples each identity has, or their weight, [identities].
    """
    return float(samples.sum() ** 2 - (samples**2).sum()) / 2


def _threshold(tail: ResampledTail, row: int, target: float, is_complete: bool) -> float:
    """Return the lowest threshold whose FMR is at most the target."""
    kept = tail.most(row, target)
    if kept < tail.scores.size:
        return float(np.nextafter(tail.scores[kept], np.inf))
    if not is_complete:
        raise TailTooShort
    return float(tail.scores[-1])


def _eer(tail: ResampledTail, row: int, accepted: Indices, fnmr: Rates, is_complete: bool) -> float:
    """Return the EER from the accepted groups and the FNMR at ascending thresholds."""

    def rates(place: int) -> tuple[float, float]:
        return tail.share(row, int(accepted[place])), float(fnmr[place])

    if not is_complete and np.less(*rates(0)):
        raise TailTooShort
    # FMR falls and FNMR rises: the EER is at the first threshold where FNMR ≥ FMR, or at the one before it.
    low = bisect_left(range(fnmr.size - 1), True, key=lambda place: bool(np.less_equal(*rates(place))))
    # Where both differ equally the lower threshold counts; rounding must not decide.
    nearest = min(
        (rates(place) for place in (max(0, low - 1), low)), key=lambda pair: round(abs(pair[0] - pair[1]), 12)
    )
    return sum(nearest) / 2
