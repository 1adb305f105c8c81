"""Identities, templates, and what an enrolment or a search says of them."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from sameface.client.answer import Answer, reads
from sameface.client.answers.faces import Face, QualityComponent
from sameface.client.enums import EmbeddingOrigin, FindingKind, Origin
from sameface.resource_names import last_part
from sameface.v1 import face_service_pb2, gallery_pb2


@reads(gallery_pb2.Identity)
class Identity(Answer):
    """One enrolled subject."""

    name: str
    """``galleries/{gallery}/identities/{identity}``. The id is escaped there; `id` is as it was chosen."""
    display_name: str
    """Any text for people, at most 256 characters."""
    labels: Mapping[str, str] = field(hash=False)
    """Key-value pairs that the caller chooses and can filter by, at most 32. Keys match
    ``[a-z0-9]([a-z0-9-_]{0,61}[a-z0-9])?``. Values have at most 256 characters."""
    verify_threshold: float | None
    """Verification threshold for claims of this identity instead of the gallery's, -1 to 1."""
    template_count: int
    """Number of stored templates."""
    create_time: datetime | None
    """When the identity was created."""
    update_time: datetime | None
    """When the identity or its templates last changed."""
    etag: str
    """Changes with every change of the identity."""
    consent_reference: str
    """Where the subject's consent is recorded: an id or URL that the caller chooses, at most 256 characters."""
    purpose: str
    """Purpose of the enrolment, at most 256 characters."""
    expire_time: datetime | None
    """From this moment on no comparison uses its templates, even those with a later ``expire_time``."""

    @property
    def id(self) -> str:
        """The last part of its name."""
        return last_part(self.name)


@reads(gallery_pb2.Template)
class Template(Answer):
    """One stored reference embedding. The server does not store the photo."""

    name: str
    """``galleries/{gallery}/identities/{identity}/templates/{template}``; the id is a UUID."""
    origin: Origin
    """What the template was made from."""
    quality: tuple[QualityComponent, ...]
    """Quality components of the photo; empty for an embedding."""
    create_time: datetime | None
    """When the template was enrolled."""
    expire_time: datetime | None
    """From this moment on no comparison uses the template."""
    embedding_origin: EmbeddingOrigin = EmbeddingOrigin.NATIVE
    """How its embedding came to be under the gallery's contract."""
    map_sha256: str = ""
    """SHA-256 of the template map that made a mapped embedding. Empty for a native one."""
    renew_time: datetime | None = None
    """When the embedding of a later photo replaced a mapped one. None if none has."""

    @property
    def id(self) -> str:
        """The last part of its name."""
        return last_part(self.name)


@reads(gallery_pb2.Finding)
class Finding(Answer):
    """What a guard found about a template at its enrolment. Findings are not stored."""

    kind: FindingKind
    """Kind of the finding."""
    identity: str
    """The identity that the finding is about. Another identity is named only to callers who may know scores."""
    template: str
    """The template that the finding is about. Empty if there are several, or if the caller may not know it."""
    score: float | None
    """The score behind the finding. None if there is none, or if the caller may not know it."""
    threshold: float | None
    """The threshold that the score was compared with."""


@reads(face_service_pb2.EnrollTemplateResponse)
class Enrollment(Answer):
    """What an enrolment has stored."""

    template: Template
    """The stored template."""
    face: Face | None
    """The face that was enrolled; None for an embedding."""
    findings: tuple[Finding, ...]
    """What the gallery's guards found (``Policy.on_collision``, ``on_duplicate``, ``on_outlier``). The template was
    enrolled nevertheless."""


@reads(face_service_pb2.SearchTemplatesResponse.FoundTemplate)
class FoundTemplate(Answer):
    """A template with its score."""

    template: Template
    """The template, without its embedding."""
    score: float
    """Cosine similarity, -1 to 1; greater means more alike. It is not a probability."""
    display_name: str
    """Display name of its identity, if it has one."""


@reads(face_service_pb2.SearchTemplatesResponse)
class SearchResult(Answer):
    """The templates that are nearest to a sample."""

    templates: tuple[FoundTemplate, ...]
    """Highest score first."""
    face: Face | None
    """The face that was searched with; None for an embedding."""
