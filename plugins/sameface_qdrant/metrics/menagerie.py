"""Lambs: identities that impostors are easily taken for, and thresholds of their own for them. Pure numpy.

Doddington et al. 1998 ("Sheep, goats, lambs and wolves", ICSLP) call those lambs whose impostor scores exceed the
others'. Here an identity is one where significantly more impostors than expected score in the gallery's upper tail, by
an exact binomial test with Holm's correction over all identities (Holm 1979, Scandinavian Journal of Statistics 6,
p. 65; valid however the tests depend on each other). What the thresholds gain is measured on impostors who took no part
in choosing: they are split in two halves, one to choose with and one to measure with.
"""

import math
from dataclasses import dataclass

import numpy as np

from sameface_qdrant.metrics.comparisons import Comparisons, Source
from sameface_qdrant.metrics.error_rates import Codes, Hits, Scores, fmr, fnmr, rounded_up, threshold_at_fmr
from sameface_qdrant.metrics.intervals import Interval, rate_interval

TAIL = 0.01
"""Share of the gallery's impostor scores that counts as its upper tail: higher, and there is too little to count."""


@dataclass(frozen=True, slots=True)
class Lamb:
    """An identity that attracts impostors, with the threshold that is proposed for claims of it."""

    identity: str
    impostors: int
    """Different people in the choosing half who were compared with it."""
    in_tail: int
    """How many of them score in the gallery's upper tail; `TAIL` of them are expected."""
    p_value: float
    """Corrected for having looked at every identity."""
    threshold: float


@dataclass(frozen=True, slots=True)
class Errors:
    """What a way of choosing thresholds costs, on the measuring half."""

    fmr: float
    fmr_interval: Interval
    fnmr: float | None
    """Every identity counts the same, however many templates it has; None where there is no mated comparison."""


@dataclass(frozen=True, slots=True)
class Flock:
    """The lambs of a gallery and what their thresholds gain."""

    lambs: tuple[Lamb, ...]
    """The worst first."""
    before: Errors
    """One threshold for all."""
    after: Errors
    """Lambs have their own."""
    raised: Errors | None
    """One threshold for all, raised as far as it has the same FNMR as ``after``; None without mated comparisons."""
    raised_threshold: float | None


def find_lambs(
    comparisons: Comparisons, threshold: float, target_fmr: float, *, significance: float = 0.05, seed: int = 0
) -> Flock:
    """Return the identities that attract impostors, each with the lowest threshold that its impostors do not reach.

    More exactly: at which at most ``target_fmr`` of its impostors in the choosing half are accepted (with fewer of them
    than 1/target that is none), and not below ``threshold``. Nothing is extrapolated beyond the highest score seen.

    Args:
        comparisons: of a gallery or of labelled scores; a cohort's gallery identities.
        threshold: the gallery's, at which everybody else stays.
        target_fmr: in (0, 1).
        significance: probability of finding any lamb where there is none.
        seed: of the split of impostors.
    """
    claims = _claims(comparisons)
    rng = np.random.default_rng(seed)
    chooses = rng.permutation(len(comparisons.names)) < len(comparisons.names) / 2
    choosing = _best(claims.part(chooses[claims.impostors]), len(comparisons.names))
    measuring = claims.part(~chooses[claims.impostors])
    found = _lambs(choosing, comparisons.names, threshold, target_fmr, significance)
    thresholds = np.full(len(comparisons.names), threshold)
    for code, lamb in found:
        thresholds[code] = lamb.threshold
    mated = _Mated(comparisons.mated, comparisons.owners)
    after = _errors(measuring, thresholds, mated)
    raised = None if after.fnmr is None else mated.threshold_at(after.fnmr, threshold)
    return Flock(
        tuple(lamb for _, lamb in sorted(found, key=lambda one: (one[1].p_value, -one[1].threshold))),
        _errors(measuring, np.full_like(thresholds, threshold), mated),
        after,
        None if raised is None else _errors(measuring, np.full_like(thresholds, raised), mated),
        raised,
    )


class _Mated:
    """Mated comparisons, in which every identity counts the same."""

    def __init__(self, scores: Scores, owners: Codes) -> None:
        self._scores, self._owners = scores, owners
        self._weights = 1.0 / np.bincount(owners)[owners] if owners.size else np.empty(0)

    def fnmr(self, thresholds: Scores) -> float | None:
        """Return the FNMR where every identity has its own threshold."""
        if not self._scores.size:
            return None
        return fnmr(self._scores - thresholds[self._owners], 0.0, self._weights)

    def threshold_at(self, target: float, least: float) -> float:
        """Return the highest threshold for all whose FNMR is at most ``target``, and not below ``least``."""
        order = np.argsort(self._scores)
        lost_below = np.cumsum(self._weights[order]) - self._weights[order]
        kept = np.flatnonzero(lost_below / self._weights.sum() <= target + 1e-9)
        return max(least, float(self._scores[order][kept[-1]]))


@dataclass(frozen=True, slots=True)
class _Claims:
    """Impostors who claim an identity."""

    claimed: Codes
    impostors: Codes
    scores: Scores

    def part(self, chosen: Hits) -> "_Claims":
        return _Claims(self.claimed[chosen], self.impostors[chosen], self.scores[chosen])


def _claims(comparisons: Comparisons) -> _Claims:
    """Return the non-mated comparisons as claims; a bare score is a claim both ways."""
    first, second, scores = comparisons.first, comparisons.second, comparisons.non_mated
    if comparisons.source is Source.SCORES:
        first, second = np.concatenate([first, second]), np.concatenate([second, first])
        scores = np.concatenate([scores, scores])
    return _Claims(second, first, scores)


def _best(claims: _Claims, identities: int) -> _Claims:
    """Return one claim a pair of people, the one with the best score: those of one impostor are not independent."""
    keys, position = np.unique(claims.claimed * identities + claims.impostors, return_inverse=True)
    best = np.full(keys.size, -np.inf)
    np.maximum.at(best, position, claims.scores)
    claimed, impostors = np.divmod(keys, identities)
    return _Claims(claimed, impostors, best)


def _lambs(
    claims: _Claims, names: tuple[str, ...], threshold: float, target: float, significance: float
) -> list[tuple[int, Lamb]]:
    if not claims.scores.size:
        return []
    tail = threshold_at_fmr(claims.scores, TAIL)
    rate = fmr(claims.scores, tail)
    compared = np.bincount(claims.claimed, minlength=len(names))
    in_tail = np.bincount(claims.claimed[claims.scores >= tail], minlength=len(names))
    tested = np.flatnonzero(compared)
    p_values = np.array([binomial_tail(int(in_tail[code]), int(compared[code]), rate) for code in tested])
    found = []
    for code, p_value in zip(tested, holm(p_values), strict=True):
        if p_value > significance:
            continue
        own = claims.scores[claims.claimed == code]
        proposed = rounded_up(threshold_at_fmr(own, target))
        if proposed > threshold:
            lamb = Lamb(names[code], int(compared[code]), int(in_tail[code]), float(p_value), proposed)
            found.append((int(code), lamb))
    return found


def holm(p_values: Scores) -> Scores:
    """Return p-values corrected for their number: k-th smallest times n − k + 1, never falling, 1 at most.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(p_values.size, 0, -1))
    corrected = np.empty_like(stepped)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def binomial_tail(hits: int, trials: int, rate: float) -> float:
    """Return the probability of at least ``hits`` of ``trials``, each with probability ``rate``."""
    if hits == 0:
        return 1.0
    if rate <= 0.0 or rate >= 1.0:
        return float(rate >= 1.0)
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(rate)
        + (trials - k) * math.log1p(-rate)
        for k in range(hits, trials + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


def _errors(claims: _Claims, thresholds: Scores, mated: _Mated) -> Errors:
    if not claims.scores.size:
        return Errors(0.0, Interval(0.0, 1.0), mated.fnmr(thresholds))
    hits = claims.scores >= thresholds[claims.claimed]
    interval = rate_interval(hits, claims.claimed, claims.impostors, replicates=200)
    return Errors(float(hits.mean()), interval, mated.fnmr(thresholds))
