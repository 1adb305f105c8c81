"""Deletions and their receipts: what was removed, how that was checked, and what a receipt does not cover.

A deletion searches the engine's files for the bytes of the points (the positive control), writes the receipt, removes
the points and checks that they cannot be read. The receipt is in the meta collection and holds no biometric data.

Where the files are the engine's own (`file_erasure`), it is DONE when they are rewritten, the old files are deleted,
and the folder is searched again. Until then, the byte strings to search for are stored beside the files of the
collection. On a server (`segment_erasure`) it is DONE when the server reports that every segment was written again.
"""

import contextlib
import dataclasses
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

from sameface_qdrant.engines.base import ByteSearch, Engine, Point, Where
from sameface_qdrant.errors import ErasureNotFound, SamefaceError
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.file_erasure import FileErasure
from sameface_qdrant.store.migration_link import Link
from sameface_qdrant.store.payloads import META, RECEIPT
from sameface_qdrant.store.pending_receipts import PendingReceipts
from sameface_qdrant.store.receipts import NO_ROUNDS, Twins, receipt_of, receipt_point, receipt_point_id
from sameface_qdrant.store.segment_erasure import SegmentErasure
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.argument_types import checks_arguments
from sameface_qdrant.values.erasure import ErasedResource, ErasureReceipt, ErasureState
from sameface_qdrant.values.paging import Page, check_page, continued
from sameface_qdrant.values.schema import check_writable, schema_of

SAMPLE = 256
"""How many points of a deletion are searched for by their bytes: the first by id. Ids are digests, so the sample is
random."""
SEARCHES = 4
"""How many points of the sample are also searched for by their vector."""
OUTSIDE_THE_ENGINE = (
    "copies made outside the store: backups, logs and answers that callers have kept",
    "blocks of the file system and of the disk: journals, copy-on-write, wear levelling, swap",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Removal:
    """What a deletion removes."""

    collection: str
    dimension: int
    points: Where | Sequence[str]
    resource: ErasedResource
    gallery: str
    templates: int
    records: int = 0
    """Other records than templates."""
    identity: str = ""
    template: str = ""
    twins: Twins = ()
    """The collection, with its dimension, of another contract that the gallery's templates are stored under too."""

    @property
    def collections(self) -> tuple[str, ...]:
        """The collections that the points are removed from."""
        return (self.collection, *(twin for twin, _ in self.twins))


@dataclasses.dataclass(frozen=True, slots=True)
class _Sample:
    """Some of the points about to be removed, and where their bytes were found."""

    points: tuple[Point, ...]
    searches: Mapping[str, tuple[ByteSearch, ...]]
    """By collection: that of the removal, and of `Removal.twins`."""


@checks_arguments
class Erasures:
    """Reached as ``store.erasures``."""

    def __init__(self, engine: Engine, write_lock: WriteLock) -> None:
        self._engine = engine
        self._write_lock = write_lock
        segments = getattr(engine, "segment_rewriting", None)
        self._segments = None if segments is None else SegmentErasure(engine, segments)
        evidence = engine.erasure_evidence
        self._files = None if evidence is None else FileErasure(engine, evidence)
        self._pending = PendingReceipts(engine, self._segments or self._files)

    async def get(self, receipt: str) -> ErasureReceipt:
        """Return a receipt as it is now.

        Raises:
            ErasureNotFound: there is none with this id, or the process ended before anything was removed.
        """
        key = receipt_point_id(receipt)
        point = (await self._engine.get(META, [key])).get(key)
        current = None if point is None else await self._current(point)
        if current is None:
            raise ErasureNotFound(
                f"there is no receipt {receipt[:64]!r}; list the receipts to find its id",
                metadata={"receipt": receipt[:64]},
            )
        return current

    @continued
    async def list(self, *, gallery: str = "", page_size: int = 100, page_token: str = "") -> Page[ErasureReceipt]:
        """Return one page of receipts, of one gallery or of all, in a stable order."""
        start = check_page(page_size, page_token)
        where = Where({"kind": RECEIPT, **({"of_gallery": gallery} if gallery else {})})
        points, following = await self._engine.scroll(META, where, page_size, start)
        found = [await self._current(point) for point in points]
        return Page(tuple(receipt for receipt in found if receipt is not None), following or "")

    async def erase(
        self,
        find: Callable[[], Awaitable[Removal | None]],
        *,
        before: Callable[[Removal], Awaitable[None]] | None = None,
        afterwards: Callable[[Removal], Awaitable[None]] | None = None,
    ) -> ErasureReceipt | None:
        """Remove points and return the receipt; None if there is nothing to remove.

        Args:
            find: returns what to remove, and raises if that is not allowed. It is called twice: first without the write
                lock, to search the files, and then under the write lock.
            before: called under the same lock before the receipt is written; it may raise, and nothing is removed then.
            afterwards: changes other records under the same lock, after the points are removed.
        """

        async def find_all() -> Removal | None:
            found = await find()
            return None if found is None else dataclasses.replace(found, twins=self._twins(found))

        removal = await find_all()
        if removal is None:
            return None
        sample = await self._sample(removal)
        receipt = self._new(removal, sample)
        under_way = set[str]() if self._files is None else self._files.under_way
        under_way.add(receipt.id)
        try:
            if self._engine.exclusive:
                # Durable before the lock is taken, so that other writes do not wait for the flush.
                await self._keep(receipt, removal)
            async with self._write_lock.of(removal.gallery, removal.identity):
                found = await self._removed(receipt, removal, sample, find_all, before, afterwards)
        finally:
            under_way.discard(receipt.id)
        if found is None:
            return None
        receipt, removal = found
        await self._engine.commit(removal.collection, erase=True)
        if removal.resource is ErasedResource.GALLERY:
            await self._engine.commit(META, erase=True)
        try:
            return await self._concluded(receipt, removal)
        except SamefaceError as error:
            # The points are removed anyway, and the first version of the receipt is stored.
            return dataclasses.replace(receipt, failure=error.message)

    def resume(self) -> None:
        """Complete in the background what is pending. Reads alone do not complete a receipt, they look."""
        self._pending.resume()

    async def aclose(self) -> None:
        """Stop. What is pending is completed by another service, or after the next start."""
        await self._pending.aclose()

    async def _removed(
        self,
        receipt: ErasureReceipt,
        removal: Removal,
        sample: _Sample,
        find: Callable[[], Awaitable[Removal | None]],
        before: Callable[[Removal], Awaitable[None]] | None,
        afterwards: Callable[[Removal], Awaitable[None]] | None,
    ) -> tuple[ErasureReceipt, Removal] | None:
        """Remove the points under the write lock; nothing is removed unless the receipt is stored."""
        first = removal
        try:
            found = await find()
            if found is None:
                await self._drop(receipt, first)
                return None
            removal = found
            if (removal.collections, removal.points) != (first.collections, first.points):
                sample = await self._sample(removal)  # another gallery has the id by now
            if before is not None:
                await before(removal)
            receipt = dataclasses.replace(self._new(removal, sample), id=receipt.id)
            if self._files is not None:
                # Not before the lock: every removal in the collection concerns the notes that are there.
                for collection in removal.collections:
                    await self._files.note(collection, receipt.id, sample.searches[collection])
            if not self._engine.exclusive:
                await self._keep(receipt, removal)
        except BaseException:
            # Nothing was removed, and the next removal must not use this note.
            await self._drop(receipt, removal)
            raise
        await self._engine.delete(removal.collection, removal.points)
        if afterwards is not None:
            await afterwards(removal)
        return await self._check(receipt, removal, sample), removal

    async def _drop(self, receipt: ErasureReceipt, removal: Removal) -> None:
        """Remove the receipt of a removal that did not happen. If that fails, `resume` does it."""
        if self._files is not None:
            for collection in removal.collections:
                await self._files.forget(collection, receipt.id)
        with contextlib.suppress(SamefaceError):
            await self._engine.delete(META, [receipt_point_id(receipt.id)])

    async def _concluded(self, receipt: ErasureReceipt, removal: Removal) -> ErasureReceipt:
        """Store the receipt after the check, and complete it if that is possible now."""
        if self._segments is not None and receipt.unreadable:
            meta = [META] if removal.resource is ErasedResource.GALLERY else []
            needed = await self._segments.needed(*removal.collections, *meta)
            await self._keep(receipt, removal, needed)
            self.resume()
            return receipt
        await self._keep(receipt, removal)
        if self._files is None:
            return receipt
        key = receipt_point_id(receipt.id)
        completed = await self._files.complete((await self._engine.get(META, [key]))[key])
        for collection in removal.collections:
            await self._files.drop_notes(collection)
        if completed is None or completed.state is ErasureState.PENDING:
            self.resume()
        return completed or receipt

    async def _sample(self, removal: Removal) -> _Sample:
        ids = removal.points
        if isinstance(ids, Where):
            found, _ = await self._engine.scroll(removal.collection, ids, SAMPLE)
            ids = [point.id for point in found]
        points = tuple((await self._engine.get(removal.collection, ids, with_vector=True)).values())
        for point in points:
            # A newer release may have stored more about a person than this one would remove.
            check_writable(schema_of(point.payload), f"the {point.payload['kind']} {point.id}")
        if self._files is None:
            return _Sample(points, {})
        searches = {removal.collection: await self._files.search(removal.collection, points)}
        for twin, dimension in removal.twins:
            await self._engine.ensure(twin, dimension)
            others = await self._engine.get(twin, [point.id for point in points], with_vector=True)
            searches[twin] = await self._files.search(twin, tuple(others.values()))
        return _Sample(points, searches)

    def _twins(self, removal: Removal) -> Twins:
        """Return where else a removal removes points: under the other contract of a gallery in migration."""
        secondaries = getattr(self._engine, "secondaries", None)
        links: Sequence[Link] = [] if secondaries is None else secondaries(removal.collection)
        contracts = [link.secondary for link in links if link.gallery == removal.gallery]
        return [(contract.key, contract.dimension) for contract in contracts if contract is not None]

    def _new(self, removal: Removal, sample: _Sample) -> ErasureReceipt:
        description = self._engine.description
        return ErasureReceipt(
            id=uuid.uuid4().hex,
            state=ErasureState.PENDING,
            resource=removal.resource,
            gallery=removal.gallery,
            identity=removal.identity,
            template=removal.template,
            templates=removal.templates,
            records=removal.records,
            erase_time=datetime.now(UTC),
            done_time=None,
            engine=f"{description.kind} {description.version}",
            unreadable=False,
            compacted=False,
            sampled=len(sample.points),
            not_covered=(*description.not_erased, *OUTSIDE_THE_ENGINE),
        )

    async def _check(self, receipt: ErasureReceipt, removal: Removal, sample: _Sample) -> ErasureReceipt:
        """Check that the removed points cannot be retrieved, counted or found, before anybody can enrol them again.

        If other services write too, it checks only templates, because one may have enrolled the identity again.
        """
        exclusive = self._engine.exclusive
        ids = {point.id for point in sample.points if exclusive or point.vector is not None}
        readable = False
        for collection in removal.collections:
            readable |= bool(await self._engine.get(collection, sorted(ids)))
            if exclusive and isinstance(removal.points, Where):
                readable |= bool(await self._engine.count(collection, removal.points))
        for vector in [point.vector for point in sample.points if point.vector is not None][:SEARCHES]:
            readable |= bool(await self._engine.nearest(removal.collection, vector, Where({}, ids=tuple(ids)), 1))
        checked = dataclasses.replace(receipt, unreadable=not readable)
        if self._files is None and self._segments is None and checked.unreadable:
            checked = dataclasses.replace(checked, state=ErasureState.DONE, done_time=datetime.now(UTC))
        return checked

    async def _current(self, point: Point) -> ErasureReceipt | None:
        """Return a receipt as it is now. Nothing is written."""
        receipt = receipt_of(point.payload)
        if receipt.state is ErasureState.DONE:
            return receipt
        if self._segments is not None:
            self.resume()
            return await self._segments.current(point)
        return receipt if self._files is None else await self._files.current(point)

    async def _keep(self, receipt: ErasureReceipt, removal: Removal, rounds: Mapping[str, int] = NO_ROUNDS) -> None:
        kept = receipt_point(receipt, removal.collection, removal.dimension, time_now(), rounds, removal.twins)
        await self._engine.upsert(META, [kept])
        await self._engine.commit(META)
