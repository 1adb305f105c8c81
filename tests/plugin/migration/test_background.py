"""The work in the background: rates, pauses, full disks, damaged maps, and a store that was opened again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from sameface_qdrant import (
    NewTemplate,
    Store,
)
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import (
    MigrationInProgress,
    StoreFull,
)
from sameface_qdrant.values.migration import LOWEST_RATE, MigrationState
from tests.plugin.conftest import CONTRACT
from tests.plugin.migration.worlds import NEW, POINTS, filled, mapped, points_of, the_map, unit, until


async def test_a_full_disk_pauses_the_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(store)
    below = cast(Any, store.galleries.contracts).below
    upsert, full = below.upsert, True

    async def upsert_on_full_disk(collection: str, points: Sequence[Point], **options: Any) -> None:
        if full and collection == NEW.key:
            raise StoreFull("the disk is full; make room")
        await upsert(collection, points, **options)

    monkeypatch.setattr(below, "upsert", upsert_on_full_disk)
    migration = await mapped(store)
    shown = await store.migrations.get("g", migration)
    assert shown.state is MigrationState.PAUSED
    assert "disk is full" in shown.failure
    full = False
    await store.migrations.resume("g", migration)
    await store.migrations.worker.settle()
    assert (await store.migrations.get("g", migration)).state is MigrationState.MAPPED


async def test_the_rate_is_kept_and_a_pause_takes_effect(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sameface_qdrant.store.migrations.mapping.LOOK_S", 0.0)
    await filled(store)
    found = await store.migrations.create("g", the_map(), operating_points=POINTS, rate=1.0)
    assert found.estimated_end is not None

    async def begun() -> bool:
        return (await store.migrations.get("g", found.id)).mapped > 0

    await until(begun)
    shown = await store.migrations.pause("g", found.id)
    await store.migrations.worker.settle()
    paused = await store.migrations.get("g", found.id)
    assert (shown.state, paused.failure) == (MigrationState.PAUSED, "")
    assert 0 < paused.mapped < 12
    with pytest.raises(MigrationInProgress):
        await store.migrations.promote("g", found.id)
    await store.migrations.cancel("g", found.id)
    assert await points_of(store, NEW) == {}


@pytest.mark.parametrize("call", ["promote", "cancel"])
async def test_a_store_that_was_just_opened_goes_on(call: str, tmp_path: Path) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    await filled(store)
    found = await store.migrations.create("g", the_map(), operating_points=POINTS, rate=1.0)
    await store.aclose()
    store = await Store.open(f"edge://{tmp_path}")
    await store.migrations.pause("g", found.id)
    assert (await store.migrations.get("g", found.id)).mapped < 12
    await store.aclose()
    store = await Store.open(f"edge://{tmp_path}")
    if call == "cancel":
        await store.migrations.cancel("g", found.id)
        assert await points_of(store, NEW) == {}
    else:
        await store.migrations.cancel("g", found.id)
        again = await mapped(store)
        await store.aclose()
        store = await Store.open(f"edge://{tmp_path}")
        await store.migrations.promote("g", again)
        await store.aclose()
        store = await Store.open(f"edge://{tmp_path}")
        await store.migrations.roll_back("g", again)
        assert len(await points_of(store, CONTRACT)) == 18
    await store.aclose()


async def test_a_damaged_map_pauses_the_work_and_the_next_migration_brings_it_again(store: Store) -> None:
    await filled(store, people=1)
    found = await store.migrations.create("g", the_map(), operating_points=POINTS, rate=LOWEST_RATE)
    engine: Engine = cast(Any, store)._engine
    for damaged in ("", "AAAA", "not base64"):
        await engine.set_payload("meta", Where({"kind": "map"}), {"bytes": damaged})
        await store.migrations.pause("g", found.id)
        await store.migrations.worker.settle()
        await store.migrations.resume("g", found.id)
        await store.migrations.worker.settle()
        shown = await store.migrations.get("g", found.id)
        assert (shown.state, "intact template map" in shown.failure) == (MigrationState.PAUSED, True)
    await store.migrations.cancel("g", found.id)
    migration = await mapped(store)
    assert (await store.migrations.get("g", migration)).state is MigrationState.MAPPED


async def test_a_low_rate_keeps_no_other_migration_waiting(store: Store) -> None:
    await filled(store, people=1)
    slow = await store.migrations.create("g", the_map(), operating_points=POINTS, rate=LOWEST_RATE)
    await store.galleries.create("h", CONTRACT)
    await store.enroll("h", "ada", NewTemplate(unit(np.ones(8)), CONTRACT))
    fast = await store.migrations.create("h", the_map(), operating_points=POINTS, rate=1e6)

    async def is_mapped() -> bool:
        return (await store.migrations.get("h", fast.id)).state is MigrationState.MAPPED

    await until(is_mapped)
    assert (await store.migrations.get("g", slow.id)).state is MigrationState.MAPPING
    await store.migrations.cancel("g", slow.id)
    await store.migrations.worker.settle()  # it soon notices that it is to stop


async def test_a_template_that_cannot_be_mapped_pauses_the_work_and_is_named(store: Store) -> None:
    vectors = await filled(store, people=2)
    template, vector = next(iter(vectors.items()))
    # Everything along this embedding is lost.
    hole = the_map(weight=(np.eye(8) - np.outer(vector, vector)).astype(np.float32))
    found = await store.migrations.create("g", hole, operating_points=POINTS, rate=1e6)
    await store.migrations.worker.settle()
    shown = await store.migrations.get("g", found.id)
    assert shown.state is MigrationState.PAUSED
    assert template in shown.failure
    await store.identities.delete("g", "p0", force=True)
    await store.migrations.resume("g", found.id)
    await store.migrations.worker.settle()
    assert (await store.migrations.get("g", found.id)).state is MigrationState.MAPPED
    assert len(await points_of(store, NEW)) == 3
