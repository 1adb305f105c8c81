"""A gallery gets another contract without photos, and goes back exactly as it was."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from sameface_qdrant import Store
from sameface_qdrant.values.decision import Outcome
from sameface_qdrant.values.migration import MigrationState
from tests.plugin.conftest import CONTRACT, ENGINES, opened_store
from tests.plugin.migration.worlds import NEW, POINTS, as_bytes, filled, mapped, new_model, points_of, probe_of, the_map


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened_store(request.param, tmp_path) as opened:
        yield opened


async def test_a_gallery_is_mapped_promoted_and_rolled_back_to_the_last_byte(store: Store) -> None:
    vectors = await filled(store)
    before, gallery = as_bytes(await points_of(store, CONTRACT)), await store.galleries.get("g")
    migration = await mapped(store)
    made = await points_of(store, NEW)
    assert made.keys() == before.keys()
    expected = the_map().applied(np.stack(list(vectors.values())))
    for one, vector in zip(vectors, expected, strict=True):
        assert np.allclose(np.asarray(made[one].vector), vector, atol=1e-6)
        assert (made[one].payload["origin"], made[one].payload["map"]) == ("mapped", the_map().sha256)
        assert made[one].payload["contract"] == NEW.key
    shown = await store.migrations.get("g", migration)
    assert (shown.state, shown.total, shown.mapped, shown.native) == (MigrationState.MAPPED, 12, 12, 0)
    assert (await store.galleries.get("g")).contract == CONTRACT

    promoted = await store.migrations.promote("g", migration, author="ada")
    assert promoted.state is MigrationState.PROMOTED
    now = await store.galleries.get("g")
    assert (now.contract, now.operating_points, now.policy.verify_threshold) == (NEW, POINTS, None)
    assert now.migration is not None
    assert now.migration.promoted
    assert now.mapped is not None
    for number in range(6):
        vector = list(vectors.values())[2 * number]
        decision = await store.verify("g", f"p{number}", probe_of(now, vector), threshold=0.5)
        assert decision.outcome is Outcome.MATCH

    ended = await store.migrations.roll_back("g", migration, author="ada")
    assert (ended.state, ended.total, ended.mapped) == (MigrationState.ROLLED_BACK, 12, 12)
    after = await store.galleries.get("g")
    assert (after.contract, after.operating_points, after.migration, after.mapped) == (CONTRACT, (), None, None)
    assert after.policy.verify_threshold == gallery.policy.verify_threshold == 0.5
    assert as_bytes(await points_of(store, CONTRACT)) == before
    assert await points_of(store, NEW) == {}


async def test_a_finished_migration_leaves_nothing_under_the_old_contract(store: Store) -> None:
    vectors = await filled(store)
    migration = await mapped(store)
    await store.migrations.promote("g", migration)
    finished = await store.migrations.finish("g", migration)
    assert (finished.state, finished.mapped) == (MigrationState.FINISHED, 12)
    assert await points_of(store, CONTRACT) == {}
    receipts = (await store.erasures.list(gallery="g")).items
    assert [(receipt.templates, receipt.unreadable) for receipt in receipts] == [(12, True)]
    gallery = await store.galleries.get("g")
    assert gallery.migration is None
    assert gallery.mapped is not None
    found = await store.identify("g", probe_of(gallery, next(iter(vectors.values()))), threshold=0.5)
    assert found.candidates[0].identity == "p0"
    assert new_model(next(iter(vectors.values()))).shape == (8,)
