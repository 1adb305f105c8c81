"""Thresholds for target false match rates, from all cross pairs of labelled photos."""

from collections.abc import Sequence
from dataclasses import dataclass

from sameface.evaluation.cross_comparison import CrossComparison, TailTooShort
from sameface_qdrant.metrics.error_rates import fnmr, rounded_up, threshold_at_fmr

TARGETS = (1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, slots=True)
class MeasuredOperatingPoint:
    """A threshold for a target FMR with the FNMR that it costs."""

    target_fmr: float
    threshold: float
    fnmr: float
    """Over comparisons: every pair counts the same."""
    fnmr_by_identity: float
    """Every identity counts the same."""


def measure_operating_points(
    cross: CrossComparison, targets: Sequence[float] = TARGETS
) -> tuple[MeasuredOperatingPoint, ...]:
    """Return the lowest threshold of four decimals that keeps each target FMR.

    Raises:
        TailTooShort: a target is greater than the share of non-mated scores that was kept.
    """
    scores, weights = cross.weighted_tail()
    measured = []
    for target in targets:
        exact = threshold_at_fmr(scores, target, weights)
        if exact < cross.tail[-1] and not cross.is_complete:
            raise TailTooShort
        threshold = rounded_up(exact)
        measured.append(
            MeasuredOperatingPoint(
                target_fmr=target,
                threshold=threshold,
                fnmr=fnmr(cross.mated, threshold),
                fnmr_by_identity=fnmr(cross.mated, threshold, cross.by_identity),
            )
        )
    return tuple(measured)
