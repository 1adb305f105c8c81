"""Qdrant Edge: the embedded engine, one folder per collection, one process per data folder.

Edge is opened without its write-ahead log, because that keeps erased payloads readable. Without it a write is durable
only once `flush()` has returned. That takes long, so enrolments are made durable by a log of our own, see
`sameface_qdrant.engines.edge.write_log`, and other writes by a flush. Writers that wait at the same time share one.
Calls into Edge block, so they run in threads.

Removed points stay in Edge's files until these are rewritten, see `sameface_qdrant.engines.edge.compaction`. A deletion
in a collection of at most `compaction.REWRITE_AT_ONCE` points waits for that. In a larger one it goes on in the
background; if the store is closed before its end, it goes on after the next opening. Until then the store does not
return removed points, but their bytes stay in its files.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import qdrant_edge as edge

from sameface_qdrant.engines.base import EngineDescription, Hit, Point, Where, check_dimension
from sameface_qdrant.engines.edge import compaction, erasure_notes, index, reads
from sameface_qdrant.engines.edge.collection import ERASE_PENDING, EdgeCollection, Handle, blocking_call
from sameface_qdrant.engines.edge.erasure_evidence import EdgeErasureEvidence
from sameface_qdrant.engines.edge.files import check_format, forget_log
from sameface_qdrant.engines.edge.health import EdgeHealthProbe
from sameface_qdrant.engines.edge.lock import lock_folder
from sameface_qdrant.engines.edge.options import EdgeOptions
from sameface_qdrant.engines.edge.shard import closed_on_failure, filter_of, open_current
from sameface_qdrant.engines.edge.write_log import edge_point, record_of, upsert_of
from sameface_qdrant.errors import SamefaceError, StoreUnavailable
from sameface_qdrant.values.vectors import Vector

LOOK_SHARE = 200
"""It is looked again whether an index is due once a collection has grown by one in so many points."""


class EdgeEngine:
    """Implements `Engine`."""

    exclusive = True

    def __init__(self, folder: Path, lock: IO[str], options: EdgeOptions) -> None:
        self._folder = folder
        self._options = options
        self._description = EngineDescription(
            "edge",
            version("qdrant-edge-py"),
            str(folder),
            not_erased=("copies of the data folder made before",),
        )
        self._lock: IO[str] | None = lock
        self._collections: dict[str, EdgeCollection] = {}
        self._opening = asyncio.Lock()
        self._resuming: asyncio.Task[None] | None = None
        self.erasure_evidence = EdgeErasureEvidence(folder, self._collections, self._compact)
        self.health_probe = EdgeHealthProbe(folder, os.fstat(lock.fileno()))

    @classmethod
    async def open(cls, folder: Path, options: EdgeOptions = EdgeOptions()) -> "EdgeEngine":  # noqa: B008  # frozen
        """Open or make the store in ``folder``.

        Raises:
            StoreLocked: another process uses the folder.
            StoreCorrupt: the folder has an unknown format.
            StoreTooNew: a newer release wrote the folder.
            StoreUnavailable: the folder cannot be made or written.
        """
        engine = cls(folder, await blocking_call(folder, _claim, folder), options)
        pending = await blocking_call(folder, lambda: sorted(mark.parent for mark in folder.glob(f"*/{ERASE_PENDING}")))
        if pending:
            engine._resuming = asyncio.create_task(engine._resume(pending))
        return engine

    @property
    def description(self) -> EngineDescription:
        """What this engine is. It is exact until the first graph is built."""
        indexed = not self._options.exact and any(opened.handle.indexed for opened in self._collections.values())
        return replace(self._description, exact=not indexed)

    async def ensure(self, collection: str, dimension: int) -> None:
        """See `Engine.ensure`.

        Raises:
            InvalidArgument: the collection holds vectors of another dimension.
        """
        opened = self._collections.get(collection)
        if opened is None:
            async with self._opening:
                opened = self._collections.get(collection) or await self._open(self._folder / collection, dimension)
        check_dimension(collection, dimension, opened.dimension)

    async def upsert(
        self,
        collection: str,
        points: Sequence[Point],
        *,
        insert_only: bool = False,
        only_if: Where | None = None,
        companions: Sequence[Point] = (),
    ) -> None:
        """See `Engine.upsert`."""
        if companions:
            await self.upsert(collection, companions, insert_only=True)
        operation = upsert_of(
            [
                edge_point(point.id, [] if point.vector is None else point.vector.tolist(), dict(point.payload))
                for point in points
            ],
            insert_only=insert_only,
            condition=None if only_if is None else filter_of(only_if),
        )
        opened = self._opened(collection)
        logged = only_if is None and opened.handle.log.whole
        record = record_of(points, insert_only=insert_only) if logged else None
        await opened.update(operation, [point.id for point in points], record)

    async def set_payload(self, collection: str, where: Where, payload: Mapping[str, Any]) -> None:
        """See `Engine.set_payload`."""
        operation = edge.UpdateOperation.set_payload_by_filter(filter_of(where), dict(payload))
        await self._opened(collection).update(operation, filter_of(where))

    async def get(self, collection: str, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, Point]:
        """See `Engine.get`."""
        return await reads.get(self._opened(collection), ids, with_vector)

    async def delete(self, collection: str, where: Where | Sequence[str]) -> None:
        """See `Engine.delete`."""
        opened = self._opened(collection)
        if isinstance(where, Where):
            chosen = filter_of(where)
            await opened.remove(edge.UpdateOperation.delete_points_by_filter(chosen), chosen)
        else:
            await opened.remove(edge.UpdateOperation.delete_points(list(where)), list(where))

    async def nearest(
        self,
        collection: str,
        vector: Vector,
        where: Where,
        limit: int,
        *,
        min_score: float | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """See `Engine.nearest`; exact, except in galleries of `EdgeOptions.index_from` records and more."""
        options = None if exact or self._options.exact else self._options
        return await reads.nearest(self._opened(collection), vector, where, limit, min_score, options)

    async def nearest_each(
        self,
        collection: str,
        searches: Sequence[tuple[Vector, Where]],
        limit: int,
        *,
        fields: Sequence[str],
        exact: bool = False,
    ) -> list[list[Hit]]:
        """See `Engine.nearest_each`; with whole payloads, and one search after the other if one of them takes long."""
        opened = self._opened(collection)
        if len(searches) > 1 and reads.all_quick(opened, searches):
            return await reads.nearest_of_few(opened, searches, limit)
        return [await self.nearest(collection, vector, where, limit, exact=exact) for vector, where in searches]

    async def scroll(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        """See `Engine.scroll`."""
        return await reads.scroll(self._opened(collection), where, limit, start, False)

    async def scroll_with_vectors(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        """Return what `scroll` returns, with vectors: faster than to read them by id."""
        return await reads.scroll(self._opened(collection), where, limit, start, True)

    async def count(self, collection: str, where: Where) -> int:
        """See `Engine.count`."""
        return await reads.count(self._opened(collection), where)

    async def commit(self, collection: str, *, erase: bool = False) -> None:
        """See `Engine.commit`; writers that wait at the same time share one flush.

        If the files cannot be rewritten now, the points stay removed, and `erasure_evidence` tells why.
        """
        opened = self._opened(collection)
        if opened.next_flush is None:
            opened.next_flush = asyncio.create_task(self._flush(opened))
        # Shielded, because a cancelled caller must not cancel the flush of the others.
        await asyncio.shield(opened.next_flush)
        if opened.pending and time.monotonic() >= opened.retry_at:
            rewriting = self._compact(opened)
            if erase and opened.size <= compaction.REWRITE_AT_ONCE:
                await asyncio.shield(rewriting)
        else:
            self._index_if_due(opened)
        opened.add_threads()

    async def aclose(self) -> None:
        """See `Engine.aclose`; erasures in large collections are left for the next opening."""
        if self._lock is None:
            return
        lock, self._lock = self._lock, None
        try:
            for opened in self._collections.values():
                opened.closing = True
            if self._resuming is not None:
                await asyncio.wait([self._resuming])
            for opened in self._collections.values():
                if opened.next_flush is not None:
                    await asyncio.wait([opened.next_flush])
                if opened.compaction is not None:
                    await asyncio.wait([opened.compaction])
                await opened.close()
            with contextlib.suppress(SamefaceError):  # a full disk: older releases stay out until a later close
                await blocking_call(self._folder, forget_log, self._folder)
        finally:
            self._collections.clear()
            lock.close()

    def _opened(self, collection: str) -> EdgeCollection:
        if self._lock is None:
            raise StoreUnavailable(f"the store in {self._folder} is closed; open it again")
        return self._collections[collection]

    async def _open(self, folder: Path, dimension: int) -> EdgeCollection:
        made: list[EdgeCollection] = []

        def open_collection() -> None:
            shard, path, found = open_current(folder, dimension)
            with closed_on_failure(shard):
                opened = EdgeCollection(folder, found, Handle(shard, path), self._options)
                erasure_notes.tidy(folder, lambda ids: _living(shard, ids))
            made.append(opened)

        try:
            await blocking_call(folder, open_collection)
        except asyncio.CancelledError:
            for opened in made:
                await opened.handle.retire()
            raise
        opened = self._collections[folder.name] = made[0]
        if not opened.pending:
            self._index_if_due(opened)
        return opened

    async def _resume(self, folders: Sequence[Path]) -> None:
        """Rewrite collections whose erasure was left for later or interrupted."""
        for folder in folders:
            async with self._opening:
                if self._lock is None:
                    return
                try:
                    opened = self._collections.get(folder.name) or await self._open(folder, 1)
                except SamefaceError:
                    continue  # `ensure` raises it for callers of this collection
            await self._compact(opened)

    async def _flush(self, opened: EdgeCollection) -> None:
        """Make every write so far durable.

        The lock of the collection is held meanwhile. Without it a write would wait too, because Edge holds Python's
        interpreter lock during a flush, and a batch might be half in it.
        """
        await opened.coalesce()
        async with opened.writing:
            # From here on a new write needs the next flush, which waits for this one.
            opened.next_flush = None
            began = time.monotonic()
            await opened.make_durable()
            opened.flush_s = time.monotonic() - began

    def _index_if_due(self, opened: EdgeCollection) -> None:
        """Start to build an index in the background, if the collection has grown enough."""
        busy = opened.compaction is not None and not opened.compaction.done()
        size = opened.size
        if busy or opened.closing or time.monotonic() < opened.index_retry_at or size < opened.index_look_at:
            return
        if index.is_due(opened.handle.shard, self._options):
            self._compact(opened)
        else:
            # A look takes the longer, the more galleries there are.
            opened.index_look_at = size + size // LOOK_SHARE

    def _compact(self, opened: EdgeCollection) -> asyncio.Task[SamefaceError | None]:
        """Start to rewrite a collection, or return the task that does it already."""
        if opened.compaction is None or opened.compaction.done():
            opened.compaction = asyncio.create_task(compaction.compact(opened))
        return opened.compaction


def _living(shard: edge.EdgeShard, ids: Sequence[str]) -> set[str]:
    return {str(record.id) for record in shard.retrieve(list(ids), with_payload=False, with_vector=False)}


def _claim(folder: Path) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True)
    # Other users must not read templates.
    folder.chmod(0o700)
    lock = lock_folder(folder)
    try:
        check_format(folder)
    except BaseException:
        lock.close()
        raise
    return lock
