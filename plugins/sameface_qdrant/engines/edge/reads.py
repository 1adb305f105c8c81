"""Reads of one open collection of Qdrant Edge: at once where that is quicker than the switch to another thread."""

from collections.abc import Sequence

import qdrant_edge as edge

from sameface_qdrant.engines.base import Hit, Point, Where
from sameface_qdrant.engines.edge import nearest as in_shard
from sameface_qdrant.engines.edge.collection import EdgeCollection
from sameface_qdrant.engines.edge.options import EdgeOptions
from sameface_qdrant.engines.edge.shard import filter_of, point_of
from sameface_qdrant.values.vectors import Vector

QUICK_IDS = 64
"""Reading up to this many points by id takes less time than the switch to another thread."""
QUICK_NUMBERS = 1 << 18
"""So does comparing a probe with vectors that hold this many numbers together: 2,048 of 128."""


async def get(opened: EdgeCollection, ids: Sequence[str], with_vector: bool) -> dict[str, Point]:
    """See `Engine.get`."""
    if not ids:
        return {}
    records = await opened.read(
        lambda shard: shard.retrieve(list(ids), with_payload=True, with_vector=with_vector),
        quick=len(ids) <= QUICK_IDS,
    )
    return {point.id: point for point in map(point_of, records)}


async def nearest(
    opened: EdgeCollection,
    vector: Vector,
    where: Where,
    limit: int,
    min_score: float | None,
    options: EdgeOptions | None,
) -> list[Hit]:
    """See `Engine.nearest`; exact unless there are ``options`` and the collection has a graph."""
    quick = _is_quick(opened, where)
    graph = options if opened.handle.indexed else None
    return await opened.read(
        lambda shard: in_shard.nearest(shard, vector, where, limit, min_score, graph=graph, few=quick), quick=quick
    )


async def nearest_of_few(
    opened: EdgeCollection, searches: Sequence[tuple[Vector, Where]], limit: int
) -> list[list[Hit]]:
    """Return the result of `nearest` for each search, where `all_quick`."""
    return await opened.read(lambda shard: in_shard.nearest_of_few(shard, searches, limit), quick=True)


async def scroll(
    opened: EdgeCollection, where: Where, limit: int, start: str | None, with_vector: bool
) -> tuple[list[Point], str | None]:
    """See `Engine.scroll`."""
    request = edge.ScrollRequest(
        offset=start, limit=limit, filter=filter_of(where), with_payload=True, with_vector=with_vector
    )

    def read(shard: edge.EdgeShard) -> tuple[list[Point], str | None]:
        records, following = shard.scroll(request)
        return list(map(point_of, records)), None if following is None else str(following)

    return await opened.read(read)


async def count(opened: EdgeCollection, where: Where) -> int:
    """See `Engine.count`; what was counted since the latest write is not counted again."""

    def count_now(shard: edge.EdgeShard) -> int:
        return int(shard.count(edge.CountRequest(exact=True, filter=filter_of(where))))

    if "identity" in where.equals:
        return await opened.read(count_now, quick=True)
    key, writes = repr(where), opened.writes
    if key in opened.counts:
        return opened.counts[key]
    counted = await opened.read(count_now)
    # A write that was running meanwhile may or may not be counted.
    if where.valid_at is None and writes == opened.writes and not opened.writing.locked():
        opened.counts[key] = counted
    return counted


def all_quick(opened: EdgeCollection, searches: Sequence[tuple[Vector, Where]]) -> bool:
    """Return whether each search compares so few points that it takes less time than the switch of threads."""
    return all(_is_quick(opened, where) for _, where in searches)


def _is_quick(opened: EdgeCollection, where: Where) -> bool:
    return "identity" in where.equals or (
        in_shard.is_indexed(where) and opened.size * opened.dimension <= QUICK_NUMBERS
    )
