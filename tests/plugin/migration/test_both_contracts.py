"""What must not wait for a pass: erasures, moves, what callers give under both contracts; and what is refused."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from sameface_qdrant import ErasureState, ExportKey, NewTemplate, OperatingPoint, Probe, Scope, Store, export_store
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    ContractMismatch,
    InvalidArgument,
    MapMismatch,
    MigrationEnded,
    MigrationInProgress,
    MigrationNotFound,
    StoreFull,
    StoreTooNew,
    StoreUnavailable,
    ThresholdNotCalibrated,
)
from sameface_qdrant.store.migrations.fence import fenced
from sameface_qdrant.store.protection.keys import KeyRing
from sameface_qdrant.values.migration import MigrationState
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.schema import SchemaVersion
from tests.disk import contents
from tests.plugin.conftest import CONTRACT
from tests.plugin.migration.worlds import NEW, POINTS, as_bytes, filled, mapped, new_model, points_of, the_map, unit
from tests.plugin.protection.conftest import FIRST

TEMPLATES = Where({"kind": "template"})


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = await Store.open(":memory:")
    yield opened
    await opened.aclose()


@pytest.mark.parametrize("keys", [None, FIRST], ids=["plain", "protected"])
async def test_an_erasure_reaches_the_files_of_both_contracts(keys: KeyRing | None, tmp_path: Path) -> None:
    store = await Store.open(f"edge://{tmp_path}", keys=keys)
    await filled(store, people=3)
    await mapped(store)
    engine = cast(Any, store)._engine

    async def stored(contract: Any) -> list[bytes]:
        """Vectors as they are on the disk, of the points that the engine itself holds."""
        page, _ = await engine.scroll(contract.key, TEMPLATES, 1000)
        read = await engine.get(contract.key, [point.id for point in page], with_vector=True)
        return [point.vector.tobytes() for point in read.values() if point.vector is not None]

    before = {contract: await stored(contract) for contract in (CONTRACT, NEW)}
    assert all(one in contents(tmp_path) for vectors in before.values() for one in vectors)
    receipt = await store.identities.delete("g", "p0", force=True)
    after = {contract: await stored(contract) for contract in (CONTRACT, NEW)}
    erased = [one for contract in before for one in before[contract] if one not in after[contract]]
    assert len(erased) == 4
    assert receipt.templates == 2
    assert (receipt.state, receipt.unreadable, receipt.compacted) == (ErasureState.DONE, True, True)
    vectors = [one for one in receipt.evidence if one.sought == 4]
    assert vectors
    assert all((one.found_before, one.found_after) == (4, 0) for one in vectors)
    left = contents(tmp_path)
    assert not any(one in left for one in erased)
    await store.aclose()
    again = await Store.open(f"edge://{tmp_path}", keys=keys)
    assert (await again.erasures.get(receipt.id)).state is ErasureState.DONE
    assert (await points_of(again, NEW)).keys() == (await points_of(again, CONTRACT)).keys()
    await again.aclose()


async def test_a_protected_gallery_migrates_under_its_key(tmp_path: Path) -> None:
    store = await Store.open(f"edge://{tmp_path}", keys=FIRST)
    vectors = await filled(store)
    before = as_bytes(await points_of(store, CONTRACT))
    migration = await mapped(store)
    await store.migrations.promote("g", migration)
    expected = the_map().applied(np.stack(list(vectors.values())))
    made = await points_of(store, NEW)
    assert all(
        np.allclose(np.asarray(made[one].vector), vector, atol=1e-5)
        for one, vector in zip(vectors, expected, strict=True)
    )
    disk = contents(tmp_path)
    assert not any(one.vector is not None and one.vector.tobytes() in disk for one in made.values())
    assert b'"p0"' not in disk
    await store.migrations.roll_back("g", migration)
    assert as_bytes(await points_of(store, CONTRACT)) == before
    await store.aclose()


async def test_a_native_embedding_stays_through_passes_and_moves(store: Store) -> None:
    await filled(store, people=2)
    migration = await mapped(store)
    vector = unit(np.arange(1.0, 9.0))
    native = new_model(vector)
    await store.enroll("g", "ada", NewTemplate(vector, CONTRACT, also=(Probe(native, NEW),)))
    await store.identities.move("g", "ada", "ada l.")
    shown = await store.migrations.get("g", migration)
    assert (shown.total, shown.mapped, shown.native) == (5, 4, 1)
    await store.migrations.promote("g", migration)
    (template,) = (await store.templates.list("g", "ada l.")).items
    read = await store.templates.get("g", "ada l.", template.id, with_vector=True)
    assert read.embedding_origin is EmbeddingOrigin.NATIVE
    assert np.allclose(np.asarray(read.vector), native, atol=1e-6)


async def test_what_is_enrolled_after_a_promotion_needs_an_old_embedding_to_go_back(store: Store) -> None:
    await filled(store, people=1)
    migration = await mapped(store)
    await store.migrations.promote("g", migration)
    vector = unit(np.arange(1.0, 9.0))
    await store.enroll("g", "both", NewTemplate(new_model(vector), NEW, also=(Probe(vector, CONTRACT),)))
    await store.enroll("g", "new", NewTemplate(new_model(unit(np.ones(8))), NEW))
    with pytest.raises(InvalidArgument) as refused:
        await store.migrations.roll_back("g", migration)
    assert refused.value.metadata == {"field": "discard_new", "templates": "1"}
    assert (await store.galleries.get("g")).contract == NEW
    await store.migrations.roll_back("g", migration, discard_new=True)
    (both,) = (await store.templates.list("g", "both")).items
    read = await store.templates.get("g", "both", both.id, with_vector=True)
    assert np.allclose(np.asarray(read.vector), vector, atol=1e-6)
    assert (await store.templates.list("g", "new")).items == ()


async def test_no_decision_compares_across_contracts(store: Store) -> None:
    vectors = list((await filled(store)).values())
    migration = await mapped(store)
    old = await store.galleries.get("g")
    with pytest.raises(ContractMismatch):
        await store.verify(old, "p0", vectors[0])  # of which contract?
    await store.migrations.promote("g", migration)
    with pytest.raises(ConcurrentUpdate):
        await store.verify(old, "p0", Probe(vectors[0], CONTRACT), scope=Scope.CLAIM)
    with pytest.raises(ContractMismatch):
        await store.verify("g", "p0", Probe(vectors[0], CONTRACT))
    with pytest.raises(ContractMismatch):
        await store.enroll("g", "p9", NewTemplate(vectors[0], CONTRACT))
    # A caller that read the gallery before gives both, and the right one is taken.
    await store.enroll("g", "p9", NewTemplate(vectors[0], CONTRACT, also=(Probe(new_model(vectors[0]), NEW),)))
    (stored,) = (await store.templates.list("g", "p9")).items
    assert stored.contract_key == NEW.key


@pytest.mark.parametrize("promoted", [False, True])
async def test_a_deleted_gallery_leaves_nothing_under_either_contract(store: Store, promoted: bool) -> None:
    await filled(store)
    migration = await mapped(store)
    if promoted:
        await store.migrations.promote("g", migration)
    engine: Engine = cast(Any, store)._engine
    await store.galleries.delete("g", force=True)
    await store.migrations.worker.settle()
    for contract in (CONTRACT, NEW):
        assert await engine.count(contract.key, TEMPLATES) == 0
    assert (await store.migrations.list()).items == ()
    await store.galleries.create("g", CONTRACT)
    with pytest.raises(MigrationNotFound):
        await store.migrations.get("g", migration)
    await store.identities.create("g", "ada")


async def test_what_a_migration_stands_in_the_way_of_is_refused(store: Store, tmp_path: Path) -> None:
    await filled(store, people=1)
    other = NEW.__class__("voices", 3, "c" * 64, 8, "none")
    for wrong in (the_map(old=other), the_map(old=other, new=CONTRACT)):
        with pytest.raises(MapMismatch):
            await store.migrations.create("g", wrong)
    with pytest.raises(InvalidArgument):
        await store.migrations.create("g", the_map(), rate=0.0)
    checked = await store.migrations.create("g", the_map(), validate_only=True)
    assert checked.id == ""
    assert (await store.galleries.get("g")).migration is None
    migration = await mapped(store, request_id="one")
    assert (await store.migrations.create("g", the_map(), request_id="one")).id == migration
    with pytest.raises(MigrationInProgress):
        await store.migrations.create("g", the_map())
    with pytest.raises(MigrationInProgress, match="exported"):
        await export_store(store, tmp_path / "file", ExportKey.of_passphrase("correct horse battery"), galleries=["g"])
    with pytest.raises(MigrationInProgress):
        await store.migrations.roll_back("g", migration)
    with pytest.raises(MigrationInProgress):
        await store.migrations.finish("g", migration)
    await store.migrations.promote("g", migration)
    with pytest.raises(MigrationInProgress):
        await store.migrations.cancel("g", migration)
    await store.migrations.finish("g", migration)
    assert (await store.migrations.finish("g", migration)).state is MigrationState.FINISHED
    with pytest.raises(MigrationEnded):
        await store.migrations.roll_back("g", migration)


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
    name = "mapped_verify_threshold" if points else "verify_threshold"
    await store.migrations.promote("g", found.id, policy=cast(Any, {name: 0.5}))
    assert getattr((await store.galleries.get("g")).policy, name) == 0.5


async def test_thresholds_of_identities_belong_to_one_contract(store: Store) -> None:
    await filled(store, people=2)
    await store.identities.update("g", "p0", {"verify_threshold": 0.9})
    migration = await mapped(store)
    with pytest.raises(InvalidArgument):
        await store.migrations.promote("g", migration)
    await store.migrations.promote("g", migration, drop_identity_thresholds=True)
    assert (await store.identities.get("g", "p0")).verify_threshold is None
    await store.migrations.roll_back("g", migration)
    assert (await store.identities.get("g", "p0")).verify_threshold == 0.9


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
    monkeypatch.setattr("sameface_qdrant.store.migrations.passes.SMALLEST_PAGE", 4)
    monkeypatch.setattr("sameface_qdrant.store.migrations.worker.LOOK_S", 0.0)
    await filled(store)
    found = await store.migrations.create("g", the_map(), operating_points=POINTS, rate=20.0)
    assert found.estimated_end is not None
    await asyncio.sleep(0.3)
    shown = await store.migrations.pause("g", found.id)
    await store.migrations.worker.settle()
    paused = await store.migrations.get("g", found.id)
    assert (shown.state, paused.failure) == (MigrationState.PAUSED, "")
    assert 0 < paused.mapped < 12
    with pytest.raises(MigrationInProgress):
        await store.migrations.promote("g", found.id)
    await store.migrations.cancel("g", found.id)
    assert await points_of(store, NEW) == {}


async def test_writes_wait_at_a_fence_and_decisions_do_not(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = list((await filled(store)).values())
    await mapped(store)
    gate = store.migrations.gate
    link = await store.galleries.contracts.read_link("g")
    assert link is not None
    monkeypatch.setattr("sameface_qdrant.store.migrations.fence.WAIT_S", 0.05)
    async with fenced(gate, cast(Any, store.migrations)._records, link, 0.0):
        with pytest.raises(StoreUnavailable) as refused:
            await store.identities.update("g", "p0", {"labels": {"a": "b"}})
        assert refused.value.retry_after_s
        with pytest.raises(ConcurrentUpdate):
            async with fenced(gate, cast(Any, store.migrations)._records, link, 0.0):
                pass
        found = await store.identify("g", Probe(vectors[0], CONTRACT))
        assert found.candidates[0].identity == "p0"
    await store.identities.update("g", "p0", {"labels": {"a": "b"}})


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


async def test_a_gallery_without_mapped_templates_needs_one_search_again(store: Store) -> None:
    await filled(store, people=1)
    migration = await mapped(store)
    await store.migrations.promote("g", migration)
    await store.migrations.finish("g", migration)
    await store.enroll("g", "new", NewTemplate(new_model(unit(np.ones(8))), NEW))
    await store.sweep()
    assert (await store.galleries.get("g")).mapped is not None
    await store.identities.delete("g", "p0", force=True)
    await store.sweep()
    assert (await store.galleries.get("g")).mapped is None


async def test_earlier_releases_refuse_a_gallery_in_migration_and_one_with_mapped_templates(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(store, people=1)

    async def refused() -> bool:
        with monkeypatch.context() as earlier:
            earlier.setattr("sameface_qdrant.values.schema.CURRENT", SchemaVersion(3, 1, 1))
            try:
                await store.galleries.list()
            except StoreTooNew:
                return True
            return False

    assert not await refused()
    migration = await mapped(store)
    assert await refused()
    await store.migrations.cancel("g", migration)
    assert not await refused()
    migration = await mapped(store)
    await store.migrations.promote("g", migration)
    await store.migrations.finish("g", migration)
    assert await refused()
    await store.galleries.update("g", display_name="x")
    assert await refused()


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


async def test_a_gallery_in_migration_is_not_re_keyed() -> None:
    store = await Store.open(":memory:", keys=FIRST)
    await filled(store, people=1)
    migration = await mapped(store)
    with pytest.raises(MigrationInProgress, match="re-keyed"):
        await store.rekey("g")
    await store.migrations.promote("g", migration)
    await store.migrations.finish("g", migration)
    vectors = as_bytes(await points_of(store, NEW))
    assert (await store.rekey("g")).moved == 3
    assert as_bytes(await points_of(store, NEW)).keys() == vectors.keys()
    assert (await store.galleries.get("g")).mapped is not None
    await store.aclose()
