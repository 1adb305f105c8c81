"""What the operations of the service answer, and the settings of an identification."""

from dataclasses import dataclass

from sameface.pipeline.photos import FoundFace
from sameface.vision import FaceSelection
from sameface_qdrant.values.decision import Decision
from sameface_qdrant.values.template import Template


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The template that an enrolment stored (or would store), and its face; None for an embedding
    or a whole image."""

    template: Template
    face: FoundFace | None


@dataclass(frozen=True, slots=True)
class IdentificationSettings:
    """Settings of an identification. None means the default of the gallery or the service."""

    gallery: str
    threshold: float | None = None
    margin: float | None = None
    selection: FaceSelection | None = None
    all_faces: bool = False
    limit: int = 5
    """Most identities listed for each face."""


@dataclass(frozen=True, slots=True)
class Identification:
    """Decisions with their faces. ``found`` is the number of faces in the photo if all of them were asked for."""

    faces: list[tuple[Decision | None, FoundFace | None]]
    found: int = 0
