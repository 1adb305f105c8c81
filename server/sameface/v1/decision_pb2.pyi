from sameface.v1 import face_pb2 as _face_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_MATCH: _ClassVar[Outcome]
    OUTCOME_AMBIGUOUS: _ClassVar[Outcome]
    OUTCOME_NO_MATCH: _ClassVar[Outcome]

class Scope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCOPE_UNSPECIFIED: _ClassVar[Scope]
    SCOPE_CLAIM: _ClassVar[Scope]
    SCOPE_GALLERY: _ClassVar[Scope]

class ThresholdSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    THRESHOLD_SOURCE_UNSPECIFIED: _ClassVar[ThresholdSource]
    THRESHOLD_SOURCE_REQUEST: _ClassVar[ThresholdSource]
    THRESHOLD_SOURCE_IDENTITY: _ClassVar[ThresholdSource]
    THRESHOLD_SOURCE_GALLERY: _ClassVar[ThresholdSource]
    THRESHOLD_SOURCE_MODEL_CARD: _ClassVar[ThresholdSource]
    THRESHOLD_SOURCE_TEMPLATE_MAP: _ClassVar[ThresholdSource]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_MATCH: Outcome
OUTCOME_AMBIGUOUS: Outcome
OUTCOME_NO_MATCH: Outcome
SCOPE_UNSPECIFIED: Scope
SCOPE_CLAIM: Scope
SCOPE_GALLERY: Scope
THRESHOLD_SOURCE_UNSPECIFIED: ThresholdSource
THRESHOLD_SOURCE_REQUEST: ThresholdSource
THRESHOLD_SOURCE_IDENTITY: ThresholdSource
THRESHOLD_SOURCE_GALLERY: ThresholdSource
THRESHOLD_SOURCE_MODEL_CARD: ThresholdSource
THRESHOLD_SOURCE_TEMPLATE_MAP: ThresholdSource

class Candidate(_message.Message):
    __slots__ = ("identity", "display_name", "score", "template", "embedding_origin")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    identity: str
    display_name: str
    score: float
    template: str
    embedding_origin: _face_pb2.EmbeddingOrigin
    def __init__(self, identity: _Optional[str] = ..., display_name: _Optional[str] = ..., score: _Optional[float] = ..., template: _Optional[str] = ..., embedding_origin: _Optional[_Union[_face_pb2.EmbeddingOrigin, str]] = ...) -> None: ...

class Renewal(_message.Message):
    __slots__ = ("template", "state", "score", "required_score", "reason")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Renewal.State]
        STATE_PROPOSED: _ClassVar[Renewal.State]
        STATE_RENEWED: _ClassVar[Renewal.State]
        STATE_REFUSED: _ClassVar[Renewal.State]
    STATE_UNSPECIFIED: Renewal.State
    STATE_PROPOSED: Renewal.State
    STATE_RENEWED: Renewal.State
    STATE_REFUSED: Renewal.State
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_SCORE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    template: str
    state: Renewal.State
    score: float
    required_score: float
    reason: str
    def __init__(self, template: _Optional[str] = ..., state: _Optional[_Union[Renewal.State, str]] = ..., score: _Optional[float] = ..., required_score: _Optional[float] = ..., reason: _Optional[str] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("outcome", "score", "threshold", "threshold_source", "lead", "runner_up_margin", "scope", "policy_revision", "gallery_size", "target_attained", "threshold_stale", "candidates", "embedding_origin", "renewal")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_SOURCE_FIELD_NUMBER: _ClassVar[int]
    LEAD_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_MARGIN_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    GALLERY_SIZE_FIELD_NUMBER: _ClassVar[int]
    TARGET_ATTAINED_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_STALE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    score: float
    threshold: float
    threshold_source: ThresholdSource
    lead: float
    runner_up_margin: float
    scope: Scope
    policy_revision: int
    gallery_size: int
    target_attained: bool
    threshold_stale: bool
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    embedding_origin: _face_pb2.EmbeddingOrigin
    renewal: Renewal
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., score: _Optional[float] = ..., threshold: _Optional[float] = ..., threshold_source: _Optional[_Union[ThresholdSource, str]] = ..., lead: _Optional[float] = ..., runner_up_margin: _Optional[float] = ..., scope: _Optional[_Union[Scope, str]] = ..., policy_revision: _Optional[int] = ..., gallery_size: _Optional[int] = ..., target_attained: _Optional[bool] = ..., threshold_stale: _Optional[bool] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., embedding_origin: _Optional[_Union[_face_pb2.EmbeddingOrigin, str]] = ..., renewal: _Optional[_Union[Renewal, _Mapping]] = ...) -> None: ...
