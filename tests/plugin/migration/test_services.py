"""Several services on one Qdrant, of which one migrates the gallery that the others write to."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import NewTemplate, Probe, Store
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
from tests.plugin.migration.worlds import NEW, POINTS, as_bytes, filled, new_model, points_of, the_map, unit
from tests.plugin.test_services import SharedEngine

LEASE_S = 0.2
AGAIN: tuple[type[SamefaceError], ...] = (ConcurrentUpdate, StoreUnavailable, ContractMismatch)


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sameface_qdrant.store.migrations.migrations.LEASE_S", LEASE_S)
    monkeypatch.setattr("sameface_qdrant.store.migrations.both_contracts.FORGIVEN_S", LEASE_S / 2)
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


async def enrolling(store: Store, seen: Seen, number: int) -> None:
    rng = np.random.default_rng(number)
    for turn in range(10**6):
        if seen.stop:
            return
        vector = unit(rng.normal(size=8))

        async def enroll(vector: np.ndarray = vector, name: str = f"n{number}-{turn}") -> Any:
            gallery = await store.galleries.recent("g")
            old, new = Probe(vector, CONTRACT), Probe(new_model(vector), NEW)
            mine, other = (old, new) if gallery.contract == CONTRACT else (new, old)
            template = NewTemplate(mine.vector, mine.contract, content=name.encode(), also=(other,))
            return await store.enroll("g", name, template, request_id=name)

        (stored,) = await until_done(enroll)
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


async def test_nothing_is_lost_while_a_service_migrates_what_others_write(services: list[Store]) -> None:
    one, two, three = services
    vectors = await filled(one)
    before = as_bytes(await points_of(one, CONTRACT))
    seen = Seen()
    first = next(iter(vectors.values()))
    others = [
        asyncio.create_task(call)
        for call in (enrolling(two, seen, 1), enrolling(three, seen, 2), deciding(three, seen, first))
    ]

    async def begun() -> Any:
        return await one.migrations.create("g", the_map(), operating_points=POINTS, rate=1e6, request_id="m")

    found = await until_done(begun)
    await one.migrations.worker.settle()
    assert (await two.migrations.get("g", found.id)).state is MigrationState.MAPPED
    await check(one, seen)
    await asyncio.sleep(0.1)
    await until_done(lambda: one.migrations.promote("g", found.id))
    await asyncio.sleep(3 * LEASE_S)
    await check(two, seen)
    # On a busy machine an enrolment may take longer than the short lease, and be between its two writes.
    await until_done(lambda: two.migrations.roll_back("g", found.id), (*AGAIN, InvalidArgument))
    await asyncio.sleep(LEASE_S)
    seen.stop = True
    await asyncio.gather(*others)
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
