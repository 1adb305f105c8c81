"""From comparisons to thresholds, with what stands behind them; `calibration.caveats` puts it in words. Pure.

A false match rate is supported where the comparisons would show a higher one with 95 % confidence: by the rule of
three, as many *independent* comparisons as `uncertainty.trials_for` says. Comparisons between few people are not
independent of each other, so they count for fewer: their number over the design effect that resampling the people
shows. Nothing below a supported rate is reported as if it had been measured.
"""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sameface_qdrant.metrics import error_rates as metrics
from sameface_qdrant.metrics import intervals as uncertainty
from sameface_qdrant.metrics.comparisons import Comparisons, Searches, Source
from sameface_qdrant.metrics.error_rates import Codes, Scores
from sameface_qdrant.metrics.intervals import IdentityBootstrap, Interval
from sameface_qdrant.policy import comparison_fmr, search_fpir

ERRORS_TO_RESAMPLE = 30
"""So many errors show how uncertain a rate is (rule of 30: Doddington et al. 2000, Speech Communication 31, p. 225)."""


class Method(StrEnum):
    """What a threshold was read from."""

    COMPARISONS = "COMPARISONS"
    """Verification: the non-mated scores."""
    SEARCHES = "SEARCHES"
    """Identification: the best scores of searches for people who are not enrolled."""
    GALLERY_SIZE = "GALLERY_SIZE"
    """Identification: the non-mated scores, by FPIR ≈ 1 − (1 − FMR)^N."""


@dataclass(frozen=True, slots=True)
class MeasuredThreshold:
    """A threshold for a target rate: FMR for verification, FPIR for identification."""

    target: float
    supported: float
    """The least rate that the comparisons support; 1 at most."""
    threshold: float
    """Keeps the target, or the supported rate where that is higher. Rounded up to four decimals."""
    rate: float
    """Measured at the threshold, on the comparisons that it was chosen from."""
    interval: Interval
    method: Method
    reason: str
    """Why this method."""
    fmr: float
    """Of a single comparison at the threshold; for verification the same as ``rate``."""
    fmr_interval: Interval
    fnmr: float | None
    """At the threshold; None where there is no mated comparison."""
    fnmr_interval: Interval | None
    other: float | None = None
    """The threshold that the other method would give at its rate; None where it cannot."""

    @property
    def is_supported(self) -> bool:
        """Whether the threshold is one for the target, and not for a higher rate."""
        return self.supported <= self.target


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was compared."""

    source: Source
    identities: int
    comparisons: int
    """Non-mated."""
    possible: int
    """Non-mated comparisons there are; more than ``comparisons`` where these are a sample."""
    effective: float
    """As many independent comparisons would tell as much."""
    mated: int
    mated_identities: int
    searches: int
    """For people who are not enrolled."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds measured for a gallery of one size."""

    verify: MeasuredThreshold
    identify: MeasuredThreshold
    evidence: Evidence
    gallery_size: int
    """The N of the identification threshold; the thresholds are stale once the gallery has doubled."""
    confidence: float


def calibrate(
    comparisons: Comparisons,
    *,
    target_fmr: float,
    target_fpir: float,
    gallery_size: int,
    confidence: float = 0.95,
    replicates: int = 400,
    seed: int = 0,
) -> Calibration:
    """Return the thresholds for a target FMR and for a target FPIR in a gallery of ``gallery_size`` identities.

    The lowest threshold is taken whose rate over the comparisons is at most the target, or the least supported rate.

    Args:
        comparisons: see `sameface_qdrant.metrics.comparisons`.
        target_fmr: in (0, 1).
        target_fpir: in (0, 1).
        gallery_size: N, 1 or more.
        confidence: of intervals and of what is supported.
        replicates: of the bootstrap over identities.
        seed: of the bootstrap.
    """
    crossed = _Crossed(comparisons, confidence, replicates, seed)
    verify = crossed.threshold(target_fmr)
    identify = _identification(comparisons, crossed, target_fpir, gallery_size)
    evidence = Evidence(
        comparisons.source,
        len(comparisons.names),
        comparisons.non_mated.size,
        comparisons.possible,
        crossed.effective,
        comparisons.mated.size,
        np.unique(comparisons.owners).size,
        0 if comparisons.strangers is None else comparisons.strangers.scores.size,
    )
    return Calibration(verify, identify, evidence, gallery_size, confidence)


class _Crossed:
    """The comparisons with their resampling, which is the costly part and is shared by every threshold."""

    def __init__(self, comparisons: Comparisons, confidence: float, replicates: int, seed: int) -> None:
        self._comparisons = comparisons
        self._confidence, self._replicates, self._seed = confidence, replicates, seed
        self._bootstrap = IdentityBootstrap(comparisons.first, comparisons.second, replicates, seed)
        disjoint = uncertainty.disjoint_pairs(comparisons.first, comparisons.second)
        self.effective = _effective(comparisons.non_mated, self._bootstrap, disjoint)
        self.supported = _supported(self.effective, comparisons.non_mated, confidence)

    def threshold(self, target: float) -> MeasuredThreshold:
        """Return the threshold for an FMR."""
        threshold = metrics.rounded_up(
            metrics.threshold_at_fmr(self._comparisons.non_mated, max(target, self.supported))
        )
        fmr, interval, fnmr, fnmr_interval = self.errors(threshold)
        return MeasuredThreshold(
            target,
            self.supported,
            threshold,
            fmr,
            interval,
            Method.COMPARISONS,
            f"read from {self._comparisons.non_mated.size:,} non-mated comparisons",
            fmr,
            interval,
            fnmr,
            fnmr_interval,
        )

    def interval(self, threshold: float) -> Interval:
        """Return the interval of the FMR at a threshold."""
        hits = self._comparisons.non_mated >= threshold
        if hits.any() and self.effective < hits.size:
            return uncertainty.percentiles(self._bootstrap.rates(hits), self._confidence)
        return uncertainty.rate_interval(
            hits,
            self._comparisons.first,
            self._comparisons.second,
            confidence=self._confidence,
            replicates=self._replicates,
            seed=self._seed,
        )

    def errors(self, threshold: float) -> tuple[float, Interval, float | None, Interval | None]:
        """Return FMR and FNMR at a threshold with their intervals; no FNMR without mated comparisons."""
        fmr, interval = metrics.fmr(self._comparisons.non_mated, threshold), self.interval(threshold)
        mated, owners = self._comparisons.mated, self._comparisons.owners
        if not mated.size:
            return fmr, interval, None, None
        return (
            fmr,
            interval,
            metrics.fnmr(mated, threshold),
            uncertainty.rate_interval(
                mated < threshold,
                owners,
                owners,
                confidence=self._confidence,
                replicates=self._replicates,
                seed=self._seed,
            ),
        )

    def searched(self, searches: Searches, target: float) -> MeasuredThreshold:
        """Return the threshold for an FPIR from the best scores of searches."""
        supported = _supported(_different(searches), searches.scores, self._confidence)
        threshold = metrics.rounded_up(metrics.threshold_at_fmr(searches.scores, max(target, supported)))
        interval = uncertainty.rate_interval(
            searches.scores >= threshold,
            searches.probes,
            # Of different kinds for a cohort: who searches is nobody of those who are found.
            searches.nearest,
            confidence=self._confidence,
            replicates=self._replicates,
            seed=self._seed,
        )
        return MeasuredThreshold(
            target,
            supported,
            threshold,
            metrics.fpir(searches.scores, threshold),
            interval,
            Method.SEARCHES,
            f"read from the best scores of {searches.scores.size:,} searches among {searches.size:,} identities; "
            "unlike the formula this takes no comparisons of one search to be independent",
            *self.errors(threshold),
        )

    def by_size(self, target: float, size: int) -> MeasuredThreshold:
        """Return the threshold for an FPIR through the FMR of a single comparison."""
        one = self.threshold(comparison_fmr(target, size))
        low, high = search_fpir(one.interval.low, size), search_fpir(one.interval.high, size)
        return MeasuredThreshold(
            target,
            search_fpir(self.supported, size),
            one.threshold,
            search_fpir(one.rate, size),
            Interval(low, high),
            Method.GALLERY_SIZE,
            f"through FPIR ≈ 1 − (1 − FMR)^{size:,}, as if the comparisons of one search were independent",
            one.fmr,
            one.fmr_interval,
            one.fnmr,
            one.fnmr_interval,
        )


def _identification(comparisons: Comparisons, crossed: _Crossed, target: float, size: int) -> MeasuredThreshold:
    """Choose between searches and formula: searches where they support the target, else what supports more."""
    by_size = crossed.by_size(target, size)
    searches = comparisons.strangers
    if searches is None:
        return _because(by_size, "these scores hold no whole search")
    if searches.size < size - 1:
        return _because(by_size, f"searches looked at {searches.size:,} identities, the gallery has {size:,}")
    direct = crossed.searched(searches, target)
    if direct.is_supported or direct.supported <= by_size.supported:
        return _with_other(direct, by_size)
    why = f"{searches.scores.size:,} searches support no FPIR below {direct.supported:.2g}"
    return _with_other(_because(by_size, why), direct)


def _because(measured: MeasuredThreshold, why: str) -> MeasuredThreshold:
    return dataclasses.replace(measured, reason=f"{why}; so {measured.reason}")


def _with_other(measured: MeasuredThreshold, other: MeasuredThreshold) -> MeasuredThreshold:
    return dataclasses.replace(measured, other=other.threshold)


def _effective(scores: Scores, bootstrap: IdentityBootstrap, disjoint: int) -> float:
    """Return how many independent comparisons the scores are worth, as the rarest errors show that can be resampled."""
    if scores.size <= disjoint:
        return float(scores.size)
    rate = min(0.5, ERRORS_TO_RESAMPLE / scores.size)
    hits = scores >= metrics.threshold_at_fmr(scores, rate)
    if not hits.any():
        return float(disjoint)
    return uncertainty.effective_trials(float(hits.mean()), bootstrap.rates(hits), disjoint, scores.size)


def _supported(trials: float, scores: Scores, confidence: float) -> float:
    """Return the least rate that can be told, and that any threshold keeps: no score exceeds 1, and some may be 1."""
    return max(uncertainty.rule_of_three(trials, confidence), metrics.fmr(scores, 1.0))


def _different(searches: Searches) -> int:
    """Return how many searches are not each other's mirror: two people nearest to each other share one score."""
    pairs: Codes = np.sort(np.stack([searches.probes, searches.nearest]), axis=0)
    return int(np.unique(pairs, axis=1).shape[1])
