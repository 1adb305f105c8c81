"""Identities: the enrolled subjects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict

from sameface_qdrant.values.display import brief


@dataclass(frozen=True, slots=True)
class Identity:
    """One enrolled subject. ``id`` is chosen by the caller; ``display_name`` may be any Unicode text."""

    __repr__ = brief

    gallery: str
    id: str
    display_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    verify_threshold: float | None = None
    """Overrides the gallery's verification threshold for claims of this identity."""
    consent_reference: str = ""
    """Where the caller keeps the subject's consent: an id or a URL."""
    purpose: str = ""
    """What the subject is enrolled for."""
    expire_time: datetime | None = None
    """After this time comparisons ignore all of its templates."""
    template_count: int = 0
    create_time: datetime | None = None
    update_time: datetime | None = None
    etag: str = ""


class IdentityChanges(TypedDict, total=False):
    """Changes of an identity. A field that is missing stays as it is; None clears a threshold or expiry."""

    display_name: str
    labels: Mapping[str, str]
    verify_threshold: float | None
    consent_reference: str
    purpose: str
    expire_time: datetime | None
