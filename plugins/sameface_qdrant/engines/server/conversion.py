"""Converts filters and points to those of qdrant-client and back. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from sameface_qdrant.engines.base import VECTOR_NAME, Hit, Point, Where
from sameface_qdrant.values.vectors import cosine


def filter_of(where: Where) -> models.Filter:
    """Return qdrant-client's form of a filter."""
    must: list[Any] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in where.equals.items()
    ]
    must += [
        models.FieldCondition(key=key, match=models.MatchAny(any=list(values))) for key, values in where.among.items()
    ]
    if where.ids:
        must.append(models.HasIdCondition(has_id=list(where.ids)))
    if where.expired_at is not None:
        must.append(models.FieldCondition(key="expires", range=models.Range(lte=where.expired_at)))
    if where.valid_at is not None:
        later = models.FieldCondition(key="expires", range=models.Range(gt=where.valid_at))
        never = models.IsEmptyCondition(is_empty=models.PayloadField(key="expires"))
        must.append(models.Filter(should=[never, later]))
    must_not: list[Any] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in where.excludes.items()
    ]
    must_not += [
        models.FieldCondition(key=key, match=models.MatchAny(any=list(values))) for key, values in where.outside.items()
    ]
    return models.Filter(must=must, must_not=must_not)


def upsert_of(
    points: Sequence[Point], *, insert_only: bool = False, only_if: Where | None = None
) -> models.UpsertOperation:
    """Return the write of points, see `Engine.upsert`.

    A condition alone would insert points that are not there.
    """
    mode = models.UpdateMode.INSERT_ONLY if insert_only else None
    return models.UpsertOperation(
        upsert=models.PointsList(
            points=[_struct_of(point) for point in points],
            update_filter=None if only_if is None else filter_of(only_if),
            update_mode=mode if only_if is None else models.UpdateMode.UPDATE_ONLY,
        )
    )


def _struct_of(point: Point) -> models.PointStruct:
    vector = {} if point.vector is None else {VECTOR_NAME: point.vector.tolist()}
    return models.PointStruct(id=point.id, vector=vector, payload=dict(point.payload))


def point_of(record: models.Record) -> Point:
    """Return a stored record as a point, with its vector if it was read."""
    vectors = record.vector if isinstance(record.vector, dict) else {}
    values = vectors.get(VECTOR_NAME)
    return Point(str(record.id), record.payload or {}, None if values is None else np.asarray(values, dtype=np.float32))


def hits_of(answer: QueryResponse) -> list[Hit]:
    """Return the hits of a query; rounding may have left scores slightly outside −1..1."""
    return [Hit(str(point.id), cosine(point.score), point.payload or {}) for point in answer.points]
