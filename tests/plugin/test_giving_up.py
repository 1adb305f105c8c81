"""A caller that gives up at any moment leaves nothing half done, and can repeat its call."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sameface_qdrant import ErasureReceipt, ErasureState, NewTemplate, Policy, Probe, Store
from sameface_qdrant.engines.edge.engine import EdgeEngine
from sameface_qdrant.errors import GalleryNotFound, IdentityNotFound, SamefaceError
from tests.disk import contents
from tests.plugin.conftest import CONTRACT, ON_DISK, opened_store
from tests.plugin.third_engine import SqliteEngine

VECTOR = np.random.default_rng(9).normal(size=8).astype(np.float32)
CALLS = ("upsert", "delete", "get", "count", "commit", "scroll", "nearest", "ensure")


class CancellingEngine:
    """Cancels the task that it watches while the ``moment``-th call into the engine is running."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.watched: asyncio.Task[Any] | None = None
        self.moment = 0
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._engine, name)
        if name not in CALLS:
            return attribute

        async def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.watched is not None and self.calls == self.moment:
                asyncio.get_running_loop().call_soon(self.watched.cancel)
            return await attribute(*arguments, **options)

        return call


@pytest.fixture(params=sorted(ON_DISK))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def engine(kind: str, tmp_path: Path) -> CancellingEngine:
    folder = tmp_path / "store"
    return CancellingEngine(SqliteEngine(folder) if kind == "sqlite" else await EdgeEngine.open(folder))


async def prepared(engine: Any) -> Store:
    store = await Store.over(engine)
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    await store.enroll("people", "ada", [NewTemplate(VECTOR, CONTRACT)], request_id="r1")
    return store


async def delete_gallery(store: Store) -> None:
    await store.galleries.delete("people", force=True)


async def delete_identity(store: Store) -> None:
    await store.identities.delete("people", "ada", force=True)


async def delete_template(store: Store) -> None:
    (template,) = (await store.templates.list("people", "ada")).items
    await store.templates.delete("people", "ada", template.id)


async def enroll(store: Store) -> None:
    await store.enroll("people", "bob", [NewTemplate(VECTOR + 1, CONTRACT)], request_id="r2")


async def update_policy(store: Store) -> None:
    await store.galleries.update("people", policy={"verify_threshold": 0.9})


async def state(store: Store) -> dict[str, Any]:
    """Everything that a caller can see."""
    try:
        gallery = await store.galleries.get("people")
    except GalleryNotFound:
        return {}
    return {
        "policy": gallery.policy.verify_threshold,
        "revisions": [policy.verify_threshold for policy in await store.galleries.revisions("people")],
        "identities": {
            identity.id: identity.template_count for identity in (await store.identities.list("people")).items
        },
    }


@pytest.mark.parametrize("moment", range(1, 9))
@pytest.mark.parametrize("write", [delete_gallery, delete_identity, delete_template, enroll, update_policy])
async def test_a_write_is_done_or_not_done(
    engine: CancellingEngine,
    kind: str,
    tmp_path: Path,
    write: Callable[[Store], Awaitable[None]],
    moment: int,
) -> None:
    store = await prepared(engine)
    before = await state(store)
    engine.calls, engine.moment = 0, moment
    task = asyncio.ensure_future(write(store))
    engine.watched = task
    try:
        await task
        given_up = False
    except asyncio.CancelledError:
        given_up = True
    engine.watched = None
    await store.aclose()
    async with opened_store(kind, tmp_path / "store") as reopened:
        after = await state(reopened)
        if not given_up:
            assert after != before
        # A repeat is always possible, and its result is that of one call.
        try:
            await write(reopened)
        except (GalleryNotFound, IdentityNotFound, ValueError):
            assert after != before
        if write is not update_policy:
            repeated = await state(reopened)
            assert repeated != before
            if after != before:
                assert repeated == after
        if left := await state(reopened):
            assert left["policy"] == left["revisions"][-1]


async def test_a_full_disk_keeps_what_was_to_be_erased_until_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    store = await Store.open(f"edge://{folder}")
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    (stored,) = await store.enroll("people", "ada", [NewTemplate(VECTOR * 3, CONTRACT)])
    found = await store.templates.get("people", "ada", stored.id, with_vector=True)
    assert found.vector is not None
    needle = found.vector.tobytes()

    def holds() -> bool:
        while True:
            try:
                return needle in contents(folder)
            except FileNotFoundError:
                continue  # rewritten in the background meanwhile

    assert holds()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    # There is no room for the erasure note, nor for the rewritten copy.
    with monkeypatch.context() as disk:
        disk.setattr("sameface_qdrant.engines.edge.collection.write_text", full)
        with pytest.raises(SamefaceError) as refused:
            await store.identities.delete("people", "ada", force=True)
        assert refused.value.reason == "STORE_FULL"
    assert (await store.verify("people", "ada", Probe(VECTOR, CONTRACT))).score
    with monkeypatch.context() as disk:
        disk.setattr("sameface_qdrant.engines.edge.compaction.copy_from", full)
        receipt = await store.identities.delete("people", "ada", force=True)
        assert (receipt.state, receipt.unreadable, receipt.compacted) == (ErasureState.PENDING, True, False)
        assert "full" in receipt.failure
        # Calls that delete nothing do not report it.
        await store.enroll("people", "bob", [NewTemplate(VECTOR + 1, CONTRACT)])
    assert holds()
    await store.enroll("people", "cy", [NewTemplate(VECTOR + 2, CONTRACT)])
    assert (await done(store, receipt)).compacted
    assert not holds()
    assert {identity.id for identity in (await store.identities.list("people")).items} == {"bob", "cy"}
    await store.aclose()


async def test_an_erasure_that_was_cut_off_is_finished_at_the_next_start_though_nobody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    store = await Store.open(f"edge://{folder}")
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    (stored,) = await store.enroll("people", "ada", [NewTemplate(VECTOR * 3, CONTRACT)])
    found = await store.templates.get("people", "ada", stored.id, with_vector=True)
    assert found.vector is not None
    needle = found.vector.tobytes()

    def cut_off(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sameface_qdrant.engines.edge.compaction.copy_from", cut_off)
    receipt = await store.galleries.delete("people", force=True)
    assert receipt.state is ErasureState.PENDING
    await store.aclose()
    monkeypatch.undo()
    # No gallery uses the collection any more.
    reopened = await Store.open(f"edge://{folder}")
    assert (await done(reopened, receipt)).compacted
    assert needle not in contents(folder)
    await reopened.aclose()


async def done(store: Store, receipt: ErasureReceipt) -> ErasureReceipt:
    """Wait until the files are rewritten."""
    while (current := await store.erasures.get(receipt.id)).state is ErasureState.PENDING:  # noqa: ASYNC110  # the store is polled
        await asyncio.sleep(0.02)
    return current
