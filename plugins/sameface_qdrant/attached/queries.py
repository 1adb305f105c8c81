"""Reads and writes points of a collection that another program made, through qdrant-client."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from qdrant_client import AsyncQdrantClient, models
from qdrant_client.local.async_qdrant_local import AsyncQdrantLocal

from sameface_qdrant.attached.layout import cosine_of, is_missing, named_vectors, replaced
from sameface_qdrant.attached.target import Id, Neighbour, Target, field_value, identity_of
from sameface_qdrant.engines.server.engine import call
from sameface_qdrant.engines.server.error_mapping import TIMED_OUT
from sameface_qdrant.errors import InvalidArgument, SamefaceError
from sameface_qdrant.values.vectors import Vector

PAGE = 1000
MOST_SKIPPED = 1_000
MOST_FACETS = 1_000_000
NO_ANSWER = {"UNAVAILABLE", *TIMED_OUT}
Result = TypeVar("Result")


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
    sharded_by_key: bool = False
    shard_key: Id | None = None
    """Where new points go, in a collection that is sharded by keys of its owner. Reads ask every shard."""

    async def check_unchanged(self) -> None:
        """Raise ContractMismatch if the name leads to a collection of another layout now, or to none."""
        try:
            info = await call(self.location, self.client.get_collection(self.target.collection))
        except SamefaceError as error:
            if is_missing(error):
                raise replaced(self.target, "does not exist any more") from error
            raise
        params = named_vectors(info.config.params.vectors).get(self.target.vector_name)
        if params is None:
            raise replaced(self.target, f"has no vector {self.target.vector_name!r} any more")
        if (params.size, params.distance) != (self.dimension, self.distance):
            raise replaced(
                self.target,
                f"holds vectors of {params.size} numbers under {params.distance.value} now, and held {self.dimension} "
                f"under {self.distance.value}",
            )

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
            neighbours, ignored = await self._query(vector, limit, filtered)
            if any(one.identity in excluded for one in neighbours):
                raise InvalidArgument(
                    f"the server does not exclude identities by {self.target.identity_key!r}; make a payload index of "
                    "the field's own type",
                    metadata={"field": "identity_key"},
                )
            if not ignored:
                # Not by the server, whose threshold would mean something else under another distance.
                return [one for one in neighbours if min_score is None or one.score >= min_score]
            skipped += ignored
        raise InvalidArgument(
            f"more than {MOST_SKIPPED} points have a value under {self.target.identity_key!r} that is neither a text "
            "nor a whole number; choose a field that names one identity",
            metadata={"field": "identity_key"},
        )

    async def _query(self, vector: Vector, limit: int, filtered: models.Filter) -> tuple[list[Neighbour], list[Id]]:
        """Return the nearest points that name an identity, and the ids of the nearest that name none."""
        exact = models.SearchParams(exact=True, quantization=models.QuantizationSearchParams(ignore=True))
        answer = await self._call(
            self.client.query_points(
                self.target.collection,
                query=vector.tolist(),
                using=self.target.vector_name or None,
                query_filter=filtered,
                search_params=None if is_local(self.client) else exact,
                limit=limit,
                with_payload=True,
                with_vectors=[self.target.vector_name] if self.target.vector_name else True,
                consistency=self.consistency,
            )
        )
        neighbours: list[Neighbour] = []
        ignored: list[Id] = []
        for point in answer.points:
            identity = self._identity(point.payload)
            if identity is None:
                ignored.append(_point_id(point.id))
            else:
                score = cosine_of(
                    self.target,
                    self.distance,
                    self.dimension,
                    point.score,
                    vector,
                    _vector(point, self.target.vector_name),
                )
                neighbours.append(Neighbour(_point_id(point.id), identity, score, point.payload or {}))
        return neighbours, ignored

    async def _scroll(self, start: Any, only: Id | None) -> tuple[list[tuple[Id, Id | None]], Any]:
        records, following = await self._call(
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
        records = await self._call(
            self.client.retrieve(
                self.target.collection,
                list(ids),
                with_payload=False,
                with_vectors=[self.target.vector_name] if self.target.vector_name else True,
                consistency=self.consistency,
            ),
        )
        found = {_point_id(record.id): _vector(record, self.target.vector_name) for record in records}
        if any(values is not None and len(values) != self.dimension for values in found.values()):
            await self.check_unchanged()
        return found

    async def first_vectors(self, wanted: int) -> dict[Id, Any]:
        """Return the vectors of the first points by id."""
        page, _ = await self._scroll(None, None)
        return await self.vectors([point for point, _ in page[:wanted]])

    async def count_without_identity(self) -> int:
        """Return how many points have no value under the identity key."""
        within = models.Filter(must=[*self._within(), self._no_identity()])
        answer = await self._call(self.client.count(self.target.collection, count_filter=within, exact=True))
        return int(answer.count)

    async def counts_by_index(self) -> dict[Id, int] | None:
        """Return how many points each identity has, by the index on the key; None if there is no such index."""
        if not self.indexed:
            return None
        answer = await self._call(
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
        await self._call(
            self.client.upsert(
                self.target.collection,
                structs,
                wait=True,
                ordering=models.WriteOrdering.STRONG,
                update_mode=models.UpdateMode.INSERT_ONLY,
                shard_key_selector=self.shard_key,
            ),
        )

    async def delete(self, ids: Sequence[Id]) -> None:
        """Remove points."""
        by_key: dict[Id | None, list[Id]] = {}
        for point, key in (await self._shard_keys(ids)).items():
            by_key.setdefault(key, []).append(point)
        for key, points in by_key.items():
            await self._call(
                self.client.delete(
                    self.target.collection,
                    models.PointIdsList(points=points),
                    wait=True,
                    ordering=models.WriteOrdering.STRONG,
                    shard_key_selector=key,
                )
            )

    async def _shard_keys(self, ids: Sequence[Id]) -> dict[Id, Id | None]:
        if not self.sharded_by_key:
            return dict.fromkeys(ids)
        records = await self._call(
            self.client.retrieve(
                self.target.collection,
                list(ids),
                with_payload=False,
                with_vectors=False,
                consistency=self.consistency,
            )
        )
        return {_point_id(record.id): record.shard_key for record in records}

    async def _call(self, awaited: Awaitable[Result]) -> Result:
        """Await a call. If it fails because the collection is another one now, say so."""
        try:
            return await call(self.location, awaited)
        except SamefaceError as error:
            if error.metadata.get("kind") not in NO_ANSWER:
                await self.check_unchanged()
            raise

    def _identity(self, payload: Mapping[str, Any] | None) -> Id | None:
        return identity_of(field_value(payload or {}, self.target.identity_key))

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


def _point_id(point: Any) -> Id:
    return point if isinstance(point, int) else str(point)


def _vector(record: models.Record | models.ScoredPoint, name: str) -> Any:
    vector = record.vector
    return (vector.get(name) if isinstance(vector, dict) else None) if name else vector
