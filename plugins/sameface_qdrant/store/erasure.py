"""Deletions and their receipts: what was removed, how that was checked, and what a receipt does not cover.

A deletion first searches the engine's files for the bytes of the points (the positive control). It writes the receipt,
removes the points and checks that they cannot be read. The receipt is DONE once the files were rewritten, the old ones
deleted and searched again. It is kept in the meta collection, without any biometric data. The byte strings that are
searched for lie beside the points' own files until then, and are deleted with them.
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
"""Points of one deletion whose bytes are searched for, the first by id; ids are digests, so the choice is random."""
SEARCHES = 4
"""Points of the sample that are searched for by their own vector."""
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
        # Two readers must not both complete a receipt: the second would find nothing left to complete it from.
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
            raise ErasureNotFound(f"there is no receipt {receipt[:64]!r}", metadata={"receipt": receipt[:64]})
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
        afterwards: Callable[[Removal], Awaitable[None]] | None = None,
    ) -> ErasureReceipt | None:
        """Remove points and return the receipt; None where there is nothing to remove.

        Args:
            find: says what to remove, and raises where it may not be removed. It is called twice: first to search the
                files while other writers go on, then again under the write lock.
            afterwards: changes other records under the same lock, once the points are removed.
        """
        removal = await find()
        if removal is None:
            return None
        sample = await self._sample(removal)
        async with self._write_lock:
            first, removal = removal, await find()
            if removal is None:
                return None
            if (removal.collection, removal.points) != (first.collection, first.points):
                sample = await self._sample(removal)  # another gallery has the id by now
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
            # The points are removed all the same. The receipt that was written first can be asked for.
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
            # Nothing is removed then; the next removal must not take this note for its own.
            if evidence is not None:
                await evidence.forget(removal.collection, receipt.id)
            raise
        return receipt

    async def _check(self, receipt: ErasureReceipt, removal: Removal, sample: _Sample) -> ErasureReceipt:
        """Check that the removed points cannot be retrieved, counted or found, before anybody can enrol them again.

        Where other services write too, only templates are looked at: somebody may have enrolled the identity anew.
        """
        alone = self._engine.exclusive
        ids = {point.id for point in sample.points if alone or point.vector is not None}
        readable = bool(await self._engine.get(removal.collection, sorted(ids)))
        if alone and isinstance(removal.points, Where):
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
            # Where the process ended before the check: what is not in the files cannot be read from them.
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
