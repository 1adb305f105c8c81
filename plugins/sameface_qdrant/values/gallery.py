"""Galleries and their policies."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypedDict

from sameface_qdrant.values.contract import Contract


class GuardAction(StrEnum):
    """What happens to a template that a guard finds something about."""

    ALLOW = "ALLOW"
    """It is not looked at."""
    WARN = "WARN"
    """It enters, and the finding is told."""
    REJECT = "REJECT"


class WhenFull(StrEnum):
    """What happens to a template of an identity that holds as many as its policy allows."""

    REJECT = "REJECT"
    REPLACE_OLDEST = "REPLACE_OLDEST"
    REPLACE_LOWEST_QUALITY = "REPLACE_LOWEST_QUALITY"
    REPLACE_MOST_REDUNDANT = "REPLACE_MOST_REDUNDANT"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold measured beforehand: impostor comparisons scored at or above it at the rate ``fmr``."""

    fmr: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Policy:
    """How a gallery decides. Every change is kept as a new revision with its author and time."""

    verify_threshold: float | None = None
    """Lowest cosine score that accepts a claim; None takes the model card's point for ``target_fmr``."""
    identify_threshold: float | None = None
    """Lowest cosine score that identifies; None takes the card's point for ``target_fpir`` at the gallery's size."""
    runner_up_margin: float = 0.05
    """Required lead of the best identity over the next one, in cosine score."""
    target_fmr: float = 1e-4
    target_fpir: float = 1e-2
    max_templates: int = 16
    """Cap of templates per identity (1..64); it keeps de-duplicated top-k search exact."""
    when_full: WhenFull = WhenFull.REJECT
    on_collision: GuardAction = GuardAction.WARN
    collision_threshold: float | None = None
    """Lowest score against another identity that counts; None takes the identification threshold."""
    on_duplicate: GuardAction = GuardAction.WARN
    on_outlier: GuardAction = GuardAction.WARN
    outlier_threshold: float | None = None
    """Lowest best score against the identity's other templates that is near enough; None takes the verification
    threshold."""
    calibrated_size: int | None = None
    """Identities in the gallery when ``identify_threshold`` was calibrated; None where it was set otherwise."""
    revision: int = 1
    author: str = ""
    create_time: datetime | None = None


class PolicyChanges(TypedDict, total=False):
    """What is to change of a policy; what is missing stays. A threshold of None takes the model card's again."""

    verify_threshold: float | None
    identify_threshold: float | None
    runner_up_margin: float
    target_fmr: float
    target_fpir: float
    max_templates: int
    when_full: WhenFull
    on_collision: GuardAction
    collision_threshold: float | None
    on_duplicate: GuardAction
    on_outlier: GuardAction
    outlier_threshold: float | None
    calibrated_size: int | None


@dataclass(frozen=True, slots=True)
class Gallery:
    """A named set of identities under one embedding contract and one policy."""

    id: str
    contract: Contract
    policy: Policy
    display_name: str = ""
    operating_points: tuple[OperatingPoint, ...] = ()
    """The model card's points for this contract; they answer where the policy sets no threshold."""
    create_time: datetime | None = None
    update_time: datetime | None = None
    etag: str = ""
    uid: str = field(default="", repr=False, compare=False)
    """Key of its records in the store that it was read from; new with every gallery, also under the same id."""
