"""Reads and changes the records of migrations, and of the galleries that they are of, by compare-and-set."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, GalleryNotFound, MigrationNotFound
from sameface_qdrant.store import payloads
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.conditional_write import ATTEMPTS, change_of, write
from sameface_qdrant.store.gallery_memory import GalleryMemory
from sameface_qdrant.store.migrations.both_contracts import BothContracts
from sameface_qdrant.store.migrations.records import (
    MIGRATION,
    Stored,
    map_of,
    map_point,
    map_point_id,
    migration_point_id,
    stored_of,
)
from sameface_qdrant.store.payloads import META, Payload
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.migration import UnaskedChange
from sameface_qdrant.values.schema import MIGRATING
from sameface_qdrant.values.template_map import TemplateMap

Fields = Mapping[str, Any]
PAGE = 256


class MigrationRecords:
    """The records in the meta collection."""

    def __init__(self, contracts: BothContracts, memory: GalleryMemory, write_lock: WriteLock) -> None:
        self.contracts = contracts
        self.engine = cast(Engine, contracts)
        self.below = contracts.below
        """The engine without what `BothContracts` refuses, for passes."""
        self._memory, self._write_lock = memory, write_lock
        self.observe: Callable[[UnaskedChange], None] | None = None
        """Called after each change that no call has made."""

    # The gallery's record.

    async def gallery(self, gallery: str) -> Point:
        """Return a gallery's record, or raise GalleryNotFound."""
        key = payloads.gallery_point_id(gallery)
        found = (await self.engine.get(META, [key])).get(key)
        if found is None:
            raise GalleryNotFound(f"there is no gallery {gallery!r}; create it first", metadata={"gallery": gallery})
        return found

    async def change_gallery(self, gallery: str, uid: str, change: Callable[[Payload], Fields | None]) -> Point:
        """Change a gallery's record. ``change`` returns the new fields, None for no change, and may raise.

        Raises:
            GalleryNotFound: it was deleted meanwhile.
            ConcurrentUpdate: other services were faster at every attempt.
        """
        for attempt in range(ATTEMPTS):
            # Under the lock, so that no write of this process that began before is still running.
            async with self._write_lock.of_store():
                record = await self.gallery(gallery)
                if record.payload["gallery"] != uid:
                    raise GalleryNotFound(f"there is no gallery {gallery!r}", metadata={"gallery": gallery})
                fields = change(record.payload)
                if fields is None:
                    return record
                if "policy" in fields:
                    # The old revision first, and durable, so that a crash loses none.
                    earlier = payloads.policy_point(uid, record.payload)
                    await self.engine.upsert(META, [earlier], insert_only=True)
                    await self.engine.commit(META)
                written = await self._write_gallery(gallery, record, fields)
            if written is not None:
                await self.engine.commit(META)
                return written
            await asyncio.sleep(0.01 * 2**attempt)
        raise ConcurrentUpdate(
            f"the gallery {gallery!r} was changed by other services at every attempt; repeat the call",
            metadata={"gallery": gallery},
        )

    async def _write_gallery(self, gallery: str, record: Point, fields: Fields) -> Point | None:
        form = payloads.form_of({**record.payload, **fields})
        try:
            return await write(self.engine, change_of(META, record, {**fields, "updated": time_now()}, form=form))
        finally:
            self._memory.forget(gallery)

    # The migration's record.

    async def insert(self, payload: Fields, template_map: TemplateMap) -> tuple[Stored, bool]:
        """Store a new migration with its map, durably. Return it, and whether this call has stored it.

        Raises:
            ConcurrentUpdate: another call with the same id has stored it, and removed it again.
        """
        # Also over a damaged one: the digest is the same, and so is what it stands for.
        await self.engine.upsert(META, [map_point(template_map)])
        record = Point(migration_point_id(payload["gallery"], payload["id"]), {})
        change = change_of(META, record, payload, new=True, form=MIGRATING)
        written = await write(self.engine, change)
        await self.engine.commit(META)
        if written is not None:
            return stored_of(written), True
        if (found := await self.find(payload["gallery"], payload["id"])) is None:
            raise ConcurrentUpdate(
                "another call with the same request id was given up meanwhile; repeat the call",
                metadata={"gallery": payload["of_gallery"]},
            )
        return found, False

    async def remove(self, stored: Stored) -> None:
        """Remove the record of a migration that did not begin, or whose gallery is gone."""
        await self.engine.delete(META, [stored.point.id])
        await self.engine.commit(META)

    async def find(self, uid: str, migration: str) -> Stored | None:
        """Return a migration; None if there is none."""
        key = migration_point_id(uid, migration)
        found = (await self.engine.get(META, [key])).get(key)
        return None if found is None else stored_of(found)

    async def migration(self, gallery: str, migration: str) -> tuple[Point, Stored]:
        """Return a gallery's record and a migration of it, or raise GalleryNotFound or MigrationNotFound."""
        record = await self.gallery(gallery)
        found = await self.find(record.payload["gallery"], migration)
        if found is None:
            raise MigrationNotFound(
                f"the gallery {gallery!r} has no migration {migration[:64]!r}; list its migrations to find the id",
                metadata={"gallery": gallery, "migration": migration[:64]},
            )
        return record, found

    async def change(
        self,
        stored: Stored,
        change: Callable[[Stored], Fields | None],
        *,
        quiet: bool = False,
        unasked: bool = False,
        reason: str = "",
    ) -> Stored:
        """Change a migration's record; see `change_gallery`.

        Args:
            stored: the migration.
            change: returns the new fields, None for no change, and may raise.
            quiet: keep its time and its etag.
            unasked: no call makes this change, so the observer is told.
            reason: of the error that led to it, for the observer.

        Raises:
            MigrationNotFound: it was removed with its gallery.
            ConcurrentUpdate: other services were faster at every attempt.
        """
        for attempt in range(ATTEMPTS):
            present = await self.find(stored.uid, stored.id)
            if present is None:
                raise MigrationNotFound(
                    f"the gallery {stored.gallery!r} was deleted, and its migration with it",
                    metadata={"gallery": stored.gallery, "migration": stored.id},
                )
            fields = change(present)
            if fields is None:
                return present
            times = {} if quiet else {"updated": time_now()}
            written = await write(self.engine, change_of(META, present.point, {**fields, **times}, form=MIGRATING))
            if written is not None:
                await self.engine.commit(META)
                changed = stored_of(written)
                if unasked and self.observe is not None:
                    self.observe(UnaskedChange(changed.gallery, changed.id, changed.state, reason))
                return changed
            await asyncio.sleep(0.01 * 2**attempt)
        raise ConcurrentUpdate(
            f"the migration {stored.id} was changed by other services at every attempt; repeat the call",
            metadata={"gallery": stored.gallery, "migration": stored.id},
        )

    async def page(self, where: Fields, size: int, start: str | None) -> tuple[list[Stored], str | None]:
        """Return a page of migrations."""
        points, following = await self.engine.scroll(META, Where({"kind": MIGRATION, **where}), size, start)
        return [stored_of(point) for point in points], following

    async def all(self) -> list[Stored]:
        """Return every migration, also those that have ended."""
        found: list[Stored] = []
        start: str | None = None
        while True:
            page, start = await self.page({}, PAGE, start)
            found += page
            if start is None:
                return found

    async def map(self, sha256: str) -> TemplateMap:
        """Return a template map, or raise MapMismatch."""
        key = map_point_id(sha256)
        return map_of((await self.engine.get(META, [key])).get(key), sha256)
