import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from sameface.v1 import decision_pb2 as _decision_pb2
from sameface.v1 import face_pb2 as _face_pb2
from sameface.v1 import gallery_pb2 as _gallery_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnrollTemplateRequest(_message.Message):
    __slots__ = ("parent", "sample", "allow_missing", "display_name", "face_selection", "expire_time", "request_id", "validate_only")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    FACE_SELECTION_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    sample: _face_pb2.Sample
    allow_missing: bool
    display_name: str
    face_selection: _face_pb2.FaceSelection
    expire_time: _timestamp_pb2.Timestamp
    request_id: str
    validate_only: bool
    def __init__(self, parent: _Optional[str] = ..., sample: _Optional[_Union[_face_pb2.Sample, _Mapping]] = ..., allow_missing: _Optional[bool] = ..., display_name: _Optional[str] = ..., face_selection: _Optional[_Union[_face_pb2.FaceSelection, str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class EnrollTemplateResponse(_message.Message):
    __slots__ = ("template", "face")
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    FACE_FIELD_NUMBER: _ClassVar[int]
    template: _gallery_pb2.Template
    face: _face_pb2.Face
    def __init__(self, template: _Optional[_Union[_gallery_pb2.Template, _Mapping]] = ..., face: _Optional[_Union[_face_pb2.Face, _Mapping]] = ...) -> None: ...

class VerifyFaceRequest(_message.Message):
    __slots__ = ("name", "sample", "scope", "verify_threshold", "runner_up_margin", "face_selection")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    VERIFY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_MARGIN_FIELD_NUMBER: _ClassVar[int]
    FACE_SELECTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    sample: _face_pb2.Sample
    scope: _decision_pb2.Scope
    verify_threshold: float
    runner_up_margin: float
    face_selection: _face_pb2.FaceSelection
    def __init__(self, name: _Optional[str] = ..., sample: _Optional[_Union[_face_pb2.Sample, _Mapping]] = ..., scope: _Optional[_Union[_decision_pb2.Scope, str]] = ..., verify_threshold: _Optional[float] = ..., runner_up_margin: _Optional[float] = ..., face_selection: _Optional[_Union[_face_pb2.FaceSelection, str]] = ...) -> None: ...

class VerifyFaceResponse(_message.Message):
    __slots__ = ("decision", "face")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    FACE_FIELD_NUMBER: _ClassVar[int]
    decision: _decision_pb2.Decision
    face: _face_pb2.Face
    def __init__(self, decision: _Optional[_Union[_decision_pb2.Decision, _Mapping]] = ..., face: _Optional[_Union[_face_pb2.Face, _Mapping]] = ...) -> None: ...

class IdentifyFacesRequest(_message.Message):
    __slots__ = ("gallery", "sample", "all_faces", "face_selection", "identify_threshold", "runner_up_margin", "max_candidates")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    ALL_FACES_FIELD_NUMBER: _ClassVar[int]
    FACE_SELECTION_FIELD_NUMBER: _ClassVar[int]
    IDENTIFY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_MARGIN_FIELD_NUMBER: _ClassVar[int]
    MAX_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    sample: _face_pb2.Sample
    all_faces: bool
    face_selection: _face_pb2.FaceSelection
    identify_threshold: float
    runner_up_margin: float
    max_candidates: int
    def __init__(self, gallery: _Optional[str] = ..., sample: _Optional[_Union[_face_pb2.Sample, _Mapping]] = ..., all_faces: _Optional[bool] = ..., face_selection: _Optional[_Union[_face_pb2.FaceSelection, str]] = ..., identify_threshold: _Optional[float] = ..., runner_up_margin: _Optional[float] = ..., max_candidates: _Optional[int] = ...) -> None: ...

class IdentifyFacesResponse(_message.Message):
    __slots__ = ("faces",)
    class IdentifiedFace(_message.Message):
        __slots__ = ("decision", "face")
        DECISION_FIELD_NUMBER: _ClassVar[int]
        FACE_FIELD_NUMBER: _ClassVar[int]
        decision: _decision_pb2.Decision
        face: _face_pb2.Face
        def __init__(self, decision: _Optional[_Union[_decision_pb2.Decision, _Mapping]] = ..., face: _Optional[_Union[_face_pb2.Face, _Mapping]] = ...) -> None: ...
    FACES_FIELD_NUMBER: _ClassVar[int]
    faces: _containers.RepeatedCompositeFieldContainer[IdentifyFacesResponse.IdentifiedFace]
    def __init__(self, faces: _Optional[_Iterable[_Union[IdentifyFacesResponse.IdentifiedFace, _Mapping]]] = ...) -> None: ...

class CompareFacesRequest(_message.Message):
    __slots__ = ("first", "second", "verify_threshold", "target_fmr", "face_selection", "embedder_version")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    VERIFY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FMR_FIELD_NUMBER: _ClassVar[int]
    FACE_SELECTION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_VERSION_FIELD_NUMBER: _ClassVar[int]
    first: _face_pb2.Sample
    second: _face_pb2.Sample
    verify_threshold: float
    target_fmr: float
    face_selection: _face_pb2.FaceSelection
    embedder_version: int
    def __init__(self, first: _Optional[_Union[_face_pb2.Sample, _Mapping]] = ..., second: _Optional[_Union[_face_pb2.Sample, _Mapping]] = ..., verify_threshold: _Optional[float] = ..., target_fmr: _Optional[float] = ..., face_selection: _Optional[_Union[_face_pb2.FaceSelection, str]] = ..., embedder_version: _Optional[int] = ...) -> None: ...

class CompareFacesResponse(_message.Message):
    __slots__ = ("decision", "first_face", "second_face")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    FIRST_FACE_FIELD_NUMBER: _ClassVar[int]
    SECOND_FACE_FIELD_NUMBER: _ClassVar[int]
    decision: _decision_pb2.Decision
    first_face: _face_pb2.Face
    second_face: _face_pb2.Face
    def __init__(self, decision: _Optional[_Union[_decision_pb2.Decision, _Mapping]] = ..., first_face: _Optional[_Union[_face_pb2.Face, _Mapping]] = ..., second_face: _Optional[_Union[_face_pb2.Face, _Mapping]] = ...) -> None: ...

class DetectFacesRequest(_message.Message):
    __slots__ = ("photo",)
    PHOTO_FIELD_NUMBER: _ClassVar[int]
    photo: bytes
    def __init__(self, photo: _Optional[bytes] = ...) -> None: ...

class DetectFacesResponse(_message.Message):
    __slots__ = ("faces", "width", "height")
    FACES_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    faces: _containers.RepeatedCompositeFieldContainer[_face_pb2.Face]
    width: int
    height: int
    def __init__(self, faces: _Optional[_Iterable[_Union[_face_pb2.Face, _Mapping]]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class EmbedFacesRequest(_message.Message):
    __slots__ = ("photo", "embedder_version")
    PHOTO_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_VERSION_FIELD_NUMBER: _ClassVar[int]
    photo: bytes
    embedder_version: int
    def __init__(self, photo: _Optional[bytes] = ..., embedder_version: _Optional[int] = ...) -> None: ...

class EmbedFacesResponse(_message.Message):
    __slots__ = ("faces", "width", "height")
    class EmbeddedFace(_message.Message):
        __slots__ = ("face", "embedding")
        FACE_FIELD_NUMBER: _ClassVar[int]
        EMBEDDING_FIELD_NUMBER: _ClassVar[int]
        face: _face_pb2.Face
        embedding: _face_pb2.Embedding
        def __init__(self, face: _Optional[_Union[_face_pb2.Face, _Mapping]] = ..., embedding: _Optional[_Union[_face_pb2.Embedding, _Mapping]] = ...) -> None: ...
    FACES_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    faces: _containers.RepeatedCompositeFieldContainer[EmbedFacesResponse.EmbeddedFace]
    width: int
    height: int
    def __init__(self, faces: _Optional[_Iterable[_Union[EmbedFacesResponse.EmbeddedFace, _Mapping]]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...
