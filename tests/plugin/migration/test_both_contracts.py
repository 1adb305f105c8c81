"""What must not wait for a pass: erasures, moves, what callers give under both contracts; and what is refused."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from sameface_qdrant import (
    ErasureState,
    ExportKey,
    NewTemplate,
    Probe,
    Scope,
    Store,
    export_store,
)
from sameface_qdrant.engines.base import Engine, Where
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    ContractMismatch,
    InvalidArgument,
    MapMismatch,
    MigrationEnded,
    MigrationInProgress,
    MigrationNotFound,
    RequestIdReused,
    StoreTooNew,
    StoreUnavailable,
)
from sameface_qdrant.store.migrations.fence import claimed
from sameface_qdrant.store.protection.keys import KeyRing
from sameface_qdrant.store.protection.points import EMBEDDING
from sameface_qdrant.values.migration import MigrationState
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.schema import SchemaVersion
from tests.disk import contents
from tests.plugin.conftest import CONTRACT
from tests.plugin.migration.worlds import NEW, filled, mapped, new_model, points_of, the_map, unit
from tests.plugin.protection.conftest import FIRST

TEMPLATES = Where({"kind": "template"})


@pytest.mark.parametrize("keys", [None, FIRST], ids=["plain", "protected"])
async def test_an_erasure_reaches_the_files_of_both_contracts(keys: KeyRing | None, tmp_path: Path) -> None:
    store = await Store.open(f"edge://{tmp_path}", keys=keys)
    await filled(store, people=3)
    await mapped(store)
    engine = cast(Any, store)._engine

    async def stored(contract: Any) -> list[bytes]:
        """Embeddings as they are on the disk, of the points that the engine itself holds."""
        page, _ = await engine.scroll(contract.key, TEMPLATES, 1000)
        read = (await engine.get(contract.key, [point.id for point in page], with_vector=True)).values()
        at_rest = [str(point.payload[EMBEDDING]).encode() for point in read if point.vector is None]
        assert len(at_rest) == (len(read) if keys is not None and contract == NEW else 0)
        return at_rest + [point.vector.tobytes() for point in read if point.vector is not None]

    before = {contract: await stored(contract) for contract in (CONTRACT, NEW)}
    disk = contents(tmp_path)
    assert all(one in disk for one in before[CONTRACT])
    assert keys is not None or all(one in disk for one in before[NEW])  # encrypted fields are compressed
    receipt = await store.identities.delete("g", "p0", force=True)
    after = {contract: await stored(contract) for contract in (CONTRACT, NEW)}
    erased = [one for contract in before for one in before[contract] if one not in after[contract]]
    assert len(erased) == 4
    assert receipt.templates == 2
    assert (receipt.state, receipt.unreadable, receipt.compacted) == (ErasureState.DONE, True, True)
    sought = 4 if keys is None else 2  # what is encrypted is not looked for
    vectors = [one for one in receipt.evidence if one.sought == sought]
    assert vectors
    assert all((one.found_before, one.found_after) == (sought, 0) for one in vectors)
    left = contents(tmp_path)
    assert not any(one in left for one in erased)
    await store.aclose()
    again = await Store.open(f"edge://{tmp_path}", keys=keys)
    assert (await again.erasures.get(receipt.id)).state is ErasureState.DONE
    assert (await points_of(again, NEW)).keys() == (await points_of(again, CONTRACT)).keys()
    await again.aclose()


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
    for rate in (0.0, 1e-300, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidArgument):
            await store.migrations.create("g", the_map(), rate=rate)
    checked = await store.migrations.create("g", the_map(), validate_only=True)
    assert checked.id == ""
    assert (await store.galleries.get("g")).migration is None
    migration = await mapped(store, request_id="one")
    assert (await store.migrations.create("g", the_map(), request_id="one", rate=1e6)).id == migration
    with pytest.raises(RequestIdReused):
        await store.migrations.create("g", the_map(), request_id="one", rate=10.0)
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


async def test_writes_wait_at_a_fence_and_decisions_do_not(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = list((await filled(store)).values())
    await mapped(store)
    gate = store.migrations.gate
    link = await store.galleries.contracts.read_link("g")
    assert link is not None
    monkeypatch.setattr("sameface_qdrant.store.migrations.fence.WAIT_S", 0.05)
    records = cast(Any, store.migrations)._records
    async with claimed(gate, records.contracts, records, link) as fence:
        await store.identities.update("g", "p0", {"labels": {"a": "c"}})
        await fence.shut(0.0)
        with pytest.raises(StoreUnavailable) as refused:
            await store.identities.update("g", "p0", {"labels": {"a": "b"}})
        assert refused.value.retry_after_s
        with pytest.raises(ConcurrentUpdate):
            async with claimed(gate, records.contracts, records, link):
                pass
        found = await store.identify("g", Probe(vectors[0], CONTRACT))
        assert found.candidates[0].identity == "p0"
    await store.identities.update("g", "p0", {"labels": {"a": "b"}})


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
