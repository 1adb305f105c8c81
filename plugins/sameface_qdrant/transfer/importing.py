"""Imports galleries from an encrypted file into a store.

The whole file is checked before the first write. Then each gallery is written so that it appears whole, see
`sameface_qdrant.transfer.gallery_import`.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.errors import GalleryNotFound, InvalidArgument
from sameface_qdrant.store.conditional_write import CRASHED_AFTER_S
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.store.payloads import META, RECEIPT, SECRET
from sameface_qdrant.store.secret import open_meta
from sameface_qdrant.store.store import Store
from sameface_qdrant.transfer.contents import Contents, checked_contents, frames
from sameface_qdrant.transfer.erased import OF_OTHER_STORE, ErasedSince, Event
from sameface_qdrant.transfer.errors import ExportMismatch
from sameface_qdrant.transfer.exporting import Progress
from sameface_qdrant.transfer.frames import Frame, FrameKind
from sameface_qdrant.transfer.gallery_import import GalleryImport, ImportedGallery, ImportStatus, Plan, forget
from sameface_qdrant.transfer.keys import ExportKey
from sameface_qdrant.transfer.records import events, tenants, unfinished_imports
from sameface_qdrant.transfer.sealed_file import SealedReader
from sameface_qdrant.values.protection import protection_of, protection_payload


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import did."""

    galleries: tuple[ImportedGallery, ...]
    begun: float
    """When the export was begun, in seconds since the epoch."""
    erased_until: float | None
    """The moment of the list of erasures; None without one."""
    took_over_secret: bool
    """Whether the store was empty and has the secret of the exported one now. Other services that have it open must be
    started again."""


async def import_store(
    store: Store,
    file: Path,
    key: ExportKey,
    *,
    erased: Path | None = None,
    no_erasures_since: bool = False,
    galleries: Sequence[str] = (),
    undelete: Sequence[str] = (),
    progress: Progress | None = None,
) -> ImportSummary:
    """Import galleries, by default all of the file. Repeat the call after an interruption: it goes on.

    A gallery appears when it is whole. One that the store has already is left as it is. Into an empty store the import
    brings the secret of the exported one; other services that have the store open must be started again then.

    Args:
        store: the store to import to.
        file: what `export_store` wrote.
        key: the passphrase or key file of the export, and of ``erased``.
        erased: what `export_erasures` wrote later, about the exported store; these erasures are applied.
        no_erasures_since: states that nothing was erased in the exported store since, in place of ``erased``.
        galleries: ids of the galleries to import.
        undelete: ids of galleries to import although they were deleted since the export. Erasures of their identities
            and templates are applied.
        progress: called with what is worked on, how much of it is done, and how much there is.

    Raises:
        ExportKeyRefused, ExportCorrupt, ExportTooNew, StoreTooNew: see there. Nothing was written.
        ExportMismatch: the store has other galleries under another secret, or another gallery of the same id; or the
            list of erasures is of another store, or older than the export. Nothing was written.
        ProtectionKeyRefused: a gallery was protected, and the store was opened without keys. Nothing was written.
        ConcurrentUpdate: another import of the same gallery has begun meanwhile, and goes on instead.
        GalleryNotFound: the file has no gallery of an id in ``galleries``.
        InvalidArgument: neither ``erased`` nor ``no_erasures_since`` is given, or both are.
    """
    if (erased is not None) == no_erasures_since:
        raise InvalidArgument(
            "an export does not know what was erased after it; give the list of erasures of the exported store, or "
            "state that there were none since (one of the two)",
            metadata={"field": "erased"},
        )
    told = progress or (lambda what, done, total: None)
    with ExitStack() as files:
        reader = files.enter_context(closing(await asyncio.to_thread(SealedReader, file, key)))
        contents = await asyncio.to_thread(checked_contents, reader, lambda done, all_: told("checking", done, all_))
        listed = None
        if erased is not None:
            list_reader = files.enter_context(closing(await asyncio.to_thread(SealedReader, erased, key)))
            listed = list_reader, await asyncio.to_thread(_checked_list, list_reader, contents)
        return await _Import(store, reader, contents, listed, set(undelete), told).run(galleries)


def read_contents(file: Path, key: ExportKey) -> Contents:
    """Check a whole file, an export or a list of erasures, and return what it holds. It blocks.

    Raises:
        ExportKeyRefused, ExportCorrupt, ExportTooNew, StoreTooNew: see there.
        OSError: the file cannot be read.
    """
    with closing(SealedReader(file, key)) as reader:
        return checked_contents(reader)


def _checked_list(reader: SealedReader, export: Contents) -> Contents:
    """Return the list of erasures that a file holds, if it fits the export."""
    file, listed = reader.path, checked_contents(reader)
    if listed.content != "erasures":
        raise ExportMismatch(
            f"{file} is an export of galleries; expected the list of erasures", metadata={"field": "erased"}
        )
    if listed.fingerprint != export.fingerprint:
        raise ExportMismatch(
            f"the list of erasures {file} is of another store than the export; make it from the store that was "
            "exported, or from one that took its galleries over",
            metadata={"field": "erased"},
        )
    if listed.begun < export.begun:
        raise ExportMismatch(
            f"the list of erasures {file} is older than the export; make a new one", metadata={"field": "erased"}
        )
    return listed


class _Import:
    def __init__(
        self,
        store: Store,
        reader: SealedReader,
        contents: Contents,
        listed: tuple[SealedReader, Contents] | None,
        undelete: set[str],
        progress: Progress,
    ) -> None:
        self._store, self._engine = store, store.engine
        self._reader, self._contents, self._listed = reader, contents, listed
        self._undelete, self._progress = undelete, progress

    async def run(self, galleries: Sequence[str]) -> ImportSummary:
        contents, engine = self._contents, self._engine
        if contents.content != "galleries":
            raise ExportMismatch("the file is a list of erasures; expected an export of galleries")
        for gallery in (*galleries, *self._undelete):
            if gallery not in contents.galleries:
                raise GalleryNotFound(
                    f"the file has no gallery {gallery!r}; it has {', '.join(contents.galleries) or 'none'}",
                    metadata={"gallery": gallery},
                )
        adopts = await self._adopts_secret()
        chosen = [gallery for gallery in contents.galleries if not galleries or gallery in galleries]
        plans = await self._plans(chosen, own_receipts=not adopts)
        for plan in plans.values():
            if plan.status is ImportStatus.IMPORTED:
                if plan.tenant.gallery.protection is not None:
                    # Refuses a store without keys.
                    await self._store.protections.current_key()
                # Refuses a contract that does not fit.
                await engine.ensure(plan.tenant.collection, plan.tenant.gallery.contract.dimension)
        # From here on the store is written to.
        plans = {
            gallery: await self._protected(plan) if plan.status is ImportStatus.IMPORTED else plan
            for gallery, plan in plans.items()
        }
        if adopts:
            await self._adopt_secret()
        done = []
        for gallery, plan in plans.items():
            if plan.status is not ImportStatus.IMPORTED:
                done.append(ImportedGallery(gallery, plan.status))
                if plan.begun is not None:
                    await forget(engine, plan.begun)
        if self._listed is not None:
            async for frame in _each(self._listed[0]):
                await self._keep_notes(frame, galleries)
        async for imported in self._write(plans, galleries):
            done.append(imported)
        until = None if self._listed is None else self._listed[1].begun
        return ImportSummary(tuple(sorted(done, key=lambda one: one.gallery)), contents.begun, until, adopts)

    async def _adopts_secret(self) -> bool:
        """Return whether the store is empty and takes over the secret of the file."""
        if await open_meta(self._engine) == self._contents.secret:
            return False
        there = [*await tenants(self._engine), *await unfinished_imports(self._engine)]
        if there:
            raise ExportMismatch(
                f"the store has galleries under another secret than the export ({', '.join(there[:5])}), and retries "
                "of enrolments would not be recognised; import into an empty store: another data folder, or another "
                "collection prefix on the server",
                metadata={"galleries": len(there)},
            )
        return True

    async def _adopt_secret(self) -> None:
        engine = self._engine
        # Receipts of the store's own past tell nothing of the galleries that come now.
        await engine.set_payload(META, Where({"kind": RECEIPT}), {OF_OTHER_STORE: True})
        await engine.set_payload(META, Where({"kind": SECRET}), {"secret": self._contents.secret.hex()})
        await engine.commit(META)
        self._store.use_secret(self._contents.secret)

    async def _plans(self, chosen: Sequence[str], *, own_receipts: bool) -> dict[str, Plan]:
        contents = self._contents
        present, unfinished = await tenants(self._engine), await unfinished_imports(self._engine)
        known: list[Event] = await events(self._engine) if own_receipts else []
        known += [] if self._listed is None else self._listed[1].events
        known += contents.events
        of_gallery: dict[str, list[Event]] = defaultdict(list)
        for event in known:
            if event.note not in contents.settled:
                of_gallery[event.gallery].append(event)
        plans = {}
        for gallery in chosen:
            exported = contents.galleries[gallery]
            tenant = Tenant(exported.gallery.uid, exported.gallery)
            begun = unfinished.get(gallery)
            since = ErasedSince.of(
                of_gallery[gallery],
                uid=tenant.uid,
                created=float(exported.record.payload["created"]),
                since=contents.begun - (CRASHED_AFTER_S if contents.shared else 0.0),
                shared=contents.shared,
                undelete=gallery in self._undelete,
            )
            status = ImportStatus.ERASED if since.gallery_erased else ImportStatus.IMPORTED
            if gallery in present:
                status = ImportStatus.ALREADY_THERE
                self._check_same(gallery, present[gallery][1].uid, tenant.uid, "export and delete it first")
            elif begun is not None:
                self._check_same(gallery, begun.payload["gallery"], tenant.uid, "finish or discard its import first")
            plans[gallery] = Plan(status, tenant, exported.record, exported.identities, since, begun)
        return plans

    async def _protected(self, plan: Plan) -> Plan:
        """Return a plan with the protection that this store gives to a gallery that was protected in the other one."""
        exported = plan.tenant.gallery.protection
        if exported is None:
            return plan
        galleries, contract = self._store.galleries, plan.tenant.gallery.contract
        protection = await galleries.new_protection(contract, exported.latest.number + 1)
        begun = None if plan.begun is None else protection_of(plan.begun.payload.get("protection"))
        fields = {"protection": protection_payload(begun or protection)}
        return replace(plan, record=Point(plan.record.id, {**plan.record.payload, **fields}))

    def _check_same(self, gallery: str, present: str, exported: str, what_to_do: str) -> None:
        if present != exported:
            raise ExportMismatch(
                f"the store has another gallery of the id {gallery!r}, and an import does not merge; {what_to_do}, or "
                "leave this gallery out of the import",
                metadata={"gallery": gallery},
            )

    async def _write(self, plans: Mapping[str, Plan], galleries: Sequence[str]) -> AsyncIterator[ImportedGallery]:
        now = time.time()
        current: GalleryImport | None = None
        async for frame in _each(self._reader):
            match frame.kind:
                case FrameKind.NOTES:
                    await self._keep_notes(frame, galleries)
                case FrameKind.GALLERY:
                    plan = plans.get(str(frame.points[0].payload["id"]))
                    if plan is not None and plan.status is ImportStatus.IMPORTED:
                        current = GalleryImport(self._engine, self._reader.file_id, plan, now, self._progress)
                        await current.begin()
                case FrameKind.POLICIES if current is not None:
                    await self._engine.upsert(META, frame.points, insert_only=True)
                case FrameKind.IDENTITIES if current is not None:
                    await current.take(frame)
                case FrameKind.GALLERY_END if current is not None:
                    yield await current.end()
                    current = None
        await self._engine.commit(META)

    async def _keep_notes(self, frame: Frame, galleries: Sequence[str]) -> None:
        """Store receipts and notes of moves, so that later imports and exports know of them too."""
        if frame.kind is not FrameKind.NOTES:
            return
        points = [point for point in frame.points if not galleries or point.payload["of_gallery"] in galleries]
        if points:
            await self._engine.upsert(META, points, insert_only=True)


async def _each(file: SealedReader) -> AsyncIterator[Frame]:
    """Yield the frames of a file, read in a thread."""
    following = frames(file)
    while (frame := await asyncio.to_thread(next, following, None)) is not None:
        yield frame
