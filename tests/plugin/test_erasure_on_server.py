"""Erasure on a Qdrant server: when its receipts are done, and what they say.

The double of `tests.plugin.wire` and the simulated optimizers below are no evidence of a server's behaviour. The last
tests are: they search the storage folder of a real server for bytes.
"""

import asyncio
import contextlib
import os
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import AsyncQdrantClient
from qdrant_client import grpc as messages
from qdrant_client.models import OptimizersConfigDiff

from sameface_qdrant import ErasedResource, ErasureReceipt, ErasureState, NewTemplate, Policy, ServerOptions, Store
from sameface_qdrant.engines.base import Point, Segments
from sameface_qdrant.engines.edge.byte_scan import present
from sameface_qdrant.store import erasure, rewriting
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.receipts import receipt_of, receipt_point
from sameface_qdrant.store.segment_erasure import SegmentErasure
from tests.plugin.conftest import CONTRACT, QDRANT_API_KEY, QDRANT_URL, cleared_server, random_vector
from tests.plugin.steered import SteeredEngine
from tests.plugin.wire import Double, Fault

POLICY = Policy(verify_threshold=0.5, identify_threshold=0.5, max_templates=64)
PREFIX = ServerOptions().collection_prefix
PEOPLE = PREFIX + CONTRACT.key
PATIENCE_S = 60.0
"""Nothing may hang. This is far above every pause in these tests."""


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses: the double's configuration is in force at once."""
    monkeypatch.setattr(rewriting, "SETTLE_S", 0.0)
    monkeypatch.setattr(rewriting, "REST", 0.0)
    monkeypatch.setattr(rewriting, "LATE_S", 0.0)
    monkeypatch.setattr(erasure, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(erasure, "LONGEST_PAUSE_S", 0.05)


@pytest.fixture
async def double(hurried: None) -> AsyncIterator[Double]:
    started = await Double().start()
    yield started
    await started.stop()


async def opened(double: Double) -> Store:
    store = await Store.open(double.url)
    if not (await store.galleries.list()).items:
        await store.galleries.create("people", CONTRACT, policy=POLICY)
    return store


async def enroll(store: Store, identity: str, seed: int) -> None:
    vector = random_vector(np.random.default_rng(seed))
    await store.enroll("people", identity, [NewTemplate(vector, CONTRACT)])


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # the double is polled
            await asyncio.sleep(0.01)


async def until(store: Store, receipt: ErasureReceipt, holds: Callable[[ErasureReceipt], bool]) -> ErasureReceipt:
    """Read a receipt until something holds, or the test has waited long enough."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds(current := await store.erasures.get(receipt.id)):  # noqa: ASYNC110  # the store is polled
            await asyncio.sleep(0.02)
    return current


def is_done(receipt: ErasureReceipt) -> bool:
    return receipt.state is ErasureState.DONE


async def at_rest(double: Double, layout: bool = True) -> None:
    """Wait until the layout of every collection is the operator's."""
    await reached(lambda: bool(double.orders) and all(double.layouts[name] is layout for name, _ in double.orders))


def snapshot(name: str, day: int) -> Any:
    described = messages.SnapshotDescription(name=name, size=1)
    described.creation_time.FromDatetime(datetime(2026, 1, day, tzinfo=UTC))
    return described


@pytest.mark.parametrize("original", [True, False])
async def test_a_receipt_is_done_once_every_segment_was_written_again(double: Double, original: bool) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    double.layouts[PEOPLE] = original
    double.snapshots[PEOPLE] = [snapshot("old", 1), snapshot("new", 2)]
    double.snapshots[""] = [snapshot("everything", 3)]
    receipt = await store.identities.delete("people", "ada", force=True)
    assert (receipt.state, receipt.unreadable, receipt.compacted) == (ErasureState.PENDING, True, False)
    assert any("only that the points are unreadable was checked" in place for place in receipt.not_covered)
    done = await until(store, receipt, is_done)
    assert (done.unreadable, done.compacted, done.evidence, done.failure) == (True, True, (), "")
    assert done.done_time is not None
    assert done.done_time >= done.erase_time
    assert not any("only that the points" in place for place in done.not_covered)
    assert [place for place in done.not_covered if place.startswith("snapshot")] == [
        f"snapshot of the collection {PEOPLE}: new, 2026-01-02T00:00:00",
        f"snapshot of the collection {PEOPLE}: old, 2026-01-01T00:00:00",
        "snapshot of the whole server: everything, 2026-01-03T00:00:00",
    ]
    assert any("write-ahead log" in place for place in done.not_covered)
    assert any("not searched" in place for place in done.not_covered)
    await at_rest(double, original)
    assert double.orders == [(PEOPLE, not original), (PEOPLE, original)]
    await store.aclose()


async def test_a_gallery_needs_its_own_record_erased_too(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    receipt = await store.galleries.delete("people", force=True)
    done = await until(store, receipt, is_done)
    assert (done.resource, done.compacted) == (ErasedResource.GALLERY, True)
    await at_rest(double)
    assert {name for name, _ in double.orders} == {PEOPLE, PREFIX + META}
    await store.aclose()


async def test_a_key_that_may_not_change_collections_erases_and_says_so(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    denied = Fault(grpc.StatusCode.PERMISSION_DENIED, "Global manage access is required")
    double.faults["Collections/Update"].append(denied)
    receipt = await store.identities.delete("people", "ada", force=True)
    done = await until(store, receipt, is_done)
    assert (done.unreadable, done.compacted) == (True, False)
    assert "may not change collections" in done.failure
    assert any("only that the points are unreadable was checked" in place for place in done.not_covered)
    assert double.orders == []
    # With another key the next deletion is covered.
    await enroll(store, "bob", 2)
    done = await until(store, await store.identities.delete("people", "bob", force=True), is_done)
    assert (done.compacted, done.failure) == (True, "")
    await store.aclose()


async def test_a_key_that_may_not_list_snapshots_says_so(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    denied = Fault(grpc.StatusCode.PERMISSION_DENIED, "Global access is required")
    double.faults["Snapshots/ListFull"].append(denied)
    done = await until(store, await store.identities.delete("people", "ada", force=True), is_done)
    assert done.compacted
    assert "snapshots of the whole server: this API key may not list them" in done.not_covered
    await store.aclose()


async def test_a_service_that_ends_is_replaced_by_another(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    double.takes = 1_000_000
    receipt = await store.identities.delete("people", "ada", force=True)
    await reached(lambda: bool(double.orders))
    await store.aclose()
    other = await opened(double)
    assert (await other.erasures.get(receipt.id)).state is ErasureState.PENDING
    double.optimizing.clear()
    double.takes = 1
    await other.sweep()
    assert (await until(other, receipt, is_done)).compacted
    await at_rest(double)
    assert double.orders[-1] == (PEOPLE, True)
    await other.aclose()


async def test_a_round_that_began_before_a_deletion_does_not_cover_it(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    await enroll(store, "bob", 2)
    double.takes = 1_000_000
    first = await store.identities.delete("people", "ada", force=True)
    await reached(lambda: bool(double.orders))
    second = await store.identities.delete("people", "bob", force=True)
    double.optimizing.clear()
    await until(store, first, is_done)
    # The layout is being set back, which takes long too.
    assert (await store.erasures.get(second.id)).state is ErasureState.PENDING
    double.takes = 1
    double.optimizing.clear()
    await until(store, second, is_done)
    await at_rest(double)
    assert double.orders == [(PEOPLE, False), (PEOPLE, True)] * 2
    await store.aclose()


async def test_a_server_that_waits_for_an_order_gets_it_again(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    double.takes = 1_000_000
    receipt = await store.identities.delete("people", "ada", force=True)
    await reached(lambda: bool(double.orders))
    # It was started again.
    double.status, double.takes = messages.CollectionStatus.Grey, 0
    double.optimizing.clear()
    await reached(lambda: len(double.orders) >= 3)
    assert set(double.orders) == {(PEOPLE, False)}
    double.status = messages.CollectionStatus.Green
    assert (await until(store, receipt, is_done)).compacted
    await store.aclose()


async def test_what_never_ends_is_given_up_and_set_back(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "LONGEST_S", 0.1)
    monkeypatch.setattr(rewriting, "REST", 1e9)
    store = await opened(double)
    await enroll(store, "ada", 1)
    double.takes = 1_000_000
    receipt = await store.identities.delete("people", "ada", force=True)
    told = await until(store, receipt, lambda one: "did not finish" in one.failure)
    assert (told.state, told.compacted) == (ErasureState.PENDING, False)
    double.optimizing.clear()
    await at_rest(double)
    assert double.orders == [(PEOPLE, False), (PEOPLE, True)]
    await store.aclose()


async def test_an_order_that_gets_no_answer_is_repeated(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    lost = Fault(grpc.StatusCode.DEADLINE_EXCEEDED, "lost", applied=True)
    double.faults["Collections/Update"].extend([Fault(grpc.StatusCode.INTERNAL, "failed"), lost, lost])
    receipt = await store.identities.delete("people", "ada", force=True)
    assert (await until(store, receipt, is_done)).compacted
    await at_rest(double)
    assert double.orders[-1] == (PEOPLE, True)
    await store.aclose()


# The rounds alone, against simulated optimizers that are as slow and as late as the test wants.


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


@settings(max_examples=60, deadline=None)
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
    answer = asyncio.Event()
    in_time = server.order

    async def late(collection: str, layout: bool) -> str:
        await answer.wait()
        return await in_time(collection, layout)

    monkeypatch.setattr(server, "order", late)
    asking = asyncio.create_task(slow.step("faces", 1))
    while (await quick.read("faces")).phase is rewriting.Phase.IDLE:  # noqa: ASYNC110  # the record is polled
        await asyncio.sleep(0)
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


# A real server whose storage folder is on this machine.

STORAGE = os.environ.get("QDRANT_STORAGE", "")
needs_storage = pytest.mark.skipif(
    not (QDRANT_URL and STORAGE), reason="QDRANT_URL and QDRANT_STORAGE name no Qdrant server and its storage folder"
)
LAYOUTS = {
    "default": ServerOptions(),
    "int8, on disk": ServerOptions(quantization="int8", on_disk=True),
    "two shards": ServerOptions(shard_number=2),
}


def found_in(collection: str, part: str, needles: dict[str, bytes]) -> set[str]:
    """Return which needles are in the segments, or in the write-ahead logs, of a collection."""
    there: set[bytes] = set()
    for shard in (Path(STORAGE) / "collections" / collection).iterdir():
        if shard.is_dir():
            folder, skip = (shard / "wal", "nothing") if part == "wal" else (shard, "wal")
            there |= present(folder, list(needles.values()), skip=skip)
    return {name for name, needle in needles.items() if needle in there}


async def bytes_of(store: Store, identity: str) -> dict[str, bytes]:
    """Return the bytes of one person's template: some are in the files as they are, which a control must show."""
    (template,) = (await store.templates.list("people", identity)).items
    stored = await store.templates.get("people", identity, template.id, with_vector=True)
    assert stored.vector is not None
    return {
        "vector": stored.vector.astype("<f4").tobytes(),
        "id, little-endian": uuid.UUID(template.id).bytes[::-1],
        "id, big-endian": uuid.UUID(template.id).bytes,
        "identity": identity.encode(),
    }


@asynccontextmanager
async def real_store(layout: str, people: int) -> AsyncIterator[tuple[Store, AsyncQdrantClient, str, list[str]]]:
    """A store on the server with people in one gallery, the name of their collection, and their ids."""
    async with cleared_server() as (client, cleared):
        options = replace(LAYOUTS[layout], collection_prefix=cleared.collection_prefix, timeout_s=30)
        store = await Store.open(QDRANT_URL, api_key=QDRANT_API_KEY, options=options)
        rng = np.random.default_rng(5)
        contract = replace(CONTRACT, dimension=64)
        await store.galleries.create("people", contract, policy=POLICY, display_name=uuid.uuid4().hex)
        ids = [uuid.uuid4().hex for _ in range(people)]
        for identity in ids:
            await store.enroll("people", identity, [NewTemplate(random_vector(rng, 64), contract)])
        yield store, client, options.collection_prefix + contract.key, ids
        await store.aclose()


async def completed(store: Store, receipt: ErasureReceipt) -> ErasureReceipt:
    async with asyncio.timeout(300):
        while not is_done(current := await store.erasures.get(receipt.id)):  # noqa: ASYNC110  # the store is polled
            await asyncio.sleep(0.2)
    return current


@needs_storage
@pytest.mark.parametrize("indexed", [False, True], ids=["plain", "indexed"])
@pytest.mark.parametrize("layout", LAYOUTS)
async def test_on_a_server_the_bytes_leave_the_segments(
    layout: str, indexed: bool, record_property: Callable[[str, object], None]
) -> None:
    async with real_store(layout, 130 if indexed else 12) as (store, client, collection, ids):
        if indexed:
            # Everything in a segment that is only read, and whose removed points are only marked.
            await client.update_collection(collection, optimizers_config=OptimizersConfigDiff(indexing_threshold=1))
            async with asyncio.timeout(60):
                while not (await client.get_collection(collection)).indexed_vectors_count:
                    await asyncio.sleep(0.2)
        erased, kept = await bytes_of(store, ids[0]), await bytes_of(store, ids[1])
        await enough_flushed(collection, erased)
        control = found_in(collection, "segments", erased)
        assert "vector" in control
        assert control & {"id, little-endian", "id, big-endian"}
        original = (await client.get_collection(collection)).config.params.on_disk_payload
        receipt = await store.identities.delete("people", ids[0], force=True)
        assert receipt.state is ErasureState.PENDING
        done = await completed(store, receipt)
        assert (done.unreadable, done.compacted, done.failure) == (True, True, "")
        assert found_in(collection, "segments", erased) == set()
        assert found_in(collection, "segments", kept) >= control - {"identity"}
        left = found_in(collection, "wal", erased)
        record_property("left in the write-ahead log", sorted(left))
        assert not left or any("write-ahead logs" in place for place in done.not_covered)
        async with asyncio.timeout(60):
            while (await client.get_collection(collection)).config.params.on_disk_payload is not original:
                await asyncio.sleep(0.2)
        identities = {one.id for one in (await store.identities.list("people", page_size=1000)).items}
        assert identities == set(ids[1:])


async def enough_flushed(collection: str, needles: dict[str, bytes]) -> None:
    """Wait until the ids are in the files: Qdrant writes them with its next flush."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            while not found_in(collection, "segments", needles) & {"id, little-endian", "id, big-endian"}:
                await asyncio.sleep(0.5)


@needs_storage
async def test_on_a_server_a_snapshot_that_holds_the_person_is_named() -> None:
    async with real_store("default", 3) as (store, client, collection, ids):
        taken = await client.create_snapshot(collection)
        assert taken is not None
        done = await completed(store, await store.identities.delete("people", ids[0], force=True))
        assert any(
            place.startswith(f"snapshot of the collection {collection}: {taken.name}") for place in done.not_covered
        )
        await client.delete_snapshot(collection, taken.name)


@needs_storage
async def test_on_a_server_a_gallery_leaves_no_bytes_in_the_segments() -> None:
    async with real_store("default", 5) as (store, client, collection, ids):
        people = {f"{name} of {one}": needle for one in ids for name, needle in (await bytes_of(store, one)).items()}
        gallery = {"display name": (await store.galleries.get("people")).display_name.encode()}
        meta = collection.removesuffix(CONTRACT.key) + META
        assert any("vector" in name for name in found_in(collection, "segments", people))
        done = await completed(store, await store.galleries.delete("people", force=True))
        assert done.compacted
        assert found_in(collection, "segments", people) == set()
        assert found_in(meta, "segments", gallery) == set()
