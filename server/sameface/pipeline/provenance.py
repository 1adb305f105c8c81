"""What a template keeps of the sample that it was made from. Pure functions."""

from sameface.pipeline.photos import FoundFace
from sameface.pipeline.samples import EmbeddingSample, Sample
from sameface.vision import FaceSelection
from sameface_qdrant.values.template import Provenance


def provenance_of(sample: Sample, face: FoundFace | None) -> Provenance:
    """Return whether it was a photo or an embedding, and the quality of the face."""
    if isinstance(sample, EmbeddingSample):
        return Provenance(source="embedding")
    quality = {} if face is None else {part.name: round(part.value, 1) for part in face.quality}
    return Provenance(source="photo", quality=quality)


def content_of(sample: Sample, selection: FaceSelection) -> bytes:
    """Return the bytes that identify a repeated enrolment: the face selection and the photo."""
    return b"" if isinstance(sample, EmbeddingSample) else f"{selection}:".encode() + sample.content
