"""Chooses the runner-up margin from the leads of mated probes. Pure numpy.

The margin is the largest one that makes few mated probes AMBIGUOUS. It protects against impostors who resemble somebody
who is enrolled as well. It does not protect against an impostor whose look-alike is the only one enrolled, so it never
lowers a threshold.
"""

import math
from dataclasses import dataclass

import numpy as np

from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.gallery import Policy

HIGHEST_MARGIN = Policy().runner_up_margin
"""A calibration chooses a larger margin only where a policy has one already. A gallery that grows makes leads shorter,
so a larger one would soon make many probes ambiguous."""


@dataclass(frozen=True, slots=True)
class MeasuredMargin:
    """The runner-up margin for a target, and the shares of mated probes that are ambiguous with it."""

    __repr__ = brief

    target: float
    """Largest share of mated probes that may be ambiguous, 0 to 1."""
    margin: float
    """0 to `HIGHEST_MARGIN`, or to the policy's present margin if that is larger. A smaller one is rounded down to four
    decimals."""
    ambiguous: float
    """The share with this margin; the larger one of verification and identification. If only a sample of the gallery
    was compared, an upper limit for the whole gallery."""

    @property
    def is_attained(self) -> bool:
        """Whether the share is within the target. If not, another identity is nearer too often for any margin."""
        return self.ambiguous <= self.target


def measure_margin(
    comparisons: Comparisons,
    target: float,
    verify: float | None,
    identify: float | None,
    growth: float = 1.0,
    *,
    highest: float = HIGHEST_MARGIN,
) -> MeasuredMargin | None:
    """Return the largest margin that keeps the ambiguous share of mated probes within a target.

    The share counts probes whose own identity reaches the threshold and leads by less than the margin, of all mated
    probes. It is kept for claims with scope GALLERY and for searches.

    Args:
        comparisons: with leads.
        target: 0 to 1.
        verify: the verification threshold; None leaves claims out.
        identify: the identification threshold; None leaves searches out.
        growth: how many times more templates the gallery has than were compared. The share may be so many times
            greater (Boole's inequality), and is counted so.
        highest: no larger margin is chosen.

    Returns:
        None if there are no leads of mated probes to measure, or no threshold.
    """
    probes = comparisons.mated_probes
    thresholds = [one for one in (verify, identify) if one is not None]
    if probes is None or not thresholds:
        return None
    leads = np.where(np.isnan(probes.leads), np.inf, probes.leads)
    allowed = math.floor(target / growth * leads.size + 1e-9)
    margin = highest
    for threshold in thresholds:
        reached = np.sort(leads[probes.own >= threshold])
        if reached.size > allowed:
            margin = min(margin, float(reached[allowed]))
    if margin < highest:
        margin = max(0.0, _rounded_down(margin))
    shares = [float(np.mean((probes.own >= threshold) & (leads < margin))) for threshold in thresholds]
    return MeasuredMargin(target, margin, min(1.0, growth * max(shares)))


def _rounded_down(margin: float) -> float:
    """Round down to four decimals. A lead that reaches the given margin still does."""
    steps = math.floor(margin * 1e4)
    # Floating point may round the product up to the next step.
    return (steps if steps / 1e4 <= margin else steps - 1) / 1e4
