"""Completes receipts of erasures in files of the engine's own, with what a search of these files found."""

import asyncio
import dataclasses
from collections.abc import Sequence

from sameface_qdrant.engines.base import POINT_IDS, ByteSearch, Compaction, Engine, ErasureEvidence, Point
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.payloads import META, moment
from sameface_qdrant.store.receipts import receipt_of, receipt_point, receipt_point_id, twins_of
from sameface_qdrant.values.erasure import ByteEvidence, ErasureReceipt, ErasureState
from sameface_qdrant.values.schema import CURRENT, schema_of


class FileErasure:
    """The part of `Erasures` for engines with `ErasureEvidence`."""

    def __init__(self, engine: Engine, evidence: ErasureEvidence) -> None:
        self._engine, self._evidence = engine, evidence
        # Two callers must not both complete a receipt: the second one would find no evidence any more.
        self._completing = asyncio.Lock()
        self.under_way: set[str] = set()
        """Receipts whose points may not be removed yet."""

    async def search(self, collection: str, points: Sequence[Point]) -> tuple[ByteSearch, ...]:
        """See `ErasureEvidence.search_bytes`."""
        return await self._evidence.search_bytes(collection, points)

    async def note(self, collection: str, receipt: str, searches: Sequence[ByteSearch]) -> None:
        """See `ErasureEvidence.note`."""
        await self._evidence.note(collection, receipt, searches)

    async def forget(self, collection: str, receipt: str) -> None:
        """See `ErasureEvidence.forget`."""
        await self._evidence.forget(collection, receipt)

    async def current(self, point: Point) -> ErasureReceipt | None:
        """Return a pending receipt as it is now; None if its points were never removed. No file or record is changed.

        An engine may go on with an erasure that failed before.
        """
        receipt = receipt_of(point.payload)
        if schema_of(point.payload).least_writer > CURRENT.version:
            return receipt
        collection = point.payload["collection"]
        await self._engine.ensure(collection, point.payload["dimension"])
        known = await self._evidence.compaction(collection, receipt.id)
        for twin, dimension in twins_of(point.payload):
            await self._engine.ensure(twin, dimension)
            known = together_with(known, await self._evidence.compaction(twin, receipt.id))
        if known is None:
            # Completed meanwhile, or the process ended between the receipt and the removal.
            point = (await self._engine.get(META, [point.id])).get(point.id, point)
            receipt = receipt_of(point.payload)
            return receipt if receipt.state is ErasureState.DONE else None
        receipt = dataclasses.replace(receipt, evidence=known.evidence, failure=known.failure)
        if known.done_at is None:
            return receipt
        # If the process ended before the check: points that are not in the files cannot be read.
        still_there = any(one.found_after for one in known.evidence if one.representation in POINT_IDS)
        return dataclasses.replace(
            receipt,
            state=ErasureState.DONE,
            compacted=True,
            unreadable=not still_there,
            done_time=moment(known.done_at),
        )

    async def complete(self, point: Point) -> ErasureReceipt | None:
        """Return a pending receipt as it is now. If it is done, store it, and then drop its note."""
        async with self._completing:
            collection = point.payload["collection"]
            receipt = await self.current(point)
            if receipt is None:
                await self._engine.delete(META, [point.id])
                await self._engine.commit(META)
            elif receipt.state is ErasureState.DONE:
                twins = twins_of(point.payload)
                kept = receipt_point(receipt, collection, point.payload["dimension"], time_now(), twins=twins)
                await self._engine.upsert(META, [kept])
                await self._engine.commit(META)
                for each in (collection, *(twin for twin, _ in twins)):
                    await self._evidence.forget(each, receipt.id)
            return receipt

    async def advance(self, pending: Sequence[Point]) -> tuple[bool, bool]:
        """Complete the receipts that are done. Return whether some are left, and whether this call completed one."""
        mine = [point for point in pending if point.payload["id"] not in self.under_way]
        found = [await self.complete(point) for point in mine]
        # Of a process that ended between the receipt and its note.
        for collection in await self._evidence.collections():
            await self.drop_notes(collection)
        left = [one for one in found if one is not None and one.state is ErasureState.PENDING]
        return bool(left), len(left) < len(found)

    async def drop_notes(self, collection: str) -> None:
        """Drop the notes of receipts that are stored as done. A process may have ended before it did so."""
        for receipt in await self._evidence.noted(collection):
            point = (await self._engine.get(META, [receipt_point_id(receipt)])).get(receipt_point_id(receipt))
            if point is not None and point.payload["state"] == ErasureState.DONE:
                await self._evidence.forget(collection, receipt)


def together_with(known: Compaction | None, twin: Compaction | None) -> Compaction | None:
    """Return how far a removal is that concerns two collections; the first one decides whether it happened."""
    if known is None or twin is None:
        return known
    done = None if known.done_at is None or twin.done_at is None else max(known.done_at, twin.done_at)
    found = {one.representation: one for one in known.evidence}
    for one in twin.evidence:
        found[one.representation] = _sum(found[one.representation], one) if one.representation in found else one
    return Compaction(done, tuple(found.values()), known.failure or twin.failure)


def _sum(one: ByteEvidence, other: ByteEvidence) -> ByteEvidence:
    after = None if one.found_after is None or other.found_after is None else one.found_after + other.found_after
    return ByteEvidence(
        one.representation,
        one.sought + other.sought,
        one.found_before + other.found_before,
        after,
        one.held_elsewhere + other.held_elsewhere,
    )
