"""Finds identities that attract impostors, and proposes a threshold for each. Pure numpy.

In the biometric menagerie such identities are called lambs (Doddington et al. 1998, "Sheep, goats, lambs and wolves",
ICSLP): other people score higher against them than against the rest of the gallery. Here an identity is a lamb when
significantly more impostors than expected have one of the gallery's highest scores with it. The test is an exact
binomial test with Holm's correction over all identities (Holm 1979, Scandinavian Journal of Statistics 6, p. 65; valid
for dependent tests too). Impostors are split into two halves: one chooses lambs and thresholds, the other one measures
the error rates.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sameface_qdrant.metrics.comparisons import Comparisons, ComparisonSource
from sameface_qdrant.metrics.error_rates import (
    Indices,
    Mask,
    Scores,
    Weights,
    fmr,
    fnmr,
    rounded_up,
    threshold_at_fmr,
)
from sameface_qdrant.metrics.intervals import ConfidenceInterval, rate_interval
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.frames import to_frame

if TYPE_CHECKING:
    import pandas

TAIL = 0.01
"""The share of the impostor scores that counts as the highest. With a smaller share there are too few to test."""


@dataclass(frozen=True, slots=True)
class Lamb:
    """An identity that attracts impostors, with the threshold proposed for claims of it."""

    identity: str
    impostors: int
    """Different people of the choosing half who were compared with it."""
    impostors_in_tail: int
    """How many of them score among the gallery's highest impostor scores; the expected share is `TAIL`."""
    p_value: float
    """Corrected for the number of identities tested."""
    threshold: float


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Error rates of claims, on the measuring half."""

    fmr: float
    fmr_interval: ConfidenceInterval
    fnmr: float | None
    """Every identity counts the same. None if there is no mated comparison."""


@dataclass(frozen=True, slots=True)
class IdentityThresholds:
    """The lambs of a gallery with their proposed thresholds, and the error rates with and without these."""

    __repr__ = brief

    lambs: tuple[Lamb, ...]
    """The lowest p-value first."""
    before: ErrorRates
    """With one threshold for all identities."""
    after: ErrorRates
    """With the proposed thresholds for the lambs."""
    raised: ErrorRates | None
    """With one threshold for all, raised until it has the FNMR of ``after``; None without mated comparisons."""
    raised_threshold: float | None

    def to_frame(self) -> "pandas.DataFrame":
        """Return a table with a row for each lamb.

        Raises:
            ImportError: pandas is not installed.
        """
        return to_frame(self.lambs)


def propose_identity_thresholds(
    comparisons: Comparisons, threshold: float, target_fmr: float, *, significance: float = 0.05, seed: int = 0
) -> IdentityThresholds:
    """Find the identities that attract impostors, and propose a threshold for each.

    The proposed threshold is the lowest one that accepts at most ``target_fmr`` of the identity's impostors in the
    choosing half, and not lower than ``threshold``. With fewer than 1/target impostors it accepts none of them. It is
    never extrapolated beyond the highest score seen.

    Args:
        comparisons: of a gallery, of a cohort with a gallery, or of labelled scores. With a cohort, only identities of
            the gallery can be lambs.
        threshold: the gallery's threshold; it stays in force for all other identities.
        target_fmr: in (0, 1).
        significance: probability of finding a lamb if there is none.
        seed: of the split into halves.
    """
    count = len(comparisons.names)
    claims = _impostor_claims(comparisons)
    rng = np.random.default_rng(seed)
    is_choosing = rng.permutation(count) < count / 2
    choosing = _best_of_each_pair(claims.chosen(is_choosing[claims.impostors]), count)
    measuring = claims.chosen(~is_choosing[claims.impostors])
    lambs = _find_lambs(choosing, comparisons.names, threshold, target_fmr, significance)
    thresholds = np.full(count, threshold)
    for identity, lamb in lambs:
        thresholds[identity] = lamb.threshold
    mated = _MatedScores(comparisons.mated, comparisons.owners)
    after = _error_rates(measuring, thresholds, mated)
    raised = None if after.fnmr is None else mated.threshold_at(after.fnmr, threshold)
    return IdentityThresholds(
        tuple(lamb for _, lamb in sorted(lambs, key=lambda item: (item[1].p_value, -item[1].threshold))),
        _error_rates(measuring, np.full_like(thresholds, threshold), mated),
        after,
        None if raised is None else _error_rates(measuring, np.full_like(thresholds, raised), mated),
        raised,
    )


class _MatedScores:
    """Mated scores with weights, so that every identity counts the same."""

    def __init__(self, scores: Scores, owners: Indices) -> None:
        self._scores, self._owners = scores, owners
        self._weights: Weights = 1.0 / np.bincount(owners)[owners] if owners.size else np.empty(0)

    def fnmr(self, thresholds: Scores) -> float | None:
        """Return the FNMR with one threshold for each identity, [identities]."""
        if not self._scores.size:
            return None
        return fnmr(self._scores - thresholds[self._owners], 0.0, self._weights)

    def threshold_at(self, target: float, least: float) -> float:
        """Return the highest threshold for all whose FNMR is at most ``target``, and not below ``least``."""
        order = np.argsort(self._scores)
        weight_below = np.cumsum(self._weights[order]) - self._weights[order]
        accepted = np.flatnonzero(weight_below / self._weights.sum() <= target + 1e-9)
        return max(least, float(self._scores[order][accepted[-1]]))


@dataclass(frozen=True, slots=True)
class _ImpostorClaims:
    """Claims of an identity by another person, one per row."""

    claimed: Indices
    impostors: Indices
    scores: Scores

    def chosen(self, rows: Mask) -> "_ImpostorClaims":
        return _ImpostorClaims(self.claimed[rows], self.impostors[rows], self.scores[rows])


def _impostor_claims(comparisons: Comparisons) -> _ImpostorClaims:
    """Return the non-mated comparisons as claims. A labelled score is a claim in both directions."""
    first, second, scores = comparisons.first, comparisons.second, comparisons.non_mated
    if comparisons.source is ComparisonSource.SCORES:
        first, second = np.concatenate([first, second]), np.concatenate([second, first])
        scores = np.concatenate([scores, scores])
    return _ImpostorClaims(second, first, scores)


def _best_of_each_pair(claims: _ImpostorClaims, identities: int) -> _ImpostorClaims:
    """Return the best claim of each impostor for each identity: claims of one impostor are not independent."""
    pairs, position = np.unique(claims.claimed * identities + claims.impostors, return_inverse=True)
    best = np.full(pairs.size, -np.inf)
    np.maximum.at(best, position, claims.scores)
    claimed, impostors = np.divmod(pairs, identities)
    return _ImpostorClaims(claimed, impostors, best)


def _find_lambs(
    claims: _ImpostorClaims, names: tuple[str, ...], threshold: float, target: float, significance: float
) -> list[tuple[int, Lamb]]:
    """Return the lambs, each with the index of its identity."""
    if not claims.scores.size:
        return []
    tail_threshold = threshold_at_fmr(claims.scores, TAIL)
    rate = fmr(claims.scores, tail_threshold)
    impostors = np.bincount(claims.claimed, minlength=len(names))
    in_tail = np.bincount(claims.claimed[claims.scores >= tail_threshold], minlength=len(names))
    tested = np.flatnonzero(impostors)
    p_values = np.array([binomial_tail(int(in_tail[one]), int(impostors[one]), rate) for one in tested])
    lambs = []
    for identity, p_value in zip(tested, holm_correction(p_values), strict=True):
        if p_value > significance:
            continue
        proposed = rounded_up(threshold_at_fmr(claims.scores[claims.claimed == identity], target))
        if proposed > threshold:
            lamb = Lamb(names[identity], int(impostors[identity]), int(in_tail[identity]), float(p_value), proposed)
            lambs.append((int(identity), lamb))
    return lambs


def holm_correction(p_values: Scores) -> Scores:
    """Return p-values corrected for their number (Holm 1979).

    The k-th smallest of n is multiplied by n − k + 1; corrected values never decrease and are 1 at most.

    >>> holm_correction(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(p_values.size, 0, -1))
    corrected = np.empty_like(stepped)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def binomial_tail(successes: int, trials: int, rate: float) -> float:
    """Return the probability of at least ``successes`` in ``trials`` trials, each with probability ``rate``."""
    if successes == 0:
        return 1.0
    if rate <= 0.0 or rate >= 1.0:
        return float(rate >= 1.0)
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(rate)
        + (trials - k) * math.log1p(-rate)
        for k in range(successes, trials + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


def _error_rates(claims: _ImpostorClaims, thresholds: Scores, mated: _MatedScores) -> ErrorRates:
    if not claims.scores.size:
        return ErrorRates(0.0, ConfidenceInterval(0.0, 1.0), mated.fnmr(thresholds))
    false_matches = claims.scores >= thresholds[claims.claimed]
    interval = rate_interval(false_matches, claims.claimed, claims.impostors, replicates=200)
    return ErrorRates(float(false_matches.mean()), interval, mated.fnmr(thresholds))
