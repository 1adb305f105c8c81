"""Nearest neighbours in an Edge shard, without the cost of filters that keep nearly all points.

Edge tests a filter on every point that it scores. At 100,000 points the test of one indexed field adds a third to the
time of a query. The test of a field without an index (`expires`) adds forty times that time. So this module itself
tests filters that keep most points, and only on the payloads of the neighbours. Neighbours come best first, so the
first ``limit`` that pass are the nearest that pass. If too few pass, it asks for more. Edge and its indexes test the
selective filters.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import qdrant_edge as edge

from sameface_qdrant.engines.base import INDEXED_FIELDS, TENANT_FIELD, VECTOR_NAME, Hit, Where
from sameface_qdrant.engines.edge.options import EdgeOptions
from sameface_qdrant.engines.edge.shard import filter_of
from sameface_qdrant.values.vectors import Vector, cosine

MOST = 0.5
"""A filter that keeps at least this share of the points is tested here instead of by Edge."""
SPARE, GROWTH = 8, 4
"""How many neighbours more than ``limit`` the first query asks for where an identity is left out, and by which factor
the next queries ask for more."""
OVERSAMPLING = 3.0
"""How many times more candidates the search in 8-bit vectors returns, to be compared by the original ones."""


def nearest(
    shard: edge.EdgeShard,
    vector: Vector,
    where: Where,
    limit: int,
    min_score: float | None,
    *,
    graph: EdgeOptions | None = None,
    few: bool = False,
) -> list[Hit]:
    """Return the ``limit`` nearest points that match, best first; blocks.

    With ``graph`` large galleries are searched in the shard's graph, in 8-bit vectors; the candidates are then compared
    by the original ones, so scores are exact. With ``few`` the filter leaves few points, or there are few: payloads
    that are not needed then take longer to read than the comparison.
    """
    query = edge.Query.Nearest(vector.tolist(), using=VECTOR_NAME)
    records = _records(shard, where, few)
    for_edge, tested_here = _divided(shard, where, few, records)
    edge_filter = None if for_edge is None else filter_of(for_edge)
    # Its templates are the nearest of all, and each payload takes as long as a part of the search.
    first = limit + SPARE if tested_here.excludes else limit
    params = edge.SearchParams(exact=True) if graph is None else _search(graph, records)
    for rounds in itertools.count():
        most = first * GROWTH**rounds
        found = shard.query(
            edge.QueryRequest(
                limit=most,
                query=query,
                filter=edge_filter,
                with_payload=True,
                score_threshold=min_score,
                params=params,
            )
        )
        passed = [point for point in found if _matches(point.payload or {}, tested_here)]
        if len(passed) >= limit or len(found) < most:
            break
    return [_hit(point) for point in passed[:limit]]


def nearest_of_few(shard: edge.EdgeShard, searches: Sequence[tuple[Vector, Where]], limit: int) -> list[list[Hit]]:
    """Return the result of `nearest` with ``few`` for each search; blocks.

    One call of Edge looks for all of them. A call takes longer than the comparison of few vectors.
    """
    params = edge.SearchParams(exact=True)
    found = shard.query_batch(
        edge.QueryBatchRequest(
            [
                edge.QueryRequest(
                    limit=limit,
                    query=edge.Query.Nearest(vector.tolist(), using=VECTOR_NAME),
                    filter=filter_of(where, expiry=False),
                    with_payload=True,
                    params=params,
                )
                for vector, where in searches
            ]
        )
    )
    return [_in_force(shard, *search, limit, points) for search, points in zip(searches, found, strict=True)]


def _in_force(
    shard: edge.EdgeShard, vector: Vector, where: Where, limit: int, found: Sequence[edge.ScoredPoint]
) -> list[Hit]:
    """Return the first points of a search whose expiry was not tested; search again if one of them has expired."""
    expiry = Where({}, valid_at=where.valid_at)
    if all(_matches(point.payload or {}, expiry) for point in found):
        return [_hit(point) for point in found]
    return nearest(shard, vector, where, limit, None, few=True)


def _hit(point: edge.ScoredPoint) -> Hit:
    return Hit(str(point.id), cosine(point.score), point.payload or {})


def _records(shard: edge.EdgeShard, where: Where, few: bool) -> int:
    """Return about how many records the gallery of a filter has; 0 if a search does not depend on it.

    An estimate from the index: it takes microseconds, and only the speed depends on it.
    """
    if few or TENANT_FIELD not in where.equals or "identity" in where.equals or not is_indexed(where):
        return 0
    gallery = filter_of(Where({TENANT_FIELD: where.equals[TENANT_FIELD]}))
    return int(shard.count(edge.CountRequest(exact=False, filter=gallery)))


def _search(graph: EdgeOptions, records: int) -> edge.SearchParams:
    """Return how to search: claims, smaller galleries, and by fields without an index exactly."""
    if records and records >= graph.index_from:
        again = edge.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
        return edge.SearchParams(hnsw_ef=graph.ef(records), quantization=again)
    return edge.SearchParams(exact=True)


def _divided(shard: edge.EdgeShard, where: Where, few: bool, records: int) -> tuple[Where | None, Where]:
    """Return the part of a filter that Edge tests, None for nothing, and the part that this module tests."""
    expiry = Where({}, valid_at=where.valid_at)
    others = replace(where, valid_at=None)
    # One identity has few points, and the index finds them at once. One identity that is left out also has few. What
    # else is excluded may be nearly everything.
    leaves_out_more = bool(where.excludes.keys() - {"identity"})
    if few or "identity" in where.equals or where.among or where.outside or leaves_out_more or not is_indexed(where):
        return others, expiry
    kept = Where(where.equals)
    matching = records
    if len(where.equals) > 1 or not records:
        matching = shard.count(edge.CountRequest(exact=False, filter=filter_of(kept)))
    if matching >= MOST * shard.info().points_count:
        return None, where
    return kept, replace(expiry, excludes=where.excludes)


def is_indexed(where: Where) -> bool:
    """Return whether the index decides a filter, apart from expiry; else Edge reads the payload of every point."""
    return not where.ids and INDEXED_FIELDS.keys() >= {*where.equals, *where.excludes, *where.among, *where.outside}


def _matches(payload: Mapping[str, Any], where: Where) -> bool:
    expires = payload.get("expires")
    return (
        all(payload.get(key) == value for key, value in where.equals.items())
        and all(payload.get(key) != value for key, value in where.excludes.items())
        and (where.valid_at is None or expires is None or expires > where.valid_at)
    )
