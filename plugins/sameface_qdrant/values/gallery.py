"""Galleries and their policies."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypedDict

from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.protection import Protection
from sameface_qdrant.values.settings import Range, choice, number, settings_of

SCORES, RATES = Range(-1, 1), Range(0, 1, closed=False)
HARD_TEMPLATE_LIMIT = 64
"""The highest ``max_templates`` of a policy. It limits the work of an exact search."""

RenewOnMatchName = Literal["off", "propose", "apply"]
GuardActionName = Literal["allow", "warn", "reject"]
PresentationAttackActionName = Literal["off", "report", "reject"]
WhenFullName = Literal["reject", "replace_oldest", "replace_lowest_quality", "replace_most_redundant"]


class GuardAction(StrEnum):
    """What a guard does about a new template."""

    ALLOW = "ALLOW"
    """The guard does not check."""
    WARN = "WARN"
    """The template is enrolled, and the answer holds the finding."""
    REJECT = "REJECT"
    """The template is refused."""


class PresentationAttackAction(StrEnum):
    """What the service does about presentation attacks (ISO/IEC 30107-1), such as a photo of a printed face."""

    OFF = "OFF"
    """No face is examined."""
    REPORT = "REPORT"
    """Each face is examined, and the answer holds its score. Nothing is refused."""
    REJECT = "REJECT"
    """A face whose score is below the threshold is refused, and so is every embedding: it has no photo to examine."""


class RenewOnMatch(StrEnum):
    """What a match does about a mapped template, see `sameface_qdrant.Store.renew`."""

    OFF = "OFF"
    PROPOSE = "PROPOSE"
    """The decision says which mapped template the probe may replace. Nothing is written."""
    APPLY = "APPLY"
    """The service replaces that mapped template by the probe's own embedding."""


class WhenFull(StrEnum):
    """What happens to a new template of an identity that has as many templates as its policy allows."""

    REJECT = "REJECT"
    REPLACE_OLDEST = "REPLACE_OLDEST"
    REPLACE_LOWEST_QUALITY = "REPLACE_LOWEST_QUALITY"
    REPLACE_MOST_REDUNDANT = "REPLACE_MOST_REDUNDANT"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A measured threshold: the share ``fmr`` of non-mated comparisons scores at or above it."""

    fmr: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Policy:
    """How a gallery decides. Every change is kept as a new revision with its author and time.

    `POLICY_SETTINGS` lists what a caller may change; `PolicyOptions` types it. To add a setting, add it here, in
    `PolicyOptions`, and in the message Policy of the proto.
    """

    __repr__ = brief

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
    """False match rate to aim for if no threshold is set, in (0, 1)."""
    target_fpir: float = field(default=1e-2, metadata=number(RATES, "false positive identification rate to aim for"))
    """False positive identification rate to aim for if no threshold is set, in (0, 1)."""
    target_ambiguous: float = field(
        default=0.02, metadata=number(Range(0, 1), "largest share of mated probes that a calibration lets be ambiguous")
    )
    """Largest share of mated probes that may reach the threshold and still be AMBIGUOUS, 0 to 1. A calibration chooses
    ``runner_up_margin`` by it."""
    max_templates: int = field(
        default=16,
        metadata=number(Range(1, HARD_TEMPLATE_LIMIT), f"most templates per identity, 1 to {HARD_TEMPLATE_LIMIT}"),
    )
    """Most templates per identity, 1 to 64."""
    when_full: WhenFull = field(
        default=WhenFull.REJECT, metadata=choice("what happens to a template of a full identity")
    )
    """What happens to a new template if the identity has ``max_templates``."""
    on_collision: GuardAction = field(
        default=GuardAction.WARN, metadata=choice("what happens to a template that resembles another identity")
    )
    """What happens to a template that resembles another identity."""
    collision_threshold: float | None = field(
        default=None,
        metadata=number(
            SCORES, "lowest score with another identity that is a collision", absent="the identification threshold"
        ),
    )
    """Lowest score with another identity that is a collision; None takes the identification threshold."""
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
            SCORES, "lowest score with its own identity that is no outlier", absent="the verification threshold"
        ),
    )
    """Lowest score with the best of the identity's other templates that is no outlier; None takes the verification
    threshold."""
    presentation_attack: PresentationAttackAction = field(
        default=PresentationAttackAction.OFF,
        metadata=choice("what happens to a photo that may be a presentation attack"),
    )
    """What the service does about presentation attacks. The plugin has no photos. It stores the setting and does not
    act on it."""
    presentation_attack_threshold: float = field(
        default=0.5,
        metadata=number(Range(0, 1), "lowest score of a bona fide presentation that is accepted, 0 to 1"),
    )
    """Lowest bona fide score that is accepted, 0 to 1. It belongs to one version of the model `face_pad`."""
    mapped_verify_threshold: float | None = field(
        default=None,
        metadata=number(SCORES, "lowest score with a mapped template that accepts a claim", absent="from the map"),
    )
    """Lowest cosine score with a mapped template that accepts a claim; None takes the template map's point."""
    mapped_identify_threshold: float | None = field(
        default=None,
        metadata=number(SCORES, "lowest score with a mapped template that identifies", absent="from the map"),
    )
    """Lowest cosine score with a mapped template that identifies; None takes the template map's point."""
    renew_on_match: RenewOnMatch = field(
        default=RenewOnMatch.OFF, metadata=choice("what a match does about a mapped template")
    )
    """Whether a probe that matches may replace a mapped template."""
    renewal_margin: float = field(
        default=0.1,
        metadata=number(Range(0, 2), "how far a probe must exceed the mapped threshold to replace a mapped template"),
    )
    """How far the probe's score with a mapped template must exceed the mapped threshold to replace it, 0 to 2."""
    calibrated_size: int | None = None
    """Identities in the gallery when ``identify_threshold`` was calibrated; None if it was not calibrated."""
    revision: int = 1
    author: str = ""
    create_time: datetime | None = None


POLICY_SETTINGS = settings_of(Policy)
"""The settings of a policy that a caller may change."""


class PolicyOptions(TypedDict, total=False):
    """Settings of a policy as keyword arguments; None resets one to its default."""

    verify_threshold: float | None
    identify_threshold: float | None
    runner_up_margin: float | None
    target_fmr: float | None
    target_fpir: float | None
    target_ambiguous: float | None
    max_templates: int | None
    when_full: WhenFull | WhenFullName | None
    on_collision: GuardAction | GuardActionName | None
    collision_threshold: float | None
    on_duplicate: GuardAction | GuardActionName | None
    on_outlier: GuardAction | GuardActionName | None
    outlier_threshold: float | None
    presentation_attack: PresentationAttackAction | PresentationAttackActionName | None
    presentation_attack_threshold: float | None
    mapped_verify_threshold: float | None
    mapped_identify_threshold: float | None
    renew_on_match: RenewOnMatch | RenewOnMatchName | None
    renewal_margin: float | None


class PolicyChanges(PolicyOptions, total=False):
    """Changes of a policy. A field that is missing stays as it is; None resets it to its default."""

    calibrated_size: int | None
    """Set by a calibration."""


@dataclass(frozen=True, slots=True)
class MigrationLink:
    """The migration that a gallery is in: what a service must know to embed photos for it."""

    __repr__ = brief

    id: str
    old: Contract
    new: Contract
    promoted: bool
    """Whether the gallery decides under the new contract."""
    map_sha256: str
    """Digest of the template map."""


@dataclass(frozen=True, slots=True)
class MappedTemplates:
    """What decisions need to know about the mapped templates of a gallery."""

    __repr__ = brief

    map_sha256: str
    """Digest of the template map that made them."""
    operating_points: tuple[OperatingPoint, ...] = ()
    """Measured thresholds of native probes against mapped templates; used if the policy sets none."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """A named set of identities under one embedding contract and one policy."""

    __repr__ = brief

    id: str
    contract: Contract
    policy: Policy
    display_name: str = ""
    operating_points: tuple[OperatingPoint, ...] = ()
    """The model card's points for this contract; used if the policy sets no threshold."""
    create_time: datetime | None = None
    update_time: datetime | None = None
    etag: str = ""
    uid: str = field(default="", repr=False, compare=False)
    """Key of its records in the store. Every gallery gets a new one, even if it reuses an id."""
    protection: Protection | None = None
    """How its templates are protected; None if they are not."""
    migration: MigrationLink | None = None
    """The migration that it is in; None if it is in none."""
    mapped: MappedTemplates | None = None
    """Set while it may hold mapped templates under its present contract; None if it holds none."""
