"""Rewriting a collection's files without what was removed, beside its readers and writers.

The living points are copied in small steps into a new shard; what is written meanwhile is remembered by id and copied
again, the last of it while writers wait. Then the new shard becomes the current one in a single rename, the old folder
is deleted, and the files are searched for the bytes of what was removed. Edge holds Python's interpreter lock during
each call, so in a large collection every step is short and followed by a rest.
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import qdrant_edge as edge

from sameface_qdrant.engines.base import POINT_ID, VECTOR_NAME, ByteSearch, Where
from sameface_qdrant.engines.edge import erasure_notes
from sameface_qdrant.engines.edge.byte_scan import present
from sameface_qdrant.engines.edge.collection import ERASE_PENDING, EdgeCollection, Handle, blocking_call
from sameface_qdrant.engines.edge.files import ROOM_TO_WRITE, bytes_on_disk, check_room, clear_strays, read_text
from sameface_qdrant.engines.edge.shard import CURRENT, copy_changed, copy_from, filter_of, make_current, next_shard
from sameface_qdrant.errors import SamefaceError
from sameface_qdrant.values.erasure import ByteEvidence

Result = TypeVar("Result")

REWRITE_AT_ONCE = 5_000
"""Points up to which a deletion waits until its bytes are gone; beyond, that happens in the background."""
FLUSH_EVERY = 4
"""Steps of the copy between two flushes, so that no flush is long."""
REST = 1.0
"""Times as long as a step took, in which a large collection belongs to its readers and writers."""
CAUGHT_UP = 200
"""Points that may be copied while writers wait."""
CATCHING_UP = 20
SAME = 64
RETRY_S = 30.0
"""A large collection is not copied again and again where the disk is full."""
VECTOR = "vector, float32, little-endian"
DIGEST = "keyed digest, text"


class _Closing(Exception):
    """The store is being closed."""


async def compact(opened: EdgeCollection) -> SamefaceError | None:
    """Rewrite until no removal is newer than the copy; return why that failed. Removals during a round share the next.

    A store that is being closed leaves the work to the next opening, where the collection is large.
    """
    opened.failure = None
    try:
        while True:
            large = opened.size > REWRITE_AT_ONCE
            begun = await _rewrite(opened, large)
            async with opened.writing:
                if opened.deletions == begun:
                    await blocking_call(opened.folder, (opened.folder / ERASE_PENDING).unlink, True)
                    return None
    except SamefaceError as error:
        opened.failure = error
        opened.retry_at = time.monotonic() + (RETRY_S if opened.size > REWRITE_AT_ONCE else 0.0)
        return error
    except _Closing:
        return None


async def _rewrite(opened: EdgeCollection, large: bool) -> int:
    """Copy, exchange, delete, look. Returns the count of removals that the copy is sure to be free of."""
    await blocking_call(opened.folder, lambda: check_room(opened.folder, _room_for_copy(opened.handle.folder)))
    async with opened.writing:
        begun, opened.changed = opened.deletions, set()
        due = await blocking_call(opened.folder, erasure_notes.due, opened.folder)
    try:
        shard, path = await blocking_call(opened.folder, next_shard, opened.folder, opened.dimension)
        try:
            await _copy(opened, shard, large)
            async with opened.writing:
                old = opened.handle
                await blocking_call(opened.folder, copy_changed, old.shard, shard, sorted(opened.changed))
                await blocking_call(opened.folder, shard.flush)
                await blocking_call(opened.folder, make_current, path)
                opened.handle, opened.changed = Handle(shard, path), None
        except BaseException:
            if read_text(opened.folder / CURRENT) == path.name:
                # Given up on after the exchange: the new shard is the collection, and nothing is lost.
                opened.handle, opened.changed = Handle(shard, path), None
                raise
            await blocking_call(opened.folder, shard.close)
            await blocking_call(opened.folder, lambda: shutil.rmtree(path, ignore_errors=True))
            raise
    finally:
        opened.changed = None
    await old.retire()
    await blocking_call(opened.folder, clear_strays, opened.folder, opened.handle.folder)
    await _conclude(opened, due, REST if large else 0.0)
    return begun


async def _copy(opened: EdgeCollection, shard: edge.EdgeShard, large: bool) -> None:
    start, step = None, 0
    while True:
        start = await _step(opened, large, copy_from, opened.handle.shard, shard, start)
        step += 1
        if step % FLUSH_EVERY == 0:
            await _step(opened, large, shard.flush)
        if start is None:
            break
    for _ in range(CATCHING_UP):
        async with opened.writing:
            # Under the lock: a write that is under way is in the set already, but not yet in the shard.
            changed, opened.changed = sorted(opened.changed or ()), set()
        for first in range(0, len(changed), CAUGHT_UP):
            await _step(opened, large, copy_changed, opened.handle.shard, shard, changed[first : first + CAUGHT_UP])
        await _step(opened, large, shard.flush)
        if len(opened.changed) <= CAUGHT_UP:
            break


async def _step(opened: EdgeCollection, large: bool, call: Callable[..., Result], *args: Any) -> Result:
    began = time.perf_counter()
    result = await blocking_call(opened.folder, call, *args)
    if large:
        if opened.closing:
            raise _Closing
        await asyncio.sleep(REST * (time.perf_counter() - began))
    return result


def _room_for_copy(folder: Path) -> int:
    return bytes_on_disk(folder) + ROOM_TO_WRITE


async def _conclude(opened: EdgeCollection, due: Sequence[Path], rest: float) -> None:
    """Look for the bytes of what was removed before the copy began, and note what was found."""
    looked_for = {path: await blocking_call(opened.folder, erasure_notes.searches_of, path) for path in due}
    needles = [needle for searches in looked_for.values() for one in searches for needle in one.needles]
    left = await blocking_call(
        opened.folder, lambda: present(opened.folder, needles, skip=erasure_notes.FOLDER, rest=rest)
    )
    for path, searches in looked_for.items():
        evidence = [await _after(opened, one, left) for one in searches]
        if all(one.found_after == one.held_elsewhere for one in evidence):
            await blocking_call(opened.folder, erasure_notes.conclude, path, evidence)


async def _after(opened: EdgeCollection, search: ByteSearch, left: set[bytes]) -> ByteEvidence:
    found = [needle for needle in search.needles if needle in left]
    held = 0
    for needle in found:
        held += await opened.read(partial(_held, search.representation, needle))
    control = erasure_notes.before(search)
    return ByteEvidence(control.representation, control.sought, control.found_before, len(found), held)


def _held(representation: str, needle: bytes, shard: edge.EdgeShard) -> bool:
    """Return whether a point that is stored now has these bytes too."""
    if representation == POINT_ID:
        return bool(shard.retrieve(list(erasure_notes.ids_of([needle])), with_payload=False, with_vector=False))
    if representation == DIGEST:
        same = filter_of(Where({"digest": needle.decode()}))
        return bool(shard.count(edge.CountRequest(exact=True, filter=same)))
    query = edge.Query.Nearest(np.frombuffer(needle, dtype="<f4").tolist(), using=VECTOR_NAME)
    near = shard.query(edge.QueryRequest(limit=SAME, query=query, with_vector=True, score_threshold=0.9999))
    vectors = [point.vector[VECTOR_NAME] for point in near if isinstance(point.vector, dict)]
    return any(np.asarray(vector, dtype="<f4").tobytes() == needle for vector in vectors)
