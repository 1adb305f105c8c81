"""Deletions and their receipts: what was removed, how that was checked, and what a receipt does not cover.

A deletion first searches the engine's files for the bytes of the points (the positive control). It writes the receipt,
removes the points and checks that they cannot be read. The receipt is DONE when the files are rewritten, the old files
are deleted, and the folder is searched again. The receipt is in the meta collection and holds no biometric data. Until
it is DONE, the byte strings to search for are stored beside the files of the collection.
"""

import asyncio
import dataclasses
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from sameface_qdrant.engines.base import POINT_ID, ByteSearch, Engine, Point, Where
from sameface_qdrant.errors import ErasureNotFound, SamefaceError
from sameface_qdrant.store.payloads import META, RECEIPT, moment
from sameface_qdrant.store.receipts import receipt_of, receipt_point, receipt_point_id
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.erasure import ErasedResource, ErasureReceipt, ErasureState
from sameface_qdrant.values.paging import Page, check_page
from sameface_qdrant.values.schema import CURRENT, check_writable, schema_of

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


@dataclasses.dataclass(frozen=True, slots=True)
class _Sample:
    """Some of the points about to be removed, and where their bytes were found."""

    points: tuple[Point, ...]
    searches: tuple[ByteSearch, ...]


class Erasures:
    """Reached as ``store.erasures``."""

    def __init__(self, engine: Engine, write_lock: WriteLock) -> None:
        self._engine = engine
        self._write_lock = write_lock
        # Two readers must not both complete a receipt: the second one would find no evidence any more.
        self._completing = asyncio.Lock()

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
        removal = await find()
        if removal is None:
            return None
        sample = await self._sample(removal)
        async with self._write_lock.of(removal.gallery, removal.identity):
            first, removal = removal, await find()
            if removal is None:
                return None
            if (removal.collection, removal.points) != (first.collection, first.points):
                sample = await self._sample(removal)  # another gallery has the id by now
            if before is not None:
                await before(removal)
            receipt = await self._begin(removal, sample)
            await self._engine.delete(removal.collection, removal.points)
            if afterwards is not None:
                await afterwards(removal)
            receipt = await self._check(receipt, removal, sample)
        await self._engine.commit(removal.collection, erase=True)
        if removal.resource is ErasedResource.GALLERY:
            await self._engine.commit(META, erase=True)
        try:
            await self._keep(receipt, removal.collection, removal.dimension)
            return await self.get(receipt.id)
        except SamefaceError as error:
            # The points are removed anyway, and the first version of the receipt is stored.
            return dataclasses.replace(receipt, failure=error.message)

    async def _sample(self, removal: Removal) -> _Sample:
        ids = removal.points
        if isinstance(ids, Where):
            found, _ = await self._engine.scroll(removal.collection, ids, SAMPLE)
            ids = [point.id for point in found]
        points = tuple((await self._engine.get(removal.collection, ids, with_vector=True)).values())
        for point in points:
            # A newer release may have stored more about a person than this one would remove.
            check_writable(schema_of(point.payload), f"the {point.payload['kind']} {point.id}")
        evidence = self._engine.erasure_evidence
        return _Sample(points, () if evidence is None else await evidence.search_bytes(removal.collection, points))

    async def _begin(self, removal: Removal, sample: _Sample) -> ErasureReceipt:
        """Write the receipt, durably, before the first point is removed: nothing is erased without one."""
        description = self._engine.description
        receipt = ErasureReceipt(
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
        evidence = self._engine.erasure_evidence
        if evidence is not None:
            await evidence.note(removal.collection, receipt.id, sample.searches)
        try:
            await self._keep(receipt, removal.collection, removal.dimension)
        except BaseException:
            # Nothing was removed, and the next removal must not use this note.
            if evidence is not None:
                await evidence.forget(removal.collection, receipt.id)
            raise
        return receipt

    async def _check(self, receipt: ErasureReceipt, removal: Removal, sample: _Sample) -> ErasureReceipt:
        """Check that the removed points cannot be retrieved, counted or found, before anybody can enrol them again.

        If other services write too, it checks only templates, because one may have enrolled the identity again.
        """
        exclusive = self._engine.exclusive
        ids = {point.id for point in sample.points if exclusive or point.vector is not None}
        readable = bool(await self._engine.get(removal.collection, sorted(ids)))
        if exclusive and isinstance(removal.points, Where):
            readable |= bool(await self._engine.count(removal.collection, removal.points))
        for vector in [point.vector for point in sample.points if point.vector is not None][:SEARCHES]:
            hits = await self._engine.nearest(removal.collection, vector, Where({}), 16)
            readable |= any(hit.id in ids for hit in hits)
        checked = dataclasses.replace(receipt, unreadable=not readable)
        if self._engine.erasure_evidence is None and checked.unreadable:
            checked = dataclasses.replace(checked, state=ErasureState.DONE, done_time=datetime.now(UTC))
        return checked

    async def _current(self, point: Point) -> ErasureReceipt | None:
        receipt = receipt_of(point.payload)
        evidence = self._engine.erasure_evidence
        if evidence is None:
            return receipt
        collection, dimension = point.payload["collection"], point.payload["dimension"]
        await self._engine.ensure(collection, dimension)
        if receipt.state is ErasureState.DONE:
            # A process may have ended before it dropped the note.
            await evidence.forget(collection, receipt.id)
            return receipt
        if schema_of(point.payload).least_writer > CURRENT.version:
            return receipt
        async with self._completing:
            point = (await self._engine.get(META, [point.id])).get(point.id, point)
            receipt = receipt_of(point.payload)
            if receipt.state is ErasureState.DONE:
                return receipt
            known = await evidence.compaction(collection, receipt.id)
            if known is None:
                # The process ended between the receipt and the removal.
                await self._engine.delete(META, [point.id])
                await self._engine.commit(META)
                return None
            receipt = dataclasses.replace(receipt, evidence=known.evidence, failure=known.failure)
            if known.done_at is None:
                return receipt
            # If the process ended before the check: points that are not in the files cannot be read.
            still_there = any(one.found_after for one in known.evidence if one.representation == POINT_ID)
            receipt = dataclasses.replace(
                receipt,
                state=ErasureState.DONE,
                compacted=True,
                unreadable=not still_there,
                done_time=moment(known.done_at),
            )
            await self._keep(receipt, collection, dimension)
            await evidence.forget(collection, receipt.id)
            return receipt

    async def _keep(self, receipt: ErasureReceipt, collection: str, dimension: int) -> None:
        await self._engine.upsert(META, [receipt_point(receipt, collection, dimension, time.time())])
        await self._engine.commit(META)
