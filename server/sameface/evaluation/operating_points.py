"""Measures thresholds for target FMRs over every pair of labelled photos."""

from collections.abc import Sequence
from dataclasses import dataclass

from sameface.evaluation.cross_comparison import CrossComparison, TailTooShort
from sameface_qdrant.metrics.error_rates import fnmr, rounded_up, threshold_at_fmr

TARGETS = (1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, slots=True)
class MeasuredOperatingPoint:
    """A threshold for a target FMR, with its FNMR."""

    target_fmr: float
    threshold: float
    fnmr: float
    """Every comparison counts the same."""
    fnmr_by_identity: float
    """Every identity counts the same."""


def measure_operating_points(
    comparison: CrossComparison, targets: Sequence[float] = TARGETS
) -> tuple[MeasuredOperatingPoint, ...]:
    """Return for each target FMR the lowest threshold with four decimals whose FMR is at most the target.

    Raises:
        TailTooShort: a target is greater than the share of the non-mated scores that was kept.
    """
    scores, weights = comparison.weighted_tail()
    measured = []
    for target in targets:
        exact = threshold_at_fmr(scores, target, weights)
        if exact < comparison.tail[-1] and not comparison.is_complete:
            raise TailTooShort
        threshold = rounded_up(exact)
        measured.append(
            MeasuredOperatingPoint(
                target_fmr=target,
                threshold=threshold,
                fnmr=fnmr(comparison.mated, threshold),
                fnmr_by_identity=fnmr(comparison.mated, threshold, comparison.identity_weights),
            )
        )
    return tuple(measured)
