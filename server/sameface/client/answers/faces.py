"""Faces and embeddings."""

from dataclasses import field

from sameface.client.answer import Answer, reads
from sameface.v1 import face_pb2, face_service_pb2


@reads(face_pb2.Point)
class Point(Answer):
    """A point of an image in pixels. The origin is the top left corner, after EXIF orientation is applied."""

    x: float
    """Grows to the right."""
    y: float
    """Grows downwards."""


@reads(face_pb2.BoundingBox)
class BoundingBox(Answer):
    """A rectangle of an image in pixels. It may reach beyond the image if the face does."""

    x: float
    """Left edge."""
    y: float
    """Top edge."""
    width: float
    """Width in pixels."""
    height: float
    """Height in pixels."""


@reads(face_pb2.Landmarks)
class Landmarks(Answer):
    """Five landmarks. Right and left are the subject's: the right eye is on the left side of the image."""

    right_eye: Point
    """Centre of the subject's right eye."""
    left_eye: Point
    """Centre of the subject's left eye."""
    nose_tip: Point
    """Tip of the nose."""
    mouth_right: Point
    """The subject's right corner of the mouth."""
    mouth_left: Point
    """The subject's left corner of the mouth."""


@reads(face_pb2.QualityComponent)
class QualityComponent(Answer):
    """One quality component. The names come from ISO/IEC 29794-5 (OFIQ); no conformance is claimed."""

    name: str
    """For example ``Sharpness``, ``HeadPoseYaw``, ``FaceCompleteness``, ``InterEyeDistance``."""
    value: float
    """0 to 100, higher is better."""
    measurement: float
    """The measured value, in ``unit``."""
    unit: str
    """Unit of the measurement: ``px`` (of the decoded image), ``degrees``, ``dB``, ``bit``, or empty."""


@reads(face_pb2.QualityIssue)
class QualityIssue(Answer):
    """Why a face is rejected."""

    reason: str
    """FACE_TOO_SMALL, QUALITY_TOO_LOW, EXTREME_POSE or PRESENTATION_ATTACK_SUSPECTED."""
    message: str
    """One sentence with the measured values and the limits."""


@reads(face_pb2.PresentationAttackDetection)
class PresentationAttackDetection(Answer):
    """How the model ``face_pad`` judges a face: whether it was presented by its bona fide owner, or is a
    presentation attack such as a photo of a printed face. Even a high score does not prove that a person is
    present."""

    score: float
    """Bona fide score, 0 to 1; higher means less like an attack. It is not a probability."""
    threshold: float | None
    """The lowest score that the gallery's policy accepts. None without a gallery (DetectFaces)."""
    model_version: int
    """Version of ``face_pad``. Scores of two versions cannot be compared."""


@reads(face_pb2.Face)
class Face(Answer):
    """One face that was found in a photo."""

    bounding_box: BoundingBox
    """Position in pixels of the photo as sent (after EXIF orientation)."""
    landmarks: Landmarks
    """The landmarks used to align the face."""
    detection_score: float
    """The detector's confidence, 0 to 1."""
    quality: tuple[QualityComponent, ...]
    """Every quality component that was measured."""
    issues: tuple[QualityIssue, ...]
    """Why the quality gate, or the gallery's policy about presentation attacks, rejects the face. Empty if it
    passes."""
    presentation_attack_detection: PresentationAttackDetection | None
    """None if the face was not examined: the gallery's policy is OFF, the rpc has no gallery (CompareFaces,
    EmbedFaces), the server has no ``face_pad`` (DetectFaces), or the caller may not know scores."""


@reads(face_pb2.Contract)
class Contract(Answer):
    """How embeddings are made. Embeddings with the same contract can be compared."""

    model: str
    """Name of the model, for example ``face_embedder``."""
    version: int
    """Version of the model, 1 or greater."""
    sha256: str
    """SHA-256 of the weights file, 64 lower-case hex digits."""
    dimension: int
    """Number of values in an embedding."""
    preprocessing: str
    """Name of the preprocessing from photo to model input, for example ``arcface-112-v1``."""


@reads(face_pb2.Embedding)
class Embedding(Answer):
    """One face as a vector of unit L2 norm. Two embeddings can be compared only if they have the same contract."""

    values: tuple[float, ...] = field(repr=False)
    """Finite numbers, not all zero. Their count is ``contract.dimension``."""
    contract: Contract
    """How the embedding was made."""


@reads(face_service_pb2.DetectFacesResponse)
class DetectedFaces(Answer):
    """The faces of a photo."""

    faces: tuple[Face, ...]
    """Largest first."""
    width: int
    """Width of the photo in pixels, after EXIF orientation."""
    height: int
    """Height of the photo in pixels, after EXIF orientation."""
    faces_found: int
    """How many faces were found. More than the length of ``faces`` if the list was cut."""


@reads(face_service_pb2.EmbedFacesResponse.EmbeddedFace)
class EmbeddedFace(Answer):
    """A face with its embedding."""

    face: Face
    """The face, with position and quality."""
    embedding: Embedding
    """The embedding, of unit L2 norm."""


@reads(face_service_pb2.EmbedFacesResponse)
class EmbeddedFaces(Answer):
    """The faces of a photo with their embeddings."""

    faces: tuple[EmbeddedFace, ...]
    """At most 100, largest first."""
    width: int
    """Width of the photo in pixels, after EXIF orientation."""
    height: int
    """Height of the photo in pixels, after EXIF orientation."""
    faces_found: int
    """How many faces were found. More than the length of ``faces`` if the list was cut."""
