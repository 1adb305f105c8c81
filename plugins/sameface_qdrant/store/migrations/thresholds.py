"""What a promotion and a rollback do with the settings of a policy. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import cast

from sameface_qdrant.errors import ThresholdNotCalibrated
from sameface_qdrant.policy import revised_policy
from sameface_qdrant.values.gallery import OperatingPoint, Policy, PolicyChanges

_SCORES = (
    "verify_threshold",
    "identify_threshold",
    "collision_threshold",
    "outlier_threshold",
    "mapped_verify_threshold",
    "mapped_identify_threshold",
    "calibrated_size",
)
"""Settings that are scores under one contract, or were measured with them."""
_CALIBRATED = ("runner_up_margin", "target_fmr", "target_fpir", "target_ambiguous", "renewal_margin")
"""Settings that a calibration under one contract may change. A promotion keeps them, as they have no missing value."""


def promoted_policy(present: Policy, changes: PolicyChanges, author: str, now: datetime) -> Policy:
    """Return the policy under the new contract: without the scores of the old one that ``changes`` does not give."""
    reset = cast(PolicyChanges, dict.fromkeys(_SCORES))
    return revised_policy(present, PolicyChanges(**{**reset, **changes}), author, now)


def restored_policy(present: Policy, kept: Policy, promoted: Iterable[str], author: str, now: datetime) -> Policy:
    """Return the policy after a rollback: the present one with what belongs to the old contract.

    Args:
        present: the policy.
        kept: the policy before the promotion.
        promoted: names of the settings that the promotion has changed.
        author: of the new revision.
        now: its time.
    """
    old = {name: getattr(kept, name) for name in {*_SCORES, *_CALIBRATED, *promoted}}
    return revised_policy(present, cast(PolicyChanges, old), author, now)


def check_calibrated(
    policy: Policy, points: tuple[OperatingPoint, ...], mapped_points: tuple[OperatingPoint, ...], mapped: int
) -> None:
    """Check that a gallery will know its thresholds, for claims and for searches, of probes of either origin.

    Raises:
        ThresholdNotCalibrated: it would not.
    """
    for use in ("verify", "identify"):
        if not points and getattr(policy, f"{use}_threshold") is None:
            raise ThresholdNotCalibrated(
                "no threshold is known for probes under the new contract; give the operating points of the new "
                f"model's card when the migration is created, or {use}_threshold in the policy of the promotion",
                metadata={"field": f"policy.{use}_threshold"},
            )
        if mapped and not mapped_points and getattr(policy, f"mapped_{use}_threshold") is None:
            raise ThresholdNotCalibrated(
                "no threshold is known for probes against mapped templates; give a map with operating points, or "
                f"mapped_{use}_threshold in the policy of the promotion",
                metadata={"field": f"policy.mapped_{use}_threshold"},
            )
