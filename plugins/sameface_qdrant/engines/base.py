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
    {TENANT_FIELD: "keyword", "identity": "keyword", "kind": "keyword", "expires": "float", "digest": "keyword"}
)
"""Payload fields with an index, and its type. Made before the first point: filtering without one is slow on a server,
and refused by one in strict mode, as Qdrant Cloud is by default."""


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What holds the templates, as it reports itself."""

    kind: str
    """A short name: ``edge``, ``server``, ``memory``, or that of another engine."""
    version: str
    location: str
    exact: bool = True
    """False where a search may miss a neighbour (an approximate index); scores are exact either way."""
    not_erased: tuple[str, ...] = ()
    """Where this engine may keep bytes of removed points, one noun phrase each. Every receipt repeats it."""


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
    """Seconds since the epoch: leaves out points whose ``expires`` is not after it; points without one never expire."""
    expired_at: float | None = None
    """The other way round: only points whose ``expires`` is not after it."""


POINT_ID = "point id, 16 bytes, big-endian"
"""The representation that says whether a point itself is there, not only a like one."""


@dataclass(frozen=True, slots=True)
class ByteSearch:
    """Byte strings that stand for points in an engine's files, and which of them a scan found there."""

    representation: str
    needles: tuple[bytes, ...]
    found: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Compaction:
    """What became of the bytes of removed points."""

    done_at: float | None
    """Seconds since the epoch; None while the old files are still there."""
    evidence: tuple[ByteEvidence, ...]
    failure: str = ""
    """Why the files could not be rewritten yet."""


def check_dimension(collection: str, given: int, stored: int) -> None:
    """Raise InvalidArgument where a collection holds vectors of another dimension than ``given``."""
    if given != stored:
        raise InvalidArgument(
            f"contract.dimension is {given}; the embeddings of {collection} that are stored already have {stored} "
            "numbers, and one model, version and digest has one dimension",
            metadata={"field": "contract.dimension", "given": given, "expected": stored},
        )


class ErasureEvidence(Protocol):
    """What an engine that owns its files can say about the bytes of points, before and after their removal."""

    async def search_bytes(self, collection: str, points: Sequence[Point]) -> tuple[ByteSearch, ...]:
        """Look for points' bytes in the files while they are there: the positive control."""
        ...

    async def note(self, collection: str, receipt: str, searches: Sequence[ByteSearch]) -> None:
        """Keep, durably, what is to be looked for once the points that are removed next are gone from the files."""
        ...

    async def compaction(self, collection: str, receipt: str) -> Compaction | None:
        """Return how far the removal is; None where nothing is noted, or what was noted was never removed."""
        ...

    async def forget(self, collection: str, receipt: str) -> None:
        """Drop what is kept about a receipt."""
        ...


class Engine(Protocol):
    """Keeps points in named collections under cosine similarity. Vectors come in checked and of unit norm."""

    @property
    def description(self) -> EngineDescription:
        """What this engine is."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether this process is the only writer; else writers race and conditions decide."""
        ...

    @property
    def erasure_evidence(self) -> ErasureEvidence | None:
        """Searches the engine's files for bytes; None where the files belong to another process."""
        ...

    async def ensure(self, collection: str, dimension: int) -> None:
        """Make a collection with its payload indexes where it is missing.

        Raises:
            InvalidArgument: there is one with vectors of another dimension.
        """
        ...

    async def upsert(
        self, collection: str, points: Sequence[Point], *, insert_only: bool = False, only_if: Where | None = None
    ) -> None:
        """Write points as one batch. Existing points stay with ``insert_only``, and where ``only_if`` is not met.

        A batch may be applied twice where the first answer was lost; a plain one then overwrites what another writer
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

        None is missed unless ``description.exact`` is False. Even then none is missed of a single identity.
        """
        ...

    async def scroll(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        """Return points from id ``start`` on, in the order of their ids, and the id to go on with."""
        ...

    async def count(self, collection: str, where: Where) -> int:
        """Return how many points match, exactly."""
        ...

    async def commit(self, collection: str, *, erase: bool = False) -> None:
        """Return once every write so far is durable; with ``erase`` once removed bytes are gone or will be.

        Where they will be, `erasure_evidence` tells when they are gone.
        """
        ...

    async def aclose(self) -> None:
        """Release everything. Safe to call twice."""
        ...
