"""One Edge shard on disk: makes it with its indexes, opens it, copies its points to another. Every call blocks."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from sameface_qdrant.engines.base import INDEXED_FIELDS, TENANT_FIELD, VECTOR_NAME, Point, Where
from sameface_qdrant.engines.edge import write_log
from sameface_qdrant.engines.edge.files import (
    ROOM_TO_OPEN,
    ROOM_TO_WRITE,
    check_room,
    clear_strays,
    read_text,
    write_text,
)
from sameface_qdrant.engines.edge.numbering import catch_up
from sameface_qdrant.errors import StoreCorrupt

COPY_BATCH = 250
CURRENT, DIMENSION = "CURRENT", "DIMENSION"
SMALL = 1 << 20
"""A search of a shard with fewer numbers, 8,192 vectors of 128, is over before a second thread could help."""
EDGES_OWN = 4
"""Search threads for each core, if a shard notes no number."""


def open_current(folder: Path, dimension: int) -> tuple[edge.EdgeShard, Path, int]:
    """Open the current shard of a collection's folder, or make the first one, and delete all others.

    Return the shard, its folder and its dimension. An existing shard may have another dimension than ``dimension``.
    """
    current = read_text(folder / CURRENT)
    if current is None:
        folder.mkdir(exist_ok=True)
        clear_strays(folder, None)
        write_text(folder / DIMENSION, str(dimension))
        shard = _create(folder / "shard-1", dimension, threads_for(0, dimension))
        with closed_on_failure(shard):
            shard.flush()
            write_text(folder / CURRENT, "shard-1")
        return shard, folder / "shard-1", dimension
    path, dimension = folder / current, int(read_text(folder / DIMENSION) or dimension)
    check_room(folder, ROOM_TO_OPEN + write_log.room_again(path))
    try:
        shard = load(path, dimension)
    except Exception as error:
        raise StoreCorrupt(
            f"{path} cannot be opened by this version of Qdrant Edge: {error}; restore the folder from a backup",
            metadata={"path": path},
        ) from error
    with closed_on_failure(shard):
        catch_up(shard, path)
        write_log.write_again(shard, path)
        _add_indexes(shard)
        # Only now: if the current shard cannot be opened, the others may be all that is left.
        clear_strays(folder, path)
    return shard, path, dimension


@contextlib.contextmanager
def closed_on_failure(shard: edge.EdgeShard) -> Iterator[None]:
    """Close a shard if what is done with it fails.

    Otherwise it would write its files once Python drops it, maybe when they are open again.
    """
    try:
        yield
    except BaseException:
        shard.close()
        raise


def threads_for(points: int, dimension: int) -> int:
    """Return how many search threads a shard has: one, or one for each core if it is large.

    Each search wakes threads that find nothing to do, so more of them cost processor time. With one, searches wait for
    each other.
    """
    return 1 if points * dimension < SMALL else max(2, os.cpu_count() or 1)


def threads_of(path: Path) -> int:
    """Return how many search threads a shard that is opened now would have."""
    noted = json.loads(read_text(path / "edge_config.json") or "{}").get("max_search_threads")
    return int(noted or EDGES_OWN * (os.cpu_count() or 1))


def load(path: Path, dimension: int) -> edge.EdgeShard:
    """Open a shard with the search threads that fit its size."""
    shard = edge.EdgeShard.load(str(path))
    threads = threads_for(shard.info().points_count, dimension)
    if threads != threads_of(path):
        shard.close()
        shard = edge.EdgeShard.load(str(path), edge.EdgeConfig(vectors=_vectors(dimension), max_search_threads=threads))
    return shard


def _vectors(dimension: int) -> dict[str, edge.EdgeVectorParams]:
    return {VECTOR_NAME: edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine)}


def _create(path: Path, dimension: int, threads: int) -> edge.EdgeShard:
    check_room(path.parent, ROOM_TO_WRITE)
    path.mkdir()
    config = edge.EdgeConfig(vectors=_vectors(dimension), wal_enabled=False, max_search_threads=threads)
    shard = edge.EdgeShard.create(str(path), config)
    _add_indexes(shard)
    return shard


def _add_indexes(shard: edge.EdgeShard) -> None:
    """Index the fields that have no index yet: an earlier release knew fewer."""
    for name in INDEXED_FIELDS.keys() - shard.info().payload_schema.keys():
        shard.update(edge.UpdateOperation.create_field_index(name, _index(name, INDEXED_FIELDS[name])))


def _index(name: str, kind: str) -> Any:
    match kind:
        case "float":
            return edge.FloatIndexParams()
        case "integer":
            return edge.IntegerIndexParams()
        case _:
            return edge.KeywordIndexParams(is_tenant=name == TENANT_FIELD)


def next_shard(folder: Path, dimension: int, points: int) -> tuple[edge.EdgeShard, Path]:
    """Make an empty shard for so many points beside the current one; delete what an interrupted copy left there."""
    path = next_path(folder)
    if path.exists():
        shutil.rmtree(path)
    return _create(path, dimension, threads_for(points, dimension)), path


def next_path(folder: Path) -> Path:
    """Return where the next shard belongs."""
    current = read_text(folder / CURRENT)
    assert current is not None
    return folder / f"shard-{int(current.removeprefix('shard-')) + 1}"


def make_current(path: Path) -> None:
    """Make a flushed shard the current one, by a single rename."""
    try:
        write_text(path.parent / CURRENT, path.name)
    except OSError:
        # If the name was written, the next opening uses this shard, so there is no way back.
        if read_text(path.parent / CURRENT) != path.name:
            raise


def copy_from(old: edge.EdgeShard, new: edge.EdgeShard, start: str | None) -> str | None:
    """Copy `COPY_BATCH` points from id ``start`` on; return the id to go on with, None at the end."""
    request = edge.ScrollRequest(offset=start, limit=COPY_BATCH, with_payload=True, with_vector=True)
    records, following = old.scroll(request)
    _put(new, records)
    return None if following is None else str(following)


def copy_changed(old: edge.EdgeShard, new: edge.EdgeShard, ids: Sequence[str]) -> None:
    """Copy the present state of points that were written or removed during a copy."""
    records = old.retrieve(list(ids), with_payload=True, with_vector=True)
    _put(new, records)
    if gone := sorted(set(ids) - {str(record.id) for record in records}):
        new.update(edge.UpdateOperation.delete_points(list(gone)))


def _put(shard: edge.EdgeShard, records: Sequence[edge.Record]) -> None:
    if records:
        points = [edge.Point(record.id, record.vector or {}, record.payload) for record in records]
        shard.update(edge.UpdateOperation.upsert_points(points))


def matching_ids(shard: edge.EdgeShard, where: edge.Filter) -> list[str]:
    """Return the ids of all points that match."""
    found: list[str] = []
    start = None
    while True:
        request = edge.ScrollRequest(offset=start, limit=5000, filter=where, with_payload=False, with_vector=False)
        records, start = shard.scroll(request)
        found += [str(record.id) for record in records]
        if start is None:
            return found


def filter_of(where: Where, *, expiry: bool = True) -> edge.Filter:
    """Return Edge's form of a filter; without ``expiry`` what has expired by ``where.valid_at`` passes it."""
    must: list[Any] = []
    for key, value in where.equals.items():
        must.append(edge.FieldCondition(key=key, match=edge.MatchValue(value)))
    for key, values in where.among.items():
        must.append(edge.FieldCondition(key=key, match=edge.MatchAny(list(values))))
    if where.ids:
        must.append(edge.HasIdCondition(set(where.ids)))
    if where.expired_at is not None:
        must.append(edge.FieldCondition(key="expires", range=edge.RangeFloat(lte=where.expired_at)))
    if where.valid_at is not None and expiry:
        later = edge.FieldCondition(key="expires", range=edge.RangeFloat(gt=where.valid_at))
        must.append(edge.Filter(should=[edge.IsEmptyCondition("expires"), later]))
    must_not: list[Any] = []
    for key, value in where.excludes.items():
        must_not.append(edge.FieldCondition(key=key, match=edge.MatchValue(value)))
    for key, values in where.outside.items():
        must_not.append(edge.FieldCondition(key=key, match=edge.MatchAny(list(values))))
    return edge.Filter(must=must, must_not=must_not)


def point_of(record: edge.Record) -> Point:
    """Return a stored record as a point, with its vector if it was read."""
    vectors = record.vector  # converted anew by each access
    values = vectors.get(VECTOR_NAME) if isinstance(vectors, dict) else None
    vector = None if values is None else np.asarray(values, dtype=np.float32)
    return Point(str(record.id), record.payload or {}, vector)
