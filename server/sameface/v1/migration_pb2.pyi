import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from sameface.v1 import calibration_pb2 as _calibration_pb2
from sameface.v1 import face_pb2 as _face_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Migration(_message.Message):
    __slots__ = ("name", "state", "old_contract", "new_contract", "map_sha256", "template_count", "mapped_count", "native_count", "templates_per_second", "failure", "author", "create_time", "update_time", "end_time", "estimated_end_time", "etag", "licence_restriction")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Migration.State]
        STATE_MAPPING: _ClassVar[Migration.State]
        STATE_PAUSED: _ClassVar[Migration.State]
        STATE_MAPPED: _ClassVar[Migration.State]
        STATE_PROMOTED: _ClassVar[Migration.State]
        STATE_FINISHED: _ClassVar[Migration.State]
        STATE_ROLLED_BACK: _ClassVar[Migration.State]
        STATE_CANCELLED: _ClassVar[Migration.State]
    STATE_UNSPECIFIED: Migration.State
    STATE_MAPPING: Migration.State
    STATE_PAUSED: Migration.State
    STATE_MAPPED: Migration.State
    STATE_PROMOTED: Migration.State
    STATE_FINISHED: Migration.State
    STATE_ROLLED_BACK: Migration.State
    STATE_CANCELLED: Migration.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OLD_CONTRACT_FIELD_NUMBER: _ClassVar[int]
    NEW_CONTRACT_FIELD_NUMBER: _ClassVar[int]
    MAP_SHA256_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    NATIVE_COUNT_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_END_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    LICENCE_RESTRICTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: Migration.State
    old_contract: _face_pb2.Contract
    new_contract: _face_pb2.Contract
    map_sha256: str
    template_count: int
    mapped_count: int
    native_count: int
    templates_per_second: float
    failure: str
    author: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    estimated_end_time: _timestamp_pb2.Timestamp
    etag: str
    licence_restriction: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[Migration.State, str]] = ..., old_contract: _Optional[_Union[_face_pb2.Contract, _Mapping]] = ..., new_contract: _Optional[_Union[_face_pb2.Contract, _Mapping]] = ..., map_sha256: _Optional[str] = ..., template_count: _Optional[int] = ..., mapped_count: _Optional[int] = ..., native_count: _Optional[int] = ..., templates_per_second: _Optional[float] = ..., failure: _Optional[str] = ..., author: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., estimated_end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., licence_restriction: _Optional[str] = ...) -> None: ...

class MigrationPlan(_message.Message):
    __slots__ = ("old_contract", "new_contract", "map_sha256", "template_count", "native_count", "mapped_count", "expired_count", "seconds", "bytes", "identity_thresholds", "compared_decisions", "changed_decisions", "problems", "thresholds", "licence_restriction")
    OLD_CONTRACT_FIELD_NUMBER: _ClassVar[int]
    NEW_CONTRACT_FIELD_NUMBER: _ClassVar[int]
    MAP_SHA256_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    NATIVE_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    COMPARED_DECISIONS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_DECISIONS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    LICENCE_RESTRICTION_FIELD_NUMBER: _ClassVar[int]
    old_contract: _face_pb2.Contract
    new_contract: _face_pb2.Contract
    map_sha256: str
    template_count: int
    native_count: int
    mapped_count: int
    expired_count: int
    seconds: float
    bytes: int
    identity_thresholds: int
    compared_decisions: int
    changed_decisions: int
    problems: _containers.RepeatedScalarFieldContainer[str]
    thresholds: _containers.RepeatedCompositeFieldContainer[PlannedThresholds]
    licence_restriction: str
    def __init__(self, old_contract: _Optional[_Union[_face_pb2.Contract, _Mapping]] = ..., new_contract: _Optional[_Union[_face_pb2.Contract, _Mapping]] = ..., map_sha256: _Optional[str] = ..., template_count: _Optional[int] = ..., native_count: _Optional[int] = ..., mapped_count: _Optional[int] = ..., expired_count: _Optional[int] = ..., seconds: _Optional[float] = ..., bytes: _Optional[int] = ..., identity_thresholds: _Optional[int] = ..., compared_decisions: _Optional[int] = ..., changed_decisions: _Optional[int] = ..., problems: _Optional[_Iterable[str]] = ..., thresholds: _Optional[_Iterable[_Union[PlannedThresholds, _Mapping]]] = ..., licence_restriction: _Optional[str] = ...) -> None: ...

class PlannedThresholds(_message.Message):
    __slots__ = ("operation", "present", "native", "mapped")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    NATIVE_FIELD_NUMBER: _ClassVar[int]
    MAPPED_FIELD_NUMBER: _ClassVar[int]
    operation: _calibration_pb2.Operation
    present: float
    native: float
    mapped: float
    def __init__(self, operation: _Optional[_Union[_calibration_pb2.Operation, str]] = ..., present: _Optional[float] = ..., native: _Optional[float] = ..., mapped: _Optional[float] = ...) -> None: ...
