"""Verification (1:1) over every pair of samples: FNMR at low FMRs and EER, with bootstrap intervals. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sameface.evaluation.cross_comparison import CrossComparison, TailTooShort, compare_all_samples
from sameface.evaluation.resampling import Counts, Estimate, Resampled, draw_identities, estimate, resample
from sameface.evaluation.samples import Samples
from sameface.evaluation.skilled_forgeries import SkilledForgeries, compare_forgeries, measure_skilled
from sameface.evaluation.support import fmr_support
from sameface_qdrant.metrics.comparisons import Vectors
from sameface_qdrant.metrics.error_rates import DetCurve, det_curve, eer, fmr, fnmr, threshold_at_fmr
from sameface_qdrant.metrics.support import Support

TARGETS = (1e-2, 1e-3, 1e-4, 1e-5)
REPLICATES = 1000
SHARES = (0.05, 0.3, 1.0)
"""Shares of the non-mated scores to keep, tried in this order until enough are kept."""
DET_POINTS = 240


@dataclass(frozen=True, slots=True)
class VerificationPoint:
    """The FNMR at a target FMR."""

    target: float
    threshold: float
    """The lowest threshold whose FMR is at most the target."""
    fmr: float
    """At the threshold."""
    false_matches: int
    """Non-mated comparisons at or above the threshold. With few of them the figures are uncertain."""
    fnmr: Estimate
    """Every comparison counts the same."""
    fnmr_by_identity: Estimate
    """Every identity counts the same."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Verification figures of one set of samples."""

    comparison: CrossComparison
    resample_counts: Counts
    """How often each identity is in each resample, [resamples, identities]."""
    resampled: Resampled
    points: tuple[VerificationPoint, ...]
    eer: Estimate
    eer_by_identity: Estimate
    support: Support
    """Which target FMRs the non-mated comparisons support."""
    skilled: SkilledForgeries | None = None
    """None if there are no forgeries."""


def verify(
    samples: Samples,
    targets: Sequence[float] = TARGETS,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
    templates: Vectors | None = None,
) -> Verification:
    """Measure verification over every pair of ``samples``.

    In the FMR every comparison counts the same. A sample that could not be acquired never matches: its mated
    comparisons are false non-matches; it has no non-mated comparisons, because they would lower the FMR. Intervals come
    from ``replicates`` resamples of the identities. Each resample has its own thresholds, so the intervals include the
    uncertainty of the thresholds. Forgeries are in none of these comparisons; they are measured at the thresholds.

    Args:
        samples: labelled embeddings.
        targets: target FMRs.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        confidence: of the intervals, in (0, 1).
        templates: float32 [samples, dimension]: the first sample of each pair is this template. Forgeries are left out
            then. See `sameface.evaluation.cross_comparison.compare_all_samples`.

    Raises:
        NotEnoughData: there is no mated or no non-mated comparison.
    """
    for share in SHARES:
        comparison = compare_all_samples(samples, share, templates)
        try:
            found = verify_cross(
                comparison, targets, draw_identities(len(comparison.identities), replicates, seed), confidence
            )
        except TailTooShort:
            continue
        return found if templates is not None else _with_forgeries(found, samples, confidence)
    raise AssertionError("all scores were kept")


def _with_forgeries(found: Verification, samples: Samples, confidence: float) -> Verification:
    forged = compare_forgeries(samples, found.comparison)
    if forged is None:
        return found
    thresholds = [point.threshold for point in found.points]
    skilled = measure_skilled(
        forged, found.comparison, thresholds, found.resampled.thresholds, found.resample_counts, confidence
    )
    return replace(found, skilled=skilled)


def verify_cross(
    comparison: CrossComparison, targets: Sequence[float], resample_counts: Counts, confidence: float = 0.95
) -> Verification:
    """Measure verification from scores.

    Args:
        comparison: the scores.
        targets: target FMRs.
        resample_counts: how often each identity is in each resample, [resamples, identities].
        confidence: of the intervals, in (0, 1).

    Raises:
        TailTooShort: a rate depends on non-mated scores that were not kept.
    """
    resampled = resample(comparison, targets, resample_counts)
    scores, weights = comparison.weighted_tail()
    people = int(np.unique(comparison.owners).size)
    points = []
    for place, target in enumerate(targets):
        threshold = threshold_at_fmr(scores, target, weights)
        if threshold < comparison.tail[-1] and not comparison.is_complete:
            raise TailTooShort
        both = (
            (fnmr(comparison.mated, threshold), resampled.fnmr[:, place]),
            (fnmr(comparison.mated, threshold, comparison.identity_weights), resampled.fnmr_by_identity[:, place]),
        )
        points.append(
            VerificationPoint(
                target,
                threshold,
                fmr(scores, threshold, weights),
                int(np.count_nonzero(comparison.tail >= threshold)),
                *(estimate(value, rates, people, confidence) for value, rates in both),
            )
        )
    return Verification(
        comparison,
        resample_counts,
        resampled,
        tuple(points),
        estimate(eer(comparison.mated, scores, None, weights), resampled.eer, people, confidence),
        estimate(
            eer(comparison.mated, scores, comparison.identity_weights, weights),
            resampled.eer_by_identity,
            people,
            confidence,
        ),
        fmr_support(comparison, resample_counts, confidence),
    )


def sampled_det_curve(comparison: CrossComparison, points: int = DET_POINTS) -> DetCurve:
    """Return the DET curve at some thresholds from the lowest kept score on; every identity counts the same in FNMR."""
    scores, weights = comparison.weighted_tail()
    curve = det_curve(comparison.mated, scores, comparison.identity_weights, weights)
    rates = np.geomspace(1.0 / comparison.non_mated, comparison.tail.size / comparison.non_mated, points)
    # The first threshold at which the FMR has fallen to each rate.
    places = np.unique(np.minimum(np.searchsorted(-curve.fmr, -rates), curve.fmr.size - 1))
    # Below the lowest kept score the FMR is not known.
    places = places[curve.thresholds[places] >= comparison.tail[-1]]
    return DetCurve(curve.thresholds[places], curve.fmr[places], curve.fnmr[places])
