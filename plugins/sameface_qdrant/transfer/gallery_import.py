"""Writes one gallery of an import.

Its records are written under its key, which nobody can address yet. Its own record comes last and makes it appear,
whole. Until then a note lies in the meta collection: it tells where to go on after an interruption, and what to remove
if the import is given up.
"""

import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, GalleryNotFound
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.store.payloads import IDENTITY, META, TEMPLATE, UNFINISHED, gallery_point_id
from sameface_qdrant.store.store import Store
from sameface_qdrant.transfer.erased import ErasedSince, LeftOut, kept
from sameface_qdrant.transfer.errors import ExportMismatch
from sameface_qdrant.transfer.exporting import Progress
from sameface_qdrant.transfer.frames import Frame, batches
from sameface_qdrant.transfer.records import tenants, unfinished_imports
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.schema import stamped

WRITE_BATCH = 256
NOTED_EVERY = 32
"""Frames between two notes of how far the import is. One that was interrupted goes on after the latest."""


class ImportStatus(StrEnum):
    """What became of a gallery."""

    IMPORTED = "IMPORTED"
    ALREADY_THERE = "ALREADY_THERE"
    """The store has this gallery. Nothing of it was written."""
    ERASED = "ERASED"
    """The gallery was deleted since the export. Nothing of it was written."""


@dataclass(frozen=True, slots=True)
class ImportedGallery:
    """What an import did about one gallery."""

    gallery: str
    status: ImportStatus
    identities: int = 0
    """In the gallery now; 0 unless the status is IMPORTED."""
    templates: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about one gallery."""

    status: ImportStatus
    tenant: Tenant
    record: Point
    identities: int
    """In the file."""
    since: ErasedSince
    begun: Point | None
    """The note of an import of it that was interrupted."""


async def discard_import(store: Store, gallery: str) -> int:
    """Remove what an import of a gallery wrote that was interrupted; return how many records were removed.

    A gallery that is whole stays.

    Raises:
        GalleryNotFound: no import of this gallery was interrupted.
    """
    note = (await unfinished_imports(store.engine)).get(gallery)
    if note is None:
        raise GalleryNotFound(
            f"no import of a gallery {gallery!r} was interrupted; nothing was removed", metadata={"gallery": gallery}
        )
    return await forget(store.engine, note)


async def forget(engine: Engine, note: Point) -> int:
    """Remove the note of an import, and what the import wrote unless the gallery is whole; return how much that was."""
    uid, collection = str(note.payload["gallery"]), str(note.payload["collection"])
    present = (await tenants(engine)).get(str(note.payload["of_gallery"]))
    removed = 0
    if present is None or present[1].uid != uid:
        everything = Where({"gallery": uid})
        await engine.ensure(collection, note.payload["dimension"])
        removed = await engine.count(collection, everything)
        await engine.delete(collection, everything)
        await engine.commit(collection, erase=True)
        await engine.delete(META, everything)
    await engine.delete(META, [note.id])
    await engine.commit(META, erase=True)
    return removed


class GalleryImport:
    """Takes the frames of one gallery in turn."""

    def __init__(self, engine: Engine, file_id: str, plan: Plan, now: float, progress: Progress) -> None:
        self._engine, self._file_id, self._plan, self._now = engine, file_id, plan, now
        self._tenant, self._progress = plan.tenant, progress
        self._left_out = LeftOut()
        self._frame = self._done = 0
        self._run = secrets.token_hex(8)
        # Of an earlier run: the last frame that is written for certain.
        self._written = 0
        self._resumed = self._erases = False

    async def begin(self) -> None:
        """Note the import before its first record."""
        begun = self._plan.begun
        if begun is not None and begun.payload["file"] == self._file_id:
            self._written, self._resumed = int(begun.payload["frame"]), True
        elif begun is not None:
            # Another export of the gallery: it may hold people who are not in this one.
            await forget(self._engine, begun)
        await self._note(self._written)
        self._progress(self._tenant.gallery.id, 0, self._plan.identities)

    async def take(self, frame: Frame) -> None:
        """Write the identities of a frame, unless an interrupted import has done so.

        Raises:
            ConcurrentUpdate: another import of the gallery has begun.
        """
        await self._check_alone()
        self._frame += 1
        fresh = self._frame > self._written
        left = kept(frame.points, self._plan.since, self._now, self._left_out)
        # What was erased may have been written by an interrupted import, which knew of fewer erasures.
        gone = left.erased if self._resumed else ()
        if fresh:
            gone = (*gone, *frame.fields.get("again", ()))
        for identity in gone:
            here = Where({"gallery": self._tenant.uid, "identity": identity})
            await self._engine.delete(self._tenant.collection, here)
        if self._resumed and left.erased_templates:
            await self._engine.delete(self._tenant.collection, left.erased_templates)
        self._erases |= bool(gone or (self._resumed and left.erased_templates))
        if fresh:
            for batch in batches(left.points, WRITE_BATCH):
                await self._engine.upsert(self._tenant.collection, batch, insert_only=True)
            if not self._frame % NOTED_EVERY:
                await self._note(self._frame)
        self._done += sum(point.payload["kind"] == IDENTITY for point in frame.points)
        self._progress(self._tenant.gallery.id, self._done, self._plan.identities)

    async def end(self) -> ImportedGallery:
        """Make the gallery appear, and return what was imported."""
        engine, tenant = self._engine, self._tenant
        await self._check_alone()
        await engine.commit(tenant.collection, erase=self._erases)
        key = gallery_point_id(tenant.gallery.id)
        await engine.upsert(META, [self._plan.record], insert_only=True)
        await engine.commit(META)
        stored = (await engine.get(META, [key])).get(key)
        if stored is None or stored.payload["gallery"] != tenant.uid:
            raise ExportMismatch(
                f"a gallery of the id {tenant.gallery.id!r} was made during the import; delete it and import again, or "
                "discard the import",
                metadata={"gallery": tenant.gallery.id},
            )
        await engine.delete(META, [_note_id(tenant.uid)])
        await engine.commit(META)
        identities = await engine.count(tenant.collection, gallery_filter(tenant.uid, IDENTITY))
        templates = await engine.count(tenant.collection, gallery_filter(tenant.uid, TEMPLATE))
        return ImportedGallery(tenant.gallery.id, ImportStatus.IMPORTED, identities, templates, self._left_out)

    async def _check_alone(self) -> None:
        """Raise ConcurrentUpdate if another import has taken over.

        What this one writes after the other's end would bring back who is erased in the gallery by then.
        """
        key = _note_id(self._tenant.uid)
        note = (await self._engine.get(META, [key])).get(key)
        if note is None or note.payload["run"] != self._run:
            raise ConcurrentUpdate(
                f"another import of the gallery {self._tenant.gallery.id!r} has begun; wait for its end, then repeat",
                metadata={"gallery": self._tenant.gallery.id},
            )

    async def _note(self, frame: int) -> None:
        tenant = self._tenant
        await self._engine.commit(tenant.collection)
        payload = {
            "kind": UNFINISHED,
            "gallery": tenant.uid,
            "identity": "",
            "of_gallery": tenant.gallery.id,
            "collection": tenant.collection,
            "dimension": tenant.gallery.contract.dimension,
            "file": self._file_id,
            "frame": frame,
            "run": self._run,
        }
        if "protection" in self._plan.record.payload:
            payload["protection"] = self._plan.record.payload["protection"]
        await self._engine.upsert(META, [Point(_note_id(tenant.uid), stamped(payload))])
        await self._engine.commit(META)


def _note_id(uid: str) -> str:
    return point_id(UNFINISHED, uid)
