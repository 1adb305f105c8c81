"""Which points of an attached collection are read, and the results. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

Id: TypeAlias = str | int
"""The id of a point, or the value in a payload that names an identity."""
NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Target:
    """Which points of a collection are read, and which of their fields."""

    collection: str
    vector_name: str
    """Empty means the unnamed vector."""
    identity_key: str
    """The payload field that names the identity."""
    where: Mapping[str, Id]
    """Payload fields and the values that they must have."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A point of the collection with its cosine score."""

    id: Id
    identity: Id
    score: float
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many identities and templates a collection holds under the filter."""

    identities: int
    templates: int
    ignored: int
    """Points without a text or whole number under the identity key.

    A server with an index on the key counts by the index: each element of a list, and no value of another type than the
    index's.
    """


def field_value(payload: Mapping[str, Any], path: str) -> Any:
    """Return the value of a payload field; a dot leads into a nested one. None if there is no value."""
    found: Any = payload
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def identity_of(value: Any) -> Id | None:
    """Return a payload value that names an identity: a text or a whole number; None for all others."""
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None
