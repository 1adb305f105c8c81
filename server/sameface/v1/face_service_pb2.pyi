import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
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
    __slots__ = ("parent", "sample", "allow_missing", "display_name", "face_selection", "expire_time", "request_id", "validate_only", "labels", "consent_reference", "purpose", "renew")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PARENT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    FACE_SELECTION_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CONSENT_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    parent: str
    sample: _face_pb2.Sample
    allow_missing: bool
    display_name: str
    face_selection: _face_pb2.FaceSelection
    expire_time: _timestamp_pb2.Timestamp
    request_id: str
    validate_only: bool
    labels: _containers.ScalarMap[str, str]
    consent_reference: str
    purpose: str
    renew: bool
    def __init__(self, parent: _Optional[str] = ..., sample: _Optional[_Union[_face_pb2.Sample, _Mapping]] = ..., allow_missing: _Optional[bool] = ..., display_name: _Optional[str] = ..., face_selection: _Optional[_Union[_face_pb2.FaceSelection, str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ..., labels: _Optional[_Mapping[str, str]] = ..., consent_reference: _Optional[str] = ..., purpose: _Optional[str] = ..., renew: _Optional[bool] = ...) -> None: ...

class EnrollTemplateResponse(_message.Message):
    __slots__ = ("template", "face", "findings")
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    FACE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    template: _gallery_pb2.Template
    face: _face_pb2.Face
    findings: _containers.RepeatedCompositeFieldContainer[_gallery_pb2.Finding]
    def __init__(self, template: _Optional[_Union[_gallery_pb2.Template, _Mapping]] = ..., face: _Optional[_Union[_face_pb2.Face, _Mapping]] = ..., findings: _Optional[_Iterable[_Union[_gallery_pb2.Finding, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("faces", "faces_found")
    class IdentifiedFace(_message.Message):
        __slots__ = ("decision", "face")
        DECISION_FIELD_NUMBER: _ClassVar[int]
        FACE_FIELD_NUMBER: _ClassVar[int]
        decision: _decision_pb2.Decision
        face: _face_pb2.Face
        def __init__(self, decision: _Optional[_Union[_decision_pb2.Decision, _Mapping]] = ..., face: _Optional[_Union[_face_pb2.Face, _Mapping]] = ...) -> None: ...
    FACES_FIELD_NUMBER: _ClassVar[int]
    FACES_FOUND_FIELD_NUMBER: _ClassVar[int]
    faces: _containers.RepeatedCompositeFieldContainer[IdentifyFacesResponse.IdentifiedFace]
    faces_found: int
    def __init__(self, faces: _Optional[_Iterable[_Union[IdentifyFacesResponse.IdentifiedFace, _Mapping]]] = ..., faces_found: _Optional[int] = ...) -> None: ...

class StreamIdentifyFacesRequest(_message.Message):
    __slots__ = ("settings", "sample", "tag")
    class Settings(_message.Message):
        __slots__ = ("gallery", "all_faces", "face_selection", "identify_threshold", "runner_up_margin", "max_candidates")
        GALLERY_FIELD_NUMBER: _ClassVar[int]
        ALL_FACES_FIELD_NUMBER: _ClassVar[int]
        FACE_SELECTION_FIELD_NUMBER: _ClassVar[int]
        IDENTIFY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
        RUNNER_UP_MARGIN_FIELD_NUMBER: _ClassVar[int]
        MAX_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
        gallery: str
        all_faces: bool
        face_selection: _face_pb2.FaceSelection
        identify_threshold: float
        runner_up_margin: float
        max_candidates: int
        def __init__(self, gallery: _Optional[str] = ..., all_faces: _Optional[bool] = ..., face_selection: _Optional[_Union[_face_pb2.FaceSelection, str]] = ..., identify_threshold: _Optional[float] = ..., runner_up_margin: _Optional[float] = ..., max_candidates: _Optional[int] = ...) -> None: ...
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    settings: StreamIdentifyFacesRequest.Settings
    sample: _face_pb2.Sample
    tag: str
    def __init__(self, settings: _Optional[_Union[StreamIdentifyFacesRequest.Settings, _Mapping]] = ..., sample: _Optional[_Union[_face_pb2.Sample, _Mapping]] = ..., tag: _Optional[str] = ...) -> None: ...

class StreamIdentifyFacesResponse(_message.Message):
    __slots__ = ("tag", "index", "faces", "error", "faces_found")
    TAG_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FACES_FOUND_FIELD_NUMBER: _ClassVar[int]
    tag: str
    index: int
    faces: _containers.RepeatedCompositeFieldContainer[IdentifyFacesResponse.IdentifiedFace]
    error: _status_pb2.Status
    faces_found: int
    def __init__(self, tag: _Optional[str] = ..., index: _Optional[int] = ..., faces: _Optional[_Iterable[_Union[IdentifyFacesResponse.IdentifiedFace, _Mapping]]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., faces_found: _Optional[int] = ...) -> None: ...

class SearchTemplatesRequest(_message.Message):
    __slots__ = ("gallery", "sample", "face_selection", "filter", "max_results", "min_score")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    FACE_SELECTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    MAX_RESULTS_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    sample: _face_pb2.Sample
    face_selection: _face_pb2.FaceSelection
    filter: TemplateFilter
    max_results: int
    min_score: float
    def __init__(self, gallery: _Optional[str] = ..., sample: _Optional[_Union[_face_pb2.Sample, _Mapping]] = ..., face_selection: _Optional[_Union[_face_pb2.FaceSelection, str]] = ..., filter: _Optional[_Union[TemplateFilter, _Mapping]] = ..., max_results: _Optional[int] = ..., min_score: _Optional[float] = ...) -> None: ...

class TemplateFilter(_message.Message):
    __slots__ = ("identities", "exclude_identities", "labels", "origin")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    identities: _containers.RepeatedScalarFieldContainer[str]
    exclude_identities: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    origin: _gallery_pb2.Template.Origin
    def __init__(self, identities: _Optional[_Iterable[str]] = ..., exclude_identities: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., origin: _Optional[_Union[_gallery_pb2.Template.Origin, str]] = ...) -> None: ...

class SearchTemplatesResponse(_message.Message):
    __slots__ = ("templates", "face")
    class FoundTemplate(_message.Message):
        __slots__ = ("template", "score", "display_name")
        TEMPLATE_FIELD_NUMBER: _ClassVar[int]
        SCORE_FIELD_NUMBER: _ClassVar[int]
        DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
        template: _gallery_pb2.Template
        score: float
        display_name: str
        def __init__(self, template: _Optional[_Union[_gallery_pb2.Template, _Mapping]] = ..., score: _Optional[float] = ..., display_name: _Optional[str] = ...) -> None: ...
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    FACE_FIELD_NUMBER: _ClassVar[int]
    templates: _containers.RepeatedCompositeFieldContainer[SearchTemplatesResponse.FoundTemplate]
    face: _face_pb2.Face
    def __init__(self, templates: _Optional[_Iterable[_Union[SearchTemplatesResponse.FoundTemplate, _Mapping]]] = ..., face: _Optional[_Union[_face_pb2.Face, _Mapping]] = ...) -> None: ...

class CompareFacesRequest(_message.Message):
    __slots__ = ("first", "second", "verify_threshold", "target_fmr", "face_selection", "embedder_version", "embedder_model")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    VERIFY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FMR_FIELD_NUMBER: _ClassVar[int]
    FACE_SELECTION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_VERSION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_MODEL_FIELD_NUMBER: _ClassVar[int]
    first: _face_pb2.Sample
    second: _face_pb2.Sample
    verify_threshold: float
    target_fmr: float
    face_selection: _face_pb2.FaceSelection
    embedder_version: int
    embedder_model: str
    def __init__(self, first: _Optional[_Union[_face_pb2.Sample, _Mapping]] = ..., second: _Optional[_Union[_face_pb2.Sample, _Mapping]] = ..., verify_threshold: _Optional[float] = ..., target_fmr: _Optional[float] = ..., face_selection: _Optional[_Union[_face_pb2.FaceSelection, str]] = ..., embedder_version: _Optional[int] = ..., embedder_model: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("faces", "width", "height", "faces_found")
    FACES_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FACES_FOUND_FIELD_NUMBER: _ClassVar[int]
    faces: _containers.RepeatedCompositeFieldContainer[_face_pb2.Face]
    width: int
    height: int
    faces_found: int
    def __init__(self, faces: _Optional[_Iterable[_Union[_face_pb2.Face, _Mapping]]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., faces_found: _Optional[int] = ...) -> None: ...

class EmbedFacesRequest(_message.Message):
    __slots__ = ("photo", "embedder_version", "embedder_model")
    PHOTO_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_VERSION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_MODEL_FIELD_NUMBER: _ClassVar[int]
    photo: bytes
    embedder_version: int
    embedder_model: str
    def __init__(self, photo: _Optional[bytes] = ..., embedder_version: _Optional[int] = ..., embedder_model: _Optional[str] = ...) -> None: ...

class EmbedFacesResponse(_message.Message):
    __slots__ = ("faces", "width", "height", "faces_found")
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
    FACES_FOUND_FIELD_NUMBER: _ClassVar[int]
    faces: _containers.RepeatedCompositeFieldContainer[EmbedFacesResponse.EmbeddedFace]
    width: int
    height: int
    faces_found: int
    def __init__(self, faces: _Optional[_Iterable[_Union[EmbedFacesResponse.EmbeddedFace, _Mapping]]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., faces_found: _Optional[int] = ...) -> None: ...
