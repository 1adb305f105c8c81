"""Receipts of erasures: what was removed, how that was checked, and what a receipt does not speak for.

A deletion first looks for the points' bytes in the engine's files (the positive control), writes the receipt, removes
the points and checks that they cannot be read. The receipt is DONE once the files were rewritten, the old ones deleted
and searched again. It is kept in the meta collection, without any biometric data; what is searched for lies beside the
points' own files until then, and goes with them.
"""

import asyncio
import dataclasses
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sameface_qdrant.engines.base import POINT_ID, Engine, Point, Sighting, Where
from sameface_qdrant.errors import ErasureNotFound, SamefaceError
from sameface_qdrant.store.payloads import META, Payload, moment, seconds
from sameface_qdrant.values.erasure import ByteEvidence, ErasedResource, ErasureReceipt, ErasureState
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.paging import Page, check_page

RECEIPT = "receipt"
SAMPLE = 256
"""Points of one erasure whose bytes are looked for, the first by id; ids are digests, so these are a random choice."""
SEARCHES = 4
"""Points of the sample that are searched for by their own vector."""
_ANYWHERE = (
    "copies made outside the store: backups, logs and answers that callers have kept",
    "blocks of the file system and of the disk: journals, copy-on-write, wear levelling, swap",
)
_NOT_COVERED = {
    "edge": ("copies of the data folder made before", *_ANYWHERE),
    "memory": ("the process's memory: only that the points are unreadable was checked", *_ANYWHERE),
    "server": (
        "the server's files: only that the points are unreadable was checked; its segments keep removed points until "
        "they are optimized, its write-ahead logs and snapshots longer",
        *_ANYWHERE,
    ),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """Points about to be removed: a sample of them, and where its bytes were found."""

    collection: str
    dimension: int
    chosen: Where | Sequence[str]
    points: tuple[Point, ...]
    sightings: tuple[Sighting, ...]


class Erasures:
    """Reached as ``store.erasures``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Two readers must not both complete a receipt: the second would find nothing left to complete it from.
        self._settling = asyncio.Lock()

    async def get(self, receipt: str) -> ErasureReceipt:
        """Return a receipt as it is now.

        Raises:
            ErasureNotFound: there is none with this id, or the process ended before anything was removed.
        """
        key = _point_id(receipt)
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

    # What deletions need, in this order.

    async def look(self, collection: str, dimension: int, chosen: Where | Sequence[str]) -> Seen:
        """Look at points that are about to be removed; writers need not wait for it."""
        ids = chosen
        if isinstance(chosen, Where):
            found, _ = await self._engine.scroll(collection, chosen, SAMPLE)
            ids = [point.id for point in found]
        assert not isinstance(ids, Where)
        points = tuple((await self._engine.get(collection, ids, with_vector=True)).values())
        traces = self._engine.traces
        sightings = () if traces is None else await traces.look(collection, points)
        return Seen(collection, dimension, chosen, points, sightings)

    async def begin(
        self,
        seen: Seen,
        resource: ErasedResource,
        gallery: str,
        *,
        identity: str = "",
        template: str = "",
        templates: int | None = None,
        records: int = 0,
    ) -> ErasureReceipt:
        """Write the receipt, durably, before the first point is removed: nothing is erased without one."""
        if templates is None:
            assert isinstance(seen.chosen, Where)
            every = Where({**seen.chosen.equals, "kind": "template"})
            templates = await self._engine.count(seen.collection, every)
        description = self._engine.description
        receipt = ErasureReceipt(
            id=uuid.uuid4().hex,
            state=ErasureState.PENDING,
            resource=resource,
            gallery=gallery,
            identity=identity,
            template=template,
            templates=templates,
            records=records,
            erase_time=datetime.now(UTC),
            done_time=None,
            engine=f"{description.kind} {description.version}",
            unreadable=False,
            compacted=False,
            sampled=len(seen.points),
            not_covered=_NOT_COVERED[description.kind],
        )
        traces = self._engine.traces
        if traces is not None:
            await traces.note(seen.collection, receipt.id, seen.sightings)
        try:
            await self._keep(receipt, seen.collection, seen.dimension)
        except BaseException:
            # Nothing is removed then; the next removal must not take this note for its own.
            if traces is not None:
                await traces.forget(seen.collection, receipt.id)
            raise
        return receipt

    async def check(self, receipt: ErasureReceipt, seen: Seen) -> ErasureReceipt:
        """Check that the removed points cannot be retrieved, counted or found, before anybody can enrol them again.

        Where other services write too, only templates are looked at: somebody may have enrolled the identity anew.
        """
        alone = self._engine.exclusive
        ids = {point.id for point in seen.points if alone or point.vector is not None}
        readable = bool(await self._engine.get(seen.collection, sorted(ids)))
        if alone and isinstance(seen.chosen, Where):
            readable |= bool(await self._engine.count(seen.collection, seen.chosen))
        for vector in [point.vector for point in seen.points if point.vector is not None][:SEARCHES]:
            hits = await self._engine.nearest(seen.collection, vector, Where({}), 16)
            readable |= any(hit.id in ids for hit in hits)
        checked = dataclasses.replace(receipt, unreadable=not readable)
        if self._engine.traces is None and checked.unreadable:
            checked = dataclasses.replace(checked, state=ErasureState.DONE, done_time=datetime.now(UTC))
        return checked

    async def settle(self, receipt: ErasureReceipt, seen: Seen) -> ErasureReceipt:
        """Keep what was checked, and return the receipt as it is by now."""
        try:
            await self._keep(receipt, seen.collection, seen.dimension)
            return await self.get(receipt.id)
        except SamefaceError as error:
            # The points are removed all the same, and the receipt that was written first can be asked for.
            return dataclasses.replace(receipt, failure=error.message)

    async def _current(self, point: Point) -> ErasureReceipt | None:
        receipt = _receipt_of(point.payload)
        traces = self._engine.traces
        if traces is None:
            return receipt
        if receipt.state is ErasureState.DONE:
            # A process may have ended before it dropped the note.
            await self._engine.ensure(point.payload["collection"], point.payload["dimension"])
            await traces.forget(point.payload["collection"], receipt.id)
            return receipt
        async with self._settling:
            point = (await self._engine.get(META, [point.id])).get(point.id, point)
            receipt = _receipt_of(point.payload)
            if receipt.state is ErasureState.DONE:
                return receipt
            collection, dimension = point.payload["collection"], point.payload["dimension"]
            await self._engine.ensure(collection, dimension)
            known = await traces.compaction(collection, receipt.id)
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
            await traces.forget(collection, receipt.id)
            return receipt

    async def _keep(self, receipt: ErasureReceipt, collection: str, dimension: int) -> None:
        payload: dict[str, Any] = {
            **dataclasses.asdict(receipt),
            "kind": RECEIPT,
            # Of no gallery: the receipt stays when its gallery goes.
            "gallery": "",
            "identity": "",
            "of_gallery": receipt.gallery,
            "of_identity": receipt.identity,
            "erase_time": seconds(receipt.erase_time),
            "done_time": seconds(receipt.done_time),
            "collection": collection,
            "dimension": dimension,
            "kept": time.time(),
        }
        await self._engine.upsert(META, [Point(_point_id(receipt.id), payload)])
        await self._engine.commit(META)


def _point_id(receipt: str) -> str:
    return point_id(RECEIPT, receipt)


def _receipt_of(payload: Payload) -> ErasureReceipt:
    erase_time = moment(payload["erase_time"])
    assert erase_time is not None
    return ErasureReceipt(
        id=payload["id"],
        state=ErasureState(payload["state"]),
        resource=ErasedResource(payload["resource"]),
        gallery=payload["of_gallery"],
        identity=payload["of_identity"],
        template=payload["template"],
        templates=payload["templates"],
        records=payload["records"],
        erase_time=erase_time,
        done_time=moment(payload["done_time"]),
        engine=payload["engine"],
        unreadable=payload["unreadable"],
        compacted=payload["compacted"],
        sampled=payload["sampled"],
        evidence=tuple(ByteEvidence(**one) for one in payload["evidence"]),
        not_covered=tuple(payload["not_covered"]),
        failure=payload["failure"],
    )
