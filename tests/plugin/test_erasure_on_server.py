"""Erasure on a Qdrant server: when its receipts are done, and what they say.

The double of `tests.plugin.wire` is no evidence of a server's behaviour. `test_erasure_bytes` searches the folder of a
real one, and `test_rewriting` races several services.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import numpy as np
import pytest
from qdrant_client import grpc as messages

from sameface_qdrant import ErasedResource, ErasureReceipt, ErasureState, NewTemplate, Policy, ServerOptions, Store
from sameface_qdrant.errors import StoreUnavailable
from sameface_qdrant.store import pending_receipts, rewriting, segment_erasure
from sameface_qdrant.store.payloads import META
from tests.plugin.conftest import CONTRACT, random_vector
from tests.plugin.wire import Double, Fault

POLICY = Policy(verify_threshold=0.5, identify_threshold=0.5, max_templates=64)
PREFIX = ServerOptions().collection_prefix
PEOPLE = PREFIX + CONTRACT.key
PATIENCE_S = 60.0
"""Nothing may hang. This is far above every pause in these tests."""


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses: the double's configuration is in force at once."""
    monkeypatch.setattr(rewriting, "SETTLE_S", 0.0)
    monkeypatch.setattr(rewriting, "REST", 0.0)
    monkeypatch.setattr(rewriting, "LATE_S", 0.0)
    monkeypatch.setattr(pending_receipts, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(pending_receipts, "LONGEST_PAUSE_S", 0.05)


@pytest.fixture
async def double(hurried: None) -> AsyncIterator[Double]:
    started = await Double().start()
    yield started
    await started.stop()


async def opened(double: Double) -> Store:
    store = await Store.open(double.url)
    if not (await store.galleries.list()).items:
        await store.galleries.create("people", CONTRACT, policy=POLICY)
    return store


async def enroll(store: Store, identity: str, seed: int) -> None:
    vector = random_vector(np.random.default_rng(seed))
    await store.enroll("people", identity, [NewTemplate(vector, CONTRACT)])


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # the double is polled
            await asyncio.sleep(0.01)


async def until(store: Store, receipt: ErasureReceipt, holds: Callable[[ErasureReceipt], bool]) -> ErasureReceipt:
    """Read a receipt until something holds, or the test has waited long enough."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds(current := await store.erasures.get(receipt.id)):  # noqa: ASYNC110  # the store is polled
            await asyncio.sleep(0.02)
    return current


def is_done(receipt: ErasureReceipt) -> bool:
    return receipt.state is ErasureState.DONE


async def at_rest(double: Double, layout: bool = True) -> None:
    """Wait until the layout of every collection is the operator's."""
    await reached(lambda: bool(double.orders) and all(double.layouts[name] is layout for name, _ in double.orders))


def snapshot(name: str, day: int) -> Any:
    described = messages.SnapshotDescription(name=name, size=1)
    described.creation_time.FromDatetime(datetime(2026, 1, day, tzinfo=UTC))
    return described


@pytest.mark.parametrize("original", [True, False])
async def test_a_receipt_is_done_once_every_segment_was_written_again(double: Double, original: bool) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    double.layouts[PEOPLE] = original
    double.snapshots[PEOPLE] = [snapshot("old", 1), snapshot("new", 2)]
    double.snapshots[""] = [snapshot("everything", 3)]
    receipt = await store.identities.delete("people", "ada", force=True)
    assert (receipt.state, receipt.unreadable, receipt.compacted) == (ErasureState.PENDING, True, False)
    assert any("only that the points are unreadable was checked" in place for place in receipt.not_covered)
    done = await until(store, receipt, is_done)
    assert (done.unreadable, done.compacted, done.evidence, done.failure) == (True, True, (), "")
    assert done.done_time is not None
    assert done.done_time >= done.erase_time
    assert not any("only that the points" in place for place in done.not_covered)
    assert [place for place in done.not_covered if place.startswith("snapshot")] == [
        f"snapshot of the collection {PEOPLE}: new, 2026-01-02T00:00:00",
        f"snapshot of the collection {PEOPLE}: old, 2026-01-01T00:00:00",
        "snapshot of the whole server: everything, 2026-01-03T00:00:00",
    ]
    assert any("write-ahead log" in place for place in done.not_covered)
    assert any("not searched" in place for place in done.not_covered)
    await at_rest(double, original)
    assert double.orders == [(PEOPLE, not original), (PEOPLE, original)]
    await store.aclose()


async def test_a_receipt_whose_service_ended_in_between_is_completed_by_another(
    double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_erasure, "CRASHED_AFTER_S", 0.0)
    store = await opened(double)
    await enroll(store, "ada", 1)
    double.faults["Points/Delete"].append(Fault(applied=True))
    with pytest.raises(StoreUnavailable):
        await store.identities.delete("people", "ada", force=True)
    await store.sweep()
    (receipt,) = (await store.erasures.list()).items
    done = await until(store, receipt, is_done)
    assert done.compacted
    assert not done.unreadable
    assert "repeat of the deletion" in done.failure
    await store.aclose()


async def test_without_rewriting_a_receipt_is_done_at_once_and_claims_less(double: Double) -> None:
    store = await Store.open(double.url, options=ServerOptions(rewrite_segments=False))
    await store.galleries.create("people", CONTRACT, policy=POLICY)
    await enroll(store, "ada", 1)
    receipt = await store.identities.delete("people", "ada", force=True)
    assert (receipt.state, receipt.unreadable, receipt.compacted) == (ErasureState.DONE, True, False)
    assert any("only that the points are unreadable" in one for one in receipt.not_covered)
    assert not double.orders
    await store.aclose()


async def test_a_gallery_needs_its_own_record_erased_too(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    receipt = await store.galleries.delete("people", force=True)
    done = await until(store, receipt, is_done)
    assert (done.resource, done.compacted) == (ErasedResource.GALLERY, True)
    await at_rest(double)
    assert {name for name, _ in double.orders} == {PEOPLE, PREFIX + META}
    await store.aclose()


async def test_a_key_that_may_not_change_collections_erases_and_says_so(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    denied = Fault(grpc.StatusCode.PERMISSION_DENIED, "Global manage access is required")
    double.faults["Collections/Update"].append(denied)
    receipt = await store.identities.delete("people", "ada", force=True)
    done = await until(store, receipt, is_done)
    assert (done.unreadable, done.compacted) == (True, False)
    assert "may not change collections" in done.failure
    assert any("only that the points are unreadable was checked" in place for place in done.not_covered)
    assert double.orders == []
    # With another key the next deletion is covered.
    await enroll(store, "bob", 2)
    done = await until(store, await store.identities.delete("people", "bob", force=True), is_done)
    assert (done.compacted, done.failure) == (True, "")
    await store.aclose()


async def test_a_key_that_may_not_list_snapshots_says_so(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    denied = Fault(grpc.StatusCode.PERMISSION_DENIED, "Global access is required")
    double.faults["Snapshots/ListFull"].append(denied)
    done = await until(store, await store.identities.delete("people", "ada", force=True), is_done)
    assert done.compacted
    assert "snapshots of the whole server: this API key may not list them" in done.not_covered
    await store.aclose()


async def test_a_service_that_ends_is_replaced_by_another(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    double.takes = 1_000_000
    receipt = await store.identities.delete("people", "ada", force=True)
    await reached(lambda: bool(double.orders))
    await store.aclose()
    other = await opened(double)
    assert (await other.erasures.get(receipt.id)).state is ErasureState.PENDING
    double.optimizing.clear()
    double.takes = 1
    await other.sweep()
    assert (await until(other, receipt, is_done)).compacted
    await at_rest(double)
    assert double.orders[-1] == (PEOPLE, True)
    await other.aclose()


async def test_a_round_that_began_before_a_deletion_does_not_cover_it(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    await enroll(store, "bob", 2)
    double.takes = 1_000_000
    first = await store.identities.delete("people", "ada", force=True)
    await reached(lambda: bool(double.orders))
    second = await store.identities.delete("people", "bob", force=True)
    double.optimizing.clear()
    await until(store, first, is_done)
    # The layout is being set back, which takes long too.
    assert (await store.erasures.get(second.id)).state is ErasureState.PENDING
    double.takes = 1
    double.optimizing.clear()
    await until(store, second, is_done)
    await at_rest(double)
    assert double.orders == [(PEOPLE, False), (PEOPLE, True)] * 2
    await store.aclose()


async def test_a_server_that_waits_for_an_order_gets_it_again(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    double.takes = 1_000_000
    receipt = await store.identities.delete("people", "ada", force=True)
    await reached(lambda: bool(double.orders))
    # It was started again.
    double.status, double.takes = messages.CollectionStatus.Grey, 0
    double.optimizing.clear()
    await reached(lambda: len(double.orders) >= 3)
    assert set(double.orders) == {(PEOPLE, False)}
    double.status = messages.CollectionStatus.Green
    assert (await until(store, receipt, is_done)).compacted
    await store.aclose()


async def test_what_never_ends_is_given_up_and_set_back(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "LONGEST_S", 0.1)
    monkeypatch.setattr(rewriting, "REST", 1e9)
    store = await opened(double)
    await enroll(store, "ada", 1)
    double.takes = 1_000_000
    receipt = await store.identities.delete("people", "ada", force=True)
    told = await until(store, receipt, lambda one: "did not finish" in one.failure)
    assert (told.state, told.compacted) == (ErasureState.PENDING, False)
    double.optimizing.clear()
    await at_rest(double)
    assert double.orders == [(PEOPLE, False), (PEOPLE, True)]
    await store.aclose()


async def test_an_order_that_gets_no_answer_is_repeated(double: Double) -> None:
    store = await opened(double)
    await enroll(store, "ada", 1)
    lost = Fault(grpc.StatusCode.DEADLINE_EXCEEDED, "lost", applied=True)
    double.faults["Collections/Update"].extend([Fault(grpc.StatusCode.INTERNAL, "failed"), lost, lost])
    receipt = await store.identities.delete("people", "ada", force=True)
    assert (await until(store, receipt, is_done)).compacted
    await at_rest(double)
    assert double.orders[-1] == (PEOPLE, True)
    await store.aclose()
