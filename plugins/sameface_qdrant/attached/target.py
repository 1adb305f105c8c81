"""What of an attached collection is looked at, and what comes back. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Key: TypeAlias = str | int
"""The value that names an identity in a payload."""


@dataclass(frozen=True, slots=True)
class Target:
    """What of a collection is looked at."""

    collection: str
    vector_name: str
    """Empty means the unnamed vector."""
    identity_key: str
    where: Mapping[str, Key]


@dataclass(frozen=True, slots=True)
class RawHit:
    """A point with its cosine score, 1 where nothing was compared; no identity where its value names nobody."""

    id: Key
    identity: Key | None
    score: float
    payload: Mapping[str, Any]


def at_path(payload: Mapping[str, Any], path: str) -> Any:
    """Return the value of a payload field; a dot leads into a nested one. None where there is none."""
    found: Any = payload
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def name_of(value: Any) -> Key | None:
    """Return a payload value that names an identity: a text or a whole number; None for all others."""
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None
