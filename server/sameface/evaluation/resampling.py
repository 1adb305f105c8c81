"""Verification rates in resamples of the identities: what their intervals are read from. Pure numpy.

The vertex bootstrap of `sameface_qdrant.metrics.IdentityBootstrap`, for rates at a threshold that each resample finds
for itself: a non-mated comparison counts as often as its two identities were drawn together, a mated one as often as
its identity was.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sameface.evaluation.cross import CrossScores, TailTooShort
from sameface_qdrant.metrics import Codes, Interval, Scores, percentiles, rule_of_three

ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate with its interval."""

    value: float
    interval: Interval


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


def draw_identities(identities: int, replicates: int, seed: int) -> Codes:
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
    found = percentiles(known, confidence) if known.size else Interval(0.0, 1.0)
    if value in (0.0, 1.0):
        reach = rule_of_three(people, confidence)
        found = Interval(0.0, max(reach, found.high)) if value == 0.0 else Interval(min(1.0 - reach, found.low), 1.0)
    return Estimate(value, found)


def resample(cross: CrossScores, targets: Sequence[float], drawn: Codes) -> Resampled:
    """Return the rates of every resample ``drawn`` [resamples, identities].

    Raises:
        TailTooShort: a threshold or the EER of a resample lies below the non-mated scores that were kept.
    """
    between = cross.owner_of[cross.tail_samples].astype(np.int32)
    first, second = between[:, 0], between[:, 1]
    # Equal scores are accepted together: where in the tail each group of them ends.
    ends = np.append(np.flatnonzero(np.diff(cross.tail)), cross.tail.size - 1)
    distinct = cross.tail[ends]
    order = np.argsort(cross.mated, kind="stable")
    mated, owners = cross.mated[order], cross.owners[order]
    bases = (np.ones(owners.size), cross.by_identity[order])
    # Where an EER can lie: every distinct score from the lowest kept one on.
    possible = np.unique(np.concatenate([distinct, mated[mated >= distinct[-1]]]))
    accepted = np.searchsorted(-distinct, -possible, side="right")
    rejected = np.searchsorted(mated, possible, side="left")
    held = cross.held
    thresholds = np.full((len(drawn), len(targets)), np.nan)
    fnmrs = np.full((2, len(drawn), len(targets)), np.nan)
    eers = np.full((2, len(drawn)), np.nan)
    for row, counts in enumerate(drawn):
        times = counts.astype(np.float64)
        total = pairs_between(held * times)
        if not total:
            continue
        shares = np.append(0.0, np.cumsum(times[first] * times[second])[ends] / total)
        thresholds[row] = [_threshold(shares, distinct, target, cross.is_whole) for target in targets]
        refused = np.searchsorted(mated, thresholds[row], side="left")
        for kind, base in enumerate(bases):
            missed = np.append(0.0, np.cumsum(times[owners] * base))
            if missed[-1]:
                missed /= missed[-1]
                fnmrs[kind, row] = missed[refused]
                eers[kind, row] = _eer(shares[accepted], missed[rejected], cross.is_whole)
    return Resampled(thresholds, fnmrs[0], fnmrs[1], eers[0], eers[1])


def pairs_between(samples: Scores) -> float:
    """Return how many pairs of samples are of two identities, from how many each identity has (weights will do)."""
    return float(samples.sum() ** 2 - (samples**2).sum()) / 2


def _threshold(shares: Scores, distinct: Scores, target: float, is_whole: bool) -> float:
    """Return the lowest threshold that accepts at most ``target``, ``shares[k]`` being that of the k highest scores."""
    kept = int(np.searchsorted(shares, target + ROUNDING, side="right")) - 1
    if kept < distinct.size:
        return float(np.nextafter(distinct[kept], np.inf))
    if not is_whole:
        raise TailTooShort
    return float(distinct[-1])


def _eer(fmr: Scores, fnmr: Scores, is_whole: bool) -> float:
    """Return the EER, from rates at ascending thresholds."""
    if fmr[0] < fnmr[0] and not is_whole:
        raise TailTooShort
    nearest = int(np.argmin(np.abs(fmr - fnmr)))
    return float(fmr[nearest] + fnmr[nearest]) / 2
