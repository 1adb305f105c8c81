import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from sameface.v1 import face_pb2 as _face_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RenewOnMatch(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RENEW_ON_MATCH_UNSPECIFIED: _ClassVar[RenewOnMatch]
    RENEW_ON_MATCH_OFF: _ClassVar[RenewOnMatch]
    RENEW_ON_MATCH_PROPOSE: _ClassVar[RenewOnMatch]
    RENEW_ON_MATCH_APPLY: _ClassVar[RenewOnMatch]

class PresentationAttackAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRESENTATION_ATTACK_ACTION_UNSPECIFIED: _ClassVar[PresentationAttackAction]
    PRESENTATION_ATTACK_ACTION_OFF: _ClassVar[PresentationAttackAction]
    PRESENTATION_ATTACK_ACTION_REPORT: _ClassVar[PresentationAttackAction]
    PRESENTATION_ATTACK_ACTION_REJECT: _ClassVar[PresentationAttackAction]

class GuardAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GUARD_ACTION_UNSPECIFIED: _ClassVar[GuardAction]
    GUARD_ACTION_ALLOW: _ClassVar[GuardAction]
    GUARD_ACTION_WARN: _ClassVar[GuardAction]
    GUARD_ACTION_REJECT: _ClassVar[GuardAction]

class WhenFull(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WHEN_FULL_UNSPECIFIED: _ClassVar[WhenFull]
    WHEN_FULL_REJECT: _ClassVar[WhenFull]
    WHEN_FULL_REPLACE_OLDEST: _ClassVar[WhenFull]
    WHEN_FULL_REPLACE_LOWEST_QUALITY: _ClassVar[WhenFull]
    WHEN_FULL_REPLACE_MOST_REDUNDANT: _ClassVar[WhenFull]
RENEW_ON_MATCH_UNSPECIFIED: RenewOnMatch
RENEW_ON_MATCH_OFF: RenewOnMatch
RENEW_ON_MATCH_PROPOSE: RenewOnMatch
RENEW_ON_MATCH_APPLY: RenewOnMatch
PRESENTATION_ATTACK_ACTION_UNSPECIFIED: PresentationAttackAction
PRESENTATION_ATTACK_ACTION_OFF: PresentationAttackAction
PRESENTATION_ATTACK_ACTION_REPORT: PresentationAttackAction
PRESENTATION_ATTACK_ACTION_REJECT: PresentationAttackAction
GUARD_ACTION_UNSPECIFIED: GuardAction
GUARD_ACTION_ALLOW: GuardAction
GUARD_ACTION_WARN: GuardAction
GUARD_ACTION_REJECT: GuardAction
WHEN_FULL_UNSPECIFIED: WhenFull
WHEN_FULL_REJECT: WhenFull
WHEN_FULL_REPLACE_OLDEST: WhenFull
WHEN_FULL_REPLACE_LOWEST_QUALITY: WhenFull
WHEN_FULL_REPLACE_MOST_REDUNDANT: WhenFull

class Gallery(_message.Message):
    __slots__ = ("name", "display_name", "contract", "policy", "create_time", "update_time", "etag", "licence_restriction", "protection", "migration", "mapped_templates")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    LICENCE_RESTRICTION_FIELD_NUMBER: _ClassVar[int]
    PROTECTION_FIELD_NUMBER: _ClassVar[int]
    MIGRATION_FIELD_NUMBER: _ClassVar[int]
    MAPPED_TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    contract: _face_pb2.Contract
    policy: Policy
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    etag: str
    licence_restriction: str
    protection: TemplateProtection
    migration: str
    mapped_templates: MappedTemplates
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., contract: _Optional[_Union[_face_pb2.Contract, _Mapping]] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., licence_restriction: _Optional[str] = ..., protection: _Optional[_Union[TemplateProtection, _Mapping]] = ..., migration: _Optional[str] = ..., mapped_templates: _Optional[_Union[MappedTemplates, _Mapping]] = ...) -> None: ...

class MappedTemplates(_message.Message):
    __slots__ = ("map_sha256", "operating_points")
    MAP_SHA256_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINTS_FIELD_NUMBER: _ClassVar[int]
    map_sha256: str
    operating_points: _containers.RepeatedCompositeFieldContainer[OperatingPoint]
    def __init__(self, map_sha256: _Optional[str] = ..., operating_points: _Optional[_Iterable[_Union[OperatingPoint, _Mapping]]] = ...) -> None: ...

class OperatingPoint(_message.Message):
    __slots__ = ("fmr", "threshold")
    FMR_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    fmr: float
    threshold: float
    def __init__(self, fmr: _Optional[float] = ..., threshold: _Optional[float] = ...) -> None: ...

class TemplateProtection(_message.Message):
    __slots__ = ("key_id", "generation", "rekeying")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REKEYING_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    generation: int
    rekeying: bool
    def __init__(self, key_id: _Optional[str] = ..., generation: _Optional[int] = ..., rekeying: _Optional[bool] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("verify_threshold", "identify_threshold", "runner_up_margin", "target_fmr", "target_fpir", "max_templates", "target_ambiguous", "revision", "create_time", "calibrated_size", "author", "when_full", "on_collision", "collision_threshold", "on_duplicate", "on_outlier", "outlier_threshold", "presentation_attack", "presentation_attack_threshold", "mapped_verify_threshold", "mapped_identify_threshold", "renew_on_match", "renewal_margin")
    VERIFY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    IDENTIFY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_MARGIN_FIELD_NUMBER: _ClassVar[int]
    TARGET_FMR_FIELD_NUMBER: _ClassVar[int]
    TARGET_FPIR_FIELD_NUMBER: _ClassVar[int]
    MAX_TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    TARGET_AMBIGUOUS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CALIBRATED_SIZE_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    WHEN_FULL_FIELD_NUMBER: _ClassVar[int]
    ON_COLLISION_FIELD_NUMBER: _ClassVar[int]
    COLLISION_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    ON_DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    ON_OUTLIER_FIELD_NUMBER: _ClassVar[int]
    OUTLIER_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    PRESENTATION_ATTACK_FIELD_NUMBER: _ClassVar[int]
    PRESENTATION_ATTACK_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MAPPED_VERIFY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MAPPED_IDENTIFY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    RENEW_ON_MATCH_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_MARGIN_FIELD_NUMBER: _ClassVar[int]
    verify_threshold: float
    identify_threshold: float
    runner_up_margin: float
    target_fmr: float
    target_fpir: float
    max_templates: int
    target_ambiguous: float
    revision: int
    create_time: _timestamp_pb2.Timestamp
    calibrated_size: int
    author: str
    when_full: WhenFull
    on_collision: GuardAction
    collision_threshold: float
    on_duplicate: GuardAction
    on_outlier: GuardAction
    outlier_threshold: float
    presentation_attack: PresentationAttackAction
    presentation_attack_threshold: float
    mapped_verify_threshold: float
    mapped_identify_threshold: float
    renew_on_match: RenewOnMatch
    renewal_margin: float
    def __init__(self, verify_threshold: _Optional[float] = ..., identify_threshold: _Optional[float] = ..., runner_up_margin: _Optional[float] = ..., target_fmr: _Optional[float] = ..., target_fpir: _Optional[float] = ..., max_templates: _Optional[int] = ..., target_ambiguous: _Optional[float] = ..., revision: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., calibrated_size: _Optional[int] = ..., author: _Optional[str] = ..., when_full: _Optional[_Union[WhenFull, str]] = ..., on_collision: _Optional[_Union[GuardAction, str]] = ..., collision_threshold: _Optional[float] = ..., on_duplicate: _Optional[_Union[GuardAction, str]] = ..., on_outlier: _Optional[_Union[GuardAction, str]] = ..., outlier_threshold: _Optional[float] = ..., presentation_attack: _Optional[_Union[PresentationAttackAction, str]] = ..., presentation_attack_threshold: _Optional[float] = ..., mapped_verify_threshold: _Optional[float] = ..., mapped_identify_threshold: _Optional[float] = ..., renew_on_match: _Optional[_Union[RenewOnMatch, str]] = ..., renewal_margin: _Optional[float] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("kind", "identity", "template", "score", "threshold")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Finding.Kind]
        KIND_COLLISION: _ClassVar[Finding.Kind]
        KIND_DUPLICATE: _ClassVar[Finding.Kind]
        KIND_OUTLIER: _ClassVar[Finding.Kind]
        KIND_REPLACED: _ClassVar[Finding.Kind]
        KIND_NOT_CHECKED: _ClassVar[Finding.Kind]
    KIND_UNSPECIFIED: Finding.Kind
    KIND_COLLISION: Finding.Kind
    KIND_DUPLICATE: Finding.Kind
    KIND_OUTLIER: Finding.Kind
    KIND_REPLACED: Finding.Kind
    KIND_NOT_CHECKED: Finding.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    kind: Finding.Kind
    identity: str
    template: str
    score: float
    threshold: float
    def __init__(self, kind: _Optional[_Union[Finding.Kind, str]] = ..., identity: _Optional[str] = ..., template: _Optional[str] = ..., score: _Optional[float] = ..., threshold: _Optional[float] = ...) -> None: ...

class ErasureReceipt(_message.Message):
    __slots__ = ("name", "state", "erased", "templates", "records", "erase_time", "done_time", "engine", "unreadable", "compacted", "sampled", "evidence", "not_covered", "failure")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[ErasureReceipt.State]
        STATE_PENDING: _ClassVar[ErasureReceipt.State]
        STATE_DONE: _ClassVar[ErasureReceipt.State]
    STATE_UNSPECIFIED: ErasureReceipt.State
    STATE_PENDING: ErasureReceipt.State
    STATE_DONE: ErasureReceipt.State
    class ByteEvidence(_message.Message):
        __slots__ = ("representation", "sought", "found_before", "found_after", "held_elsewhere")
        REPRESENTATION_FIELD_NUMBER: _ClassVar[int]
        SOUGHT_FIELD_NUMBER: _ClassVar[int]
        FOUND_BEFORE_FIELD_NUMBER: _ClassVar[int]
        FOUND_AFTER_FIELD_NUMBER: _ClassVar[int]
        HELD_ELSEWHERE_FIELD_NUMBER: _ClassVar[int]
        representation: str
        sought: int
        found_before: int
        found_after: int
        held_elsewhere: int
        def __init__(self, representation: _Optional[str] = ..., sought: _Optional[int] = ..., found_before: _Optional[int] = ..., found_after: _Optional[int] = ..., held_elsewhere: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERASED_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    ERASE_TIME_FIELD_NUMBER: _ClassVar[int]
    DONE_TIME_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    UNREADABLE_FIELD_NUMBER: _ClassVar[int]
    COMPACTED_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    NOT_COVERED_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: ErasureReceipt.State
    erased: str
    templates: int
    records: int
    erase_time: _timestamp_pb2.Timestamp
    done_time: _timestamp_pb2.Timestamp
    engine: str
    unreadable: bool
    compacted: bool
    sampled: int
    evidence: _containers.RepeatedCompositeFieldContainer[ErasureReceipt.ByteEvidence]
    not_covered: _containers.RepeatedScalarFieldContainer[str]
    failure: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[ErasureReceipt.State, str]] = ..., erased: _Optional[str] = ..., templates: _Optional[int] = ..., records: _Optional[int] = ..., erase_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., done_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., engine: _Optional[str] = ..., unreadable: _Optional[bool] = ..., compacted: _Optional[bool] = ..., sampled: _Optional[int] = ..., evidence: _Optional[_Iterable[_Union[ErasureReceipt.ByteEvidence, _Mapping]]] = ..., not_covered: _Optional[_Iterable[str]] = ..., failure: _Optional[str] = ...) -> None: ...

class Identity(_message.Message):
    __slots__ = ("name", "display_name", "labels", "verify_threshold", "template_count", "create_time", "update_time", "etag", "consent_reference", "purpose", "expire_time")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    VERIFY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CONSENT_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    labels: _containers.ScalarMap[str, str]
    verify_threshold: float
    template_count: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    etag: str
    consent_reference: str
    purpose: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., verify_threshold: _Optional[float] = ..., template_count: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., consent_reference: _Optional[str] = ..., purpose: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Template(_message.Message):
    __slots__ = ("name", "origin", "quality", "create_time", "expire_time", "embedding_origin", "map_sha256", "renew_time")
    class Origin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ORIGIN_UNSPECIFIED: _ClassVar[Template.Origin]
        ORIGIN_PHOTO: _ClassVar[Template.Origin]
        ORIGIN_EMBEDDING: _ClassVar[Template.Origin]
    ORIGIN_UNSPECIFIED: Template.Origin
    ORIGIN_PHOTO: Template.Origin
    ORIGIN_EMBEDDING: Template.Origin
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    MAP_SHA256_FIELD_NUMBER: _ClassVar[int]
    RENEW_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    origin: Template.Origin
    quality: _containers.RepeatedCompositeFieldContainer[_face_pb2.QualityComponent]
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    embedding_origin: _face_pb2.EmbeddingOrigin
    map_sha256: str
    renew_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., origin: _Optional[_Union[Template.Origin, str]] = ..., quality: _Optional[_Iterable[_Union[_face_pb2.QualityComponent, _Mapping]]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., embedding_origin: _Optional[_Union[_face_pb2.EmbeddingOrigin, str]] = ..., map_sha256: _Optional[str] = ..., renew_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
