from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from sameface.v1 import gallery_pb2 as _gallery_pb2
from sameface.v1 import migration_pb2 as _migration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateMigrationRequest(_message.Message):
    __slots__ = ("parent", "embedder_version", "templates_per_second", "request_id", "validate_only")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_VERSION_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    embedder_version: int
    templates_per_second: float
    request_id: str
    validate_only: bool
    def __init__(self, parent: _Optional[str] = ..., embedder_version: _Optional[int] = ..., templates_per_second: _Optional[float] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class CreateMigrationResponse(_message.Message):
    __slots__ = ("migration", "plan")
    MIGRATION_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    migration: _migration_pb2.Migration
    plan: _migration_pb2.MigrationPlan
    def __init__(self, migration: _Optional[_Union[_migration_pb2.Migration, _Mapping]] = ..., plan: _Optional[_Union[_migration_pb2.MigrationPlan, _Mapping]] = ...) -> None: ...

class GetMigrationRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListMigrationsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListMigrationsResponse(_message.Message):
    __slots__ = ("migrations", "next_page_token")
    MIGRATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    migrations: _containers.RepeatedCompositeFieldContainer[_migration_pb2.Migration]
    next_page_token: str
    def __init__(self, migrations: _Optional[_Iterable[_Union[_migration_pb2.Migration, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class PauseMigrationRequest(_message.Message):
    __slots__ = ("name", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class ResumeMigrationRequest(_message.Message):
    __slots__ = ("name", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class PromoteMigrationRequest(_message.Message):
    __slots__ = ("name", "etag", "policy", "drop_identity_thresholds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    DROP_IDENTITY_THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    policy: _gallery_pb2.Policy
    drop_identity_thresholds: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., policy: _Optional[_Union[_gallery_pb2.Policy, _Mapping]] = ..., drop_identity_thresholds: _Optional[bool] = ...) -> None: ...

class RollBackMigrationRequest(_message.Message):
    __slots__ = ("name", "etag", "discard_new")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    DISCARD_NEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    discard_new: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., discard_new: _Optional[bool] = ...) -> None: ...

class CancelMigrationRequest(_message.Message):
    __slots__ = ("name", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class FinishMigrationRequest(_message.Message):
    __slots__ = ("name", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...
