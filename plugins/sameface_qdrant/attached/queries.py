"""Reads and writes points of a collection that another program made, through qdrant-client."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.local.async_qdrant_local import AsyncQdrantLocal

from sameface_qdrant.attached.target import Id, Neighbour, Target, field_value, identity_of
from sameface_qdrant.engines.server.engine import call
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.vectors import Vector

PAGE = 1000
MOST_SKIPPED = 1_000
NORM_TOLERANCE = 1e-3
MOST_FACETS = 1_000_000


@dataclass(frozen=True, slots=True)
class AttachedCollection:
    """Opened by `sameface_qdrant.attached.inspection.open_collection`."""

    client: AsyncQdrantClient
    location: str
    target: Target
    dimension: int
    distance: models.Distance
    indexed: bool
    """Whether a server has an index on the identity key."""
    consistency: models.ReadConsistencyType | None

    async def points_by_identity(self, only: Id | None = None) -> tuple[dict[Id, list[Id]], int]:
        """Return the ids of the points of each identity, and how many points have a value that names no identity."""
        points: dict[Id, list[Id]] = {}
        ignored, start = 0, None
        while True:
            page, start = await self._scroll(start, only)
            for point, identity in page:
                if identity is None:
                    ignored += 1
                else:
                    points.setdefault(identity, []).append(point)
            if start is None:
                return points, ignored

    async def nearest(
        self,
        vector: Vector,
        limit: int,
        *,
        only: Id | None = None,
        excluding: Sequence[Id] = (),
        min_score: float | None = None,
    ) -> list[Neighbour]:
        """Return the nearest points whose value names an identity, best first, by exact search."""
        excluded, skipped = set(excluding), list[Id]()
        while len(skipped) <= MOST_SKIPPED:
            filtered = self._filter(only, excluding, skipped)
            neighbours, ignored = await self._query(vector, limit, filtered, min_score)
            if any(one.identity in excluded for one in neighbours):
                raise InvalidArgument(
                    f"the server does not exclude identities by {self.target.identity_key!r}; make a payload index of "
                    "the field's own type",
                    metadata={"field": "identity_key"},
                )
            if not ignored:
                return neighbours
            skipped += ignored
        raise InvalidArgument(
            f"more than {MOST_SKIPPED} points have a value under {self.target.identity_key!r} that is neither a text "
            "nor a whole number; choose a field that names one identity",
            metadata={"field": "identity_key"},
        )

    async def _query(
        self, vector: Vector, limit: int, filtered: models.Filter, min_score: float | None
    ) -> tuple[list[Neighbour], list[Id]]:
        """Return the nearest points that name an identity, and the ids of the nearest that name none."""
        exact = models.SearchParams(exact=True, quantization=models.QuantizationSearchParams(ignore=True))
        answer = await call(
            self.location,
            self.client.query_points(
                self.target.collection,
                query=vector.tolist(),
                using=self.target.vector_name or None,
                query_filter=filtered,
                search_params=None if is_local(self.client) else exact,
                limit=limit,
                with_payload=True,
                score_threshold=None if min_score is None else self._raw(min_score),
                consistency=self.consistency,
            ),
        )
        neighbours: list[Neighbour] = []
        ignored: list[Id] = []
        for point in answer.points:
            identity = self._identity(point.payload)
            if identity is None:
                ignored.append(_point_id(point.id))
            else:
                score = self._cosine(point.score)
                neighbours.append(Neighbour(_point_id(point.id), identity, score, point.payload or {}))
        return neighbours, ignored

    async def _scroll(self, start: Any, only: Id | None) -> tuple[list[tuple[Id, Id | None]], Any]:
        records, following = await call(
            self.location,
            self.client.scroll(
                self.target.collection,
                scroll_filter=self._filter(only, (), ()),
                limit=PAGE,
                offset=start,
                with_payload=[self.target.identity_key],
                consistency=self.consistency,
            ),
        )
        return [(_point_id(record.id), self._identity(record.payload)) for record in records], following

    async def vectors(self, ids: Sequence[Id]) -> dict[Id, Any]:
        """Return the vectors of points by id, as they are stored."""
        records = await call(
            self.location,
            self.client.retrieve(
                self.target.collection,
                list(ids),
                with_payload=False,
                with_vectors=[self.target.vector_name] if self.target.vector_name else True,
                consistency=self.consistency,
            ),
        )
        return {_point_id(record.id): _vector(record, self.target.vector_name) for record in records}

    async def first_vectors(self, wanted: int) -> dict[Id, Any]:
        """Return the vectors of the first points by id."""
        page, _ = await self._scroll(None, None)
        return await self.vectors([point for point, _ in page[:wanted]])

    async def count_without_identity(self) -> int:
        """Return how many points have no value under the identity key."""
        within = models.Filter(must=[*self._within(), self._no_identity()])
        answer = await call(self.location, self.client.count(self.target.collection, count_filter=within, exact=True))
        return int(answer.count)

    async def counts_by_index(self) -> dict[Id, int] | None:
        """Return how many points each identity has, by the index on the key; None if there is no such index."""
        if not self.indexed:
            return None
        answer = await call(
            self.location,
            self.client.facet(
                self.target.collection,
                self.target.identity_key,
                facet_filter=self._filter(None, (), ()),
                limit=MOST_FACETS,
                exact=True,
            ),
        )
        return {hit.value: hit.count for hit in answer.hits if identity_of(hit.value) is not None}

    async def insert(self, points: Sequence[tuple[str, Vector, Mapping[str, Any]]]) -> None:
        """Add points. Existing points stay as they are."""
        name = self.target.vector_name
        structs = [
            models.PointStruct(
                id=key, vector={name: vector.tolist()} if name else vector.tolist(), payload=dict(payload)
            )
            for key, vector, payload in points
        ]
        await call(
            self.location,
            self.client.upsert(
                self.target.collection,
                structs,
                wait=True,
                ordering=models.WriteOrdering.STRONG,
                update_mode=models.UpdateMode.INSERT_ONLY,
            ),
        )

    async def delete(self, ids: Sequence[Id]) -> None:
        """Remove points."""
        selector = models.PointIdsList(points=list(ids))
        await call(
            self.location,
            self.client.delete(self.target.collection, selector, wait=True, ordering=models.WriteOrdering.STRONG),
        )

    def _identity(self, payload: Mapping[str, Any] | None) -> Id | None:
        return identity_of(field_value(payload or {}, self.target.identity_key))

    def _cosine(self, raw: float) -> float:
        if self.distance is models.Distance.EUCLID:
            # d² = 2 − 2·cos between unit vectors.
            return max(-1.0, min(1.0, 1.0 - raw * raw / 2.0))
        if abs(raw) > 1.0 + NORM_TOLERANCE:
            raise not_unit_norm(self.target, f"gave a dot product of {raw:.4f} with a unit vector")
        return max(-1.0, min(1.0, raw))

    def _raw(self, score: float) -> float:
        return float(np.sqrt(max(0.0, 2.0 - 2.0 * score))) if self.distance is models.Distance.EUCLID else score

    def _within(self) -> list[Any]:
        conditions: list[Any] = [
            models.FieldCondition(key=key, match=models.MatchValue(value=value))
            for key, value in self.target.where.items()
        ]
        if self.target.vector_name:
            conditions.append(models.HasVectorCondition(has_vector=self.target.vector_name))
        return conditions

    def _no_identity(self) -> models.IsEmptyCondition:
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=self.target.identity_key))

    def _filter(self, only: Id | None, excluding: Sequence[Id], skipping: Sequence[Id]) -> models.Filter:
        key = self.target.identity_key
        must = self._within()
        if only is not None:
            must.append(models.FieldCondition(key=key, match=models.MatchValue(value=only)))
        must_not: list[Any] = [self._no_identity()]
        # A MatchAny condition takes either texts or numbers.
        texts = [value for value in excluding if isinstance(value, str)]
        numbers = [value for value in excluding if isinstance(value, int)]
        must_not += [
            models.FieldCondition(key=key, match=models.MatchAny(any=values)) for values in (texts, numbers) if values
        ]
        if skipping:
            must_not.append(models.HasIdCondition(has_id=list(skipping)))
        return models.Filter(must=must, must_not=must_not)


def is_local(client: AsyncQdrantClient) -> bool:
    """Return whether a client keeps its points in this process."""
    return isinstance(client._client, AsyncQdrantLocal)


def not_unit_norm(target: Target, what: str) -> InvalidArgument:
    """Return the error for scores that cannot be turned into cosines."""
    return InvalidArgument(
        f"{target.vector_name!r} of {target.collection!r} {what}: under Dot and Euclid only unit vectors give cosines; "
        "normalise the embeddings, or make a collection with distance Cosine and copy them there",
        metadata={"field": "vector_name"},
    )


def _point_id(point: Any) -> Id:
    return point if isinstance(point, int) else str(point)


def _vector(record: models.Record, name: str) -> Any:
    vector = record.vector
    return (vector.get(name) if isinstance(vector, dict) else None) if name else vector
