"""The observer of migrations hears of each change that no call has made, once, and of no other."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from sameface_qdrant import Store
from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import StoreFull, StoreUnavailable
from sameface_qdrant.values.migration import MigrationState, UnaskedChange
from tests.plugin.conftest import opened_store
from tests.plugin.migration.worlds import NEW, POINTS, filled, mapped, the_map


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened_store("memory", tmp_path) as opened:
        yield opened


async def test_work_in_the_background_is_told_and_calls_are_not(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[UnaskedChange] = []
    store.migrations.observe(told.append)
    await filled(store, people=2)
    below = cast(Any, store.galleries.contracts).below
    upsert, full = below.upsert, True

    async def upsert_on_full_disk(collection: str, points: Sequence[Point], **options: Any) -> None:
        if full and collection == NEW.key:
            raise StoreFull("the disk is full; make room")
        await upsert(collection, points, **options)

    monkeypatch.setattr(below, "upsert", upsert_on_full_disk)
    migration = await mapped(store)
    assert told == [UnaskedChange("g", migration, MigrationState.PAUSED, "STORE_FULL")]
    full = False
    await store.migrations.resume("g", migration)
    await store.migrations.worker.settle()
    assert told[1:] == [UnaskedChange("g", migration, MigrationState.MAPPED)]
    await store.migrations.promote("g", migration)
    await store.migrations.roll_back("g", migration)
    slow = await store.migrations.create("g", the_map(), operating_points=POINTS, rate=0.5)
    await store.migrations.pause("g", slow.id)
    await store.migrations.cancel("g", slow.id)
    await store.migrations.worker.settle()
    assert len(told) == 2


async def test_calls_that_were_interrupted_are_told_when_they_are_finished(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(store, people=2)
    migration = await mapped(store)
    told: list[UnaskedChange] = []
    store.migrations.observe(told.append)

    async def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("the store does not answer")

    for change, interrupted, at in (
        (store.migrations.promote, store.migrations.worker, "note_promotion"),
        (store.migrations.finish, cast(Any, store.migrations)._exchange, "erase_secondary"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(type(interrupted), at, away)
            with pytest.raises(StoreUnavailable):
                await change("g", migration)
        store.migrations.wake()
        await store.migrations.worker.settle()
    assert told == [
        UnaskedChange("g", migration, MigrationState.PROMOTED),
        UnaskedChange("g", migration, MigrationState.FINISHED),
    ]
    store.migrations.wake()
    await store.migrations.worker.settle()
    assert len(told) == 2
