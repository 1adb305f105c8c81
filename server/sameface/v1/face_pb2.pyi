from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EmbeddingOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EMBEDDING_ORIGIN_UNSPECIFIED: _ClassVar[EmbeddingOrigin]
    EMBEDDING_ORIGIN_NATIVE: _ClassVar[EmbeddingOrigin]
    EMBEDDING_ORIGIN_MAPPED: _ClassVar[EmbeddingOrigin]

class FaceSelection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FACE_SELECTION_UNSPECIFIED: _ClassVar[FaceSelection]
    FACE_SELECTION_LARGEST: _ClassVar[FaceSelection]
    FACE_SELECTION_MOST_CENTRAL: _ClassVar[FaceSelection]
    FACE_SELECTION_ERROR: _ClassVar[FaceSelection]
EMBEDDING_ORIGIN_UNSPECIFIED: EmbeddingOrigin
EMBEDDING_ORIGIN_NATIVE: EmbeddingOrigin
EMBEDDING_ORIGIN_MAPPED: EmbeddingOrigin
FACE_SELECTION_UNSPECIFIED: FaceSelection
FACE_SELECTION_LARGEST: FaceSelection
FACE_SELECTION_MOST_CENTRAL: FaceSelection
FACE_SELECTION_ERROR: FaceSelection

class Sample(_message.Message):
    __slots__ = ("photo", "embedding")
    PHOTO_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    photo: bytes
    embedding: Embedding
    def __init__(self, photo: _Optional[bytes] = ..., embedding: _Optional[_Union[Embedding, _Mapping]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("values", "contract")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    contract: Contract
    def __init__(self, values: _Optional[_Iterable[float]] = ..., contract: _Optional[_Union[Contract, _Mapping]] = ...) -> None: ...

class Contract(_message.Message):
    __slots__ = ("model", "version", "sha256", "dimension", "preprocessing")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    sha256: str
    dimension: int
    preprocessing: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., sha256: _Optional[str] = ..., dimension: _Optional[int] = ..., preprocessing: _Optional[str] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class BoundingBox(_message.Message):
    __slots__ = ("x", "y", "width", "height")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    width: float
    height: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ...) -> None: ...

class Landmarks(_message.Message):
    __slots__ = ("right_eye", "left_eye", "nose_tip", "mouth_right", "mouth_left")
    RIGHT_EYE_FIELD_NUMBER: _ClassVar[int]
    LEFT_EYE_FIELD_NUMBER: _ClassVar[int]
    NOSE_TIP_FIELD_NUMBER: _ClassVar[int]
    MOUTH_RIGHT_FIELD_NUMBER: _ClassVar[int]
    MOUTH_LEFT_FIELD_NUMBER: _ClassVar[int]
    right_eye: Point
    left_eye: Point
    nose_tip: Point
    mouth_right: Point
    mouth_left: Point
    def __init__(self, right_eye: _Optional[_Union[Point, _Mapping]] = ..., left_eye: _Optional[_Union[Point, _Mapping]] = ..., nose_tip: _Optional[_Union[Point, _Mapping]] = ..., mouth_right: _Optional[_Union[Point, _Mapping]] = ..., mouth_left: _Optional[_Union[Point, _Mapping]] = ...) -> None: ...

class QualityComponent(_message.Message):
    __slots__ = ("name", "value", "measurement", "unit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    measurement: float
    unit: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., measurement: _Optional[float] = ..., unit: _Optional[str] = ...) -> None: ...

class QualityIssue(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class PresentationAttackDetection(_message.Message):
    __slots__ = ("score", "threshold", "model_version")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    score: float
    threshold: float
    model_version: int
    def __init__(self, score: _Optional[float] = ..., threshold: _Optional[float] = ..., model_version: _Optional[int] = ...) -> None: ...

class Face(_message.Message):
    __slots__ = ("bounding_box", "landmarks", "detection_score", "quality", "issues", "presentation_attack_detection")
    BOUNDING_BOX_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    DETECTION_SCORE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    ISSUES_FIELD_NUMBER: _ClassVar[int]
    PRESENTATION_ATTACK_DETECTION_FIELD_NUMBER: _ClassVar[int]
    bounding_box: BoundingBox
    landmarks: Landmarks
    detection_score: float
    quality: _containers.RepeatedCompositeFieldContainer[QualityComponent]
    issues: _containers.RepeatedCompositeFieldContainer[QualityIssue]
    presentation_attack_detection: PresentationAttackDetection
    def __init__(self, bounding_box: _Optional[_Union[BoundingBox, _Mapping]] = ..., landmarks: _Optional[_Union[Landmarks, _Mapping]] = ..., detection_score: _Optional[float] = ..., quality: _Optional[_Iterable[_Union[QualityComponent, _Mapping]]] = ..., issues: _Optional[_Iterable[_Union[QualityIssue, _Mapping]]] = ..., presentation_attack_detection: _Optional[_Union[PresentationAttackDetection, _Mapping]] = ...) -> None: ...
