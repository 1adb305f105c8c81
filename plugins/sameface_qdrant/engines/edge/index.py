"""Gives a collection with a large gallery an HNSW index and 8-bit copies of its vectors, in the background.

`index_process` builds it in a process of its own, on a copy of the files. Reads and writes go on meanwhile. Then
`compaction` copies what was written since, and exchanges the shards. In the new shard one segment is indexed. Later
points go to a second, small one, which is searched whole; it is indexed once it has grown. Qdrant then keeps the
graph that is there, and adds points to it, or takes removed ones out.
"""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import qdrant_edge as edge

from sameface_qdrant.engines.base import TENANT_FIELD, VECTOR_NAME
from sameface_qdrant.engines.edge.collection import EdgeCollection, blocking_call
from sameface_qdrant.engines.edge.files import ROOM_TO_WRITE, check_room, copy_files
from sameface_qdrant.engines.edge.options import EdgeOptions
from sameface_qdrant.errors import StoreFull, StoreUnavailable

PROGRAM = Path(__file__).with_name("index_process.py")
COPIES = 3
"""The copy, the new segment, and what is made on the way take at most so many times the room of the shard."""
GROWN, GROWN_SHARE = 4, 0.02
"""The segment without an index may hold `index_from` / GROWN vectors, or this share of all, before it is indexed."""
KEPT = 0.5
"""A collection with fewer points than this share of `index_from` loses its index when it is written again."""
LOOK_S = 0.25
RETRY_S = 600.0
"""Seconds before a failed build is tried again."""


class Stopped(Exception):
    """The store is being closed."""


def is_due(shard: edge.EdgeShard, options: EdgeOptions) -> bool:
    """Return whether a shard needs an index, or one with the vectors that were written since."""
    info = shard.info()
    if options.exact or info.points_count < options.index_from:
        return False
    vectors = shard.count(edge.CountRequest(exact=False, filter=edge.Filter(must=[_HAS_VECTOR])))
    if vectors < options.index_from:
        return False
    if info.indexed_vectors_count:
        fresh = vectors - info.indexed_vectors_count
        return bool(fresh >= max(options.index_from / GROWN, GROWN_SHARE * vectors))
    largest = shard.facet(edge.FacetRequest(key=TENANT_FIELD, limit=1, exact=False)).hits
    return bool(largest) and largest[0].count >= options.index_from


_HAS_VECTOR = edge.HasVectorCondition(VECTOR_NAME)


def copy_shard(opened: EdgeCollection, path: Path) -> None:
    """Copy the files of the open shard to ``path``; blocks. The caller keeps writers out meanwhile."""
    if path.exists():
        shutil.rmtree(path)
    opened.handle.flush()
    copy_files(opened.handle.folder, path)


async def build(opened: EdgeCollection, path: Path) -> None:
    """Build the index of the copy in ``path``.

    Raises:
        StoreFull: the disk has too little room for it.
        StoreUnavailable: the process failed.
        Stopped: the store is being closed.
    """
    options = opened.options
    settings = {
        "dimension": opened.dimension,
        "m": options.m,
        "ef_construct": options.ef_construct,
        "threads": options.index_threads,
    }
    if not Path(sys.executable or "").name.lower().startswith(("python", "pypy")):
        raise _failed(opened, f"{sys.executable!r} is no Python interpreter, so it cannot run the program; set exact")
    # The program imports what this process imports, wherever that is installed.
    found_at = json.dumps([folder for folder in sys.path if folder])
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(PROGRAM), str(path), str(os.getpid()), json.dumps(settings), found_at),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except (OSError, RuntimeError) as error:  # no such file, too many processes; an event loop that starts none
        raise _failed(opened, f"no process could be started: {error}") from error
    ending = asyncio.create_task(process.communicate())
    try:
        while not (await asyncio.wait([ending], timeout=LOOK_S))[0]:
            if opened.closing:
                raise Stopped
            # It must leave room for the writes of this process, see `files`.
            await blocking_call(opened.folder, check_room, opened.folder, 2 * ROOM_TO_WRITE)
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait([ending])
    if process.returncode:
        said = (ending.result()[1] or b"").decode(errors="replace").strip().splitlines()[-1:]
        if shutil.disk_usage(opened.folder).free < 2 * ROOM_TO_WRITE:
            raise StoreFull(
                f"the disk under {opened.folder} is full; the index was not built; free some space",
                metadata={"path": opened.folder},
            )
        raise _failed(opened, f"exit code {process.returncode}: {''.join(said)[:200]}; check the free memory")


def _failed(opened: EdgeCollection, why: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"the index of {opened.folder} was not built: {why}; searches stay exact, and it is tried again later",
        metadata={"path": opened.folder},
    )
