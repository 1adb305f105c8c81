"""Rewrites a collection's files without the removed points, while reads and writes go on.

It copies the remaining points into a new shard in small steps, or has the new one built with an index, see
`sameface_qdrant.engines.edge.index`. It notes the ids of points that are written meanwhile, and copies these again;
writers wait only for the last of them. Then one rename makes the new shard the current one. The old folder is deleted,
and the files are searched for the bytes of the removed points. Edge holds Python's interpreter lock during each call,
so in a large collection every step is short and followed by a pause.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import qdrant_edge as edge

from sameface_qdrant.engines.base import POINT_IDS, VECTOR_NAME, ByteSearch, Where
from sameface_qdrant.engines.edge import erasure_notes, index
from sameface_qdrant.engines.edge.byte_scan import present
from sameface_qdrant.engines.edge.collection import ERASE_PENDING, EdgeCollection, Handle, blocking_call
from sameface_qdrant.engines.edge.files import (
    ROOM_TO_WRITE,
    bytes_on_disk,
    check_room,
    clear_strays,
    note_index,
    read_text,
)
from sameface_qdrant.engines.edge.shard import (
    CURRENT,
    copy_changed,
    copy_from,
    filter_of,
    load,
    make_current,
    next_path,
    next_shard,
)
from sameface_qdrant.errors import SamefaceError
from sameface_qdrant.values.erasure import ByteEvidence

Result = TypeVar("Result")
log = logging.getLogger(__name__)

REWRITE_AT_ONCE = 5_000
"""With more points than this, a deletion does not wait until its bytes are gone: that happens in the background."""
FLUSH_EVERY = 4
"""Steps of the copy between two flushes, so that no flush is long."""
REST = 1.0
"""The pause after each step in a large collection, as a multiple of the time of the step."""
CAUGHT_UP = 200
"""Most points that are copied while writers wait."""
CATCHING_UP = 20
SAME = 64
RETRY_S = 30.0
"""Seconds before a failed copy of a large collection is tried again, for instance on a full disk."""
VECTOR = "vector, float32, little-endian"
DIGEST = "keyed digest, text"


async def compact(opened: EdgeCollection) -> SamefaceError | None:
    """Rewrite until no removal is newer than the copy; return the error if that failed.

    Removals during one round are handled in the next. If the store is being closed, a large collection is left for the
    next opening.
    """
    opened.failure = None
    try:
        while True:
            large = opened.size > REWRITE_AT_ONCE
            indexed = await wants_index(opened)
            try:
                begun = await _rewrite(opened, large, indexed=indexed)
            except SamefaceError as error:
                if not indexed:
                    raise
                log.warning("no index was built: %s", error.message)
                opened.index_retry_at = time.monotonic() + index.RETRY_S
                if not opened.pending:
                    raise
                # An erasure goes on without an index.
                begun = await _rewrite(opened, large, indexed=False)
            async with opened.writing:
                if opened.deletions == begun:
                    await blocking_call(opened.folder, (opened.folder / ERASE_PENDING).unlink, True)
                    return None
    except SamefaceError as error:
        opened.failure = error
        opened.retry_at = time.monotonic() + (RETRY_S if opened.size > REWRITE_AT_ONCE and opened.pending else 0.0)
        return error
    except index.Stopped:
        return None


async def wants_index(opened: EdgeCollection) -> bool:
    """Return whether the next shard is to be built with an index."""
    if opened.options.exact or time.monotonic() < opened.index_retry_at:
        return False
    if opened.handle.indexed:
        # Not for ever: each erasure builds it again, and a small collection needs none.
        return opened.size >= index.KEPT * opened.options.index_from
    return await opened.read(lambda shard: index.is_due(shard, opened.options))


async def _rewrite(opened: EdgeCollection, large: bool, *, indexed: bool) -> int:
    """Copy, exchange the shard, delete the old one, search the files.

    Return ``deletions`` as it was before the copy.
    """
    copies = index.COPIES if indexed else 1
    await blocking_call(opened.folder, lambda: check_room(opened.folder, _room_for(copies, opened.handle.folder)))
    path = await blocking_call(opened.folder, next_path, opened.folder)
    shard: edge.EdgeShard | None = None
    try:
        try:
            async with opened.writing:
                begun, opened.changed = opened.deletions, set()
                due = await blocking_call(opened.folder, erasure_notes.due, opened.folder)
                if indexed:
                    await blocking_call(opened.folder, index.copy_shard, opened, path)
            if indexed:
                await index.build(opened, path)
                await blocking_call(opened.folder, note_index, opened.folder.parent)
                shard = new = await blocking_call(opened.folder, load, path, opened.dimension)
            else:
                make = partial(next_shard, opened.folder, opened.dimension, opened.size)
                shard, path = new, _ = await blocking_call(opened.folder, make)
                await _copy_points(opened, new, large)
            await _catch_up(opened, new, large)
            async with opened.writing:
                old = opened.handle
                await blocking_call(opened.folder, copy_changed, old.shard, new, sorted(opened.changed))
                await blocking_call(opened.folder, new.flush)
                await blocking_call(opened.folder, make_current, path)
                opened.handle, opened.changed = Handle(new, path), None
        except BaseException:
            if shard is not None and read_text(opened.folder / CURRENT) == path.name:
                # Cancelled after the exchange: the new shard is the current one, and nothing is lost.
                opened.handle, opened.changed = Handle(shard, path), None
                raise
            if shard is not None:
                await blocking_call(opened.folder, shard.close)
            await blocking_call(opened.folder, lambda: shutil.rmtree(path, ignore_errors=True))
            raise
    finally:
        opened.changed = None
    if indexed:
        log.info("%s has a new index; searches of large galleries use it", opened.folder.name)
    await old.retire()
    await blocking_call(opened.folder, clear_strays, opened.folder, opened.handle.folder)
    await _conclude(opened, due, REST if large else 0.0)
    return begun


async def _copy_points(opened: EdgeCollection, shard: edge.EdgeShard, large: bool) -> None:
    start, step = None, 0
    while True:
        start = await _step(opened, large, copy_from, opened.handle.shard, shard, start)
        step += 1
        if step % FLUSH_EVERY == 0:
            await _step(opened, large, shard.flush)
        if start is None:
            break


async def _catch_up(opened: EdgeCollection, shard: edge.EdgeShard, large: bool) -> None:
    for _ in range(CATCHING_UP):
        async with opened.writing:
            # Under the lock, because the ids of a running write are in the set before they are in the shard.
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
            raise index.Stopped
        await asyncio.sleep(REST * (time.perf_counter() - began))
    return result


def _room_for(copies: int, folder: Path) -> int:
    return copies * bytes_on_disk(folder) + ROOM_TO_WRITE


async def _conclude(opened: EdgeCollection, due: Sequence[Path], rest: float) -> None:
    """Search for the bytes of points removed before the copy began, and store what was found."""
    looked_for = {path: await blocking_call(opened.folder, erasure_notes.searches_of, path) for path in due}
    needles = [
        form
        for searches in looked_for.values()
        for one in searches
        for needle in one.needles
        for form in _forms(one, needle)
    ]
    left = await blocking_call(
        opened.folder, lambda: present(opened.folder, needles, skip=erasure_notes.FOLDER, rest=rest)
    )
    for path, searches in looked_for.items():
        evidence = [await _after(opened, one, left) for one in searches]
        if all(one.found_after == one.held_elsewhere for one in evidence):
            await blocking_call(opened.folder, erasure_notes.conclude, path, evidence)


async def _after(opened: EdgeCollection, search: ByteSearch, left: set[bytes]) -> ByteEvidence:
    found = [needle for needle in search.needles if left.intersection(_forms(search, needle))]
    in_stored_points = 0
    for needle in found:
        in_stored_points += await opened.read(partial(_is_stored, search.representation, needle))
    control = erasure_notes.before(search)
    return ByteEvidence(control.representation, control.sought, control.found_before, len(found), in_stored_points)


def _forms(search: ByteSearch, needle: bytes) -> tuple[bytes, ...]:
    """Return what to look for: an id in both byte orders, for its point may have been indexed since it was noted."""
    return (needle, needle[::-1]) if search.representation in POINT_IDS else (needle,)


def _is_stored(representation: str, needle: bytes, shard: edge.EdgeShard) -> bool:
    """Return whether a point that is stored now has these bytes too."""
    if representation in POINT_IDS:
        point = erasure_notes.id_in(representation, needle)
        return bool(shard.retrieve([point], with_payload=False, with_vector=False))
    if representation == DIGEST:
        same = filter_of(Where({"digest": needle.decode()}))
        return bool(shard.count(edge.CountRequest(exact=True, filter=same)))
    query = edge.Query.Nearest(np.frombuffer(needle, dtype="<f4").tolist(), using=VECTOR_NAME)
    near = shard.query(
        edge.QueryRequest(
            limit=SAME, query=query, with_vector=True, score_threshold=0.9999, params=edge.SearchParams(exact=True)
        )
    )
    vectors = [point.vector[VECTOR_NAME] for point in near if isinstance(point.vector, dict)]
    return any(np.asarray(vector, dtype="<f4").tobytes() == needle for vector in vectors)
