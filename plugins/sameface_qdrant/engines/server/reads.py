"""Reads of a Qdrant server, whatever its limits and replicas: pages, searches, counts, points by id.

`Reads` has the methods of qdrant-client, so the engine asks for what it needs. Answers that are larger than the server
allows are put together from several. Where the server allows no exact search, vectors are compared here. If a read asks
for a consistency, it is read as `sameface_qdrant.engines.server.replicas` says.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.conversions import common_types as types

from sameface_qdrant.engines.base import Hit
from sameface_qdrant.engines.server.conversion import hits_of
from sameface_qdrant.engines.server.limits import LARGEST_PAGE, Limits
from sameface_qdrant.engines.server.nodes import Nodes
from sameface_qdrant.engines.server.replicas import Strays, agreed

NO_LIMITS = Limits()


class Reads:
    """Has the methods of `AsyncQdrantClient`; those that are not here are those of the nodes."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._strays = Strays()
        self.limits: dict[str, Limits] = {}
        """The limits of collections, by name."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nodes, name)

    def as_client(self) -> AsyncQdrantClient:
        """Return this as the client that it stands for."""
        return cast(AsyncQdrantClient, self)

    async def retrieve(
        self,
        collection_name: str,
        ids: Sequence[Any],
        with_payload: Any = True,
        with_vectors: Any = False,
        consistency: models.ReadConsistencyType | None = None,
    ) -> list[models.Record]:
        """Return the points that exist; with a consistency in the version of most replicas."""

        async def read(some: Sequence[Any], asked: models.ReadConsistencyType | None) -> list[models.Record]:
            found: list[models.Record] = await self._nodes.retrieve(
                collection_name, list(some), with_payload=with_payload, with_vectors=with_vectors, consistency=asked
            )
            return found

        async def held(some: Sequence[Any]) -> list[list[models.Record]]:
            return await self._nodes.each(
                lambda client: client.retrieve(collection_name, list(some), with_payload=False, with_vectors=False)
            )

        if consistency is None:
            return await read(ids, None)
        async with asyncio.timeout(self._nodes.timeout_s):
            return await agreed(read, held, ids, self._strays)

    async def scroll(
        self,
        collection_name: str,
        scroll_filter: models.Filter | None = None,
        limit: int = 10,
        offset: Any = None,
        with_payload: Any = True,
        with_vectors: Any = False,
        consistency: models.ReadConsistencyType | None = None,
    ) -> tuple[list[models.Record], Any]:
        """Return points in the order of their ids, and the id of the next one."""
        most = self._limits(collection_name).page or LARGEST_PAGE
        alone = consistency is None
        found: list[models.Record] = []
        left = limit
        while True:
            records, offset = await self._nodes.scroll(
                collection_name,
                scroll_filter=scroll_filter,
                limit=min(left, most),
                offset=offset,
                with_payload=with_payload if alone else False,
                with_vectors=with_vectors if alone else False,
            )
            left -= len(records)
            if not alone and records:
                ids = [record.id for record in records]
                stored = await self.retrieve(collection_name, ids, with_payload, with_vectors, consistency)
                by_id = {record.id: record for record in stored}
                records = [by_id[one] for one in ids if one in by_id]
            found += records
            if offset is None or left <= 0:
                return found, offset

    async def query_points(
        self,
        collection_name: str,
        query: Sequence[float],
        using: str,
        query_filter: models.Filter,
        search_params: models.SearchParams | None = None,
        limit: int = 10,
        with_payload: Any = True,
        score_threshold: float | None = None,
        consistency: models.ReadConsistencyType | None = None,
    ) -> types.QueryResponse:
        """Return the points whose vectors are nearest to a unit vector, best first.

        A further request excludes what was found before. With an offset, a point that is removed between two requests
        would hide another one.
        """
        limits = self._limits(collection_name)
        if search_params is not None and search_params.exact and not limits.exact:
            records, _ = await self.scroll(
                collection_name, query_filter, sys.maxsize, None, with_payload, [using], consistency
            )
            return types.QueryResponse(points=_compared(records, query, using, limit, score_threshold))
        found: list[models.ScoredPoint] = []
        seen: list[Any] = []
        while len(found) < limit:
            asked = min(limit - len(found), limits.page or limit)
            answer = await self._nodes.query_points(
                collection_name,
                query=list(query),
                using=using,
                query_filter=_without(query_filter, seen),
                search_params=search_params,
                limit=asked,
                with_payload=with_payload,
                score_threshold=score_threshold,
            )
            seen += [point.id for point in answer.points]
            found += await self._confirmed(collection_name, query_filter, answer.points, consistency)
            if len(answer.points) < asked:
                break
        return types.QueryResponse(points=found)

    async def query_batch_points(
        self,
        collection_name: str,
        requests: Sequence[models.QueryRequest],
        consistency: models.ReadConsistencyType | None = None,
    ) -> list[types.QueryResponse]:
        """Return the answers to several searches; one request where the server's limits and replicas allow it."""
        if self._are_one_request(collection_name, requests, consistency):
            answers: list[types.QueryResponse] = await self._nodes.query_batch_points(collection_name, list(requests))
            return answers
        searches = (
            self.query_points(
                collection_name,
                cast(Sequence[float], one.query),
                one.using or "",
                one.filter or models.Filter(),
                one.params,
                one.limit or 10,
                one.with_payload,
                one.score_threshold,
                consistency,
            )
            for one in requests
        )
        return list(await asyncio.gather(*searches))

    async def hits(
        self,
        collection_name: str,
        requests: Sequence[models.QueryRequest],
        consistency: models.ReadConsistencyType | None,
    ) -> list[list[Hit]]:
        """Return the hits of several searches, read directly where one request is enough."""
        if self._are_one_request(collection_name, requests, consistency):
            return await self._nodes.query_each(collection_name, requests)
        answers = await self.query_batch_points(collection_name, requests, consistency)
        return [hits_of(answer) for answer in answers]

    async def count(
        self,
        collection_name: str,
        count_filter: models.Filter,
        exact: bool = True,
        consistency: models.ReadConsistencyType | None = None,
    ) -> models.CountResult:
        """Return how many points match, exactly."""
        if not self._limits(collection_name).exact:
            records, _ = await self.scroll(collection_name, count_filter, sys.maxsize, None, with_payload=False)
            return models.CountResult(count=len(records))
        if consistency is None:
            counted: models.CountResult = await self._nodes.count(collection_name, count_filter, exact=exact)
            return counted
        return models.CountResult(count=await self._nodes.count_by(collection_name, count_filter, consistency))

    async def _confirmed(
        self,
        collection: str,
        within: models.Filter,
        points: list[models.ScoredPoint],
        consistency: models.ReadConsistencyType | None,
    ) -> list[models.ScoredPoint]:
        """Return those of the points found on one replica which a majority has, and which match there."""
        if consistency is None or not points:
            return points
        same = models.HasIdCondition(has_id=[point.id for point in points])
        among, _ = await self._nodes.scroll(
            collection,
            scroll_filter=models.Filter(must=[within, same]),
            limit=len(points),
            with_payload=False,
            consistency=consistency,
        )
        kept = {record.id for record in among}
        return [point for point in points if point.id in kept]

    def _are_one_request(
        self,
        collection: str,
        requests: Sequence[models.QueryRequest],
        consistency: models.ReadConsistencyType | None,
    ) -> bool:
        limits = self._limits(collection)
        allowed = all(
            (one.limit or 0) <= (limits.page or sys.maxsize)
            and (limits.exact or one.params is None or not one.params.exact)
            for one in requests
        )
        return allowed and consistency is None

    def _limits(self, collection: str) -> Limits:
        return self.limits.get(collection, NO_LIMITS)


def _without(within: models.Filter, ids: Sequence[Any]) -> models.Filter:
    if not ids:
        return within
    return models.Filter(must=[within], must_not=[models.HasIdCondition(has_id=list(ids))])


def _compared(
    records: Sequence[models.Record], query: Sequence[float], using: str, limit: int, least: float | None
) -> list[models.ScoredPoint]:
    """Return the records nearest to a unit vector, best first, by their own vectors, which have unit norm."""
    points = []
    for record in records:
        if isinstance(record.vector, dict) and using in record.vector:
            score = float(np.dot(cast(Any, record.vector[using]), query))
            if least is None or score >= least:
                points.append(models.ScoredPoint(id=record.id, version=0, score=score, payload=record.payload))
    return sorted(points, key=lambda point: -point.score)[:limit]
