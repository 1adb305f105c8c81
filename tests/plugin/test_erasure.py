"""Receipts of erasures say what is true, and no more."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface_qdrant import (
    ErasedResource,
    ErasureReceipt,
    ErasureState,
    NewTemplate,
    Policy,
    Probe,
    Store,
    Template,
)
from sameface_qdrant.engines.edge import compaction
from sameface_qdrant.engines.edge.byte_scan import WINDOW, present
from sameface_qdrant.errors import ErasureNotFound, IdentityNotFound
from tests.disk import contents
from tests.plugin.conftest import CONTRACT, opened_store, random_vector

POLICY = Policy(verify_threshold=0.5, identify_threshold=0.5, max_templates=64)
VECTOR, POINT, DIGEST = 0, 1, 2


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(f"edge://{tmp_path / 'store'}")
    await opened.galleries.create("people", CONTRACT, policy=POLICY)
    yield opened
    await opened.aclose()


@pytest.fixture
def in_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every collection as large."""
    monkeypatch.setattr(compaction, "REWRITE_AT_ONCE", 0)


async def enroll(store: Store, identity: str, rng: np.random.Generator, count: int = 1) -> list[Template]:
    new = [NewTemplate(random_vector(rng), CONTRACT) for _ in range(count)]
    stored = await store.enroll("people", identity, new)
    return [await store.templates.get("people", identity, one.id, with_vector=True) for one in stored]


async def done(store: Store, receipt: ErasureReceipt) -> ErasureReceipt:
    """Wait until the files are rewritten."""
    while (current := await store.erasures.get(receipt.id)).state is ErasureState.PENDING:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return current


def bytes_of(template: Template) -> bytes:
    assert template.vector is not None
    return template.vector.astype("<f4").tobytes()


@pytest.mark.parametrize("resource", list(ErasedResource))
async def test_a_receipt_says_what_was_erased_and_proves_it(
    edge: Store, tmp_path: Path, rng: np.random.Generator, resource: ErasedResource
) -> None:
    templates = await enroll(edge, "ada", rng, 3)
    (kept,) = await enroll(edge, "bob", rng)
    assert bytes_of(templates[0]) in contents(tmp_path)
    match resource:
        case ErasedResource.TEMPLATE:
            receipt = await edge.templates.delete("people", "ada", templates[0].id)
            counts, sampled = (1, 0), 1
        case ErasedResource.IDENTITY:
            receipt = await edge.identities.delete("people", "ada", force=True)
            counts, sampled = (3, 1), 4
        case _:
            receipt = await edge.galleries.delete("people", force=True)
            # Two identities and the gallery itself, which contains its first policy.
            counts, sampled = (4, 3), 6
    assert (receipt.state, receipt.unreadable, receipt.compacted) == (ErasureState.DONE, True, True)
    assert (receipt.resource, receipt.gallery) == (resource, "people")
    assert receipt.identity == ("" if resource is ErasedResource.GALLERY else "ada")
    assert receipt.template == (templates[0].id if resource is ErasedResource.TEMPLATE else "")
    assert ((receipt.templates, receipt.records), receipt.sampled) == (counts, sampled)
    for evidence in receipt.evidence:
        assert (evidence.sought > 0, evidence.found_after) == (True, 0)
    for evidence in receipt.evidence[VECTOR], receipt.evidence[POINT]:
        assert evidence.found_before == evidence.sought
    assert receipt.evidence[VECTOR].sought == receipt.templates
    # Payloads are compressed, so sometimes a digest is not in one piece. The receipt says so then.
    digests = receipt.evidence[DIGEST]
    expected = (digests.representation,) if digests.found_before < digests.sought else ()
    assert receipt.not_provable == expected
    assert receipt.done_time is not None
    assert receipt.done_time >= receipt.erase_time
    assert any("file system" in what for what in receipt.not_covered)
    # Checked by another scan than the receipt's.
    assert bytes_of(templates[0]) not in contents(tmp_path)
    assert (bytes_of(kept) in contents(tmp_path)) is (resource is not ErasedResource.GALLERY)
    assert await edge.erasures.get(receipt.id) == receipt
    assert (await edge.erasures.list()).items == (receipt,)
    assert (await edge.erasures.list(gallery="others")).items == ()


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
async def test_without_evidence_a_receipt_says_that_only_unreadability_was_checked(
    engine: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    async with opened_store(engine, tmp_path) as store:
        await store.galleries.create("people", CONTRACT, policy=POLICY)
        await enroll(store, "ada", rng)
        receipt = await store.identities.delete("people", "ada", force=True)
        assert (receipt.state, receipt.unreadable) == (ErasureState.DONE, True)
        assert (receipt.compacted, receipt.evidence) == (False, ())
        assert any("only that the points are unreadable was checked" in what for what in receipt.not_covered)
        assert await store.erasures.get(receipt.id) == receipt


async def test_what_is_gone_already_is_not_found_and_makes_no_receipt(store: Store, rng: np.random.Generator) -> None:
    await store.galleries.create("people", CONTRACT, policy=POLICY)
    await enroll(store, "ada", rng)
    await store.identities.delete("people", "ada", force=True)
    with pytest.raises(IdentityNotFound):
        await store.identities.delete("people", "ada", force=True)
    assert len((await store.erasures.list()).items) == 1
    with pytest.raises(ErasureNotFound):
        await store.erasures.get("0" * 32)


async def test_receipts_outlive_the_process_and_hold_no_vector(edge: Store, tmp_path: Path) -> None:
    (template,) = await enroll(edge, "ada", np.random.default_rng(3))
    receipt = await edge.identities.delete("people", "ada", force=True)
    await edge.galleries.delete("people")
    await edge.aclose()
    reopened = await Store.open(f"edge://{tmp_path / 'store'}")
    assert await reopened.erasures.get(receipt.id) == receipt
    assert bytes_of(template) not in contents(tmp_path)
    assert not list((tmp_path / "store").glob("*/erasures/*"))
    await reopened.aclose()


@pytest.mark.usefixtures("in_background")
async def test_in_a_large_collection_the_receipt_is_pending_first(
    edge: Store, tmp_path: Path, rng: np.random.Generator
) -> None:
    (template,) = await enroll(edge, "ada", rng)
    await enroll(edge, "bob", rng)
    receipt = await edge.identities.delete("people", "ada", force=True)
    assert (receipt.state, receipt.unreadable, receipt.compacted) == (ErasureState.PENDING, True, False)
    assert [evidence.found_after for evidence in receipt.evidence] == [None, None, None]
    finished = await done(edge, receipt)
    assert (finished.unreadable, finished.compacted) == (True, True)
    assert [evidence.found_after for evidence in finished.evidence] == [0, 0, 0]
    assert bytes_of(template) not in contents(tmp_path)


@pytest.mark.usefixtures("in_background")
async def test_what_is_written_and_erased_while_files_are_rewritten_is_as_written(
    edge: Store, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sameface_qdrant.engines.edge.shard.COPY_BATCH", 5)
    choices = random.Random(20261124)
    owed: dict[str, dict[str, bytes]] = {}
    erased: list[bytes] = []
    receipts: list[ErasureReceipt] = []
    for number in range(30):
        match choices.choice(["enroll", "enroll", "more", "identity", "template"]):
            case "more" if owed:
                identity = choices.choice(sorted(owed))
            case "identity" if owed:
                identity = choices.choice(sorted(owed))
                erased += owed.pop(identity).values()
                receipts.append(await edge.identities.delete("people", identity, force=True))
                continue
            case "template" if owed:
                identity = choices.choice(sorted(owed))
                if owed[identity]:
                    key = choices.choice(sorted(owed[identity]))
                    erased.append(owed[identity].pop(key))
                    receipts.append(await edge.templates.delete("people", identity, key))
                continue
            case _:
                identity = f"p{number}"
        stored = await enroll(edge, identity, rng, 2)
        owed.setdefault(identity, {}).update({one.id: bytes_of(one) for one in stored})
    for receipt in receipts:
        finished = await done(edge, receipt)
        assert [evidence.found_after for evidence in finished.evidence] == [0] * 3
    await edge.aclose()
    reopened = await Store.open(f"edge://{tmp_path / 'store'}")
    found = {
        identity.id: {
            one.id: bytes_of(await reopened.templates.get("people", identity.id, one.id, with_vector=True))
            for one in (await reopened.templates.list("people", identity.id)).items
        }
        for identity in (await reopened.identities.list("people")).items
    }
    assert found == owed
    left = contents(tmp_path)
    assert not [needle for needle in erased if needle in left]
    assert len(list((tmp_path / "store" / CONTRACT.key).glob("shard-*"))) == 1
    await reopened.aclose()


@pytest.mark.usefixtures("in_background")
async def test_several_deletions_share_a_compaction(edge: Store, tmp_path: Path, rng: np.random.Generator) -> None:
    for number in range(12):
        await enroll(edge, f"p{number}", rng)
    receipts = await asyncio.gather(
        *(edge.identities.delete("people", f"p{number}", force=True) for number in range(12))
    )
    for receipt in receipts:
        await done(edge, receipt)
    name = (tmp_path / "store" / CONTRACT.key / "CURRENT").read_text()
    assert int(name.removeprefix("shard-")) < 12


@pytest.mark.usefixtures("in_background")
async def test_closing_does_not_wait_for_a_large_collection_and_opening_goes_on(
    edge: Store, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (template,) = await enroll(edge, "ada", rng)
    await enroll(edge, "bob", rng)
    with monkeypatch.context() as slow:
        # A copy that would take days.
        slow.setattr(compaction, "REST", 0.2)
        slow.setattr("sameface_qdrant.engines.edge.compaction.copy_from", _endless)
        receipt = await edge.identities.delete("people", "ada", force=True)
        await edge.aclose()
    folder = tmp_path / "store" / CONTRACT.key
    assert (folder / "ERASE_PENDING").exists()
    assert bytes_of(template) in contents(tmp_path)
    reopened = await Store.open(f"edge://{tmp_path / 'store'}")
    finished = await done(reopened, receipt)
    assert finished.compacted
    assert bytes_of(template) not in contents(tmp_path)
    assert len(list(folder.glob("shard-*"))) == 1
    assert {one.id for one in (await reopened.identities.list("people")).items} == {"bob"}
    await reopened.aclose()


def _endless(*arguments: object) -> str:
    return "00000000-0000-0000-0000-000000000000"


async def test_an_embedding_that_is_enrolled_elsewhere_is_no_trace(edge: Store, rng: np.random.Generator) -> None:
    vector = random_vector(rng)
    await edge.galleries.create("others", CONTRACT, policy=POLICY)
    await edge.enroll("others", "eve", [NewTemplate(vector, CONTRACT)])
    await edge.enroll("people", "ada", [NewTemplate(vector, CONTRACT)])
    receipt = await edge.identities.delete("people", "ada", force=True)
    assert receipt.state is ErasureState.DONE
    evidence = receipt.evidence[VECTOR]
    assert (evidence.found_before, evidence.found_after, evidence.held_elsewhere) == (1, 1, 1)
    assert receipt.evidence[POINT].found_after == 0
    assert receipt.evidence[DIGEST].held_elsewhere == receipt.evidence[DIGEST].found_after


@pytest.mark.usefixtures("in_background")
async def test_who_is_enrolled_again_before_the_files_are_rewritten_is_there(edge: Store) -> None:
    vector = random_vector(np.random.default_rng(4))
    (first,) = await edge.enroll("people", "ada", [NewTemplate(vector, CONTRACT)])
    receipt = await edge.identities.delete("people", "ada", force=True)
    (again,) = await edge.enroll("people", "ada", [NewTemplate(vector, CONTRACT)])
    assert first.id == again.id
    finished = await done(edge, receipt)
    assert all(evidence.found_after == evidence.held_elsewhere for evidence in finished.evidence)
    assert (await edge.verify("people", "ada", Probe(vector, CONTRACT))).score == pytest.approx(1.0, abs=1e-6)


async def test_a_vector_too_plain_to_be_told_from_other_bytes_is_not_looked_for(edge: Store) -> None:
    await edge.enroll("people", "ada", [NewTemplate(np.eye(8, dtype=np.float32)[0], CONTRACT)])
    receipt = await edge.identities.delete("people", "ada", force=True)
    assert receipt.state is ErasureState.DONE
    assert receipt.evidence[VECTOR].sought == 0
    assert receipt.evidence[POINT].found_before == 2


async def test_of_a_large_batch_a_sample_is_looked_for(edge: Store, rng: np.random.Generator) -> None:
    for number in range(5):
        await enroll(edge, f"p{number}", rng, 60)
    receipt = await edge.galleries.delete("people", force=True)
    assert (receipt.templates, receipt.sampled) == (300, 256)
    assert receipt.state is ErasureState.DONE


def files_in(folder: Path) -> dict[str, bytes]:
    """The files of the store, as they are on disk."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


async def test_reading_receipts_changes_no_file(edge: Store, tmp_path: Path, rng: np.random.Generator) -> None:
    await enroll(edge, "ada", rng)
    await enroll(edge, "bob", rng)
    evidence = edge._engine.erasure_evidence
    assert evidence is not None
    with pytest.MonkeyPatch.context() as crash:
        # As if the process had ended before it dropped the note.
        crash.setattr(evidence, "forget", _nothing)
        receipt = await edge.identities.delete("people", "ada", force=True)
    assert receipt.state is ErasureState.DONE
    before = files_in(tmp_path)
    assert any("erasures" in name for name in before)
    assert await edge.erasures.get(receipt.id) == receipt
    assert (await edge.erasures.list()).items == (receipt,)
    assert files_in(tmp_path) == before
    # The next deletion drops it.
    await edge.identities.delete("people", "bob", force=True)
    assert not any("erasures" in name for name in files_in(tmp_path))


async def test_the_next_opening_drops_what_a_process_left_of_a_finished_receipt(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    async with opened_store("edge", tmp_path / "store") as store:
        await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
        await enroll(store, "ada", rng)
        with pytest.MonkeyPatch.context() as crash:
            crash.setattr(store._engine.erasure_evidence, "forget", _nothing)
            assert (await store.identities.delete("people", "ada", force=True)).state is ErasureState.DONE
    assert list((tmp_path / "store").glob("*/erasures/*"))
    async with opened_store("edge", tmp_path / "store"), asyncio.timeout(60):
        while list((tmp_path / "store").glob("*/erasures/*")):  # noqa: ASYNC110  # the folder is polled
            await asyncio.sleep(0.02)


async def _nothing(*arguments: object) -> None:
    return None


@pytest.mark.usefixtures("in_background")
async def test_a_receipt_is_completed_though_nobody_reads_it(
    edge: Store, tmp_path: Path, rng: np.random.Generator
) -> None:
    await enroll(edge, "ada", rng)
    await enroll(edge, "bob", rng)
    with pytest.MonkeyPatch.context() as slow:
        slow.setattr("sameface_qdrant.engines.edge.compaction.copy_from", _endless)
        receipt = await edge.identities.delete("people", "ada", force=True)
    assert receipt.state is ErasureState.PENDING
    while list((tmp_path / "store").glob("*/erasures/*")):  # noqa: ASYNC110  # the folder is polled
        await asyncio.sleep(0.02)
    assert (await edge.erasures.get(receipt.id)).compacted


async def test_other_writes_do_not_wait_until_a_receipt_is_durable(
    edge: Store, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enroll(edge, "ada", rng)
    commit, flushed, waiting = edge._engine.commit, asyncio.Event(), asyncio.Event()

    async def slow(collection: str, *, erase: bool = False) -> None:
        if collection == "meta":
            waiting.set()
            await flushed.wait()
        await commit(collection, erase=erase)

    monkeypatch.setattr(edge._engine, "commit", slow)
    deleting = asyncio.create_task(edge.identities.delete("people", "ada", force=True))
    await waiting.wait()
    await enroll(edge, "bob", rng)
    # Nothing is removed before.
    assert (await edge.identities.get("people", "ada")).id == "ada"
    flushed.set()
    assert (await deleting).state is ErasureState.DONE
    with pytest.raises(IdentityNotFound):
        await edge.identities.get("people", "ada")


async def test_of_two_deletions_at_once_one_leaves_no_receipt(edge: Store, rng: np.random.Generator) -> None:
    await enroll(edge, "ada", rng)
    both = await asyncio.gather(
        *(edge.identities.delete("people", "ada", force=True) for _ in range(2)), return_exceptions=True
    )
    (receipt,) = [one for one in both if isinstance(one, ErasureReceipt)]
    assert sum(isinstance(one, IdentityNotFound) for one in both) == 1
    assert (await edge.erasures.list()).items == (receipt,)


@settings(max_examples=60, deadline=None)
@given(
    haystack=st.binary(max_size=400),
    gap=st.integers(0, 2 * WINDOW),
    needles=st.lists(st.binary(min_size=8, max_size=40), min_size=1, max_size=8),
    planted=st.data(),
)
def test_the_scan_finds_what_is_there_at_any_offset(
    tmp_path_factory: pytest.TempPathFactory, haystack: bytes, gap: int, needles: list[bytes], planted: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("scan")
    chosen = planted.draw(st.lists(st.sampled_from(needles), max_size=3))
    contents = haystack + bytes(gap) + b"".join(chosen) + haystack
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_bytes(contents)
    (folder / "notes").mkdir()
    (folder / "notes" / "file").write_bytes(b"".join(needles))
    assert present(folder, needles, skip="notes") == {needle for needle in needles if needle in contents}
