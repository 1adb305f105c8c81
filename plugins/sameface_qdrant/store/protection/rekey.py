"""Re-keys a gallery: writes its templates and records again under new keys, from what is stored.

1. The gallery's record names the following generation. Where several services write, the re-key then waits until each
   of them has noticed.
2. Batches of points are moved: copied as staged ones, which nobody finds; compared with the originals, which may have
   changed or gone meanwhile; then they count, and when that is durable the originals are removed. The old generation is
   looked through again until nothing of it is left.
3. The record names the new generation alone, and records of the meta collection are sealed under the current key.

Every state on the way is complete, see `sameface_qdrant.store.protection.engine`. So a re-key that was interrupted,
even by kill -9, is finished by the next one, and calls go on meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from sameface_qdrant.engines.base import TENANT_FIELD, Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, GalleryNotFound, InvalidArgument
from sameface_qdrant.store import payloads
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.conditional_write import ATTEMPTS, REVISION, change_of, write
from sameface_qdrant.store.gallery_memory import GalleryMemory
from sameface_qdrant.store.migration_link import check_not_migrating
from sameface_qdrant.store.payloads import GALLERY, META
from sameface_qdrant.store.protection.attempts import Attempts
from sameface_qdrant.store.protection.engine import ProtectedEngine
from sameface_qdrant.store.protection.points import NAMING, Form, is_newer
from sameface_qdrant.store.protection.state import LEASE_S
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.protection import Generation, Protection, protection_of, protection_payload

BATCH = 32
"""Converting them takes some milliseconds, in which other calls wait."""
PAGE = 256
REMOVED_AT_ONCE = 1024
"""Originals that are removed together. An embedded engine rewrites its files after a removal."""

Progress = Callable[[int, int], None]
"""Called with how many points are moved, and how many there were."""


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What a re-key did."""

    gallery: Gallery
    moved: int
    """Records and templates that this call wrote again."""
    resumed: bool
    """Whether it finished a re-key that was interrupted."""


class Rekeying:
    """Re-keys galleries, each one once at a time."""

    def __init__(self, engine: ProtectedEngine, memory: GalleryMemory, write_lock: WriteLock) -> None:
        self._engine = engine
        self._memory = memory
        self._write_lock = write_lock
        self._running: set[str] = set()

    async def run(self, gallery: str, progress: Progress) -> Rekeyed:
        """See `sameface_qdrant.Store.rekey`."""
        if gallery in self._running:
            raise ConcurrentUpdate(
                f"the gallery {gallery!r} is being re-keyed already; wait for its end", metadata={"gallery": gallery}
            )
        self._running.add(gallery)
        try:
            return await self._run(gallery, progress)
        finally:
            self._running.discard(gallery)

    async def _run(self, gallery: str, progress: Progress) -> Rekeyed:
        uid, before = await self._protection(gallery)
        resumed = before.following is not None
        following = before.following
        if following is None:
            following = Generation.new(await self._engine.protections.current_key(), before.current.number + 1)
        await self._engine.records.activate(following.key)
        protection = Protection(before.current, following)
        if not resumed:
            await self._write(gallery, uid, before, protection)
        await self._lease()
        known = await self._engine.protections.read(uid)
        collection = (await self._gallery(gallery, uid)).contract.key
        await self._engine.ensure(collection, known.dimension)
        forms = await self._engine.protections.forms(known, vectors=True)
        if known.protection != protection or len(forms) == 1:
            raise self._overtaken(gallery)
        await Attempts(self._engine.stored, self._engine.protections, collection).remove_past(uid, protection)
        moving = _Moving(self._engine.stored, collection, self._write_lock, *forms)
        moved = await moving.all(progress)
        await self._write(gallery, uid, protection, Protection(following))
        await self._lease()
        # What a slow service has written under the old keys until then; it repeats the write under the new ones.
        moved += await moving.all(lambda done, total: None)
        await self._engine.stored.delete(collection, Where({TENANT_FIELD: moving.staged.tenant}))
        await self._engine.commit(collection, erase=True)
        await self.seal_names()
        return Rekeyed(await self._gallery(gallery, uid), moved, resumed)

    async def seal_names(self) -> set[str]:
        """Seal what is sealed in the meta collection under the current key, also of unprotected and deleted galleries.

        Returns:
            The ids of the master keys that the store needs after that. A key that is not among them may be removed.

        Raises:
            ProtectionKeyRefused: a key that something is sealed under is missing.
        """
        if self._engine.protections.keys is not None:
            for kind in NAMING:
                await self._engine.records.seal_again(kind)
            await self._engine.commit(META, erase=True)
        return await self._engine.records.needed_keys()

    async def needed_keys(self) -> set[str]:
        """Return the ids of the master keys that the store needs."""
        return await self._engine.records.needed_keys()

    async def behind(self) -> list[str]:
        """Return the galleries that are under another key than the current one, or whose re-key was interrupted."""
        current, found = "", list[str]()
        start: str | None = None
        while True:
            points, start = await self._engine.scroll(META, Where({"kind": GALLERY}), PAGE, start)
            for payload in (point.payload for point in points):
                protection = protection_of(payload.get("protection"))
                if protection is None:
                    continue
                current = current or await self._engine.protections.current_key()
                if protection.keys != (current,) or protection.following is not None:
                    found.append(str(payload["id"]))
            if start is None:
                return sorted(found)

    async def _lease(self) -> None:
        if not self._engine.exclusive:
            await asyncio.sleep(LEASE_S)

    async def _protection(self, gallery: str) -> tuple[str, Protection]:
        record = await self._record(gallery)
        protection = protection_of(record.payload.get("protection"))
        if protection is None:
            raise InvalidArgument(
                f"the gallery {gallery!r} is not protected, so it has no keys; protection is chosen when a gallery is "
                "created",
                metadata={"field": "gallery"},
            )
        check_not_migrating(record.payload, "re-keyed")
        return str(record.payload["gallery"]), protection

    async def _gallery(self, gallery: str, uid: str) -> Gallery:
        record = await self._record(gallery)
        if record.payload["gallery"] != uid:
            raise self._gone(gallery)
        return payloads.gallery_of(record.payload)

    async def _record(self, gallery: str) -> Point:
        key = payloads.gallery_point_id(gallery)
        found = (await self._engine.get(META, [key])).get(key)
        if found is None:
            raise self._gone(gallery)
        return found

    async def _write(self, gallery: str, uid: str, before: Protection, after: Protection) -> None:
        """Change the protection in the gallery's record, which others may change too."""
        for attempt in range(ATTEMPTS):
            # Under the lock, so that no write of this process that began before is still running.
            async with self._write_lock.of_store():
                record = await self._record(gallery)
                present = protection_of(record.payload.get("protection"))
                if record.payload["gallery"] != uid:
                    raise self._gone(gallery)
                if present == after:
                    return
                if present != before:
                    raise self._overtaken(gallery)
                if after.following is not None:
                    check_not_migrating(record.payload, "re-keyed")
                fields = {"protection": protection_payload(after), "updated": time_now()}
                form = payloads.form_of(record.payload)
                try:
                    written = await write(self._engine, change_of(META, record, fields, form=form))
                finally:
                    self._memory.forget(gallery)
            if written is not None:
                await self._engine.commit(META)
                return
            await asyncio.sleep(0.01 * 2**attempt)
        raise self._overtaken(gallery)

    def _gone(self, gallery: str) -> GalleryNotFound:
        return GalleryNotFound(f"there is no gallery {gallery!r}", metadata={"gallery": gallery})

    def _overtaken(self, gallery: str) -> ConcurrentUpdate:
        return ConcurrentUpdate(
            f"another service re-keys or changes the gallery {gallery!r}; repeat the re-key, which goes on",
            metadata={"gallery": gallery},
        )


class _Moving:
    """Moves the stored points of a gallery from one generation to the next."""

    def __init__(
        self, engine: Engine, collection: str, write_lock: WriteLock, old: Form, staged: Form, new: Form
    ) -> None:
        self._engine, self._collection, self._write_lock = engine, collection, write_lock
        self.old, self.staged, self.new = old, staged, new

    async def all(self, progress: Progress) -> int:
        """Move points until none is left in the old generation; return how many were moved."""
        mine = Where({TENANT_FIELD: self.old.tenant})
        total, moved = await self._engine.count(self._collection, mine), 0
        start: str | None = None
        settled: list[Point] = []
        while True:
            page, start = await self._engine.scroll(self._collection, mine, BATCH, start)
            if page:
                async with self._alone():
                    settled += await self._copied([point.id for point in page])
                progress(min(moved + len(settled), total), total)
                await asyncio.sleep(0)
            if len(settled) >= REMOVED_AT_ONCE or start is None:
                # Durable first: an interrupted flush must not remove only the originals.
                await self._engine.commit(self._collection)
                await self._remove(settled)
                moved += len(settled)
                settled = []
            if start is None and not page:
                return moved
            if start is None and not await self._engine.count(self._collection, mine):
                return moved

    def _alone(self) -> AbstractAsyncContextManager[None]:
        """Keep the other writes of this process out, if no other process writes.

        An erasure searches the files for bytes, and copies must not appear meanwhile.
        """
        return self._write_lock.of_store() if self._engine.exclusive else nullcontext()

    async def _copied(self, ids: Sequence[str]) -> list[Point]:
        """Copy points, and return those originals that may be removed once the copies are durable."""
        before = await self._engine.get(self._collection, ids, with_vector=True)
        if not before:
            return []
        points = {stored.id: self.old.opened(stored) for stored in before.values()}
        copies = {identifier: self.staged.stored(point) for identifier, point in points.items()}
        await self._engine.upsert(self._collection, list(copies.values()), insert_only=True)
        # From here on changes and removals by others reach the copies too. What came before is seen now.
        after = await self._engine.get(self._collection, ids)
        there = await self._engine.get(self._collection, [copy.id for copy in copies.values()])
        settled: list[Point] = []
        ready: list[str] = []
        dropped: list[str] = []
        for identifier, copy in copies.items():
            now, present = after.get(identifier), there.get(copy.id)
            if present is not None and present.payload[TENANT_FIELD] == self.new.tenant:
                if now is not None and await self._agrees(points[identifier], now, present):
                    settled.append(now)
            elif now is None or dict(now.payload) != dict(before[identifier].payload):
                dropped.append(copy.id)
            else:
                ready.append(copy.id)
                settled.append(now)
        if dropped:
            await self._engine.delete(self._collection, Where({TENANT_FIELD: self.staged.tenant}, ids=tuple(dropped)))
        if ready:
            those = Where({TENANT_FIELD: self.staged.tenant}, ids=tuple(ready))
            await self._engine.set_payload(self._collection, those, {TENANT_FIELD: self.new.tenant})
        return settled

    async def _agrees(self, read: Point, now: Point, present: Point) -> bool:
        """Return whether the original may be removed although a copy of it counts already.

        An earlier run was interrupted, or others changed both at the same moment. The original decides, unless its copy
        has a later revision.
        """
        original, copy = self.old.opened(now), self.new.opened(present)
        if is_newer(copy, original) or dict(copy.payload) == dict(original.payload):
            return True
        unchanged = {TENANT_FIELD: self.new.tenant}
        revision = {REVISION: present.payload[REVISION]} if REVISION in present.payload else {}
        again = self.new.stored(Point(original.id, original.payload, read.vector))
        await self._engine.upsert(self._collection, [again], only_if=Where({**unchanged, **revision}))
        return False

    async def _remove(self, originals: Sequence[Point]) -> None:
        """Remove originals; records only in the revision that was read."""
        by_revision: dict[int | None, list[str]] = {}
        for one in originals:
            by_revision.setdefault(one.payload.get(REVISION), []).append(one.id)
        for revision, ids in by_revision.items():
            read = {} if revision is None else {REVISION: revision}
            await self._engine.delete(self._collection, Where({TENANT_FIELD: self.old.tenant, **read}, ids=tuple(ids)))
