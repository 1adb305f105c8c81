"""The protocol between the store and an engine, which keeps points. docs/extending.md shows how to write one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.erasure import ByteEvidence
from sameface_qdrant.values.vectors import Vector

VECTOR_NAME = "embedding"
TENANT_FIELD = "gallery"
LABELS_FIELD = "labels"
INDEXED_FIELDS: Mapping[str, Literal["keyword", "integer", "float"]] = MappingProxyType(
    {
        TENANT_FIELD: "keyword",
        "identity": "keyword",
        "kind": "keyword",
        "expires": "float",
        "digest": "keyword",
        "origin": "keyword",
    }
)
"""Payload fields with an index, and its type. The index is made before the first point. Without it a server filters
slowly; in strict mode, the default of Qdrant Cloud, it refuses."""


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What an engine reports about itself."""

    kind: str
    """A short name: ``edge``, ``server``, ``memory``, or that of another engine."""
    version: str
    location: str
    exact: bool = True
    """False if a search may miss a neighbour (approximate index). Scores are always exact."""
    not_erased: tuple[str, ...] = ()
    """Where this engine may keep bytes of removed points, one noun phrase each. Every receipt lists them."""


@dataclass(frozen=True, slots=True)
class Point:
    """A stored record: a template with its vector, or anything else without one."""

    id: str
    payload: Mapping[str, Any]
    vector: Vector | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A neighbour with its cosine score."""

    id: str
    score: float
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Where:
    """A filter on payloads."""

    equals: Mapping[str, str | int]
    """A field may be the path of a nested one: ``labels.team``."""
    excludes: Mapping[str, str | int] = field(default_factory=dict)
    among: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The field has one of these values."""
    outside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The field has none of these values."""
    ids: tuple[str, ...] = ()
    """The point has one of these ids; empty means any."""
    valid_at: float | None = None
    """Seconds since the epoch: only points whose ``expires`` is later, and points without ``expires``."""
    expired_at: float | None = None
    """Seconds since the epoch: only points whose ``expires`` is not later."""


POINT_ID = "point id, 16 bytes, big-endian"
"""The representation that shows whether the point itself is there, and not only one with the same vector."""
INDEXED_POINT_ID = "point id, 16 bytes, little-endian"
"""The same in files of an indexed segment."""
POINT_IDS = (POINT_ID, INDEXED_POINT_ID)


@dataclass(frozen=True, slots=True)
class ByteSearch:
    """Byte strings of points in an engine's files, and which of them a scan found there."""

    representation: str
    needles: tuple[bytes, ...]
    found: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Compaction:
    """How far the removal of points from the files is."""

    done_at: float | None
    """Seconds since the epoch; None while the old files still exist."""
    evidence: tuple[ByteEvidence, ...]
    failure: str = ""
    """Why the files could not be rewritten yet."""


def check_dimension(collection: str, given: int, stored: int) -> None:
    """Raise InvalidArgument if a collection holds vectors of another dimension than ``given``."""
    if given != stored:
        raise InvalidArgument(
            f"contract.dimension is {given}; the stored embeddings of {collection} have {stored} numbers; one model, "
            "version and digest has one dimension, so correct the contract",
            metadata={"field": "contract.dimension", "given": given, "expected": stored},
        )


class ErasureEvidence(Protocol):
    """Searches the files of an engine for the bytes of points, before and after their removal."""

    async def search_bytes(self, collection: str, points: Sequence[Point]) -> tuple[ByteSearch, ...]:
        """Search the files for the bytes of stored points: the positive control."""
        ...

    async def note(self, collection: str, receipt: str, searches: Sequence[ByteSearch]) -> None:
        """Store durably what to search for after the next removal, when the files are rewritten."""
        ...

    async def compaction(self, collection: str, receipt: str) -> Compaction | None:
        """Return how far a removal is; None if there is no note, or if the noted points were never removed."""
        ...

    async def forget(self, collection: str, receipt: str) -> None:
        """Delete the note about a receipt."""
        ...

    async def collections(self) -> tuple[str, ...]:
        """Return the collections that have notes, whether they are open or not."""
        ...

    async def noted(self, collection: str) -> tuple[str, ...]:
        """Return the receipts that there are notes about."""
        ...


@dataclass(frozen=True, slots=True)
class Segments:
    """How far a server is with the segments of a collection. Segments are the files that hold its points."""

    layout: bool
    """One of two ways to store payloads, as it is configured now."""
    settled: bool
    """Whether every segment is as configured, and no segment is being written."""
    stalled: bool = False
    """Whether segments are to be written, but the server waits for another order."""
    failure: str = ""
    """Why the server cannot write segments."""


class SegmentRewriting(Protocol):
    """Has a server write the segments of a collection again. The new ones hold the stored points alone."""

    async def look(self, collection: str) -> Segments:
        """Return how far the server is."""
        ...

    async def order(self, collection: str, layout: bool) -> str:
        """Configure a layout. The server then writes every segment that has the other one. Safe to repeat.

        Return why that is impossible for this service; empty if the server accepted it.
        """
        ...

    async def left(self, collection: str) -> tuple[str, ...]:
        """Return where bytes of removed points may be once every segment was written again, one noun phrase each."""
        ...


class HealthProbe(Protocol):
    """Tells cheaply whether the engine can read and write at the moment."""

    async def check_reads(self) -> None:
        """Raise the typed error that reads would raise now."""
        ...

    async def check_writes(self) -> None:
        """Raise the typed error that writes would raise now."""
        ...


class Engine(Protocol):
    """Keeps points in named collections under cosine similarity. It receives checked vectors of unit norm.

    An engine may also have an attribute ``health_probe``, see `HealthProbe`. Without it, one read of a record decides.
    An engine of a server may also have an attribute ``segment_rewriting``, see `SegmentRewriting`.
    """

    @property
    def description(self) -> EngineDescription:
        """What this engine is."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether this process is the only writer. If not, conditional writes decide which writer wins."""
        ...

    @property
    def erasure_evidence(self) -> ErasureEvidence | None:
        """Searches the engine's files for bytes; None if the files belong to another process."""
        ...

    async def ensure(self, collection: str, dimension: int) -> None:
        """Open a collection; if it does not exist, make it with its payload indexes.

        Raises:
            InvalidArgument: it exists with vectors of another dimension.
        """
        ...

    async def upsert(
        self,
        collection: str,
        points: Sequence[Point],
        *,
        insert_only: bool = False,
        only_if: Where | None = None,
        companions: Sequence[Point] = (),
    ) -> None:
        """Write points as one batch.

        ``insert_only`` changes no existing point. ``only_if`` replaces only points that exist and match, and inserts
        none. ``companions`` are inserted before, whatever becomes of the points; existing ones stay as they are.

        A batch may be applied twice if the first answer was lost. A plain batch then overwrites what another writer
        wrote in between.
        """
        ...

    async def set_payload(self, collection: str, where: Where, payload: Mapping[str, Any]) -> None:
        """Replace these fields of every point that matches."""
        ...

    async def get(self, collection: str, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, Point]:
        """Return the points that exist, by id."""
        ...

    async def delete(self, collection: str, where: Where | Sequence[str]) -> None:
        """Remove points by filter or by id."""
        ...

    async def nearest(
        self, collection: str, vector: Vector, where: Where, limit: int, *, min_score: float | None = None
    ) -> list[Hit]:
        """Return the nearest points with vectors, best first; scores are exact.

        None is missed, unless ``description.exact`` is False. Even then none is missed if ``where`` names an identity.
        """
        ...

    async def nearest_each(
        self,
        collection: str,
        searches: Sequence[tuple[Vector, Where]],
        limit: int,
        *,
        fields: Sequence[str],
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Return what `nearest` returns for each search, from one request if the engine has such.

        Of the payloads only ``fields`` are needed. An engine may return more. With ``exact`` none is missed, even where
        ``description.exact`` is False, unless an option of the engine says otherwise. Guards ask for that.
        """
        ...

    async def scroll(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        """Return points from id ``start`` on, in the order of their ids.

        Also return the id that the next page starts with; None at the end.
        """
        ...

    async def count(self, collection: str, where: Where) -> int:
        """Return how many points match, exactly."""
        ...

    async def commit(self, collection: str, *, erase: bool = False) -> None:
        """Return when every write so far is durable. With ``erase``, also erase the bytes of removed points.

        An engine may erase them later, in the background. `erasure_evidence` then tells when they are gone.
        """
        ...

    async def aclose(self) -> None:
        """Release everything. Safe to call twice."""
        ...
