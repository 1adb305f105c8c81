"""Templates: stored reference embeddings, before and after they are stored, and filters on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from numpy.typing import ArrayLike

from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Probe
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.finding import Finding
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.vectors import Vector


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a template came from. Holds no pixels and no plain digest of a photo."""

    __repr__ = brief

    source: str = "embedding"
    """``photo`` or ``embedding``."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """Quality components of the photo, OFIQ-style names, 0..100, higher is better."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class NewTemplate:
    """An embedding to enrol. ``vector`` need not be normalised; the store checks and normalises it."""

    __repr__ = brief

    vector: ArrayLike
    """Shape [dimension]: an array of any type of real numbers, a list, a tuple, or a tensor that numpy can read."""
    contract: Contract
    provenance: Provenance = Provenance()
    content: bytes = b""
    """The bytes of the photo, if there is one. The store keeps only a keyed digest of them, to recognise a retry. If
    empty, the digest is that of the vector."""
    expire_time: datetime | None = None
    also: tuple[Probe, ...] = ()
    """The same photo embedded under other contracts. Used while the gallery is in a migration, else ignored."""


@dataclass(frozen=True, slots=True)
class Template:
    """One stored reference embedding."""

    __repr__ = brief

    id: str
    """UUID5 of gallery, identity and idempotency key."""
    gallery: str
    identity: str
    contract_key: str
    provenance: Provenance = Provenance()
    vector: Vector | None = None
    """Unit norm, shape [dimension]; None unless the caller asked for it."""
    create_time: datetime | None = None
    expire_time: datetime | None = None
    """After this time comparisons ignore it: the earlier one of its own expiry and its identity's."""
    embedding_origin: EmbeddingOrigin = EmbeddingOrigin.NATIVE
    map_sha256: str = ""
    """Digest of the template map that made a mapped embedding; empty for a native one."""
    renew_time: datetime | None = None
    """When another photo of the same person replaced a mapped embedding; None if none did."""
    findings: tuple[Finding, ...] = field(default=(), compare=False)
    """What guards found at its enrolment; empty in later answers."""


@dataclass(frozen=True, slots=True)
class TemplateFilter:
    """Which templates a search compares; all conditions must hold."""

    __repr__ = brief

    identities: tuple[str, ...] = ()
    """Only templates of these identities; empty means all identities."""
    exclude_identities: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    """Only templates of identities with all of these labels."""
    source: str = ""
    """``photo`` or ``embedding``; empty means either."""


@dataclass(frozen=True, slots=True)
class FoundTemplate:
    """A template with its cosine score."""

    __repr__ = brief

    template: Template
    score: float
    display_name: str = ""
    """The display name of its identity."""
