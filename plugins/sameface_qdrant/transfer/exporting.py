"""Exports galleries of a store to an encrypted file, while the store is in use.

Each identity is exported as it was at one moment, see `sameface_qdrant.transfer.whole_identities`. Identities that were
moved meanwhile are read again at the end of their gallery, so that each person is in the file once. What was enrolled
or erased after the export began may be in the file or not; an import applies the erasures.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, GalleryNotFound
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.store.migration_link import check_not_migrating
from sameface_qdrant.store.move_notes import MOVE
from sameface_qdrant.store.payloads import IDENTITY, META, POLICY, TEMPLATE, gallery_of, gallery_point_id
from sameface_qdrant.store.secret import open_meta
from sameface_qdrant.store.store import Store
from sameface_qdrant.transfer.frames import Frame, FrameKind, encoded
from sameface_qdrant.transfer.keys import ExportKey
from sameface_qdrant.transfer.records import fingerprint, notes, scrolled, tenants, travelling
from sameface_qdrant.transfer.sealed_file import SealedWriter
from sameface_qdrant.transfer.whole_identities import WholeIdentities, WholeIdentity
from sameface_qdrant.values.schema import CURRENT

FRAME_POINTS = 256
"""A frame ends with the identity that reaches this number of points."""
ROUNDS = 5
Progress = Callable[[str, int, int], None]
"""Called with what is worked on, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class ExportedGallery:
    """What an export wrote of one gallery."""

    gallery: str
    identities: int
    """One that was moved during the export may count twice; an import counts what arrived."""
    templates: int
    expired_identities: int
    """Left out, because comparisons ignore them already."""
    expired_templates: int


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What an export wrote."""

    file: Path
    size: int
    """Bytes."""
    begun: float
    """Seconds since the epoch: the file holds no change that was made after its end, and erasures since this moment are
    to be applied at an import."""
    galleries: tuple[ExportedGallery, ...]
    notes: int
    """Receipts of erasures, and notes of moves."""


class _Writer:
    """Writes frames and the digest of their contents."""

    def __init__(self, file: SealedWriter) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._frames = 0

    async def write(self, kind: FrameKind, points: Sequence[Point] = (), **fields: Any) -> None:
        await asyncio.to_thread(self._write, Frame(kind, fields, tuple(points)))

    async def end(self) -> int:
        fields = {"frames": self._frames, "digest": self._digest.hexdigest()}
        last = encoded(Frame(FrameKind.END, fields))
        return await asyncio.to_thread(self._end, last)

    def _write(self, frame: Frame) -> None:
        content = encoded(frame)
        self._digest.update(content)
        self._frames += 1
        self._file.write(content)

    def _end(self, last: bytes) -> int:
        self._file.write(last, last=True)
        return self._file.finish()


async def export_store(
    store: Store,
    file: Path,
    key: ExportKey,
    *,
    galleries: Sequence[str] = (),
    force: bool = False,
    progress: Progress | None = None,
) -> ExportSummary:
    """Write galleries, by default all, to an encrypted file: with policies, identities, templates and receipts.

    The file appears under its name when it is whole. It holds the store's secret too, so that retries are recognised
    wherever it is imported. What has expired is left out.

    Raises:
        GalleryNotFound: there is no such gallery.
        InvalidArgument: the file exists and ``force`` is not set.
        ConcurrentUpdate: a gallery was deleted meanwhile, or a move of an identity does not end.
        OSError: the file cannot be written.
    """
    return await _Export(store, file, key, galleries, force, progress or (lambda what, done, total: None)).run(True)


async def export_erasures(store: Store, file: Path, key: ExportKey, *, force: bool = False) -> ExportSummary:
    """Write the list of erasures to an encrypted file; an import of an earlier export asks for it.

    The list holds ids and times: no embedding, no name, no policy. It is as of now.

    Raises:
        InvalidArgument: the file exists and ``force`` is not set.
        OSError: the file cannot be written.
    """
    return await _Export(store, file, key, (), force, lambda what, done, total: None).run(False)


@dataclass(slots=True)
class _Export:
    store: Store
    file: Path
    key: ExportKey
    galleries: Sequence[str]
    force: bool
    progress: Progress

    async def run(self, with_galleries: bool) -> ExportSummary:
        engine = self.store.engine
        begun = time.time()
        found = await tenants(engine) if with_galleries else {}
        for gallery in self.galleries:
            if gallery not in found:
                raise GalleryNotFound(
                    f"there is no gallery {gallery!r}; list the galleries to find its id", metadata={"gallery": gallery}
                )
        chosen = sorted(self.galleries or found)
        secret = await open_meta(engine)
        file = await asyncio.to_thread(SealedWriter, self.file, self.key, force=self.force)
        try:
            writer = _Writer(file)
            described = engine.description
            secrets: dict[str, str] = {"secret": secret.hex()} if with_galleries else {}
            await writer.write(
                FrameKind.STORE,
                (),
                content="galleries" if with_galleries else "erasures",
                begun=begun,
                shared=not engine.exclusive,
                engine=f"{described.kind} {described.version}",
                schema=CURRENT.version,
                galleries=chosen,
                fingerprint=fingerprint(secret),
                **secrets,
            )
            noted = 0
            async for points in notes(engine, self.galleries):
                noted += len(points)
                await writer.write(FrameKind.NOTES, [travelling(point, begun) for point in points])
            written = [await self._gallery(writer, found[gallery][1]) for gallery in chosen]
            size = await writer.end()
        finally:
            file.discard()
        return ExportSummary(self.file, size, begun, tuple(written), noted)

    async def _gallery(self, writer: _Writer, tenant: Tenant) -> ExportedGallery:
        engine, gallery = self.store.engine, tenant.gallery.id
        await engine.ensure(tenant.collection, tenant.gallery.contract.dimension)
        record = await self._record(tenant)
        await writer.write(FrameKind.GALLERY, [record])
        # Read after the record: an earlier revision never changes, and a later one is not in the record.
        revision = record.payload["policy"]["revision"]
        async for points in scrolled(engine, META, gallery_filter(tenant.uid, POLICY)):
            earlier = [point for point in points if point.payload["revision"] < revision]
            await writer.write(FrameKind.POLICIES, earlier)
        moves = {point.id for point in await self._moves(tenant)}
        reader = WholeIdentities(engine, Tenant(tenant.uid, gallery_of(record.payload)))
        total = await engine.count(tenant.collection, gallery_filter(tenant.uid, IDENTITY))
        identities = templates = 0
        self.progress(gallery, 0, total)
        async for frame in _frames(reader):
            await writer.write(FrameKind.IDENTITIES, [point for whole in frame for point in whole.points])
            identities += len(frame)
            templates += sum(len(whole.templates) for whole in frame)
            self.progress(gallery, min(identities, total), total)
        for again in await self._moved(tenant, reader, moves):
            points = [point for whole in again.values() if whole is not None for point in whole.points]
            await writer.write(FrameKind.IDENTITIES, points, again=sorted(again))
            identities += sum(point.payload["kind"] == IDENTITY for point in points)
            templates += sum(point.payload["kind"] == TEMPLATE for point in points)
        await self._record(tenant)
        await writer.write(FrameKind.GALLERY_END, gallery=gallery, identities=identities, templates=templates)
        self.progress(gallery, total, total)
        return ExportedGallery(gallery, identities, templates, reader.expired, reader.expired_templates)

    async def _record(self, tenant: Tenant) -> Point:
        key = gallery_point_id(tenant.gallery.id)
        found = (await self.store.engine.get(META, [key])).get(key)
        if found is None or found.payload["gallery"] != tenant.uid:
            raise ConcurrentUpdate(
                f"the gallery {tenant.gallery.id!r} was deleted during the export; export again",
                metadata={"gallery": tenant.gallery.id},
            )
        check_not_migrating(found.payload, "exported")
        return found

    async def _moved(
        self, tenant: Tenant, reader: WholeIdentities, seen: set[str]
    ) -> list[dict[str, WholeIdentity | None]]:
        """Return the present state of identities that were moved since ``seen``, until no more are."""
        rounds: list[dict[str, WholeIdentity | None]] = []
        for _ in range(ROUNDS):
            new = [point for point in await self._moves(tenant) if point.id not in seen]
            if not new:
                return rounds
            seen |= {point.id for point in new}
            names = {str(point.payload[end]) for point in new for end in ("source", "target")}
            rounds.append({name: await reader.one(name) for name in sorted(names)})
        raise ConcurrentUpdate(
            f"identities of {tenant.gallery.id!r} were moved during each of {ROUNDS} attempts to read them; export "
            "again when fewer are moved",
            metadata={"gallery": tenant.gallery.id},
        )

    async def _moves(self, tenant: Tenant) -> list[Point]:
        where = Where({"kind": MOVE, "identity": tenant.uid})
        return [point async for points in scrolled(self.store.engine, META, where) for point in points]


async def _frames(reader: WholeIdentities) -> AsyncIterator[list[WholeIdentity]]:
    """Yield identities in groups of about `FRAME_POINTS` points; an identity is in one group."""
    group: list[WholeIdentity] = []
    size = 0
    async for page in reader.pages():
        for whole in page:
            group.append(whole)
            size += len(whole.points)
            if size >= FRAME_POINTS:
                yield group
                group, size = [], 0
    if group:
        yield group
