"""Completes receipts of erasures on a server, once it has written the segments of the collection again."""

import dataclasses
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from sameface_qdrant.engines.base import Engine, Point, SegmentRewriting, Where
from sameface_qdrant.errors import SamefaceError
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.conditional_write import CRASHED_AFTER_S
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.receipts import ROUNDS, receipt_of, receipt_point, twins_of
from sameface_qdrant.store.rewriting import Phase, Rounds, SegmentRounds
from sameface_qdrant.values.erasure import ErasureReceipt, ErasureState

ABANDONED = (
    "the service ended, or lost an answer, before it had checked that the points are unreadable; a repeat of the "
    "deletion has a receipt of its own"
)


class SegmentErasure:
    """The part of `Erasures` for engines with `SegmentRewriting`."""

    def __init__(self, engine: Engine, segments: SegmentRewriting) -> None:
        self._engine, self._segments = engine, segments
        self._rounds = SegmentRounds(engine, segments)
        self._failures: dict[str, str] = {}
        """Why the latest step in a collection failed here."""

    async def needed(self, *collections: str) -> dict[str, int]:
        """Return the rounds that cover points which were removed before this call."""
        return {one: (await self._rounds.read(one)).started + 1 for one in collections}

    async def current(self, point: Point) -> ErasureReceipt:
        """Return a pending receipt, with why it is pending. Nothing is changed."""
        receipt = receipt_of(point.payload)
        found = [await self._rounds.read(one) for one in point.payload.get(ROUNDS) or {}]
        failures = [told for one in found if (told := self._failures.get(one.collection) or one.failure)]
        return dataclasses.replace(receipt, failure="; ".join(failures) or receipt.failure)

    async def advance(self, pending: list[Point]) -> tuple[bool, bool]:
        """Take one step in every collection that needs it, and complete the receipts that are covered.

        Return whether something is left to do, and whether this call changed something.
        """
        wanted: dict[str, int] = dict.fromkeys(await self._rounds.unfinished(), 0)
        waiting = [point for point in pending if point.payload.get(ROUNDS)]
        adopted = [point for point in pending if _is_abandoned(point)]
        for point in adopted:
            await self._adopt(point)
        for point in waiting:
            for collection, needed in point.payload[ROUNDS].items():
                wanted[collection] = max(needed, wanted.get(collection, 0))
        before = {one: await self._rounds.read(one) for one in wanted}
        after = {one: await self._step(before[one], needed) for one, needed in wanted.items()}
        places: dict[str, tuple[str, ...]] = {}
        left = [point for point in waiting if not await self._complete(point, after, places)]
        running = any(rounds.phase is not Phase.IDLE for rounds in after.values())
        return bool(left or adopted) or running, after != before or len(left) < len(waiting) or bool(adopted)

    async def _adopt(self, point: Point) -> None:
        """Give a receipt whose deletion did not go on the rounds after which the bytes of what it removed are gone."""
        collection = point.payload["collection"]
        twins = twins_of(point.payload)
        needed = await self.needed(collection, *(twin for twin, _ in twins), META)
        told = dataclasses.replace(receipt_of(point.payload), failure=ABANDONED)
        kept = receipt_point(told, collection, point.payload["dimension"], time_now(), needed, twins)
        await self._engine.upsert(META, [kept], only_if=Where({"state": ErasureState.PENDING.value}))

    async def _step(self, before: Rounds, needed: int) -> Rounds:
        """Take the next step. A failure in one collection does not stop the others."""
        try:
            after = await self._rounds.step(before.collection, needed)
        except SamefaceError as error:
            self._failures[before.collection] = error.message
            return before
        self._failures.pop(before.collection, None)
        return after

    async def _complete(self, point: Point, rounds: Mapping[str, Rounds], places: dict[str, tuple[str, ...]]) -> bool:
        """Write a receipt that is done; return whether it is. ``places`` remembers what is left in a collection."""
        needed = point.payload[ROUNDS]
        covered = all(rounds[one].covers(needed[one]) for one in needed)
        refusals = [rounds[one].refused for one in needed if rounds[one].impossible(needed[one])]
        if not covered and not refusals:
            return False
        receipt = receipt_of(point.payload)
        left = receipt.not_covered
        if covered:
            unknown = self._engine.description.not_erased
            for one in needed.keys() - places.keys():
                places[one] = await self._segments.left(one)
            found = dict.fromkeys(place for one in needed for place in places[one])
            left = (*found, *(place for place in left if place not in unknown))
        done = dataclasses.replace(
            receipt,
            state=ErasureState.DONE,
            compacted=covered,
            done_time=datetime.now(UTC),
            not_covered=left,
            failure=(receipt.failure if not receipt.unreadable else "")
            if covered
            else f"the segments were not written again: {refusals[0]}",
        )
        collection, dimension, twins = point.payload["collection"], point.payload["dimension"], twins_of(point.payload)
        kept = receipt_point(done, collection, dimension, time_now(), needed, twins)
        # Another service may have completed it meanwhile.
        pending = Where({"state": ErasureState.PENDING.value})
        await self._engine.upsert(META, [kept], only_if=pending)
        await self._engine.commit(META)
        return True


def _is_abandoned(point: Point) -> bool:
    """Return whether a deletion stored its receipt so long ago, and did not go on, that its service has crashed."""
    return not point.payload.get(ROUNDS) and time.time() - float(point.payload["kept"]) > CRASHED_AFTER_S
