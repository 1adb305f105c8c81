"""One Edge shard on disk: made with its indexes, opened, rewritten without what was removed. Every call here blocks."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from sameface_qdrant.engines.base import INDEXED_FIELDS, TENANT_FIELD, VECTOR_NAME, Point, Where
from sameface_qdrant.engines.files import clear_strays, read_text, write_text
from sameface_qdrant.errors import StoreCorrupt

COPY_BATCH = 500
CURRENT, DIMENSION = "CURRENT", "DIMENSION"


def open_current(folder: Path, dimension: int) -> tuple[edge.EdgeShard, Path, int]:
    """Open the current shard of a collection's folder, or make the first one, and clear what was left beside it.

    Returns the shard, its folder and its dimension, which is not the one asked for where the shard is an old one.
    """
    current = read_text(folder / CURRENT)
    if current is None:
        folder.mkdir(exist_ok=True)
        clear_strays(folder, None)
        write_text(folder / DIMENSION, str(dimension))
        shard = _create(folder / "shard-1", dimension)
        shard.flush()
        write_text(folder / CURRENT, "shard-1")
        return shard, folder / "shard-1", dimension
    clear_strays(folder, folder / current)
    path = folder / current
    try:
        shard = edge.EdgeShard.load(str(path))
    except Exception as error:
        raise StoreCorrupt(
            f"{path} cannot be opened by this version of Qdrant Edge: {error}", metadata={"path": path}
        ) from error
    return shard, path, int(read_text(folder / DIMENSION) or dimension)


def _create(path: Path, dimension: int) -> edge.EdgeShard:
    path.mkdir()
    params = edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine)
    shard = edge.EdgeShard.create(str(path), edge.EdgeConfig(vectors={VECTOR_NAME: params}, wal_enabled=False))
    for name, kind in INDEXED_FIELDS.items():
        shard.update(edge.UpdateOperation.create_field_index(name, _index(name, kind)))
    return shard


def _index(name: str, kind: str) -> Any:
    match kind:
        case "float":
            return edge.FloatIndexParams()
        case "integer":
            return edge.IntegerIndexParams()
        case _:
            return edge.KeywordIndexParams(is_tenant=name == TENANT_FIELD)


def copy_living(folder: Path, old: edge.EdgeShard, dimension: int) -> tuple[edge.EdgeShard, Path]:
    """Copy every living point into a new shard and make it the current one in a single rename."""
    current = read_text(folder / CURRENT)
    assert current is not None
    name = f"shard-{int(current.removeprefix('shard-')) + 1}"
    if (folder / name).exists():  # a rewrite that was cut off
        shutil.rmtree(folder / name)
    shard = _create(folder / name, dimension)
    start = None
    while True:
        records, start = old.scroll(
            edge.ScrollRequest(offset=start, limit=COPY_BATCH, with_payload=True, with_vector=True)
        )
        if records:
            points = [edge.Point(record.id, record.vector or {}, record.payload) for record in records]
            shard.update(edge.UpdateOperation.upsert_points(points))
        if start is None:
            break
    shard.flush()
    write_text(folder / CURRENT, name)
    return shard, folder / name


def filter_of(where: Where) -> edge.Filter:
    """Return Edge's form of a filter."""
    must: list[Any] = [
        edge.FieldCondition(key=key, match=edge.MatchValue(value)) for key, value in where.equals.items()
    ]
    must += [edge.FieldCondition(key=key, match=edge.MatchAny(list(values))) for key, values in where.among.items()]
    if where.ids:
        must.append(edge.HasIdCondition(set(where.ids)))
    if where.valid_at is not None:
        later = edge.FieldCondition(key="expires", range=edge.RangeFloat(gt=where.valid_at))
        must.append(edge.Filter(should=[edge.IsEmptyCondition("expires"), later]))
    must_not: list[Any] = [
        edge.FieldCondition(key=key, match=edge.MatchValue(value)) for key, value in where.excludes.items()
    ]
    must_not += [
        edge.FieldCondition(key=key, match=edge.MatchAny(list(values))) for key, values in where.outside.items()
    ]
    return edge.Filter(must=must, must_not=must_not)


def point_of(record: edge.Record) -> Point:
    """Return a stored record as a point, with its vector where it was read."""
    vectors = record.vector if isinstance(record.vector, dict) else {}
    values = vectors.get(VECTOR_NAME)
    vector = None if values is None else np.asarray(values, dtype=np.float32)
    return Point(str(record.id), record.payload or {}, vector)
