"""Verification rates in resamples of the identities: what their intervals are read from. Pure numpy.

The vertex bootstrap of `metrics.intervals.IdentityBootstrap`, for rates at a threshold that each resample
finds for itself: a non-mated comparison counts as often as its two identities were drawn together, a mated one as often
as its identity was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sameface.evaluation.cross_comparison import CrossComparison, TailTooShort
from sameface_qdrant.metrics.error_rates import Indices, Scores
from sameface_qdrant.metrics.intervals import ConfidenceInterval, percentile_interval, rule_of_three

ROUNDING = 1e-12
_GROUPS, _RESAMPLES, _PAIRS = 1024, 64, 1024
"""What fits into a core's cache: distinct scores of a block, resamples and comparisons at a time."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate with its interval."""

    value: float
    interval: ConfidenceInterval


@dataclass(frozen=True, slots=True)
class Resampled:
    """Rates in every resample; NaN where a resample has no comparison to take it from."""

    thresholds: Scores
    """[resamples, targets]: the lowest that keep the target FMRs."""
    fnmr: Scores
    """[resamples, targets], over comparisons."""
    fnmr_by_identity: Scores
    """[resamples, targets], every identity counting the same."""
    eer: Scores
    """[resamples]"""
    eer_by_identity: Scores
    """[resamples]"""


def draw_identities(identities: int, replicates: int, seed: int) -> Indices:
    """Return how often each identity is drawn in each resample, [replicates, identities]."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [np.bincount(rng.integers(0, identities, identities), minlength=identities) for _ in range(replicates)]
    )


def estimate(value: float, resampled: Scores, people: int, confidence: float = 0.95) -> Estimate:
    """Return a rate with the percentile interval of its resamples.

    Where the rate is 0 or 1 a bootstrap says nothing: the interval then reaches as far as `rule_of_three` allows for
    ``people`` who are independent of each other.
    """
    # Sums of weights round: a rate may come out beside 0 or 1.
    value = 0.0 if value < ROUNDING else 1.0 if value > 1.0 - ROUNDING else value
    known = np.clip(resampled[np.isfinite(resampled)], 0.0, 1.0)
    found = percentile_interval(known, confidence) if known.size else ConfidenceInterval(0.0, 1.0)
    if value in (0.0, 1.0):
        reach = rule_of_three(people, confidence)
        found = (
            ConfidenceInterval(0.0, max(reach, found.high))
            if value == 0.0
            else ConfidenceInterval(min(1.0 - reach, found.low), 1.0)
        )
    return Estimate(value, found)


def resample(cross: CrossComparison, targets: Sequence[float], drawn: Indices) -> Resampled:
    """Return the rates of every resample ``drawn`` [resamples, identities].

    Raises:
        TailTooShort: a threshold or the EER of a resample lies below the non-mated scores that were kept.
    """
    tail = ResampledTail(cross, drawn)
    order = np.argsort(cross.mated, kind="stable")
    mated, owners = cross.mated[order], cross.owners[order]
    bases = (np.ones(owners.size), cross.by_identity[order])
    # Where an EER can lie: every distinct score from the lowest kept one on.
    possible = np.unique(np.concatenate([tail.scores, mated[mated >= tail.scores[-1]]]))
    accepted = np.searchsorted(-tail.scores, -possible, side="right")
    rejected = np.searchsorted(mated, possible, side="left")
    thresholds = np.full((len(drawn), len(targets)), np.nan)
    fnmrs = np.full((2, len(drawn), len(targets)), np.nan)
    eers = np.full((2, len(drawn)), np.nan)
    for row, counts in enumerate(drawn):
        if not tail.totals[row]:
            continue
        thresholds[row] = [_threshold(tail, row, target, cross.is_complete) for target in targets]
        refused = np.searchsorted(mated, thresholds[row], side="left")
        for kind, base in enumerate(bases):
            missed = np.append(0.0, np.cumsum(counts[owners] * base))
            if missed[-1]:
                missed /= missed[-1]
                fnmrs[kind, row] = missed[refused]
                eers[kind, row] = _eer(tail, row, accepted, missed[rejected], cross.is_complete)
    return Resampled(thresholds, fnmrs[0], fnmrs[1], eers[0], eers[1])


class ResampledTail:
    """How much of the non-mated weight lies above each score, in every resample.

    Sums over blocks are made for many resamples at a time; what lies between is added up when it is asked for. That
    is the same sum, and takes a sixth of the time of adding everything up for each resample.
    """

    def __init__(self, cross: CrossComparison, drawn: Indices) -> None:
        between = cross.owner_of[cross.tail_samples]
        self._first, self._second = np.ascontiguousarray(between[:, 0]), np.ascontiguousarray(between[:, 1])
        self._drawn = drawn.astype(np.float32)
        # Equal scores are accepted together: where in the tail each group of them begins.
        starts = np.concatenate([[0], np.flatnonzero(np.diff(cross.tail)) + 1, [cross.tail.size]])
        self.scores: Scores = cross.tail[starts[:-1]]
        """Distinct scores, descending."""
        self.totals: Scores = np.array([pairs_between(cross.held * counts) for counts in drawn], dtype=np.float64)
        """The weight of all non-mated comparisons, [resamples]."""
        self._starts = starts
        self._bounds = np.append(np.arange(0, self.scores.size, _GROUPS), self.scores.size)
        self._sums = self._block_sums()

    def share(self, row: int, groups: int) -> float:
        """Return the FMR of a resample where the ``groups`` highest distinct scores are accepted."""
        block = int(np.searchsorted(self._bounds, groups, side="right")) - 1
        weight = self._sums[row, block]
        if groups > self._bounds[block]:
            weight += float(self._weights(row, int(self._bounds[block]), groups).sum())
        return float(weight / self.totals[row])

    def most(self, row: int, share: float) -> int:
        """Return how many of the highest distinct scores may be accepted for an FMR of at most ``share``."""
        weight = (share + ROUNDING) * self.totals[row]
        block = int(np.searchsorted(self._sums[row], weight, side="right")) - 1
        if block == len(self._bounds) - 1:
            return self.scores.size
        low, high = int(self._bounds[block]), int(self._bounds[block + 1])
        inside = np.cumsum(self._weights(row, low, high))
        ends = self._starts[low + 1 : high + 1] - self._starts[low] - 1
        return low + int(np.searchsorted(self._sums[row, block] + inside[ends], weight, side="right"))

    def _weights(self, row: int, low: int, high: int) -> Scores:
        """Return the weights of the comparisons from one group to before another."""
        pairs = slice(self._starts[low], self._starts[high])
        counts = self._drawn[row]
        weights: Scores = (counts[self._first[pairs]] * counts[self._second[pairs]]).astype(np.float64)
        return weights

    def _block_sums(self) -> Scores:
        """Return the weight of everything before each bound, [resamples, bounds]."""
        edges = self._starts[self._bounds]
        sums = np.zeros((len(self._drawn), edges.size))
        for row in range(0, len(self._drawn), _RESAMPLES):
            counts = np.ascontiguousarray(self._drawn[row : row + _RESAMPLES].T)
            for block, (low, high) in enumerate(pairwise(edges), start=1):
                for start in range(low, high, _PAIRS):
                    pairs = slice(start, min(high, start + _PAIRS))
                    # Small whole numbers: exact in 32 bits.
                    sums[row : row + _RESAMPLES, block] += np.einsum(
                        "pr,pr->r", counts[self._first[pairs]], counts[self._second[pairs]]
                    )
        return np.cumsum(sums, axis=1)


def pairs_between(samples: Scores) -> float:
    """Return how many pairs of samples are of two identities, from how many each identity has (weights will do)."""
    return float(samples.sum() ** 2 - (samples**2).sum()) / 2


def _threshold(tail: ResampledTail, row: int, target: float, is_complete: bool) -> float:
    """Return the lowest threshold that keeps a target FMR."""
    kept = tail.most(row, target)
    if kept < tail.scores.size:
        return float(np.nextafter(tail.scores[kept], np.inf))
    if not is_complete:
        raise TailTooShort
    return float(tail.scores[-1])


def _eer(tail: ResampledTail, row: int, accepted: Indices, fnmr: Scores, is_complete: bool) -> float:
    """Return the EER, from the groups accepted and the FNMR at ascending thresholds."""

    def rates(place: int) -> tuple[float, float]:
        return tail.share(row, int(accepted[place])), float(fnmr[place])

    if not is_complete and np.less(*rates(0)):
        raise TailTooShort
    # FMR falls and FNMR rises: the first threshold where FNMR is as high, and the one before it.
    low, high = 0, fnmr.size - 1
    while low < high:
        middle = (low + high) // 2
        if np.less_equal(*rates(middle)):
            high = middle
        else:
            low = middle + 1
    # Rounding must not decide between two that are as near: the lower one counts.
    nearest = min((rates(place) for place in (max(0, low - 1), low)), key=lambda one: round(abs(one[0] - one[1]), 12))
    return sum(nearest) / 2
