"""Qdrant Edge: the embedded engine, one folder per collection, one process per data folder.

Edge is opened without its write-ahead log, because that keeps erased payloads readable. Without it a write is durable
only once `flush()` has returned, so every acknowledged write waits for a flush; writers that wait at the same time
share one. Calls into Edge block, so they run in threads.

Removed points stay in Edge's files until these are rewritten. Erasing therefore copies the living points into a new
folder, makes that the current one in a single rename, and deletes the old folder. In a collection of more than
`REWRITE_AT_ONCE` points that would stall callers; there it happens when the store is closed or opened next. Until then
removed points are unreadable through the store, and their bytes stay in its files.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, TypeVar

import qdrant_edge as edge

from sameface_qdrant.engines.base import VECTOR_NAME, Hit, Point, Where
from sameface_qdrant.engines.files import check_format, clear_strays, write_text
from sameface_qdrant.engines.lock import lock_folder
from sameface_qdrant.engines.nearest import nearest
from sameface_qdrant.engines.shard import copy_living, filter_of, open_current, point_of
from sameface_qdrant.errors import InvalidArgument, SamefaceError, StoreFull, StoreUnavailable
from sameface_qdrant.values import EngineDescription, Vector

Result = TypeVar("Result")

REWRITE_AT_ONCE = 5_000
ERASE_PENDING = "ERASE_PENDING"
QUICK_IDS = 64
"""Reading so many points by id takes less than going to another thread and back."""
PAUSE_S = 0.002
"""A write that comes later than this after the one before it does not share its flush."""


@dataclass(slots=True)
class _Handle:
    """An open shard and how many reads are in it."""

    shard: edge.EdgeShard
    folder: Path
    reads: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Collection:
    folder: Path
    dimension: int
    handle: _Handle
    # Writes, flushes and rewrites of one collection exclude each other; reads go on beside all of them.
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    next_flush: asyncio.Task[Exception | None] | None = None
    # Writes so far, and exact counts by filter since the last of them.
    writes: int = 0
    # What the last flush took.
    flush_s: float = 0.01
    counts: dict[str, int] = field(default_factory=dict)


class EdgeEngine:
    """Implements `Engine`."""

    exclusive = True

    def __init__(self, folder: Path, lock: IO[str]) -> None:
        self._folder = folder
        self._lock: IO[str] | None = lock
        self._collections: dict[str, _Collection] = {}
        self._opening = asyncio.Lock()

    @classmethod
    async def open(cls, folder: Path) -> "EdgeEngine":
        """Open or make the store in ``folder``.

        Raises:
            StoreLocked: another process holds the folder.
            StoreCorrupt: the folder was written by another version.
            StoreUnavailable: the folder cannot be made or written.
        """
        engine = cls(folder, await _thread(folder, _claim, folder))
        try:
            for pending in await _thread(folder, lambda: sorted(folder.glob(f"*/{ERASE_PENDING}"))):
                await engine._finish_erasure(pending.parent)
        except BaseException:
            await engine.aclose()
            raise
        return engine

    @property
    def description(self) -> EngineDescription:
        """What this engine is."""
        return EngineDescription("edge", version("qdrant-edge-py"), str(self._folder))

    async def ensure(self, collection: str, dimension: int) -> None:
        """See `Engine.ensure`.

        Raises:
            InvalidArgument: the collection holds vectors of another dimension.
        """
        opened = self._collections.get(collection)
        if opened is None:
            async with self._opening:
                opened = self._collections.get(collection) or await self._open(self._folder / collection, dimension)
        if opened.dimension != dimension:
            raise InvalidArgument(
                f"contract.dimension is {dimension}; the embeddings of {collection} that are stored already have "
                f"{opened.dimension} numbers, and one model, version and digest has one dimension",
                metadata={"field": "contract.dimension", "given": dimension, "expected": opened.dimension},
            )

    async def upsert(
        self, collection: str, points: Sequence[Point], *, insert_only: bool = False, only_if: Where | None = None
    ) -> None:
        """See `Engine.upsert`."""
        operation = edge.UpdateOperation.upsert_points(
            [
                edge.Point(
                    point.id,
                    {} if point.vector is None else {VECTOR_NAME: point.vector.tolist()},
                    dict(point.payload),
                )
                for point in points
            ],
            condition=None if only_if is None else filter_of(only_if),
            update_mode=edge.UpdateMode.InsertOnly if insert_only else edge.UpdateMode.Upsert,
        )
        await self._update(collection, operation)

    async def set_payload(self, collection: str, where: Where, payload: Mapping[str, Any]) -> None:
        """See `Engine.set_payload`."""
        operation = edge.UpdateOperation.set_payload_by_filter(filter_of(where), dict(payload))
        await self._update(collection, operation)

    async def get(self, collection: str, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, Point]:
        """See `Engine.get`."""
        if not ids:
            return {}
        records = await self._read(
            collection,
            lambda shard: shard.retrieve(list(ids), with_payload=True, with_vector=with_vector),
            quick=len(ids) <= QUICK_IDS,
        )
        return {str(record.id): point_of(record) for record in records}

    async def delete(self, collection: str, where: Where | Sequence[str]) -> None:
        """See `Engine.delete`; that bytes are to be erased is noted before the first point is removed."""
        folder = self._opened(collection).folder
        if not (folder / ERASE_PENDING).exists():
            await _thread(folder, write_text, folder / ERASE_PENDING, "")
        if isinstance(where, Where):
            operation = edge.UpdateOperation.delete_points_by_filter(filter_of(where))
        else:
            operation = edge.UpdateOperation.delete_points(list(where))
        await self._update(collection, operation)

    async def nearest(
        self, collection: str, vector: Vector, where: Where, limit: int, *, min_score: float | None = None
    ) -> list[Hit]:
        """See `Engine.nearest`; exact."""
        # One identity has few points: looking at them takes less than going to another thread.
        return await self._read(
            collection, lambda shard: nearest(shard, vector, where, limit, min_score), quick="identity" in where.equals
        )

    async def scroll(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        """See `Engine.scroll`."""
        request = edge.ScrollRequest(
            offset=start, limit=limit, filter=filter_of(where), with_payload=True, with_vector=False
        )
        records, following = await self._read(collection, lambda shard: shard.scroll(request))
        return [point_of(record) for record in records], None if following is None else str(following)

    async def count(self, collection: str, where: Where) -> int:
        """See `Engine.count`."""
        request = edge.CountRequest(exact=True, filter=filter_of(where))
        if "identity" in where.equals:
            return await self._read(collection, lambda shard: shard.count(request), quick=True)
        opened = self._opened(collection)
        key, writes = repr(where), opened.writes
        if key in opened.counts:
            return opened.counts[key]
        counted = await self._read(collection, lambda shard: shard.count(request))
        # A write that was running meanwhile may or may not be counted.
        if where.valid_at is None and writes == opened.writes and not opened.writing.locked():
            opened.counts[key] = counted
        return counted

    async def commit(self, collection: str, *, erase: bool = False) -> None:
        """See `Engine.commit`; writers that wait at the same time share one flush."""
        opened = self._opened(collection)
        if opened.next_flush is None:
            opened.next_flush = asyncio.create_task(self._flush(opened))
        # Shielded: a caller that gives up must not take the flush away from the others.
        failed_erasure = await asyncio.shield(opened.next_flush)
        if erase and failed_erasure is not None:
            raise failed_erasure

    async def aclose(self) -> None:
        """See `Engine.aclose`; finishes erasures that were left for later."""
        if self._lock is None:
            return
        lock, self._lock = self._lock, None
        try:
            for opened in self._collections.values():
                if opened.next_flush is not None:
                    await asyncio.wait([opened.next_flush])
                async with opened.writing:
                    if (opened.folder / ERASE_PENDING).exists():
                        await self._rewrite(opened)
                    await self._retire(opened.handle)
        finally:
            self._collections.clear()
            lock.close()

    def _opened(self, collection: str) -> _Collection:
        if self._lock is None:
            raise StoreUnavailable(f"the store in {self._folder} is closed; open it again")
        return self._collections[collection]

    async def _open(self, folder: Path, dimension: int) -> _Collection:
        shard, path, found = await _thread(folder, open_current, folder, dimension)
        opened = _Collection(folder, found, _Handle(shard, path))
        self._collections[folder.name] = opened
        return opened

    async def _finish_erasure(self, folder: Path) -> None:
        """Rewrite a collection whose erasure was left for later, or was cut off."""
        opened = await self._open(folder, 1)
        async with opened.writing:
            await self._rewrite(opened)

    async def _flush(self, opened: _Collection) -> Exception | None:
        """Make every write so far durable, then erase. Why erasing failed is returned: it concerns only who deletes."""
        await _company(opened)
        async with opened.writing:
            # From here on a new write needs the next flush, which waits for this one.
            opened.next_flush = None
            began = time.monotonic()
            await _thread(opened.folder, opened.handle.shard.flush)
            opened.flush_s = time.monotonic() - began
            pending = (opened.folder / ERASE_PENDING).exists()
            if pending and opened.handle.shard.info().points_count <= REWRITE_AT_ONCE:
                try:
                    await self._rewrite(opened)
                except SamefaceError as error:
                    return error
            return None

    async def _rewrite(self, opened: _Collection) -> None:
        """Replace the shard by a copy of its living points. The caller holds ``writing``; reads go on."""
        old = opened.handle
        shard, path = await _thread(opened.folder, copy_living, opened.folder, old.shard, opened.dimension)
        opened.handle = _Handle(shard, path)
        await self._retire(old)
        await _thread(opened.folder, clear_strays, opened.folder, opened.handle.folder)
        await _thread(opened.folder, (opened.folder / ERASE_PENDING).unlink, True)

    async def _retire(self, handle: _Handle) -> None:
        if handle.reads:
            await handle.idle.wait()
        await _thread(handle.folder, handle.shard.close)

    async def _update(self, collection: str, operation: edge.UpdateOperation) -> None:
        opened = self._opened(collection)
        async with opened.writing:
            self._opened(collection)
            opened.writes += 1
            opened.counts.clear()
            await _thread(opened.folder, opened.handle.shard.update, operation)

    async def _read(self, collection: str, call: Callable[[edge.EdgeShard], Result], *, quick: bool = False) -> Result:
        """Run a read in a thread; a quick one right here, unless a write that it would wait for is running."""
        opened = self._opened(collection)
        if quick and not opened.writing.locked():
            try:
                return call(opened.handle.shard)
            except Exception as error:
                raise _translate(error, opened.folder) from error
        async with _reading(opened.handle) as shard:
            return await _thread(opened.folder, call, shard)


async def _company(opened: _Collection) -> None:
    """Wait while one write follows another, at most twice as long as a flush takes, so that they share the flush."""
    until = time.monotonic() + 2 * opened.flush_s
    seen = -1
    while seen != opened.writes and time.monotonic() < until:
        seen = opened.writes
        await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def _reading(handle: _Handle) -> AsyncIterator[edge.EdgeShard]:
    handle.reads += 1
    handle.idle.clear()
    try:
        yield handle.shard
    finally:
        handle.reads -= 1
        if not handle.reads:
            handle.idle.set()


async def _thread(folder: Path, call: Callable[..., Result], *args: Any) -> Result:
    """Run a blocking call in a thread; even a cancelled caller waits for it, so that no call outlives its lock."""
    running = asyncio.ensure_future(asyncio.to_thread(call, *args))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
    except Exception as error:
        raise _translate(error, folder) from error


def _claim(folder: Path) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True)
    # Templates are nobody else's to read.
    folder.chmod(0o700)
    lock = lock_folder(folder)
    try:
        check_format(folder)
    except BaseException:
        lock.close()
        raise
    return lock


def _translate(error: BaseException, folder: Path) -> Exception:
    """Turn Edge's bare exceptions and the system's errors into typed ones."""
    if isinstance(error, SamefaceError):
        return error
    text = str(error)
    if "No space left" in text or "Disk quota" in text:
        return StoreFull(f"the disk under {folder} is full; free some space, reads go on", metadata={"path": folder})
    return StoreUnavailable(
        f"the store in {folder} failed ({type(error).__name__}): {text}; check the folder's permissions and its disk",
        metadata={"path": folder},
        retry_after_s=1.0,
    )
