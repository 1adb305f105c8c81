"""Which points of an attached collection are read, and the results. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.frames import table_of
from sameface_qdrant.values.scalars import article, of_python

if TYPE_CHECKING:
    import pandas

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


def checked_target(
    collection: object, vector_name: object, identity_key: object, where: Mapping[str, Id] = NO_FIELDS
) -> Target:
    """Return a target after checking the types of its parts.

    Raises:
        InvalidArgument: a name is no text, or is empty where it must not be, or a value of ``where`` is neither a text,
            a whole number nor a truth value.
    """
    names = {"collection": collection, "vector_name": vector_name, "identity_key": identity_key}
    for field, name in names.items():
        if not isinstance(name, str) or (not name and field != "vector_name"):
            raise InvalidArgument(
                f"{field} is {name!r:.80} ({type(name).__name__}); expected a text that is not empty",
                metadata={"field": field},
            )
    if not isinstance(where, Mapping):
        raise InvalidArgument(
            f"where is {article(type(where).__name__)}; expected a mapping of payload fields to their values",
            metadata={"field": "where"},
        )
    fields = {str(key): of_python(value) for key, value in where.items()}
    for key, value in fields.items():
        if not isinstance(value, str | int):
            raise InvalidArgument(
                f"where[{key!r:.64}] is {article(type(value).__name__)}; expected a text, a whole number or a truth "
                "value",
                metadata={"field": "where"},
            )
    return Target(str(collection), str(vector_name), str(identity_key), fields)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A point of the collection with its cosine score."""

    __repr__ = brief

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
    """Points that name nobody: without a text or a whole number under the identity key, or with an empty text.

    A server with an index on the key counts by the index: each element of a list, and no value of another type than the
    index's.
    """
    unusable: int | None = None
    """Points that name an identity, and whose embedding has a value that is not finite, or zero norm. No comparison
    reads them, and they are in none of the other numbers. None if the embeddings were not read, see `Attached.count`;
    then such points are among the templates."""


@dataclass(frozen=True, slots=True)
class IdentityScores:
    """Scores of many embeddings with identities: cosines of the identity's best template (maximum fusion)."""

    __repr__ = brief

    identities: tuple[Id, ...]
    """[identities] Every identity that has a template to compare with."""
    scores: NDArray[np.float32]
    """[probes, identities]; with a limit [probes, limit], best first, or fewer if there are fewer identities."""
    columns: NDArray[np.int64]
    """[probes, …] Of each score, the position of its identity in ``identities``."""
    unusable: int
    """Points that were left out, because their embedding is not finite or has zero norm."""

    def to_frame(self) -> "pandas.DataFrame":
        """Return a table with the columns ``probe``, ``identity`` and ``score``; a row for each score.

        Raises:
            ImportError: pandas is not installed.
        """
        names = np.empty(len(self.identities), dtype=object)
        names[:] = self.identities
        return table_of(
            {
                "probe": np.repeat(np.arange(len(self.scores)), self.scores.shape[1]),
                "identity": names[self.columns.ravel()],
                "score": self.scores.ravel(),
            }
        )

    def best(self, probe: int) -> tuple[Id, float]:
        """Return the identity with the highest score with a probe, and that score.

        Raises:
            IndexError: there is no such probe, or no identity.
        """
        place = int(self.scores[probe].argmax()) if self.identities else 0
        return self.identities[int(self.columns[probe, place])], float(self.scores[probe, place])


def field_value(payload: Mapping[str, Any], path: str) -> Any:
    """Return the value of a payload field; a dot leads into a nested one. None if there is no value."""
    found: Any = payload
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def identity_of(value: Any) -> Id | None:
    """Return a payload value that names an identity: a text or a whole number; None for all others and for ""."""
    return value if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def given_identity(identity: object) -> Id:
    """Return an identity that a caller named, in the form in which payloads hold it.

    Raises:
        InvalidArgument: it is neither a text nor a whole number of 64 bits, or is an empty text.
    """
    if isinstance(identity, np.integer):
        identity = int(identity)
    found = identity_of(identity)
    if isinstance(found, str) and _is_text(found):
        return str(found)  # not a subclass, such as numpy's
    if isinstance(found, int) and -(2**63) <= found < 2**63:
        return found
    raise InvalidArgument(
        f"identity is {str(identity)[:80]!a} ({type(identity).__name__}); expected a text that is not empty, or a "
        "whole number of 64 bits",
        metadata={"field": "identity"},
    )


def _is_text(value: str) -> bool:
    """Return whether UTF-8 can express a text: it may hold halves of characters, which no payload can."""
    return not any("\ud800" <= character <= "\udfff" for character in value)
