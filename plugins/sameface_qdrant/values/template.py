"""Templates: stored reference embeddings, before and after they are stored, and filters on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.finding import Finding
from sameface_qdrant.values.ids import NO_LABELS
from sameface_qdrant.values.vectors import Vector


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a template came from. Holds no pixels and no plain digest of a photo."""

    source: str = "embedding"
    """``photo`` or ``embedding``."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """Quality components of the photo, OFIQ-style names, 0..100, higher is better."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class NewTemplate:
    """An embedding about to be enrolled. ``vector`` need not be normalised; it is checked and normalised here."""

    vector: Vector
    contract: Contract
    provenance: Provenance = Provenance()
    content: bytes = b""
    """What the caller sent (photo bytes); only a keyed digest of it is kept, to recognise a retry.
    Empty takes the vector itself."""
    expire_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """One stored reference embedding."""

    id: str
    """UUID5 of gallery, identity and idempotency key."""
    gallery: str
    identity: str
    contract_key: str
    provenance: Provenance = Provenance()
    vector: Vector | None = None
    """Unit norm, shape [dimension]; only where it was asked for."""
    create_time: datetime | None = None
    expire_time: datetime | None = None
    """From then on every comparison ignores it: its own expiry or its identity's, whichever comes first."""
    findings: tuple[Finding, ...] = field(default=(), compare=False)
    """What guards found when it was enrolled; only in the answer to that."""


@dataclass(frozen=True, slots=True)
class TemplateFilter:
    """Which templates a search looks at; all conditions must hold."""

    identities: tuple[str, ...] = ()
    """Of one of these; empty means any."""
    exclude_identities: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    """Of identities with all of these labels."""
    source: str = ""
    """``photo`` or ``embedding``; empty means either."""


@dataclass(frozen=True, slots=True)
class FoundTemplate:
    """A template with its cosine score."""

    template: Template
    score: float
    display_name: str = ""
    """Its identity's."""
