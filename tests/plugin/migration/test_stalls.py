"""A call stands still in the middle, and goes on when others have gone further. Nothing that counts is lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import NewTemplate, Probe, Store
from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    IdentityNotFound,
    RequestIdReused,
    SamefaceError,
    StoreCorrupt,
    StoreUnavailable,
)
from sameface_qdrant.store.migrations import exchange, steps
from sameface_qdrant.store.migrations.mapped import mapped_count
from sameface_qdrant.store.protection.keys import KeyRing
from sameface_qdrant.values.migration import MigrationState
from tests.plugin.conftest import CONTRACT
from tests.plugin.migration.test_services import LEASE_S, closed
from tests.plugin.migration.test_services import short_leases as short_leases
from tests.plugin.migration.worlds import NEW, POINTS, filled, mapped, new_model, points_of, the_map, unit, until
from tests.plugin.protection.conftest import FIRST
from tests.plugin.test_services import SharedEngine


async def two_services(keys: KeyRing | None = None, seed: int = 0) -> list[Store]:
    client, turns = AsyncQdrantClient(location=":memory:"), random.Random(seed)
    return [
        await Store.over(
            SharedEngine(client, "memory", ServerOptions(), turns), gallery_max_age_s=LEASE_S / 2, keys=keys
        )
        for _ in range(2)
    ]


@pytest.fixture
async def services(short_leases: None) -> AsyncIterator[list[Store]]:
    stores = await two_services()
    yield stores
    await closed(stores)


async def created_twice(one: Store, two: Store, **options: Any) -> list[Any]:
    async def create(store: Store, rate: float) -> Any:
        return await store.migrations.create("g", the_map(), operating_points=POINTS, rate=rate, request_id="m")

    rates = options.get("rates", (1e6, 1e6))
    found = await asyncio.gather(create(one, rates[0]), create(two, rates[1]), return_exceptions=True)
    for store in (one, two):
        await store.migrations.worker.settle()
    return list(found)


async def check_one_migration(store: Store, found: Sequence[Any]) -> None:
    """The gallery's record and that of the migration name each other, and the migration can be ended."""
    (listed,) = (await store.migrations.list()).items
    link = (await store.galleries.get("g")).migration
    assert link is not None
    assert link.id == listed.id
    assert {one.id for one in found if not isinstance(one, BaseException)} == {listed.id}
    assert (await store.migrations.cancel("g", listed.id)).state is MigrationState.CANCELLED


@pytest.mark.parametrize("number", range(3))
async def test_a_creation_that_is_repeated_while_it_runs_begins_one_migration(number: int, tmp_path: Path) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    await filled(store, people=1 + number)
    found = await created_twice(store, store)
    assert not [one for one in found if isinstance(one, BaseException)]
    await check_one_migration(store, found)
    await store.aclose()


@pytest.mark.parametrize("seed", range(4))
async def test_a_creation_that_two_services_get_begins_one_migration(seed: int, short_leases: None) -> None:
    stores = await two_services(seed=seed)
    await filled(stores[0], people=1)
    found = await created_twice(*stores, rates=(1e6, 1e6 if seed < 3 else 5e5))
    expected = (ConcurrentUpdate, RequestIdReused) if seed == 3 else ConcurrentUpdate
    assert all(isinstance(one, expected) for one in found if isinstance(one, BaseException))
    await check_one_migration(stores[0], found)
    await closed(stores)


@pytest.mark.parametrize("call", ["promote", "roll_back"])
async def test_an_exchange_that_another_call_has_made_meanwhile_changes_nothing(
    call: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(store, 2)
    migration = await mapped(store)
    if call == "roll_back":
        await store.migrations.promote("g", migration)
    read, reached, go_on = steps.settled, asyncio.Event(), asyncio.Event()

    async def slow(*given: Any) -> Any:
        found = await read(*given)
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        return found

    monkeypatch.setattr("sameface_qdrant.store.migrations.migrations.settled", slow)
    exchange_it = getattr(store.migrations, call)
    late: asyncio.Task[Any] = asyncio.create_task(exchange_it("g", migration))
    await reached.wait()
    await exchange_it("g", migration)
    contract = (await store.galleries.get("g")).contract
    # Nothing of this person is under the other contract.
    vector = unit(np.arange(1.0, 9.0))
    await store.enroll("g", "zoe", NewTemplate(new_model(vector) if contract == NEW else vector, contract))
    before = await points_of(store, contract)
    go_on.set()
    with pytest.raises(ConcurrentUpdate):
        await late
    assert (await points_of(store, contract)).keys() == before.keys()
    await store.identities.update("g", "zoe", {"labels": {"a": "b"}})


async def test_the_late_end_of_a_migration_erases_nothing_of_the_next_one(
    services: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = services
    await filled(one, 3, 1)
    first = await mapped(one)
    erasures = cast(Any, two.galleries.erasures)
    sample, reached, go_on = erasures._sample, asyncio.Event(), asyncio.Event()

    async def slow(removal: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await sample(removal)

    monkeypatch.setattr(erasures, "_sample", slow)
    late = asyncio.create_task(two.migrations.cancel("g", first))
    await reached.wait()
    one.migrations.wake()
    await one.migrations.worker.settle()
    second = await mapped(one)
    await one.migrations.promote("g", second)
    before = await points_of(one, NEW)
    go_on.set()
    await asyncio.gather(late, return_exceptions=True)
    assert (await points_of(one, NEW)).keys() == before.keys()
    assert (await one.galleries.get("g")).contract == NEW


async def test_who_is_not_found_under_the_contract_of_before_is_no_unknown_identity(
    services: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = services
    await filled(one, 2, 1)
    migration = await mapped(one)
    await one.migrations.promote("g", migration)
    await asyncio.sleep(LEASE_S)
    identities = cast(Any, two.identities)
    find, reached, go_on = identities.find, asyncio.Event(), asyncio.Event()

    async def slow(*given: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await find(*given)

    with monkeypatch.context() as patched:
        patched.setattr(identities, "find", slow)
        late = asyncio.create_task(two.identities.update("g", "p0", {"labels": {"a": "b"}}))
        await reached.wait()
        await one.migrations.roll_back("g", migration)
        go_on.set()
        (refused,) = await asyncio.gather(late, return_exceptions=True)
    assert isinstance(refused, ConcurrentUpdate)
    await two.identities.update("g", "p0", {"labels": {"a": "b"}})
    with pytest.raises(IdentityNotFound):
        await two.identities.update("g", "nobody", {"labels": {"a": "b"}})


@pytest.mark.parametrize("how", ["enrol", "extend", "nothing"])
@pytest.mark.parametrize("failing", ["old", "new"])
async def test_a_deletion_that_failed_erases_nothing_that_was_acknowledged_since(
    how: str, failing: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(store, 2)
    old = unit(np.arange(1.0, 9.0))
    new = new_model(old)
    migration = await mapped(store)
    template = NewTemplate(old, CONTRACT, content=b"ada", also=(Probe(new, NEW),))
    (stored,) = await store.enroll("g", "ada", template)
    await store.migrations.promote("g", migration)
    below = cast(Any, store.galleries.contracts).below
    delete, down = below.delete, (CONTRACT if failing == "old" else NEW).key

    async def fails(collection: str, where: Any) -> None:
        if collection == down:
            raise StoreUnavailable("down for a moment")
        await delete(collection, where)

    with monkeypatch.context() as patched:
        patched.setattr(below, "delete", fails)
        with pytest.raises(StoreUnavailable):
            await store.templates.delete("g", "ada", stored.id)
    if how == "enrol":
        again = NewTemplate(new, NEW, content=b"ada", also=(Probe(old, CONTRACT),))
        assert [one.id for one in await store.enroll("g", "ada", again)] == [stored.id]
    if how == "extend":
        expiry = datetime.now(UTC) + timedelta(days=9)
        await store.templates.update("g", "ada", stored.id, expire_time=expiry)
    half_gone = failing == "new"
    if how == "extend" and half_gone:
        with pytest.raises(SamefaceError, match="discard_new"):
            await store.migrations.roll_back("g", migration)
        assert stored.id in await points_of(store, NEW)
        return
    await store.migrations.roll_back("g", migration)
    # Half of an erasure that nobody has taken back is ended.
    assert (stored.id in await points_of(store, CONTRACT)) is not (how == "nothing" and half_gone)


async def test_a_promotion_that_was_overtaken_does_not_change_what_a_roll_back_restores(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(store, 2)
    migration = await mapped(store)
    before = await store.galleries.get("g")
    count, reached, go_on, calls = mapped_count, asyncio.Event(), asyncio.Event(), 0

    async def slow(*given: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:  # behind the fence
            reached.set()
            await go_on.wait()
        return await count(*given)

    monkeypatch.setattr(exchange, "mapped_count", slow)
    with monkeypatch.context() as patched:
        patched.setattr("sameface_qdrant.store.migrations.fence.FENCE_S", 0.0)
        late = asyncio.create_task(store.migrations.promote("g", migration))
        await reached.wait()
    await asyncio.sleep(0.01)
    await store.migrations.promote("g", migration, policy={"verify_threshold": 0.33})
    go_on.set()
    (overtaken,) = await asyncio.gather(late, return_exceptions=True)
    assert isinstance(overtaken, ConcurrentUpdate)
    await store.migrations.roll_back("g", migration)
    after = await store.galleries.get("g")
    assert (after.policy.verify_threshold, after.policy.identify_threshold) == (
        before.policy.verify_threshold,
        before.policy.identify_threshold,
    )
    assert (after.operating_points, after.mapped) == (before.operating_points, before.mapped)


@pytest.mark.parametrize("killed", [False, True])
async def test_nothing_stays_at_rest_that_the_gallery_decides_with(
    killed: bool, short_leases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = stores = await two_services(FIRST)
    vectors = await filled(one, 3, 1)
    migration = await mapped(one)
    stored = cast(Any, two.galleries.contracts).below.stored
    upsert, reached, go_on, written = stored.upsert, asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(collection: str, points: Sequence[Point], **options: Any) -> None:
        if collection != CONTRACT.key or not any("resting" in point.payload for point in points):
            await upsert(collection, points, **options)
            return
        reached.set()
        await go_on.wait()
        await upsert(collection, points, **options)
        written.set()
        if killed:
            await asyncio.Event().wait()

    monkeypatch.setattr(stored, "upsert", slow, raising=False)
    late = asyncio.create_task(two.migrations.promote("g", migration))
    await reached.wait()
    await one.migrations.roll_back("g", migration)
    go_on.set()
    await written.wait()
    if killed:
        await one.sweep()
    else:
        await asyncio.gather(late, return_exceptions=True)
    at_rest = Where({"kind": "template", "resting": "yes"})
    assert await cast(Any, one)._engine.count(CONTRACT.key, at_rest) == 0
    probe = Probe(next(iter(vectors.values())), CONTRACT)
    assert (await one.verify("g", "p0", probe)).matched
    late.cancel()
    for store in stores:
        await store.migrations.aclose()
        await store.erasures.aclose()


async def test_a_protected_gallery_is_at_rest_when_its_promotion_returns(tmp_path: Path) -> None:
    store = await Store.open(f"edge://{tmp_path}", keys=FIRST)
    await filled(store, 3)
    await store.migrations.promote("g", await mapped(store))
    awake = Where({"kind": "template"}, {"resting": "yes"})
    engine = cast(Any, store)._engine
    assert [await engine.count(one.key, awake) for one in (CONTRACT, NEW)] == [0, 6]
    await store.aclose()


async def test_one_gallery_that_fails_keeps_no_other_migration_waiting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"g{number}" for number in range(4)]
    for name in names:
        await store.galleries.create(name, CONTRACT)
        await store.enroll(name, "ada", NewTemplate(unit(np.arange(1.0, 9.0)), CONTRACT))
    resting = store.migrations.worker.exchange.resting
    rest = resting.rest

    async def broken(gallery: str) -> bool:
        if gallery == "g1":
            raise StoreCorrupt("an encrypted field is damaged")
        return await rest(gallery)

    monkeypatch.setattr(resting, "rest", broken)
    for name in names:
        await store.migrations.create(name, the_map(), operating_points=POINTS, rate=1e6)

    async def others_are_mapped() -> bool:
        states = {one.gallery: one.state for one in (await store.migrations.list()).items}
        return all(states[name] is MigrationState.MAPPED for name in names if name != "g1")

    await until(others_are_mapped)
    await store.migrations.aclose()
