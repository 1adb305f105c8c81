"""Measures thresholds for target FMRs over every pair of labelled images, and which of them the images support."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sameface.evaluation.cross_comparison import CrossComparison, TailTooShort
from sameface.evaluation.skilled_forgeries import ForgeryComparison
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.error_rates import fmr, fnmr, rounded_up, threshold_at_fmr
from sameface_qdrant.metrics.support import Support

TARGETS = (1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, slots=True)
class MeasuredOperatingPoint:
    """A threshold for a target FMR, with its FNMR."""

    target_fmr: float
    threshold: float
    false_matches: int
    """Non-mated comparisons at or above the threshold."""
    fnmr: float
    """Every comparison counts the same."""
    fnmr_by_identity: float
    """Every identity counts the same."""
    fmr_of_forgeries: float | None = None
    """Share of skilled forgeries that the threshold accepts, where every identity counts the same; None without any."""


def measure_operating_points(
    comparison: CrossComparison, targets: Sequence[float] = TARGETS, forged: ForgeryComparison | None = None
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
                false_matches=int(np.count_nonzero(comparison.tail >= threshold)),
                fnmr=fnmr(comparison.mated, threshold),
                fnmr_by_identity=fnmr(comparison.mated, threshold, comparison.identity_weights),
                fmr_of_forgeries=None if forged is None else fmr(forged.scores, threshold, forged.weights),
            )
        )
    return tuple(measured)


def writable_points(
    points: Sequence[MeasuredOperatingPoint], found: Support, *, accept_unsupported: bool = False
) -> tuple[MeasuredOperatingPoint, ...]:
    """Return the points that may go into a card: the supported ones, or with ``accept_unsupported`` all.

    Raises:
        NotEnoughData: there is none.
    """
    kept = tuple(one for one in points if accept_unsupported or found.holds(one.target_fmr))
    if not kept:
        easiest = max(one.target_fmr for one in points)
        raise NotEnoughData(
            f"no operating point can be written: the lowest supported FMR is {found.lowest:.2g}, and the points are "
            f"for {easiest:g} and less. {easiest:g} needs {found.needed(easiest):,} independent comparisons; these are "
            f"equivalent to about {found.trials:,.0f}. Add identities, or give --accept-unsupported",
            metadata={"comparisons": round(found.trials)},
        )
    return kept
