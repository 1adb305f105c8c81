import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from sameface.v1 import face_pb2 as _face_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "inference_runtime", "inference_version", "inference_metrics_url", "store_engine", "store_version", "models", "default_embedder_origin", "parts", "template_maps")
    class Part(_message.Message):
        __slots__ = ("name", "serving", "since_time", "reason")
        NAME_FIELD_NUMBER: _ClassVar[int]
        SERVING_FIELD_NUMBER: _ClassVar[int]
        SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        name: str
        serving: bool
        since_time: _timestamp_pb2.Timestamp
        reason: str
        def __init__(self, name: _Optional[str] = ..., serving: _Optional[bool] = ..., since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...
    class TemplateMap(_message.Message):
        __slots__ = ("old_version", "new_version", "sha256")
        OLD_VERSION_FIELD_NUMBER: _ClassVar[int]
        NEW_VERSION_FIELD_NUMBER: _ClassVar[int]
        SHA256_FIELD_NUMBER: _ClassVar[int]
        old_version: int
        new_version: int
        sha256: str
        def __init__(self, old_version: _Optional[int] = ..., new_version: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...
    class Model(_message.Message):
        __slots__ = ("name", "version", "title", "licence", "contract", "default_embedder", "licence_restriction", "runtime", "takes_whole_images")
        NAME_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        TITLE_FIELD_NUMBER: _ClassVar[int]
        LICENCE_FIELD_NUMBER: _ClassVar[int]
        CONTRACT_FIELD_NUMBER: _ClassVar[int]
        DEFAULT_EMBEDDER_FIELD_NUMBER: _ClassVar[int]
        LICENCE_RESTRICTION_FIELD_NUMBER: _ClassVar[int]
        RUNTIME_FIELD_NUMBER: _ClassVar[int]
        TAKES_WHOLE_IMAGES_FIELD_NUMBER: _ClassVar[int]
        name: str
        version: int
        title: str
        licence: str
        contract: _face_pb2.Contract
        default_embedder: bool
        licence_restriction: str
        runtime: str
        takes_whole_images: bool
        def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., title: _Optional[str] = ..., licence: _Optional[str] = ..., contract: _Optional[_Union[_face_pb2.Contract, _Mapping]] = ..., default_embedder: _Optional[bool] = ..., licence_restriction: _Optional[str] = ..., runtime: _Optional[str] = ..., takes_whole_images: _Optional[bool] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_RUNTIME_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_METRICS_URL_FIELD_NUMBER: _ClassVar[int]
    STORE_ENGINE_FIELD_NUMBER: _ClassVar[int]
    STORE_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_EMBEDDER_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_MAPS_FIELD_NUMBER: _ClassVar[int]
    version: str
    inference_runtime: str
    inference_version: str
    inference_metrics_url: str
    store_engine: str
    store_version: str
    models: _containers.RepeatedCompositeFieldContainer[GetServerInfoResponse.Model]
    default_embedder_origin: str
    parts: _containers.RepeatedCompositeFieldContainer[GetServerInfoResponse.Part]
    template_maps: _containers.RepeatedCompositeFieldContainer[GetServerInfoResponse.TemplateMap]
    def __init__(self, version: _Optional[str] = ..., inference_runtime: _Optional[str] = ..., inference_version: _Optional[str] = ..., inference_metrics_url: _Optional[str] = ..., store_engine: _Optional[str] = ..., store_version: _Optional[str] = ..., models: _Optional[_Iterable[_Union[GetServerInfoResponse.Model, _Mapping]]] = ..., default_embedder_origin: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[GetServerInfoResponse.Part, _Mapping]]] = ..., template_maps: _Optional[_Iterable[_Union[GetServerInfoResponse.TemplateMap, _Mapping]]] = ...) -> None: ...
