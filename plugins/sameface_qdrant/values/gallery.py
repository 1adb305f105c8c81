"""Galleries and their policies."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypedDict

from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.settings import Range, choice, number, settings_of

SCORES, RATES = Range(-1, 1), Range(0, 1, closed=False)
HARD_TEMPLATE_LIMIT = 64
"""No policy may allow more templates per identity; the limit bounds the exact de-duplicated search."""

GuardActionName = Literal["allow", "warn", "reject"]
WhenFullName = Literal["reject", "replace_oldest", "replace_lowest_quality", "replace_most_redundant"]


class GuardAction(StrEnum):
    """What happens to a new template that a guard objects to."""

    ALLOW = "ALLOW"
    """The guard does not check."""
    WARN = "WARN"
    """The template is enrolled, and the answer holds the finding."""
    REJECT = "REJECT"
    """The template is refused."""


class WhenFull(StrEnum):
    """What happens to a new template of an identity that has as many templates as its policy allows."""

    REJECT = "REJECT"
    REPLACE_OLDEST = "REPLACE_OLDEST"
    REPLACE_LOWEST_QUALITY = "REPLACE_LOWEST_QUALITY"
    REPLACE_MOST_REDUNDANT = "REPLACE_MOST_REDUNDANT"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold that was measured beforehand: a share ``fmr`` of impostor comparisons scored at or above it."""

    fmr: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Policy:
    """How a gallery decides. Every change is kept as a new revision with its author and time.

    `POLICY_SETTINGS` lists what a caller may change; `PolicyOptions` types it. To add a setting, add it here, in
    `PolicyOptions`, and in the message Policy of the proto.
    """

    verify_threshold: float | None = field(
        default=None, metadata=number(SCORES, "lowest score that accepts a claim", absent="from the model card")
    )
    """Lowest cosine score that accepts a claim; None takes the model card's point for ``target_fmr``."""
    identify_threshold: float | None = field(
        default=None, metadata=number(SCORES, "lowest score that identifies", absent="from the model card")
    )
    """Lowest cosine score that identifies; None takes the card's point for ``target_fpir`` at the gallery's size."""
    runner_up_margin: float = field(default=0.05, metadata=number(Range(0, 2), "required lead over the runner-up"))
    """Required lead of the best identity over the next one, in cosine score, 0 to 2."""
    target_fmr: float = field(default=1e-4, metadata=number(RATES, "false match rate to aim for"))
    """False match rate to aim for where no threshold is set, in (0, 1)."""
    target_fpir: float = field(default=1e-2, metadata=number(RATES, "false positive identification rate to aim for"))
    """False positive identification rate to aim for where no threshold is set, in (0, 1)."""
    max_templates: int = field(
        default=16,
        metadata=number(Range(1, HARD_TEMPLATE_LIMIT), f"most templates per identity, 1 to {HARD_TEMPLATE_LIMIT}"),
    )
    """Most templates per identity, 1 to 64; the limit keeps de-duplicated top-k search exact."""
    when_full: WhenFull = field(
        default=WhenFull.REJECT, metadata=choice("what happens to a template of a full identity")
    )
    """What happens to one template more than ``max_templates``."""
    on_collision: GuardAction = field(
        default=GuardAction.WARN, metadata=choice("what happens to a template that resembles another identity")
    )
    """What happens to a template that resembles another identity."""
    collision_threshold: float | None = field(
        default=None,
        metadata=number(
            SCORES, "lowest score against another identity that counts", absent="the identification threshold"
        ),
    )
    """Lowest score against another identity that counts; None takes the identification threshold."""
    on_duplicate: GuardAction = field(
        default=GuardAction.WARN, metadata=choice("what happens to a photo that is enrolled already")
    )
    """What happens to a photo or embedding that is enrolled already."""
    on_outlier: GuardAction = field(
        default=GuardAction.WARN, metadata=choice("what happens to a template unlike its identity's others")
    )
    """What happens to a template that does not resemble the other templates of its identity."""
    outlier_threshold: float | None = field(
        default=None,
        metadata=number(
            SCORES, "lowest score against its own identity that is near enough", absent="the verification threshold"
        ),
    )
    """Lowest best score against the identity's other templates that is near enough; None takes the verification
    threshold."""
    calibrated_size: int | None = None
    """Identities in the gallery when ``identify_threshold`` was calibrated; None where it was set otherwise."""
    revision: int = 1
    author: str = ""
    create_time: datetime | None = None


POLICY_SETTINGS = settings_of(Policy)
"""What a caller may change of a policy."""


class PolicyOptions(TypedDict, total=False):
    """Settings of a policy as keyword arguments; None puts one back to its default."""

    verify_threshold: float | None
    identify_threshold: float | None
    runner_up_margin: float | None
    target_fmr: float | None
    target_fpir: float | None
    max_templates: int | None
    when_full: WhenFull | WhenFullName | None
    on_collision: GuardAction | GuardActionName | None
    collision_threshold: float | None
    on_duplicate: GuardAction | GuardActionName | None
    on_outlier: GuardAction | GuardActionName | None
    outlier_threshold: float | None


class PolicyChanges(PolicyOptions, total=False):
    """What is to change of a policy; what is missing stays, None puts a field back to its default."""

    calibrated_size: int | None
    """A calibration sets it."""


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
