"""Calls that end or exchange a migration overlap: clients repeat them, and operators press twice. Nothing is lost."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from sameface_qdrant import NewTemplate, Probe, Store
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    ContractMismatch,
    MigrationEnded,
    MigrationInProgress,
    SamefaceError,
    StoreUnavailable,
)
from sameface_qdrant.store.migrations.passes import Pass
from tests.plugin.conftest import CONTRACT
from tests.plugin.migration.worlds import NEW, as_bytes, filled, mapped, new_model, points_of, unit

OVERTAKEN: tuple[type[SamefaceError], ...] = (ConcurrentUpdate, MigrationInProgress, MigrationEnded, StoreUnavailable)


async def enrolled(store: Store, number: int, known: dict[str, np.ndarray]) -> None:
    """Enrol somebody with embeddings by both models, as often as it takes."""
    vector = unit(np.random.default_rng(100 + number).normal(size=8))
    while True:
        gallery = await store.galleries.get("g")
        old, new = Probe(vector, CONTRACT), Probe(new_model(vector), NEW)
        mine, other = (old, new) if gallery.contract == CONTRACT else (new, old)
        template = NewTemplate(mine.vector, mine.contract, content=b"%d" % number, also=(other,))
        try:
            (stored,) = await store.enroll("g", f"n{number}", template)
        except (ConcurrentUpdate, ContractMismatch, StoreUnavailable):
            await asyncio.sleep(0.001)
            continue
        known[stored.id] = vector
        return


async def held_back(
    monkeypatch: pytest.MonkeyPatch,
    at: str,
    first: Callable[[], Coroutine[Any, Any, Any]],
    then: Callable[[], Awaitable[Any]],
) -> list[Any]:
    """Let the first call stop at a step of a pass, make other calls meanwhile, and let it go on."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    step = getattr(Pass, at)

    async def stopping(self: Pass, *given: Any) -> Any:
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        return await step(self, *given)

    monkeypatch.setattr(Pass, at, stopping)
    held = asyncio.create_task(first())
    await asyncio.wait([held, asyncio.create_task(reached.wait())], return_when=asyncio.FIRST_COMPLETED)
    between = await asyncio.gather(then(), return_exceptions=True)
    go_on.set()
    return [*between, *await asyncio.gather(held, return_exceptions=True)]


@pytest.mark.parametrize("at", ["run", "_run_among"])
async def test_what_is_enrolled_between_two_promotions_is_there(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await Store.open(":memory:")
    await filled(store, people=3)
    migration = await mapped(store)
    before = as_bytes(await points_of(store, CONTRACT))
    known: dict[str, np.ndarray] = {}
    await enrolled(store, 1, known)

    async def enroll_and_promote() -> None:
        if at == "run":  # not at the fence yet
            await enrolled(store, 2, known)
        await store.migrations.promote("g", migration)

    overtaken, promoted = await held_back(
        monkeypatch, at, lambda: store.migrations.promote("g", migration), enroll_and_promote
    )
    assert isinstance(overtaken, ConcurrentUpdate)
    assert promoted is None or not isinstance(promoted, Exception)
    await enrolled(store, 3, known)
    assert (await points_of(store, NEW)).keys() >= before.keys() | known.keys()
    await store.migrations.roll_back("g", migration)
    after = as_bytes(await points_of(store, CONTRACT))
    assert after.keys() >= before.keys() | known.keys()
    assert {one: after[one] for one in before} == before
    await store.aclose()


@pytest.mark.parametrize("at", ["run", "_run_among", "_has_orphans", "_remove_orphans"])
async def test_a_roll_back_that_stood_still_erases_nothing(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await Store.open(":memory:")
    await filled(store, people=3)
    migration = await mapped(store)
    before = as_bytes(await points_of(store, CONTRACT))
    await store.migrations.promote("g", migration)
    monkeypatch.setattr("sameface_qdrant.store.migrations.fence.FENCE_S", -1.0)  # whoever stands still is overtaken
    results = await held_back(
        monkeypatch,
        at,
        lambda: store.migrations.roll_back("g", migration),
        lambda: store.migrations.roll_back("g", migration),
    )
    assert all(not isinstance(one, Exception) or isinstance(one, OVERTAKEN) for one in results)
    monkeypatch.undo()
    gallery = await store.galleries.get("g")
    if gallery.migration is not None:
        await store.migrations.roll_back("g", migration)
    assert as_bytes(await points_of(store, CONTRACT)) == before
    assert await points_of(store, NEW) == {}
    await store.aclose()


@pytest.mark.parametrize("seed", range(6))
async def test_overlapping_calls_lose_nothing(seed: int) -> None:
    """Promotions, roll backs, ends and enrolments in a random order, each begun while others run."""
    store, rng = await Store.open(":memory:"), random.Random(seed)
    await filled(store, people=4)
    before = as_bytes(await points_of(store, CONTRACT))
    migration = await mapped(store)
    known: dict[str, np.ndarray] = {}
    ended: list[str] = []

    async def once(name: str, number: int) -> None:
        await asyncio.sleep(rng.uniform(0, 0.05))
        if name == "enroll":
            await enrolled(store, number, known)
            return
        try:
            await getattr(store.migrations, name)("g", migration)
            ended.append(name)
        except OVERTAKEN:
            return

    names = ["promote"] * 3 + ["enroll"] * 4 + ["roll_back"] * 3
    if seed % 3 == 0:
        names += ["finish", "finish"]
    if seed % 3 == 1:
        names += ["cancel", "cancel"]
    rng.shuffle(names)
    async with asyncio.TaskGroup() as group:
        for number, name in enumerate(names):
            group.create_task(once(name, number))
    await store.migrations.worker.settle()
    gallery = await store.galleries.get("g")
    points = await points_of(store, gallery.contract)
    assert points.keys() >= before.keys() | known.keys()
    for one, vector in known.items():
        expected = vector if gallery.contract == CONTRACT else new_model(vector)
        assert float(np.asarray(points[one].vector) @ expected) > 0.95
    if gallery.contract == CONTRACT:
        assert {one: as_bytes(points)[one] for one in before} == before
    if gallery.migration is None:
        assert await points_of(store, NEW if gallery.contract == CONTRACT else CONTRACT) == {}
    assert ended
    await store.aclose()
