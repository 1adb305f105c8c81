"""Rounds of rewriting against simulated optimizers, which are as slow and as late as the test wants.

They are no evidence of a server's behaviour. `test_erasure_bytes` searches the folder of a real one.
"""

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import ErasedResource, ErasureReceipt, ErasureState
from sameface_qdrant.engines.base import Point, Segments
from sameface_qdrant.store import rewriting
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.receipts import receipt_of, receipt_point
from sameface_qdrant.store.segment_erasure import SegmentErasure
from tests.plugin.steered import SteeredEngine


class Optimizers:
    """A server's segments, each with its layout and the removed points that it still holds."""

    def __init__(self, original: bool, choices: random.Random) -> None:
        self.layout = self.in_force = original
        self.choices = choices
        self.segments: list[tuple[bool, set[int]]] = [(original, set()) for _ in range(3)]

    def remove(self, point: int) -> None:
        """Note a removed point in one segment, or in two, because an update copies points."""
        for _ in range(self.choices.randint(1, 2)):
            self.choices.choice(self.segments)[1].add(point)

    def tick(self) -> None:
        """The configuration comes into force, a segment is written, or a new one is made."""
        action = self.choices.randrange(4)
        if action == 0:
            self.in_force = self.layout
        elif action == 1:
            self.segments.append((self.in_force, set()))
        elif old := [place for place, (layout, _) in enumerate(self.segments) if layout is not self.in_force]:
            self.segments[self.choices.choice(old)] = (self.in_force, set())

    def held(self) -> set[int]:
        return set().union(*(dead for _, dead in self.segments))

    async def look(self, collection: str) -> Segments:
        await asyncio.sleep(0)
        # The pause before the second look is longer than a configuration takes to come into force.
        self.in_force = self.layout
        return Segments(self.layout, settled=all(layout is self.in_force for layout, _ in self.segments))

    async def order(self, collection: str, layout: bool) -> str:
        for _ in range(self.choices.choice([0, 0, 0, 600])):
            await asyncio.sleep(0)
        self.layout = layout
        await asyncio.sleep(0)
        return ""

    async def left(self, collection: str) -> tuple[str, ...]:
        return ("write-ahead logs",)


# A cancelled step leaves a call of the client unmade.
@pytest.mark.filterwarnings("ignore:coroutine")
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), original=st.booleans(), services=st.integers(1, 3), steps=st.integers(5, 80))
def test_a_receipt_that_is_done_is_true_whatever_races_and_crashes(
    seed: int, original: bool, services: int, steps: int
) -> None:
    asyncio.run(race(random.Random(seed), original, services, steps))


async def race(choices: random.Random, original: bool, services: int, steps: int) -> None:
    client = AsyncQdrantClient(":memory:")
    engines = [SteeredEngine(client, lambda: choices.randrange(4)) for _ in range(services)]
    await engines[0].ensure(META, 1)
    server = Optimizers(original, choices)
    parts = [SegmentErasure(engine, server) for engine in engines]
    owed: dict[int, str] = {}
    running: list[asyncio.Task[Any]] = []

    async def read() -> dict[int, ErasureReceipt]:
        found = await client_get(engines[0], list(owed.values()))
        return {point: receipt_of(found[key].payload) for point, key in owed.items() if key in found}

    async def remove(point: int) -> None:
        server.remove(point)
        receipt = pending(str(point))
        needed = await parts[0].needed("faces")
        stored = receipt_point(receipt, "faces", 8, 0.0, needed)
        await engines[0].upsert(META, [stored])
        owed[point] = stored.id

    async def advance(part: SegmentErasure) -> None:
        found = await client_get(engines[0], list(owed.values()))
        waiting = [one for one in found.values() if one.payload["state"] == ErasureState.PENDING]
        await part.advance(waiting)

    def check(receipts: dict[int, ErasureReceipt]) -> None:
        done = {point for point, receipt in receipts.items() if receipt.state is ErasureState.DONE}
        assert all(receipts[point].compacted for point in done)
        assert not done & server.held()

    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    with pytest.MonkeyPatch.context() as clock:
        # Time is counted in turns of the event loop. No order takes as long as `LATE_S`.
        clock.setattr(time, "time", lambda: float(turns))
        clock.setattr(rewriting, "LATE_S", 1000.0)
        clock.setattr(rewriting, "LONGEST_S", 1e9)
        clock.setattr(rewriting, "SETTLE_S", 0.0)
        clock.setattr(rewriting, "REST", 0.0)
        for step in range(steps):
            match choices.choice(["remove", "advance", "tick", "tick", "pause", "crash"]):
                case "remove":
                    await remove(step)
                case "advance":
                    running.append(asyncio.create_task(advance(choices.choice(parts))))
                case "tick":
                    for _ in range(8):
                        server.tick()
                case "pause":
                    for _ in range(choices.randrange(60)):
                        await asyncio.sleep(0)
                case "crash" if running:
                    choices.choice(running).cancel()
            check(await read())
        await asyncio.gather(*running, return_exceptions=True)
        for task in running:
            assert task.cancelled() or task.exception() is None
        for _ in range(100):
            for _ in range(20):
                server.tick()
            await advance(parts[0])
            for _ in range(50):
                await asyncio.sleep(0)
            check(await read())
    counting.cancel()
    receipts = await read()
    assert all(receipt.state is ErasureState.DONE for receipt in receipts.values())
    assert server.layout is original
    await client.close()


async def test_an_order_that_comes_late_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "SETTLE_S", 0.0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    client = AsyncQdrantClient(":memory:")
    engine = SteeredEngine(client)
    await engine.ensure(META, 1)
    server = Optimizers(True, random.Random(1))
    slow, quick = (rewriting.SegmentRounds(engine, server) for _ in range(2))
    asked, answer = asyncio.Event(), asyncio.Event()
    in_time = server.order

    async def late(collection: str, layout: bool) -> str:
        asked.set()
        await answer.wait()
        return await in_time(collection, layout)

    monkeypatch.setattr(server, "order", late)
    asking = asyncio.create_task(slow.step("faces", 1))
    await asked.wait()
    monkeypatch.setattr(server, "order", in_time)

    async def write_all() -> rewriting.Rounds:
        for _ in range(20):
            rounds = await quick.step("faces", 1)
            for _ in range(40):
                server.tick()
        return rounds

    rounds = await write_all()
    assert (rounds.phase, rounds.finished, server.layout) == (rewriting.Phase.RESTORING, 1, True)
    answer.set()
    await asking
    assert server.layout is False
    await write_all()
    assert server.layout is True
    now += rewriting.LATE_S
    assert (await write_all()).phase is rewriting.Phase.IDLE
    assert server.layout is True
    await client.close()


async def test_a_round_does_not_begin_while_a_segment_has_the_other_layout_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rewriting, "SETTLE_S", 0.0)
    client = AsyncQdrantClient(":memory:")
    engine = SteeredEngine(client)
    await engine.ensure(META, 1)
    server = Optimizers(True, random.Random(2))
    server.segments[0] = (False, {7})
    rounds = rewriting.SegmentRounds(engine, server)
    for _ in range(5):
        assert (await rounds.step("faces", 1)).started == 0
    while not (await rounds.step("faces", 1)).covers(1):
        server.tick()
    assert server.held() == set()
    await client.close()


async def client_get(engine: SteeredEngine, ids: list[str]) -> dict[str, Point]:
    return await engine.get(META, ids) if ids else {}


def pending(key: str) -> ErasureReceipt:
    return ErasureReceipt(
        id=key,
        state=ErasureState.PENDING,
        resource=ErasedResource.IDENTITY,
        gallery="people",
        identity=key,
        template="",
        templates=1,
        records=1,
        erase_time=datetime(2026, 1, 1, tzinfo=UTC),
        done_time=None,
        engine="server",
        unreadable=True,
        compacted=False,
        sampled=1,
    )
