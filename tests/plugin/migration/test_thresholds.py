"""Thresholds belong to one contract: plans, promotions and roll backs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from sameface_qdrant import (
    GuardAction,
    OperatingPoint,
    Store,
)
from sameface_qdrant.errors import (
    InvalidArgument,
    ThresholdNotCalibrated,
)
from sameface_qdrant.values.gallery import POLICY_SETTINGS
from tests.plugin.conftest import CONTRACT
from tests.plugin.migration.worlds import NEW, POINTS, filled, mapped, points_of, the_map


@pytest.mark.parametrize(("points", "map_points"), [((), POINTS), (POINTS, ())])
async def test_a_promotion_without_thresholds_is_refused(
    store: Store, points: Sequence[OperatingPoint], map_points: tuple[OperatingPoint, ...]
) -> None:
    await filled(store, people=1)
    uncalibrated = the_map(operating_points=map_points)
    plan = await store.migrations.plan("g", uncalibrated, operating_points=points)
    assert plan.problems
    found = await store.migrations.create("g", uncalibrated, operating_points=points, rate=1e6)
    await store.migrations.worker.settle()
    with pytest.raises(ThresholdNotCalibrated):
        await store.migrations.promote("g", found.id)
    assert (await store.galleries.get("g")).contract == CONTRACT
    prefix = "mapped_" if points else ""
    needed = {f"{prefix}{use}_threshold": 0.5 for use in ("verify", "identify")}
    for missing in needed:
        given = {name: 0.5 for name in needed if name != missing}
        with pytest.raises(ThresholdNotCalibrated, match=missing):
            await store.migrations.promote("g", found.id, policy=cast(Any, given))
    await store.migrations.promote("g", found.id, policy=cast(Any, needed))
    policy = (await store.galleries.get("g")).policy
    assert {name: getattr(policy, name) for name in needed} == needed


async def test_thresholds_of_identities_belong_to_one_contract(store: Store) -> None:
    await filled(store, people=2)
    await store.identities.update("g", "p0", {"verify_threshold": 0.9})
    migration = await mapped(store)
    with pytest.raises(InvalidArgument):
        await store.migrations.promote("g", migration)
    await store.migrations.promote("g", migration, drop_identity_thresholds=True)
    assert (await store.identities.get("g", "p0")).verify_threshold is None
    await store.identities.move("g", "p0", "renamed")
    await store.identities.move("g", "p1", "p0")
    await store.migrations.roll_back("g", migration)
    assert (await store.identities.get("g", "renamed")).verify_threshold == 0.9
    assert (await store.identities.get("g", "p0")).verify_threshold is None


async def test_a_roll_back_restores_every_setting_that_was_changed_for_the_new_contract(store: Store) -> None:
    await filled(store, people=2)
    await store.galleries.update("g", policy={"runner_up_margin": 0.11, "target_fmr": 1e-3, "max_templates": 7})
    before = (await store.galleries.get("g")).policy
    migration = await mapped(store)
    await store.migrations.promote("g", migration, policy={"runner_up_margin": 0.2, "max_templates": 9})
    # A calibration under the new contract changes more.
    await store.galleries.update("g", policy={"runner_up_margin": 0.3, "target_fmr": 1e-5, "verify_threshold": 0.7})
    await store.galleries.update("g", policy={"on_outlier": "reject"})
    await store.migrations.roll_back("g", migration)
    after = (await store.galleries.get("g")).policy
    names = [one.name for one in POLICY_SETTINGS if one.name != "on_outlier"]
    assert {name: getattr(after, name) for name in names} == {name: getattr(before, name) for name in names}
    assert after.on_outlier is GuardAction.REJECT


async def test_a_plan_counts_and_compares(store: Store) -> None:
    await filled(store)
    plan = await store.migrations.plan("g", the_map(), operating_points=POINTS)
    assert (plan.templates, plan.native, plan.mapped, plan.expired, plan.problems) == (12, 12, 0, 0, ())
    assert (plan.compared, plan.identity_thresholds) == (12, 0)
    assert 0 <= plan.changed <= 12
    assert plan.bytes_needed > 12 * 4 * 8
    assert plan.seconds > 0
    # A map that brings everybody to one place changes every answer that was right.
    flat = the_map(weight=np.full((8, 8), 1e-6, np.float32), bias=np.ones(8, np.float32))
    assert (await store.migrations.plan("g", flat)).changed > 6
    assert await points_of(store, NEW) == {}


async def test_thresholds_of_an_earlier_map_are_not_taken_for_those_of_the_next(store: Store) -> None:
    await filled(store, people=1)
    migration = await mapped(store)
    await store.migrations.promote("g", migration, policy={"mapped_verify_threshold": 0.9, "verify_threshold": 0.8})
    await store.migrations.finish("g", migration)
    third = replace(NEW, version=3, sha256="c" * 64)
    second = the_map(old=NEW, new=third)
    found = await store.migrations.create("g", second, operating_points=POINTS, rate=1e6)
    await store.migrations.worker.settle()
    await store.migrations.promote("g", found.id)
    gallery = await store.galleries.get("g")
    assert (gallery.policy.mapped_verify_threshold, gallery.policy.verify_threshold) == (None, None)
    assert gallery.mapped is not None
    assert gallery.mapped.map_sha256 == second.sha256
    await store.migrations.roll_back("g", found.id)
    gallery = await store.galleries.get("g")
    assert (gallery.policy.mapped_verify_threshold, gallery.policy.verify_threshold) == (0.9, 0.8)
    assert gallery.mapped is not None
    assert gallery.mapped.map_sha256 == the_map().sha256
