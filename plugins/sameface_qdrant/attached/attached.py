"""What can be done with a collection that was attached to; see `sameface_qdrant.attach`."""

import asyncio
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from sameface_qdrant.attached.target import Key, RawHit, name_of
from sameface_qdrant.errors import IdentityNotFound, InvalidArgument
from sameface_qdrant.metrics.comparisons import ComparisonScores, compare_pairs, sample_templates
from sameface_qdrant.policy import (
    check_override,
    decide_identification,
    decide_verification,
    identification_threshold,
    verification_threshold,
)
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Candidate, Decision, Scope
from sameface_qdrant.values.gallery import Gallery, OperatingPoint, Policy
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.paging import LARGEST_PAGE
from sameface_qdrant.values.vectors import Vector, unit

if TYPE_CHECKING:
    from sameface_qdrant.attached.queries import AttachedCollection

EVERYWHERE: Mapping[str, Key] = MappingProxyType({})
VECTOR_BATCH = 256


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A point of the collection with its cosine score."""

    id: str | int
    identity: str | int
    score: float
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a collection holds under the filter."""

    identities: int
    templates: int
    ignored: int
    """Points without a text or whole number under the identity key.

    On a server with an index on the key, the index counts: lists by their elements, and no values of another type than
    the index's.
    """


class Attached:
    """Made by `attach`; every method is a coroutine and may be called concurrently.

    Search is exact, and so are the nearest identities: each query leaves out those found so far, so that an identity of
    very many templates hides nobody. (Qdrant's group queries are approximate: they may miss a group.)
    """

    def __init__(
        self,
        collection: "AttachedCollection",
        policy: Policy,
        operating_points: tuple[OperatingPoint, ...],
        *,
        writable: bool,
        owned: bool,
    ) -> None:
        self._collection = collection
        self._writable = writable
        self._owned = owned
        self._counts = Counts(0, 0, 0)
        # Decisions read policy and operating points from a gallery; no contract is known of these embeddings.
        unknown = Contract(collection.target.collection, 1, "0" * 64, collection.dimension, "unknown")
        self._gallery = Gallery(collection.target.collection, unknown, policy, operating_points=operating_points)

    async def __aenter__(self) -> "Attached":
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection that a URL opened. Safe to call twice."""
        if self._owned:
            await self._collection.client.close()

    async def count(self) -> Counts:
        """Count identities and templates anew; decisions report the last count as their ``gallery_size``.

        Counted once by `attach` and after every write of this object; writes of others are seen by calling this.
        """
        nameless = await self._collection.nameless()
        facets = await self._collection.facets()
        if facets is not None:
            self._counts = Counts(len(facets), sum(facets.values()), nameless)
            return self._counts
        held, odd = await self._collection.held()
        self._counts = Counts(len(held), sum(map(len, held.values())), nameless + odd)
        return self._counts

    async def verify(
        self,
        identity: str | int,
        embedding: Vector,
        *,
        scope: Scope | None = None,
        threshold: float | None = None,
        margin: float | None = None,
    ) -> Decision:
        """1:1. Compare an embedding, [dimension] and not necessarily of unit norm, with a claimed identity.

        See `sameface_qdrant.policy` for the table; ``scope`` defaults to GALLERY where two or more identities were
        counted.

        Raises:
            IdentityNotFound: no point has this identity.
            ThresholdNotCalibrated: neither ``threshold`` nor policy nor operating points bring one.
            InvalidEmbedding: the embedding has another dimension, a value that is not finite, or zero norm.
        """
        _check_identity(identity)
        _check_overrides(threshold, "verify_threshold", margin)
        vector = unit(embedding, self._collection.dimension)
        chosen = scope or (Scope.GALLERY if self._counts.identities >= 2 else Scope.CLAIM)
        claims, others = await asyncio.gather(
            self._collection.named(vector, 1, only=identity),
            self._best(vector, 1 if chosen is Scope.GALLERY else 0, excluding=(identity,)),
        )
        if not claims:
            raise IdentityNotFound(
                f"no point of {self._gallery.id!r} has the identity {identity!r}",
                metadata={"gallery": self._gallery.id, "identity": identity},
            )
        return decide_verification(
            _candidate(claims[0]),
            _candidate(others[0]) if others else None,
            scope=chosen,
            threshold=verification_threshold(self._gallery, None, threshold),
            margin=self._gallery.policy.runner_up_margin if margin is None else margin,
            policy_revision=self._gallery.policy.revision,
            gallery_size=self._counts.identities,
        )

    async def identify(
        self, embedding: Vector, *, threshold: float | None = None, margin: float | None = None, limit: int = 5
    ) -> Decision:
        """1:N. Find the identities that an embedding is most like, at most ``limit``; decide whether the best is it.

        Raises:
            ThresholdNotCalibrated: neither ``threshold`` nor policy nor operating points bring one.
            InvalidEmbedding: the embedding has another dimension, a value that is not finite, or zero norm.
        """
        _check_overrides(threshold, "identify_threshold", margin)
        _check_limit(limit)
        vector = unit(embedding, self._collection.dimension)
        best = await self._best(vector, max(2, limit))
        return decide_identification(
            [_candidate(hit) for hit in best],
            limit=limit,
            threshold=identification_threshold(self._gallery, self._counts.identities, threshold),
            margin=self._gallery.policy.runner_up_margin if margin is None else margin,
            policy_revision=self._gallery.policy.revision,
            gallery_size=self._counts.identities,
        )

    async def search(
        self, embedding: Vector, *, limit: int = 10, min_score: float | None = None
    ) -> tuple[Neighbour, ...]:
        """Return the nearest points that have an identity, best first, without any decision."""
        check_override(min_score, "min_score", -1.0, 1.0)
        _check_limit(limit)
        vector = unit(embedding, self._collection.dimension)
        hits = await self._collection.named(vector, limit, min_score=min_score)
        return tuple(
            Neighbour(hit.id, hit.identity, hit.score, hit.payload) for hit in hits if hit.identity is not None
        )

    async def scores(
        self, *, max_templates: int = 4_000, templates_per_identity: int = 4, seed: int = 0
    ) -> ComparisonScores:
        """Compare enrolled templates with one another, for calibration (`sameface_qdrant.metrics`).

        Every id is read; embeddings only of a seeded sample (`sameface_qdrant.metrics.comparisons.sample_templates`).
        Memory: about 4·max_templates² bytes.
        """
        held, _ = await self._collection.held()
        drawn = sample_templates(held, max_templates=max_templates, per_identity=templates_per_identity, seed=seed)
        rows: list[Vector] = []
        owners: list[Key] = []
        for start in range(0, len(drawn), VECTOR_BATCH):
            batch = drawn[start : start + VECTOR_BATCH]
            found = await self._collection.vectors([point for _, point in batch])
            for owner, point in batch:
                if (values := found.get(point)) is not None:
                    rows.append(unit(np.asarray(values), self._collection.dimension))
                    owners.append(owner)
        units = np.asarray(rows, dtype=np.float32).reshape(len(rows), self._collection.dimension)
        mated, non_mated = compare_pairs(units, owners)
        complete = len(rows) == sum(map(len, held.values()))
        return ComparisonScores(mated, non_mated, len(set(owners)), len(rows), complete)

    async def enroll(
        self, identity: str | int, embeddings: Sequence[Vector], *, payload: Mapping[str, Any] = EVERYWHERE
    ) -> tuple[str, ...]:
        """Add one point per embedding and return their ids; the same content again finds its own points.

        Each gets ``payload``, the fields of ``where`` and the identity. Embeddings are stored with unit norm.

        Raises:
            InvalidArgument: attached without ``writable``, or a field to write is nested.
            InvalidEmbedding: an embedding is malformed as in `verify`; none is stored.
        """
        self._check_writable()
        _check_identity(identity)
        target = self._collection.target
        owned: dict[str, Any] = {**target.where, target.identity_key: identity}
        if nested := [field for field in owned if "." in field or "[" in field]:
            raise InvalidArgument(
                f"{nested[0]!r} is a nested field, which is read but not written; enrol with a client of your own",
                metadata={"field": nested[0]},
            )
        vectors = [unit(embedding, self._collection.dimension) for embedding in embeddings]
        scope = (target.collection, target.vector_name, repr(sorted(target.where.items())), repr(identity))
        keys = [point_id("attached", *scope, hashlib.sha256(vector.tobytes()).hexdigest()) for vector in vectors]
        if keys:
            points = [(key, vector, {**payload, **owned}) for key, vector in zip(keys, vectors, strict=True)]
            await self._collection.insert(points)
            await self.count()
        return tuple(keys)

    async def delete(self, identity: str | int) -> int:
        """Remove every point of an identity under ``where``, whoever wrote it, and return how many there were.

        Raises:
            InvalidArgument: attached without ``writable``.
        """
        self._check_writable()
        _check_identity(identity)
        held, _ = await self._collection.held(only=identity)
        points = held.get(identity, [])
        if points:
            await self._collection.delete(points)
            await self.count()
        return len(points)

    async def _best(self, vector: Vector, wanted: int, *, excluding: Collection[Key] = ()) -> list[RawHit]:
        """Return the best hit of each of the ``wanted`` nearest identities (maximum fusion), exactly.

        Whoever is not among the hits of a query is no nearer than any of them, so later queries only append.
        """
        best: dict[Key, RawHit] = {}
        limit = 4 * wanted
        while len(best) < wanted:
            hits = await self._collection.named(vector, limit, excluding=(*excluding, *best))
            known = len(best)
            for hit in hits:
                if hit.identity is not None:
                    best.setdefault(hit.identity, hit)
            if len(hits) < limit:
                break
            if len(best) == known:
                key = self._collection.target.identity_key
                raise InvalidArgument(
                    f"the server does not leave out identities by {key!r}; give the field an index of its own type",
                    metadata={"field": "identity_key"},
                )
        return list(best.values())[:wanted]

    def _check_writable(self) -> None:
        if not self._writable:
            raise InvalidArgument(
                f"{self._gallery.id!r} was attached for reading; attach with writable=True to write to it",
                metadata={"field": "writable"},
            )


def _candidate(hit: RawHit) -> Candidate:
    return Candidate(identity=str(hit.identity), score=hit.score, template=str(hit.id))


def _check_identity(identity: str | int) -> None:
    if name_of(identity) is None or identity == "":
        raise InvalidArgument(
            f"identity is {str(identity)[:80]!r}; expected a text or a whole number", metadata={"field": "identity"}
        )


def _check_overrides(threshold: float | None, field: str, margin: float | None) -> None:
    check_override(threshold, field, -1.0, 1.0)
    check_override(margin, "runner_up_margin", 0.0, 2.0)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidArgument(f"limit is {limit}; expected 1 to {LARGEST_PAGE}", metadata={"field": "limit"})
