"""Migrations of protected galleries."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from sameface_qdrant import (
    Contract,
    NewTemplate,
    Probe,
    Store,
)
from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import (
    InvalidArgument,
    MigrationInProgress,
)
from tests.disk import contents
from tests.plugin.conftest import CONTRACT
from tests.plugin.migration.worlds import NEW, as_bytes, filled, mapped, new_model, points_of, the_map, unit
from tests.plugin.protection.conftest import FIRST

TEMPLATES = Where({"kind": "template"})


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


async def test_a_fence_is_renewed_while_embeddings_wake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sameface_qdrant.store.migrations.resting.PAGE", 3)
    store = await Store.open(f"edge://{tmp_path}", keys=FIRST)
    await filled(store, people=5)
    migration = await mapped(store)
    monkeypatch.setattr("sameface_qdrant.store.migrations.fence.FENCE_S", 0.0)  # it must be renewed at each page
    await store.migrations.promote("g", migration)
    await store.migrations.roll_back("g", migration)
    assert (await store.galleries.get("g")).migration is None
    await store.aclose()


async def test_nothing_leads_from_one_stored_form_of_a_protected_gallery_to_the_other(
    tmp_path: Path,
) -> None:
    """Whoever has both stored forms of many templates, and the public map, can compute the rotations between them."""
    store = await Store.open(f"edge://{tmp_path}", keys=FIRST)
    await filled(store, people=20)
    engine = cast(Any, store)._engine

    async def searchable(contract: Contract) -> int:
        page, _ = await engine.scroll(contract.key, TEMPLATES, 1000)
        read = await engine.get(contract.key, [point.id for point in page], with_vector=True)
        return sum(point.vector is not None for point in read.values())

    async def counts() -> tuple[int, int]:
        await store.migrations.worker.settle()
        return await searchable(CONTRACT), await searchable(NEW)

    migration = await mapped(store)
    before = as_bytes(await points_of(store, CONTRACT))
    assert await counts() == (40, 0)
    vector = unit(np.arange(1.0, 9.0))
    await store.enroll("g", "ada", NewTemplate(vector, CONTRACT, also=(Probe(new_model(vector), NEW),)))
    assert await counts() == (41, 0)
    await store.migrations.promote("g", migration)
    assert await counts() == (0, 41)
    found = await store.identify("g", Probe(new_model(vector), NEW), threshold=0.5, margin=0.0)
    assert found.candidates[0].identity == "ada"
    await store.enroll("g", "new", NewTemplate(new_model(unit(np.ones(8))), NEW))
    with pytest.raises(InvalidArgument):
        await store.migrations.roll_back("g", migration)
    assert await counts() == (0, 42)
    await store.migrations.roll_back("g", migration, discard_new=True)
    assert await counts() == (41, 0)
    after = as_bytes(await points_of(store, CONTRACT))
    templates = [one for one, (payload, _) in before.items() if payload["kind"] == "template"]
    assert {one: after[one] for one in templates} == {one: before[one] for one in templates}
    await store.aclose()


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
