"""1:1 verification over all cross pairs: FNMR at low FMRs and EER, with intervals over identities. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sameface.evaluation.cross_comparison import CrossComparison, TailTooShort, compare_all_samples
from sameface.evaluation.resampling import Estimate, Resampled, draw_identities, estimate, resample
from sameface.evaluation.samples import Samples
from sameface_qdrant.metrics.error_rates import DetCurve, Indices, det_curve, eer, fmr, fnmr, threshold_at_fmr

TARGETS = (1e-2, 1e-3, 1e-4, 1e-5)
REPLICATES = 1000
SHARES = (0.05, 0.3, 1.0)
"""Of the non-mated scores that are kept, one after another until they reach far enough."""
DET_POINTS = 240


@dataclass(frozen=True, slots=True)
class VerificationPoint:
    """What a target FMR costs."""

    target: float
    threshold: float
    """The lowest whose FMR is at most the target."""
    fmr: float
    accepted: int
    """Non-mated comparisons at or above the threshold: what the figure hangs on."""
    fnmr: Estimate
    """Over comparisons."""
    fnmr_by_identity: Estimate
    """Every identity counting the same."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Verification figures of one set of samples."""

    cross: CrossComparison
    drawn: Indices
    """The resamples, [resamples, identities]."""
    resampled: Resampled
    points: tuple[VerificationPoint, ...]
    eer: Estimate
    eer_by_identity: Estimate


def verify(
    samples: Samples,
    targets: Sequence[float] = TARGETS,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Verification:
    """Measure all cross pairs of ``samples``.

    FMR is over comparisons. A comparison with a sample that could not be acquired never matches: it counts among the
    mated ones, and is left out of the non-mated ones, which it could only flatter. Thresholds are found anew in each of
    the ``replicates`` resamples of the identities, so that intervals hold their uncertainty too.

    Raises:
        NotEnoughData: there is no mated or no non-mated comparison.
    """
    for share in SHARES:
        cross = compare_all_samples(samples, share)
        try:
            return verify_cross(cross, targets, draw_identities(len(cross.identities), replicates, seed), confidence)
        except TailTooShort:
            continue
    raise AssertionError("all scores were kept")


def verify_cross(
    cross: CrossComparison, targets: Sequence[float], drawn: Indices, confidence: float = 0.95
) -> Verification:
    """Measure scores that are there, with given resamples [resamples, identities].

    Raises:
        TailTooShort: a rate reaches below the non-mated scores that were kept.
    """
    resampled = resample(cross, targets, drawn)
    scores, weights = cross.weighted_tail()
    people = int(np.unique(cross.owners).size)
    points = []
    for place, target in enumerate(targets):
        threshold = threshold_at_fmr(scores, target, weights)
        if threshold < cross.tail[-1] and not cross.is_complete:
            raise TailTooShort
        both = (
            (fnmr(cross.mated, threshold), resampled.fnmr[:, place]),
            (fnmr(cross.mated, threshold, cross.by_identity), resampled.fnmr_by_identity[:, place]),
        )
        points.append(
            VerificationPoint(
                target,
                threshold,
                fmr(scores, threshold, weights),
                int(np.count_nonzero(cross.tail >= threshold)),
                *(estimate(value, rates, people, confidence) for value, rates in both),
            )
        )
    return Verification(
        cross,
        drawn,
        resampled,
        tuple(points),
        estimate(eer(cross.mated, scores, None, weights), resampled.eer, people, confidence),
        estimate(eer(cross.mated, scores, cross.by_identity, weights), resampled.eer_by_identity, people, confidence),
    )


def power_text(rate: float) -> str:
    """Return a target rate for people.

    >>> power_text(1e-4), power_text(0.05)
    ('1e-4', '5e-2')
    """
    digits, power = f"{rate:.0e}".split("e")
    return f"{digits}e{int(power)}"


def det(cross: CrossComparison, points: int = DET_POINTS) -> DetCurve:
    """Return FMR and FNMR (every identity counting the same) at thresholds from the lowest kept score on."""
    scores, weights = cross.weighted_tail()
    curve = det_curve(cross.mated, scores, cross.by_identity, weights)
    rates = np.geomspace(1.0 / cross.non_mated, cross.tail.size / cross.non_mated, points)
    # The first threshold at which the FMR has fallen to each rate.
    places = np.unique(np.minimum(np.searchsorted(-curve.fmr, -rates), curve.fmr.size - 1))
    # Below what was kept nothing is known of the FMR.
    places = places[curve.thresholds[places] >= cross.tail[-1]]
    return DetCurve(curve.thresholds[places], curve.fmr[places], curve.fnmr[places])
