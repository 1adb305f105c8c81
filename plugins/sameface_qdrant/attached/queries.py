"""Reads points of a collection that another program made, through qdrant-client."""

from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.local.async_qdrant_local import AsyncQdrantLocal
from qdrant_client.local.qdrant_local import QdrantLocal

from sameface_qdrant.attached import filters
from sameface_qdrant.attached.layout import cosine_of, is_missing, named_vectors, replaced
from sameface_qdrant.attached.passed_over import PassedOver
from sameface_qdrant.attached.target import Id, Neighbour, Target, field_value, identity_of
from sameface_qdrant.engines.server.engine import call
from sameface_qdrant.engines.server.error_mapping import TIMED_OUT
from sameface_qdrant.errors import InvalidArgument, SamefaceError
from sameface_qdrant.values.vectors import Vector, is_usable

PAGE = 1000
VECTOR_NUMBERS = 250_000
"""Numbers of the embeddings on a page, about: 1 MB of float32, which every server may send."""
MOST_SKIPPED = 1_000
MOST_FACETS = 1_000_000
NO_ANSWER = {"UNAVAILABLE", *TIMED_OUT}
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point as it was read from the collection."""

    id: Id
    identity: Id | None
    """None if its payload names no identity."""
    vector: Any = None
    """The numbers of its embedding; None if they were not asked for."""


@dataclass(frozen=True, slots=True)
class AttachedCollection:
    """Opened by `sameface_qdrant.attached.inspection.open_collection`."""

    client: AsyncQdrantClient
    location: str
    target: Target
    dimension: int
    distance: models.Distance
    index: str | None
    """The type of the index that a server has on the identity key, for instance ``keyword``; None without one."""
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
        ignored = 0
        async for page in self.pages(only):
            for point in page:
                if point.identity is None:
                    ignored += 1
                else:
                    points.setdefault(point.identity, []).append(point.id)
        return points, ignored

    async def nearest(
        self,
        vector: Vector,
        limit: int,
        *,
        only: Id | None = None,
        excluding: Sequence[Id] = (),
        min_score: float | None = None,
        passed_over: PassedOver,
    ) -> list[Neighbour]:
        """Return the nearest usable points whose value names an identity, best first, by exact search.

        Others are left out, and the next search leaves them out by ``passed_over``.
        """
        excluded, skipped, asked, known = set(excluding), list[Id](), limit, passed_over.ids
        while len(skipped) <= MOST_SKIPPED:
            filtered = self._filter(only, excluding, [*known, *skipped])
            neighbours, left_out = await self._query(vector, asked, filtered)
            if any(one.identity in excluded for one in neighbours):
                raise InvalidArgument(
                    f"the server does not exclude identities by {self.target.identity_key!r}; make a payload index of "
                    "the field's own type",
                    metadata={"field": "identity_key"},
                )
            if not left_out:
                passed_over.add(skipped)
                # Not by the server, whose threshold would mean something else under another distance.
                return [one for one in neighbours[:limit] if min_score is None or one.score >= min_score]
            skipped += left_out
            asked = min(PAGE, 2 * asked)  # the next ones may be more of the same
        raise InvalidArgument(
            f"more than {len(known) + MOST_SKIPPED} points of {self.target.collection!r} cannot be compared: their "
            f"value under {self.target.identity_key!r} is neither a text nor a whole number, or their embedding is not "
            "finite or has zero norm; choose a field that names one identity, and delete broken embeddings (`count` "
            "counts both)",
            metadata={"field": "identity_key"},
        )

    async def _query(self, vector: Vector, limit: int, filtered: models.Filter) -> tuple[list[Neighbour], list[Id]]:
        """Return the nearest points that can be compared, and the ids of the nearest that cannot."""
        exact = models.SearchParams(exact=True, quantization=models.QuantizationSearchParams(ignore=True))
        answer = await self.ask(
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
        target, neighbours, left_out = self.target, list[Neighbour](), list[Id]()
        for point in answer.points:
            key, identity, stored = point_key(point.id), self._identity(point.payload), _vector(point, self.target)
            if identity is None or not is_usable(np.atleast_2d(np.asarray(stored, np.float64)))[0]:
                left_out.append(key)
                continue
            score = cosine_of(target, self.distance, self.dimension, point.score, vector, stored)
            neighbours.append(Neighbour(key, identity, score, point.payload or {}))
        return neighbours, left_out

    async def pages(
        self, only: Id | None = None, *, with_vectors: bool = False, size: int = PAGE
    ) -> AsyncIterator[list[StoredPoint]]:
        """Yield all points that have a value under the identity key, in pages of up to ``size``.

        Raises:
            ContractMismatch: an embedding has another dimension than at `attach`.
        """
        limit = max(1, min(size, VECTOR_NUMBERS // self.dimension)) if with_vectors else size
        start: Any = None
        while True:
            records, start = await self.ask(
                self.client.scroll(
                    self.target.collection,
                    scroll_filter=self._filter(only, (), ()),
                    limit=limit,
                    offset=start,
                    with_payload=[self.target.identity_key],
                    with_vectors=self._vectors_asked() if with_vectors else False,
                    consistency=self.consistency,
                ),
            )
            page = [
                StoredPoint(point_key(one.id), self._identity(one.payload), _vector(one, self.target))
                for one in records
            ]
            await self._check_dimension(one.vector for one in page)
            yield page
            if start is None:
                return

    async def vectors(self, ids: Sequence[Id]) -> dict[Id, Any]:
        """Return the vectors of points by id, as they are stored.

        Raises:
            ContractMismatch: one has another dimension than at `attach`.
        """
        records = await self.ask(
            self.client.retrieve(
                self.target.collection,
                list(ids),
                with_payload=False,
                with_vectors=self._vectors_asked(),
                consistency=self.consistency,
            ),
        )
        found = {point_key(record.id): _vector(record, self.target) for record in records}
        await self._check_dimension(found.values())
        return found

    async def count_without_identity(self) -> int:
        """Return how many points have no value under the identity key, or an empty text."""
        return await self.count(filters.without_identity(self.target, whole_numbers=self._whole_numbers))

    async def count(self, chosen: models.Filter | None) -> int:
        """Return how many points a filter chooses, exactly."""
        answer = await self.ask(self.client.count(self.target.collection, count_filter=chosen, exact=True))
        return int(answer.count)

    async def payloads(self, limit: int) -> list[Mapping[str, Any]]:
        """Return the payloads of some points under ``where``."""
        chosen = models.Filter(must=filters.within(self.target))
        records, _ = await self.ask(
            self.client.scroll(self.target.collection, scroll_filter=chosen, limit=limit, with_payload=True)
        )
        return [record.payload or {} for record in records]

    async def counts_by_index(self) -> dict[Any, int] | None:
        """Return how many points have each value, by the index on the identity key; None if there is no such index."""
        if self.index is None:
            return None
        answer = await self.ask(
            self.client.facet(
                self.target.collection,
                self.target.identity_key,
                facet_filter=models.Filter(must=filters.within(self.target)),
                limit=MOST_FACETS,
                exact=True,
            ),
        )
        return {hit.value: hit.count for hit in answer.hits}

    async def ask(self, awaited: Awaitable[Result]) -> Result:
        """Await a call of the client. If it fails because the collection is another one now, say so."""
        try:
            return await call(self.location, awaited)
        except SamefaceError as error:
            if error.metadata.get("kind") not in NO_ANSWER:
                await self.check_unchanged()
            raise

    async def _check_dimension(self, vectors: Iterable[Any]) -> None:
        if any(values is not None and len(values) != self.dimension for values in vectors):
            await self.check_unchanged()
            raise replaced(self.target, f"holds vectors of another length than {self.dimension}")

    def _vectors_asked(self) -> list[str] | bool:
        return [self.target.vector_name] if self.target.vector_name else True

    def _identity(self, payload: Mapping[str, Any] | None) -> Id | None:
        return identity_of(field_value(payload or {}, self.target.identity_key))

    def _filter(self, only: Id | None, excluding: Sequence[Id], skipping: Sequence[Id]) -> models.Filter:
        return filters.with_identity(
            self.target, only=only, excluding=excluding, skipping=skipping, whole_numbers=self._whole_numbers
        )

    @property
    def _whole_numbers(self) -> bool:
        return self.index == models.PayloadSchemaType.INTEGER.value


def is_local(client: AsyncQdrantClient) -> bool:
    """Return whether a client keeps its points in this process."""
    return isinstance(client._client, AsyncQdrantLocal | QdrantLocal)


def point_key(point: Any) -> Id:
    """Return the id of a point: a whole number, or the text of a UUID."""
    return point if isinstance(point, int) else str(point)


def _vector(record: models.Record | models.ScoredPoint, target: Target) -> Any:
    vector, name = record.vector, target.vector_name
    if isinstance(vector, dict):
        return vector.get(name)
    return None if name else vector
