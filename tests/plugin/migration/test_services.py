"""Several services on one Qdrant, of which one migrates the gallery that the others write to."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import Contract, NewTemplate, Probe, Store
from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    ContractMismatch,
    IdentityNotFound,
    InvalidArgument,
    MigrationInProgress,
    SamefaceError,
    StoreUnavailable,
)
from sameface_qdrant.values.migration import MigrationState
from tests.plugin.conftest import CONTRACT, cleared_server, needs_server
from tests.plugin.migration.worlds import NEW, POINTS, as_bytes, filled, new_model, points_of, the_map, unit, until
from tests.plugin.test_services import SharedEngine

LEASE_S = 0.2
AGAIN: tuple[type[SamefaceError], ...] = (ConcurrentUpdate, StoreUnavailable, ContractMismatch)


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sameface_qdrant.store.migrations.migrations.LEASE_S", LEASE_S)
    monkeypatch.setattr("sameface_qdrant.store.migrations.known.FORGIVEN_S", LEASE_S / 2)
    monkeypatch.setattr("sameface_qdrant.store.migrations.both_contracts.LATE_S", LEASE_S)
    monkeypatch.setattr("sameface_qdrant.store.migrations.migrations.MARGIN_S", 0.0)


async def opened(client: AsyncQdrantClient, kind: str, options: ServerOptions, seed: int) -> list[Store]:
    turns = random.Random(seed)
    return [
        await Store.over(SharedEngine(client, kind, options, turns), gallery_max_age_s=LEASE_S / 2) for _ in range(3)
    ]


async def closed(stores: list[Store]) -> None:
    for store in stores:
        await store.migrations.worker.settle()
        await store.aclose()


@pytest.fixture(params=["one process", 0, pytest.param("server", marks=needs_server)])
async def services(request: pytest.FixtureRequest, short_leases: None) -> AsyncIterator[list[Store]]:
    if request.param == "server":
        async with cleared_server() as (client, options):
            stores = await opened(client, "server", options, 0)
            yield stores
            await closed(stores)
        return
    if request.param == "one process":
        stores = 3 * [await Store.open(":memory:")]
    else:
        stores = await opened(AsyncQdrantClient(location=":memory:"), "memory", ServerOptions(), request.param)
    yield stores
    await closed(stores)


async def until_done(call: Callable[[], Awaitable[Any]], again: tuple[type[SamefaceError], ...] = AGAIN) -> Any:
    """Repeat a call as a client does, after the errors ``again``."""
    for _ in range(400):
        try:
            return await call()
        except again:
            await asyncio.sleep(0.005)
    pytest.fail("never came through")


@dataclass
class Seen:
    """What calls have acknowledged."""

    enrolled: dict[str, np.ndarray] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    stop: bool = False
    may_begin: asyncio.Event = field(default_factory=asyncio.Event)
    begun: set[str] = field(default_factory=set)
    """Enrolments that are not acknowledged yet."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, name: str) -> None:
        """An enrolment begins."""
        self.begun.add(name)
        self.idle.clear()

    def end(self, name: str) -> None:
        """It is acknowledged."""
        self.begun.remove(name)
        if not self.begun:
            self.idle.set()


async def enrolling(store: Store, seen: Seen, number: int) -> None:
    rng = np.random.default_rng(number)
    for turn in range(10**6):
        await seen.may_begin.wait()
        if seen.stop:
            return
        vector = unit(rng.normal(size=8))

        async def enroll(vector: np.ndarray = vector, name: str = f"n{number}-{turn}") -> Any:
            gallery = await store.galleries.recent("g")
            old, new = Probe(vector, CONTRACT), Probe(new_model(vector), NEW)
            mine, other = (old, new) if gallery.contract == CONTRACT else (new, old)
            template = NewTemplate(mine.vector, mine.contract, content=name.encode(), also=(other,))
            return await store.enroll("g", name, template, request_id=name)

        seen.begin(f"n{number}-{turn}")
        (stored,) = await until_done(enroll)
        seen.end(f"n{number}-{turn}")
        seen.enrolled[stored.id] = vector
        labels = {"turn": str(turn)}
        await until_done(partial(store.identities.update, "g", f"n{number}-{turn}", {"labels": labels}))
        seen.labels[stored.id] = labels
        if turn % 3 == 2:
            await erased(store, seen, f"n{number}-{turn}", stored.id)
        await asyncio.sleep(0.002)


async def erased(store: Store, seen: Seen, identity: str, template: str) -> None:
    del seen.enrolled[template]

    async def once() -> None:
        with contextlib.suppress(IdentityNotFound):
            await store.identities.delete("g", identity, force=True)

    await until_done(once)
    seen.erased.add(template)


async def deciding(store: Store, seen: Seen, vector: np.ndarray) -> None:
    """A person who is there all the time is found at every moment, under the contract of the moment."""
    while not seen.stop:

        async def decide() -> Any:
            gallery = await store.galleries.recent("g")
            mine = Probe(vector if gallery.contract == CONTRACT else new_model(vector), gallery.contract)
            return await store.identify(gallery, mine, threshold=0.5, margin=0.0)

        decision = await until_done(decide)
        assert decision.candidates[0].identity == "p0"
        assert decision.candidates[0].score > 0.9
        await asyncio.sleep(0.002)


async def check(store: Store, seen: Seen) -> None:
    enrolled, erased, labels = dict(seen.enrolled), set(seen.erased), dict(seen.labels)
    gallery = await store.galleries.get("g")
    for contract in (CONTRACT, NEW):
        assert not erased & (await points_of(store, contract)).keys()
    points = await points_of(store, gallery.contract)
    enrolled = {one: vector for one, vector in enrolled.items() if one in seen.enrolled}
    assert points.keys() >= enrolled.keys()
    for one, vector in enrolled.items():
        assert points[one].payload["contract"] == gallery.contract.key
        expected = vector if gallery.contract == CONTRACT else new_model(vector)
        assert float(np.asarray(points[one].vector) @ expected) > 0.95
        assert labels.get(one, points[one].payload["labels"]) == points[one].payload["labels"]


async def there_and_back(services: list[Store], seen: Seen) -> None:
    """Migrate, promote and roll back; two services do the same at once."""
    one, two, three = services

    async def begun() -> Any:
        return await one.migrations.create("g", the_map(), operating_points=POINTS, rate=1e6, request_id="m")

    found = await until_done(begun)
    await one.migrations.worker.settle()
    assert (await two.migrations.get("g", found.id)).state is MigrationState.MAPPED
    await check(one, seen)
    await asyncio.sleep(0.1)
    await asyncio.gather(*(until_done(partial(store.migrations.promote, "g", found.id)) for store in (one, three)))
    await asyncio.sleep(3 * LEASE_S)
    await check(two, seen)
    again = (*AGAIN, MigrationInProgress)  # the other one is ending it
    calls = [partial(store.migrations.roll_back, "g", found.id) for store in (two, three)]
    try:
        await asyncio.gather(*(until_done(call, again) for call in calls))
    except InvalidArgument:
        # On a busy machine an enrolment may take longer than the short lease, and be between its two writes.
        seen.may_begin.clear()
        await seen.idle.wait()
        await asyncio.gather(*(until_done(call, again) for call in calls))
        seen.may_begin.set()
    await asyncio.sleep(LEASE_S)


async def test_nothing_is_lost_while_a_service_migrates_what_others_write(services: list[Store]) -> None:
    one, two, three = services
    vectors = await filled(one)
    before = as_bytes(await points_of(one, CONTRACT))
    seen = Seen()
    seen.may_begin.set()
    first = next(iter(vectors.values()))
    async with asyncio.TaskGroup() as group:
        for call in (enrolling(two, seen, 1), enrolling(three, seen, 2), deciding(three, seen, first)):
            group.create_task(call)
        await there_and_back(services, seen)
        seen.stop = True
    await check(three, seen)
    assert await points_of(one, NEW) == {}
    after = as_bytes(await points_of(one, CONTRACT))
    assert {name: after[name] for name in before} == before
    assert len(seen.enrolled) > 4


async def test_a_second_migration_is_refused_by_every_service(services: list[Store]) -> None:
    one, two, _ = services
    await filled(one, 1)
    await one.migrations.create("g", the_map(), rate=1e6)
    with pytest.raises(MigrationInProgress):
        await two.migrations.create("g", the_map())


async def test_what_a_killed_service_was_writing_does_not_outlive_its_gallery(short_leases: None) -> None:
    one, two, _ = stores = await opened(AsyncQdrantClient(location=":memory:"), "memory", ServerOptions(), 0)
    await filled(one)
    below = cast(Any, one.galleries.contracts).below
    upsert, writing, deleted, written = below.upsert, asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def late(collection: str, points: Sequence[Point], **options: Any) -> None:
        if collection != NEW.key:
            await upsert(collection, points, **options)
            return
        writing.set()
        await deleted.wait()
        await upsert(collection, points, **options)
        written.set()
        await asyncio.Event().wait()  # killed: it does not look what became of the gallery

    async def count(contract: Contract) -> int:
        return int(await cast(Any, two)._engine.count(contract.key, Where({"kind": "template"})))

    async def is_empty() -> bool:
        return not await count(CONTRACT)

    with pytest.MonkeyPatch.context() as patched:
        await one.migrations.create("g", the_map(), operating_points=POINTS, rate=1e6)
        patched.setattr(
            below,
            "upsert",
            lambda collection, *a, **b: (late if collection == NEW.key else upsert)(collection, *a, **b),
        )
        await writing.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(two.galleries.delete("g", force=True))
            await until(is_empty)
            deleted.set()
        assert written.is_set()
        assert (await count(CONTRACT), await count(NEW)) == (0, 0)
        await one.migrations.aclose()
    for store in stores:
        await store.aclose()
