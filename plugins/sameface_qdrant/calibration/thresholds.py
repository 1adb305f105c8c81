"""Measures thresholds on comparisons, and which error rates the comparisons support. Pure.

A rate is supported if there are enough comparisons to exclude a higher one with 95 % confidence.
`intervals.trials_to_support` gives the number of independent comparisons for that (rule of three). Comparisons of few
people depend on each other, so they count for fewer: their number divided by the design effect, which a bootstrap over
identities measures. If a target is below the lowest supported rate, the threshold is for the supported rate; nothing is
extrapolated.
`sameface_qdrant.calibration.caveats` says this in sentences.
"""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sameface_qdrant.metrics import error_rates, intervals
from sameface_qdrant.metrics.comparisons import Comparisons, ComparisonSource, Searches
from sameface_qdrant.metrics.error_rates import Indices, Mask, Scores
from sameface_qdrant.metrics.intervals import ConfidenceInterval, IdentityBootstrap
from sameface_qdrant.metrics.support import ERRORS_TO_RESAMPLE, supported_rate
from sameface_qdrant.policy import comparison_fmr, search_fpir
from sameface_qdrant.values.display import brief, counted


class Method(StrEnum):
    """How a threshold was measured."""

    COMPARISONS = "COMPARISONS"
    """Verification: from the non-mated scores."""
    SEARCHES = "SEARCHES"
    """Identification: from the highest scores of non-mated searches."""
    GALLERY_SIZE = "GALLERY_SIZE"
    """Identification: from the non-mated scores, by FPIR ≈ 1 − (1 − FMR)^N."""


@dataclass(frozen=True, slots=True)
class MeasuredThreshold:
    """A threshold for a target rate: FMR for verification, FPIR for identification."""

    __repr__ = brief

    target: float
    supported: float
    """The lowest rate that the comparisons support; 1 at most."""
    threshold: float
    """For the target, or for the supported rate if that is higher. Rounded up to four decimals."""
    rate: float
    """The rate at the threshold, measured on the comparisons that the threshold was chosen from."""
    interval: ConfidenceInterval
    method: Method
    reason: str
    """Why this method was used."""
    fmr: float
    """FMR of a single comparison at the threshold; for verification the same as ``rate``."""
    fmr_interval: ConfidenceInterval
    fnmr: float | None
    """FNMR at the threshold; None if there is no mated comparison."""
    fnmr_interval: ConfidenceInterval | None
    other_threshold: float | None = None
    """The threshold of the other method; None if it gives none."""

    @property
    def is_supported(self) -> bool:
        """Whether the threshold is for the target, and not for a higher rate."""
        return self.supported <= self.target


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much was compared."""

    __repr__ = brief

    source: ComparisonSource
    identities: int
    comparisons: int
    """Non-mated comparisons."""
    possible_comparisons: int
    """All non-mated comparisons; more than ``comparisons`` if these are a sample."""
    effective_comparisons: float
    """How many independent comparisons would give the same certainty."""
    mated_comparisons: int
    mated_identities: int
    """Identities with a mated comparison."""
    searches: int
    """Non-mated searches."""
    different_searches: int = 0
    """Non-mated searches, where two people who are nearest to each other count once, because they have one score."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds measured for a gallery of one size."""

    __repr__ = brief

    verify: MeasuredThreshold
    identify: MeasuredThreshold
    evidence: Evidence
    gallery_size: int
    """Number of identities for which ``identify`` holds. It is stale once the gallery has doubled."""
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
    """Return the thresholds for a target FMR, and for a target FPIR in a gallery of ``gallery_size`` identities.

    Each is the lowest threshold whose rate over the comparisons is at most the target. If the supported rate is higher,
    it takes the place of the target.

    Args:
        comparisons: see `sameface_qdrant.metrics.comparisons`.
        target_fmr: in (0, 1).
        target_fpir: in (0, 1).
        gallery_size: N, 1 or more.
        confidence: of intervals and of supported rates, in (0, 1).
        replicates: of the bootstrap over identities.
        seed: of the bootstrap.
    """
    measurement = _Measurement(comparisons, confidence, replicates, seed)
    searches = comparisons.non_mated_searches
    evidence = Evidence(
        source=comparisons.source,
        identities=len(comparisons.names),
        comparisons=comparisons.non_mated.size,
        possible_comparisons=comparisons.possible_comparisons,
        effective_comparisons=measurement.effective_comparisons,
        mated_comparisons=comparisons.mated.size,
        mated_identities=np.unique(comparisons.owners).size,
        searches=0 if searches is None else searches.scores.size,
        different_searches=0 if searches is None else different_searches(searches),
    )
    verify = measurement.for_fmr(target_fmr)
    identify = _identification_threshold(measurement, searches, target_fpir, gallery_size)
    return Calibration(verify, identify, evidence, gallery_size, confidence)


class _Measurement:
    """Comparisons with their bootstrap, which takes most of the time and serves every threshold."""

    def __init__(self, comparisons: Comparisons, confidence: float, replicates: int, seed: int) -> None:
        self._comparisons = comparisons
        self._confidence, self._replicates, self._seed = confidence, replicates, seed
        self._bootstrap = IdentityBootstrap(comparisons.first, comparisons.second, replicates, seed)
        self._independent = intervals.independent_comparisons(comparisons.first, comparisons.second)
        self.effective_comparisons = _effective_comparisons(comparisons.non_mated, self._bootstrap, self._independent)
        self.supported = _supported(self.effective_comparisons, comparisons.non_mated, confidence)

    def for_fmr(self, target: float) -> MeasuredThreshold:
        """Return the threshold for an FMR."""
        non_mated = self._comparisons.non_mated
        threshold = error_rates.rounded_up(error_rates.threshold_at_fmr(non_mated, max(target, self.supported)))
        fmr, interval, fnmr, fnmr_interval = self._error_rates(threshold)
        return MeasuredThreshold(
            target=target,
            supported=self.supported,
            threshold=threshold,
            rate=fmr,
            interval=interval,
            method=Method.COMPARISONS,
            reason=f"measured on {counted(non_mated.size, 'non-mated comparison')}",
            fmr=fmr,
            fmr_interval=interval,
            fnmr=fnmr,
            fnmr_interval=fnmr_interval,
        )

    def for_fpir_by_searches(self, searches: Searches, target: float) -> MeasuredThreshold:
        """Return the threshold for an FPIR from the highest scores of non-mated searches."""
        supported = _supported(different_searches(searches), searches.scores, self._confidence)
        threshold = error_rates.rounded_up(error_rates.threshold_at_fmr(searches.scores, max(target, supported)))
        fmr, fmr_interval, fnmr, fnmr_interval = self._error_rates(threshold)
        return MeasuredThreshold(
            target=target,
            supported=supported,
            threshold=threshold,
            rate=error_rates.fpir(searches.scores, threshold),
            interval=self._interval(searches.scores >= threshold, searches.probes, searches.nearest),
            method=Method.SEARCHES,
            reason=f"measured on the highest scores of {counted(searches.scores.size, 'search', 'searches')} among "
            f"{counted(searches.gallery_size, 'identity', 'identities')}; unlike the formula, this does not assume "
            "that the comparisons of one search are independent",
            fmr=fmr,
            fmr_interval=fmr_interval,
            fnmr=fnmr,
            fnmr_interval=fnmr_interval,
        )

    def for_fpir_by_size(self, target: float, gallery_size: int) -> MeasuredThreshold:
        """Return the threshold for an FPIR from the FMR of a single comparison."""
        single = self.for_fmr(comparison_fmr(target, gallery_size))
        low, high = search_fpir(single.interval.low, gallery_size), search_fpir(single.interval.high, gallery_size)
        return dataclasses.replace(
            single,
            target=target,
            supported=search_fpir(self.supported, gallery_size),
            rate=search_fpir(single.rate, gallery_size),
            interval=ConfidenceInterval(low, high),
            method=Method.GALLERY_SIZE,
            reason=f"computed by FPIR ≈ 1 − (1 − FMR)^{gallery_size:,}, which assumes that the comparisons of one "
            "search are independent",
        )

    def _error_rates(
        self, threshold: float
    ) -> tuple[float, ConfidenceInterval, float | None, ConfidenceInterval | None]:
        """Return FMR and FNMR at a threshold with their intervals; no FNMR without mated comparisons."""
        fmr, interval = error_rates.fmr(self._comparisons.non_mated, threshold), self._fmr_interval(threshold)
        mated, owners = self._comparisons.mated, self._comparisons.owners
        if not mated.size:
            return fmr, interval, None, None
        return fmr, interval, error_rates.fnmr(mated, threshold), self._interval(mated < threshold, owners, owners)

    def _fmr_interval(self, threshold: float) -> ConfidenceInterval:
        false_matches = self._comparisons.non_mated >= threshold
        if false_matches.any() and self.effective_comparisons < false_matches.size:
            return intervals.resampled_interval(
                false_matches, self._bootstrap.rates(false_matches), self._independent, self._confidence
            )
        return self._interval(false_matches, self._comparisons.first, self._comparisons.second)

    def _interval(self, errors: Mask, first: Indices, second: Indices) -> ConfidenceInterval:
        return intervals.rate_interval(
            errors, first, second, confidence=self._confidence, replicates=self._replicates, seed=self._seed
        )


def _identification_threshold(
    measurement: _Measurement, searches: Searches | None, target: float, gallery_size: int
) -> MeasuredThreshold:
    """Use the searches if they support the target; otherwise the method that supports the lower rate."""
    by_size = measurement.for_fpir_by_size(target, gallery_size)
    if searches is None:
        return _because(by_size, "these scores contain no complete search")
    if searches.gallery_size < gallery_size - 1:
        looked_at = counted(searches.gallery_size, "identity", "identities")
        why = f"searches looked at {looked_at}, the gallery has {gallery_size:,}"
        return _because(by_size, why)
    by_searches = measurement.for_fpir_by_searches(searches, target)
    if by_searches.is_supported or by_searches.supported <= by_size.supported:
        return dataclasses.replace(by_searches, other_threshold=by_size.threshold)
    made = counted(searches.scores.size, "search supports", "searches support")
    why = f"{made} no FPIR below {by_searches.supported:.2g}"
    return dataclasses.replace(_because(by_size, why), other_threshold=by_searches.threshold)


def _because(measured: MeasuredThreshold, why: str) -> MeasuredThreshold:
    return dataclasses.replace(measured, reason=f"{why}; so it was {measured.reason}")


def _effective_comparisons(scores: Scores, bootstrap: IdentityBootstrap, independent: int) -> float:
    """Return how many independent comparisons give the same certainty, at the lowest rate that can be resampled."""
    if scores.size <= independent:
        return float(scores.size)
    rate = min(0.5, ERRORS_TO_RESAMPLE / scores.size)
    errors = scores >= error_rates.threshold_at_fmr(scores, rate)
    if not errors.any():
        return float(independent)
    return intervals.effective_sample_size(float(errors.mean()), bootstrap.rates(errors), independent, scores.size)


def _supported(trials: float, scores: Scores, confidence: float) -> float:
    """Return the lowest rate that the trials support and that a threshold can reach.

    No threshold above 1 exists, so scores of 1 are accepted by every threshold.
    """
    return supported_rate(trials, at_best=error_rates.fmr(scores, 1.0), confidence=confidence)


def different_searches(searches: Searches) -> int:
    """Return how many searches have a different pair: two people nearest to each other have one score, twice."""
    pairs: Indices = np.sort(np.stack([searches.probes, searches.nearest]), axis=0)
    return int(np.unique(pairs, axis=1).shape[1])
