"""Options of the clients' methods, given as keyword arguments."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypedDict

from sameface.client.answers.evidence import Cohort, LabelledScores, RecordedDecisions
from sameface.client.enums import (
    EmbeddingOrigin,
    GuardAction,
    Origin,
    PresentationAttackAction,
    RenewOnMatch,
    Scope,
    WhenFull,
)
from sameface.v1 import calibration_pb2

# The package of the plugin loads the whole store, which a client does not need.
if TYPE_CHECKING:
    from sameface_qdrant.values import gallery as plugin

ScopeName = Literal["claim", "gallery"]
SelectionName = Literal["largest", "most_central", "error"]
OriginName = Literal["photo", "embedding"]
EmbeddingOriginName = Literal["native", "mapped"]
OperationName = Literal["verification", "identification"]


class EnrollOptions(TypedDict, total=False):
    """Options of an enrolment; None is the default."""

    create_identity: bool
    """Whether to make an identity that does not exist; True by default."""
    display_name: str
    labels: Mapping[str, str]
    face_selection: SelectionName | None
    consent_reference: str
    purpose: str
    expire_time: datetime | None
    request_id: str | None
    """A UUID that names this enrolment: a call with the same one adds no second template. None or empty: the service
    recognises the photo or embedding itself, at any later time."""
    validate_only: bool
    renew: bool
    """The photo was enrolled before: if that template is a mapped one, this photo's embedding replaces the mapped one.
    The template keeps its name."""


class VerifyOptions(TypedDict, total=False):
    """Options of a verification; None is the default."""

    scope: ScopeName | Scope | None
    verify_threshold: float | None
    runner_up_margin: float | None
    face_selection: SelectionName | None


class IdentifyOptions(TypedDict, total=False):
    """Options of an identification; None is the default."""

    all_faces: bool
    face_selection: SelectionName | None
    identify_threshold: float | None
    runner_up_margin: float | None
    max_candidates: int


class CompareOptions(TypedDict, total=False):
    """Options of a comparison; None is the default."""

    verify_threshold: float | None
    target_fmr: float | None
    face_selection: SelectionName | None
    embedder_version: int
    embedder_model: str


class SearchOptions(TypedDict, total=False):
    """Options of a search; None is the default."""

    face_selection: SelectionName | None
    identities: Iterable[str]
    exclude_identities: Iterable[str]
    labels: Mapping[str, str]
    origin: OriginName | Origin | None
    max_results: int
    min_score: float | None


class PolicyOptions(TypedDict, total=False):
    """Settings of a policy; None resets one to its default."""

    verify_threshold: float | None
    identify_threshold: float | None
    runner_up_margin: float | None
    target_fmr: float | None
    target_fpir: float | None
    target_ambiguous: float | None
    max_templates: int | None
    when_full: "WhenFull | plugin.WhenFull | plugin.WhenFullName | None"
    on_collision: "GuardAction | plugin.GuardAction | plugin.GuardActionName | None"
    collision_threshold: float | None
    on_duplicate: "GuardAction | plugin.GuardAction | plugin.GuardActionName | None"
    on_outlier: "GuardAction | plugin.GuardAction | plugin.GuardActionName | None"
    outlier_threshold: float | None
    presentation_attack: (
        "PresentationAttackAction | plugin.PresentationAttackAction | plugin.PresentationAttackActionName | None"
    )
    presentation_attack_threshold: float | None
    mapped_verify_threshold: float | None
    mapped_identify_threshold: float | None
    renew_on_match: "RenewOnMatch | plugin.RenewOnMatch | plugin.RenewOnMatchName | None"
    renewal_margin: float | None


class CalibrateOptions(TypedDict, total=False):
    """Options of a calibration; without ``validate_only`` the policy is changed."""

    validate_only: bool
    accept_supported: bool
    operation: OperationName | None
    scores: LabelledScores | calibration_pb2.LabelledScores | None
    cohort: Cohort | calibration_pb2.Cohort | None
    """Give ``scores`` or ``cohort``. Without both, the gallery's own templates are compared."""
    propose_identity_thresholds: bool
    etag: str
    embedding_origin: EmbeddingOriginName | EmbeddingOrigin | None
    """Measure the thresholds of templates of this origin alone. None: those of native templates, and beside them those
    of mapped ones as far as the templates support it."""


class WhatIfOptions(TypedDict, total=False):
    """Options of what-if; None keeps what the policy has."""

    threshold: float | None
    runner_up_margin: float | None
    scope: ScopeName | Scope | None
    """Of verifications that compare templates; None is the whole gallery."""
    decisions: RecordedDecisions | calibration_pb2.RecordedDecisions | None


class IdentityOptions(TypedDict, total=False):
    """Fields of an identity; None clears a threshold or expiry."""

    display_name: str
    labels: Mapping[str, str]
    verify_threshold: float | None
    consent_reference: str
    purpose: str
    expire_time: datetime | None
