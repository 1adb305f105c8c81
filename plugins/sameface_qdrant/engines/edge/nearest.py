"""Exact nearest neighbours in an Edge shard, without paying for filters that leave nearly everything in.

Edge tests a filter on every point that it scores. At 100,000 points the test of one indexed field costs a third of the
query again, and that of a field without an index (`expires`) forty times the query. So what keeps most points is tested
here, on the payloads of the neighbours alone: neighbours come best first, so the first ``limit`` of them that pass are
the nearest that pass. Where too few do, more are asked for. What is selective stays with Edge and its indexes.
"""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import qdrant_edge as edge

from sameface_qdrant.engines.base import INDEXED_FIELDS, VECTOR_NAME, Hit, Where
from sameface_qdrant.engines.edge.shard import filter_of
from sameface_qdrant.values.vectors import Vector

MOST = 0.5
"""A filter that keeps at least this share of the points is not worth Edge's while."""
SPARE, GROWTH = 8, 4


def nearest(shard: edge.EdgeShard, vector: Vector, where: Where, limit: int, min_score: float | None) -> list[Hit]:
    """Return the ``limit`` nearest points that match, best first; blocks."""
    query = edge.Query.Nearest(vector.tolist(), using=VECTOR_NAME)
    for_edge, for_us = _divided(shard, where)
    edge_filter = None if for_edge is None else filter_of(for_edge)
    for rounds in itertools.count():
        most = (limit + SPARE) * GROWTH**rounds
        found = shard.query(
            edge.QueryRequest(limit=most, query=query, filter=edge_filter, with_payload=True, score_threshold=min_score)
        )
        passed = [point for point in found if _matches(point.payload or {}, for_us)]
        if len(passed) >= limit or len(found) < most:
            break
    return [Hit(str(point.id), max(-1.0, min(1.0, point.score)), point.payload or {}) for point in passed[:limit]]


def _divided(shard: edge.EdgeShard, where: Where) -> tuple[Where | None, Where]:
    """Return the part of a filter that Edge shall test, None where that is nothing, and the part that is left to us."""
    expiry = Where({}, valid_at=where.valid_at)
    others = replace(where, valid_at=None)
    plain = (
        not where.among
        and not where.outside
        and not where.ids
        and {*where.equals, *where.excludes} <= set(INDEXED_FIELDS)
    )
    # One identity has few points, and its index finds them at once.
    if not plain or "identity" in where.equals:
        return others, expiry
    kept = Where(where.equals)
    # An estimate from the index: it takes microseconds, and decides over speed alone.
    matching = shard.count(edge.CountRequest(exact=False, filter=filter_of(kept)))
    if matching >= MOST * shard.info().points_count:
        return None, where
    return kept, replace(expiry, excludes=where.excludes)


def _matches(payload: Mapping[str, Any], where: Where) -> bool:
    expires = payload.get("expires")
    return (
        all(payload.get(key) == value for key, value in where.equals.items())
        and all(payload.get(key) != value for key, value in where.excludes.items())
        and (where.valid_at is None or expires is None or expires > where.valid_at)
    )
