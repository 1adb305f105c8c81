"""One open collection of Qdrant Edge: its shard, its reads and writes, and the points changed during a copy."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import qdrant_edge as edge

from sameface_qdrant.concurrency import in_thread, to_end
from sameface_qdrant.engines.edge.erasure_notes import removed
from sameface_qdrant.engines.edge.files import LOG, ROOM_TO_DELETE, ROOM_TO_WRITE, check_room, write_text
from sameface_qdrant.engines.edge.options import EdgeOptions
from sameface_qdrant.engines.edge.shard import load, matching_ids, threads_for, threads_of
from sameface_qdrant.engines.edge.write_log import WriteLog
from sameface_qdrant.errors import SamefaceError, StoreFull, StoreUnavailable

Result = TypeVar("Result")

ERASE_PENDING = "ERASE_PENDING"
READS = min(32, (os.cpu_count() or 1) + 4)
"""Threads that read one collection at the same time, as many as asyncio has for other calls."""
PAUSE_S = 0.002
"""A write that comes later than this after the previous one gets another flush."""


@dataclass(slots=True)
class Handle:
    """An open shard and how many reads are running."""

    shard: edge.EdgeShard
    folder: Path
    reads: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    indexed: bool = False
    """Whether the shard has a graph, for most of its vectors."""
    threads: int = 1
    """How many searches run at the same time."""
    log: WriteLog = field(init=False)
    """What was written since the latest flush."""

    def __post_init__(self) -> None:
        self.indexed = self.shard.info().indexed_vectors_count > 0
        self.threads = threads_of(self.folder)
        self.log = WriteLog(self.folder / LOG)

    def flush(self) -> None:
        """Make the shard durable, so that it needs no log; blocks. The caller keeps writers out."""
        self.shard.flush()
        self.log.empty()

    @contextmanager
    def reading(self) -> Iterator[edge.EdgeShard]:
        """Keep the shard open during a read."""
        self.reads += 1
        self.idle.clear()
        try:
            yield self.shard
        finally:
            self.reads -= 1
            if not self.reads:
                self.idle.set()

    async def retire(self) -> None:
        """Close the shard when no read is running."""
        if self.reads:
            await self.idle.wait()
        try:
            await blocking_call(self.folder, self.shard.close)
        finally:
            self.log.close()


@dataclass(slots=True)
class EdgeCollection:
    """The state that reads, writes, flushes and the compaction of one collection share."""

    folder: Path
    dimension: int
    handle: Handle
    options: EdgeOptions
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held during a write, a flush and the exchange of the shard. Reads do not need it."""
    readers: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, READS, "edge-read"))
    """The threads of reads."""
    next_flush: asyncio.Task[None] | None = None
    changed: set[str] | None = None
    """Ids written or removed since a copy began; None if no copy is being made."""
    deletions: int = 0
    """Counts calls that removed points. A copy that began before such a call may still hold the points."""
    compaction: asyncio.Task[SamefaceError | None] | None = None
    failure: SamefaceError | None = None
    """Why the latest compaction failed."""
    retry_at: float = 0.0
    """Monotonic seconds before which compaction is not tried again."""
    index_retry_at: float = 0.0
    """Monotonic seconds before which no index is built again."""
    index_look_at: int = 0
    """The size from which on it is looked again whether an index is due."""
    closing: bool = False
    writes: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    """Exact counts by filter since the latest write."""
    flush_s: float = 0.01
    """Seconds that the latest flush took."""

    @property
    def pending(self) -> bool:
        """Whether removed points may still be in the files."""
        return (self.folder / ERASE_PENDING).exists()

    @property
    def size(self) -> int:
        """Points in the shard."""
        return int(self.handle.shard.info().points_count)

    async def read(self, call: Callable[[edge.EdgeShard], Result], *, quick: bool = False) -> Result:
        """Run a read in a thread. Run a quick read directly, unless it would wait for a write."""
        if quick and not self.writing.locked():
            try:
                return call(self.handle.shard)
            except Exception as error:
                raise translated(error, self.folder) from error
        with self.handle.reading() as shard:
            try:
                return await in_thread(self.readers, call, shard)
            except Exception as error:
                raise translated(error, self.folder) from error

    async def update(
        self, operation: edge.UpdateOperation, touched: Sequence[str] | edge.Filter, record: bytes | None = None
    ) -> None:
        """Apply a write; ``touched`` are the points that it may change, and ``record`` is what the log keeps of it.

        Raises:
            StoreFull: too little room is left to write through memory maps, see `files.ROOM_TO_WRITE`.
        """
        async with self.writing:
            await blocking_call(self.folder, check_room, self.folder, ROOM_TO_WRITE)
            await self._apply(operation, touched, record)

    async def remove(self, operation: edge.UpdateOperation, touched: Sequence[str] | edge.Filter) -> None:
        """Apply a removal. Before the first point is removed, note that bytes must be erased."""
        async with self.writing:
            await blocking_call(self.folder, check_room, self.folder, ROOM_TO_DELETE)
            if not self.pending:
                await blocking_call(self.folder, write_text, self.folder / ERASE_PENDING, "")
            self.deletions += 1
            await self._apply(operation, touched)
            await blocking_call(self.folder, removed, self.folder)

    def add_threads(self) -> None:
        """Open a shard that has grown with more search threads, unless it is in use; all calls wait meanwhile."""
        handle = self.handle
        if handle.threads != 1 or handle.reads or self.writing.locked() or self.changed is not None:
            return
        handle.threads = threads_for(self.size, self.dimension)
        if handle.threads == 1:
            return
        with contextlib.suppress(Exception):  # the open shard goes on
            handle.flush()
            grown = load(handle.folder, self.dimension)
            handle.shard.close()
            handle.shard = grown

    async def make_durable(self) -> None:
        """Make every write so far durable. The caller holds ``writing``."""
        handle = self.handle
        await blocking_call(self.folder, handle.log.sync if handle.log.suffices else handle.flush)

    async def empty_log(self) -> None:
        """Flush the shard if there is something in its log. The caller holds ``writing``."""
        if not self.handle.log.is_empty:
            await blocking_call(self.folder, self.handle.flush)

    async def close(self) -> None:
        """Flush and close the shard once no read is running."""
        async with self.writing:
            with contextlib.suppress(SamefaceError):  # what is in the log is written again
                await self.empty_log()
            try:
                await self.handle.retire()
            finally:
                self.readers.shutdown(wait=False)

    async def _apply(
        self, operation: edge.UpdateOperation, touched: Sequence[str] | edge.Filter, record: bytes | None = None
    ) -> None:
        if record is None:
            # What is in the log now must not be written again after this.
            await self.empty_log()
        if self.changed is not None:
            if isinstance(touched, edge.Filter):
                touched = await blocking_call(self.folder, matching_ids, self.handle.shard, touched)
            self.changed.update(touched)
        self.writes += 1
        self.counts.clear()
        log = self.handle.log
        try:
            await blocking_call(self.folder, self.handle.shard.update, operation)
        except BaseException:
            log.note(None)  # all or a part of it may have been written, also if the caller was cancelled
            raise
        log.note(record)

    async def coalesce(self) -> None:
        """Wait while more writes arrive, at most twice as long as a flush takes, so that they share one flush."""
        until, seen = time.monotonic() + 2 * self.flush_s, -1
        while seen != self.writes and time.monotonic() < until:
            seen = self.writes
            await asyncio.sleep(PAUSE_S)


async def blocking_call(folder: Path, call: Callable[..., Result], *args: Any) -> Result:
    """Run a call in a thread, and raise its failures as typed errors.

    A cancelled caller waits, so that the call does not outlive the caller's lock.
    """
    try:
        return await to_end(asyncio.to_thread(call, *args))
    except Exception as error:
        raise translated(error, folder) from error


def translated(error: BaseException, folder: Path) -> SamefaceError:
    """Return the typed error for an exception of Edge or of the operating system."""
    if isinstance(error, SamefaceError):
        return error
    text = str(error)
    if any(sign in text for sign in ("No space left", "Disk quota", "File too large")):
        return StoreFull(
            f"the disk under {folder} is full; free some space; reads still work", metadata={"path": folder}
        )
    return StoreUnavailable(
        f"the store in {folder} failed ({type(error).__name__}): {text}; check the folder's permissions and its disk",
        metadata={"path": folder},
        retry_after_s=1.0,
    )
