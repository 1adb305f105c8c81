"""An export and an import move everything between any two engines, and refuse what does not fit."""

import asyncio
import dataclasses
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sameface_qdrant import Contract, NewTemplate, Probe, Store
from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, GalleryNotFound, InvalidArgument, RequestIdReused, StoreTooNew
from sameface_qdrant.store.payloads import META
from sameface_qdrant.transfer import exporting
from sameface_qdrant.transfer.errors import ExportCorrupt, ExportKeyRefused, ExportMismatch, ExportTooNew
from sameface_qdrant.transfer.exporting import export_erasures, export_store
from sameface_qdrant.transfer.gallery_import import ImportStatus, discard_import
from sameface_qdrant.transfer.importing import import_store
from sameface_qdrant.transfer.keys import ExportKey
from sameface_qdrant.values.erasure import ErasureState
from tests.plugin.conftest import CONTRACT, ENGINES, SOON, opened_store, random_vector
from tests.plugin.filled_store import OTHER, assert_same, fill, view

KEY = ExportKey("key-file", bytes(range(32)))
KEEPS_BITS = {"edge", "sqlite"}
"""Engines that return the bits that they were given. A server normalises every vector again, and so does its twin."""


async def exported(store: Store, file: Path, **options: Any) -> Path:
    await export_store(store, file, KEY, **options)
    return file


async def imported(store: Store, file: Path, **options: Any) -> dict[str, Any]:
    summary = await import_store(store, file, KEY, no_erasures_since="erased" not in options, **options)
    return {one.gallery: one for one in summary.galleries}


@pytest.mark.parametrize("target", ENGINES)
async def test_everything_arrives_on_another_engine(
    store: Store, target: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    await fill(store, rng)
    before = await view(store)
    file = await exported(store, tmp_path / "x")
    async with opened_store(target, tmp_path / "target") as other:
        done = await imported(other, file)
        assert {one.status for one in done.values()} == {ImportStatus.IMPORTED}
        assert sum(one.identities for one in done.values()) == 8
        after = await view(other)
        kinds = {store.description.kind, other.description.kind}
        assert_same(after, dict(before), exact=kinds <= KEEPS_BITS)
        # There and back again changes nothing any more.
        again = await exported(other, tmp_path / "y")
        async with opened_store("edge", tmp_path / "third") as third:
            await imported(third, again)
            assert_same(await view(third), dict(await view(other)), exact=True)


@pytest.mark.parametrize("seed", range(6))
async def test_stores_of_any_content_arrive(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(exporting, "FRAME_POINTS", int(rng.integers(1, 9)))
    monkeypatch.setattr("sameface_qdrant.transfer.whole_identities.AT_ONCE", int(rng.integers(1, 40)))
    monkeypatch.setattr("sameface_qdrant.transfer.records.PAGE", int(rng.integers(1, 4)))
    monkeypatch.setattr("sameface_qdrant.transfer.gallery_import.WRITE_BATCH", int(rng.integers(1, 9)))
    async with opened_store("sqlite", tmp_path / "source") as store, opened_store("edge", tmp_path / "target") as other:
        await fill(store, rng, identities=int(rng.integers(5, 30)))
        await imported(other, await exported(store, tmp_path / "x"))
        assert_same(await view(other), await view(store), exact=True)


@pytest.mark.parametrize("target", ENGINES)
async def test_retries_are_recognised_after_an_import(
    store: Store, target: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    await store.galleries.create("staff", CONTRACT, request_id="g")
    await store.identities.create("staff", "bob", request_id="i")
    by_request = NewTemplate(random_vector(rng), CONTRACT, content=b"photo")
    by_content = NewTemplate(random_vector(rng), CONTRACT, content=b"another photo")
    (first,) = await store.enroll("staff", "ada", [by_request], request_id="r")
    (second,) = await store.enroll("staff", "ada", [by_content])
    file = await exported(store, tmp_path / "x")
    async with opened_store(target, tmp_path / "target") as other:
        await imported(other, file)
        # In the store that was open when its secret changed.
        assert (await other.enroll("staff", "ada", [by_request], request_id="r"))[0].id == first.id
        assert (await other.enroll("staff", "ada", [by_content]))[0].id == second.id
        with pytest.raises(RequestIdReused):
            await other.enroll("staff", "ada", [by_content], request_id="r")
        assert (await other.galleries.create("staff", CONTRACT, request_id="g")).id == "staff"
        assert (await other.identities.create("staff", "bob", request_id="i")).id == "bob"
        assert (await other.identities.get("staff", "ada")).template_count == 2
        decision = await other.verify("staff", "ada", Probe(by_content.vector, CONTRACT), threshold=0.5)
        assert decision.outcome == "MATCH"


async def test_a_store_that_was_closed_keeps_the_secret_that_it_took_over(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    new = NewTemplate(random_vector(rng), CONTRACT, content=b"photo")
    async with opened_store("memory", tmp_path) as store:
        await store.galleries.create("staff", CONTRACT)
        (first,) = await store.enroll("staff", "ada", [new])
        file = await exported(store, tmp_path / "x")
    async with opened_store("edge", tmp_path / "target") as other:
        await imported(other, file)
    async with opened_store("edge", tmp_path / "target") as other:
        assert (await other.enroll("staff", "ada", [new]))[0].id == first.id


async def test_a_gallery_that_is_there_stays_as_it_is(store: Store, tmp_path: Path, rng: np.random.Generator) -> None:
    await fill(store, rng)
    file = await exported(store, tmp_path / "x")
    await store.identities.delete("staff", "p3", force=True)
    await store.identities.move("staff", "p4", "elsewhere")
    before = await view(store)
    done = await imported(store, file)
    assert {one.status for one in done.values()} == {ImportStatus.ALREADY_THERE}
    assert_same(await view(store), before, exact=True)


async def test_galleries_move_one_by_one(store: Store, tmp_path: Path, rng: np.random.Generator) -> None:
    await fill(store, rng)
    before = await view(store)
    all_of_it, one = await exported(store, tmp_path / "x"), tmp_path / "y"
    summary = await export_store(store, one, KEY, galleries=["signed"])
    assert [gallery.gallery for gallery in summary.galleries] == ["signed"]
    async with opened_store("edge", tmp_path / "target") as other:
        assert list(await imported(other, one)) == ["signed"]
        assert [gallery.id for gallery in (await other.galleries.list()).items] == ["signed"]
        assert list(await imported(other, all_of_it, galleries=["staff"])) == ["staff"]
        done = await imported(other, all_of_it)
        assert {name: found.status for name, found in done.items()} == {
            "staff": ImportStatus.ALREADY_THERE,
            "signed": ImportStatus.ALREADY_THERE,
            "empty": ImportStatus.IMPORTED,
        }
        assert_same(await view(other), before, exact=store.description.kind in KEEPS_BITS)
        with pytest.raises(GalleryNotFound, match="no gallery 'other'"):
            await imported(other, all_of_it, galleries=["other"])
    with pytest.raises(GalleryNotFound, match="no gallery 'other'"):
        await export_store(store, tmp_path / "z", KEY, galleries=["other"])
    assert not (tmp_path / "z").exists()


async def untouched(store: Store, call: Callable[[], Any], error: Any, match: str) -> None:
    """Assert that a call fails and writes nothing."""
    before = await view(store), await store.engine.scroll(META, Where({}), 1000)
    with pytest.raises(error, match=match):
        await call()
    after = await view(store), await store.engine.scroll(META, Where({}), 1000)
    assert_same(after[0], before[0], exact=True)
    assert after[1] == before[1]


async def test_a_store_with_another_secret_refuses_an_export(
    store: Store, tmp_path: Path, rng: np.random.Generator
) -> None:
    await fill(store, rng)
    file = await exported(store, tmp_path / "x")
    async with opened_store("edge", tmp_path / "target") as other:
        await other.galleries.create("own", CONTRACT)
        await untouched(other, lambda: imported(other, file), ExportMismatch, r"another secret .*\(own\)")
        await other.galleries.delete("own")
        assert (await imported(other, file))["staff"].status is ImportStatus.IMPORTED


async def test_another_gallery_of_the_same_id_is_not_merged(
    store: Store, tmp_path: Path, rng: np.random.Generator
) -> None:
    await fill(store, rng)
    file = await exported(store, tmp_path / "x")
    await store.galleries.delete("staff", force=True)
    await store.galleries.create("staff", CONTRACT)
    refused = r"another gallery of the id 'staff'.*export and delete it first"
    await untouched(store, lambda: imported(store, file), ExportMismatch, refused)
    assert (await imported(store, file, galleries=["signed"]))["signed"].status is ImportStatus.ALREADY_THERE


async def test_a_contract_of_another_dimension_is_refused(
    store: Store, tmp_path: Path, rng: np.random.Generator
) -> None:
    await fill(store, rng)
    file = await exported(store, tmp_path / "x", galleries=["signed"])
    async with opened_store("sqlite", tmp_path / "target") as other:
        await other.engine.ensure(OTHER.key, OTHER.dimension + 1)
        await untouched(other, lambda: imported(other, file), InvalidArgument, "contract.dimension is 5")


async def test_a_record_of_a_newer_release_is_refused(store: Store, tmp_path: Path, rng: np.random.Generator) -> None:
    await fill(store, rng)
    (record, *_), _ = await store.engine.scroll(CONTRACT.key, Where({"identity": "p3"}), 1)
    newer = {"schema": {"version": 9, "least_reader": 1, "least_writer": 9}}
    await store.engine.set_payload(CONTRACT.key, Where({}, ids=(record.id,)), newer)
    file = await exported(store, tmp_path / "x")
    async with opened_store("edge", tmp_path / "target") as other:
        await untouched(other, lambda: imported(other, file), StoreTooNew, "schema version 9.*cannot change")


async def test_fields_that_only_a_newer_release_knows_travel_along(
    store: Store, tmp_path: Path, rng: np.random.Generator
) -> None:
    await fill(store, rng)
    (record, *_), _ = await store.engine.scroll(CONTRACT.key, Where({"identity": "p3"}), 1)
    newer = {"schema": {"version": 9, "least_reader": 1, "least_writer": 1}, "colour": "green"}
    await store.engine.set_payload(CONTRACT.key, Where({}, ids=(record.id,)), newer)
    file = await exported(store, tmp_path / "x")
    async with opened_store("edge", tmp_path / "target") as other:
        await imported(other, file)
        found = (await other.engine.get(CONTRACT.key, [record.id]))[record.id]
        assert found.payload["colour"] == "green"
        assert found.payload["schema"] == newer["schema"]


async def test_only_the_right_key_opens_an_export(tmp_path: Path) -> None:
    # Once: a key concerns the file, whatever engine the store has, and a passphrase takes half a second each time.
    async with opened_store("edge", tmp_path / "store") as store:
        await store.galleries.create("staff", CONTRACT)
        file = tmp_path / "x"
        await export_store(store, file, ExportKey.of_passphrase("twelve signs"))
        for wrong in ("twelve Signs", "twelve signs "):
            key = ExportKey.of_passphrase(wrong)
            with pytest.raises(
                ExportKeyRefused, match=r"the passphrase does not open .*give the passphrase"
            ) as refused:
                await import_store(store, file, key, no_erasures_since=True)
            assert wrong not in str(refused.value)
        with pytest.raises(ExportKeyRefused, match="made with a passphrase, and a key file was given"):
            await import_store(store, file, KEY, no_erasures_since=True)
        await import_store(store, file, ExportKey.of_passphrase("twelve signs"), no_erasures_since=True)


async def test_a_file_is_private_and_appears_whole(
    store: Store, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, rng)
    file = tmp_path / "x"
    file.write_bytes(b"mine")
    with pytest.raises(InvalidArgument, match="exists already"):
        await exported(store, file)
    with monkeypatch.context() as patch:

        def fail(*arguments: Any) -> None:
            raise ValueError("in the middle")

        patch.setattr(exporting, "_frames", fail)
        with pytest.raises(ValueError, match="in the middle"):
            await exported(store, file, force=True)
    assert file.read_bytes() == b"mine"
    await exported(store, file, force=True)
    assert [path for path in os.listdir(tmp_path) if path.endswith("x") or "partial" in path] == ["x"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not [name for name in (b"nobody", b"staff", "Stàff".encode()) if name in file.read_bytes()]


async def test_what_has_expired_is_left_out(
    store: Store, tmp_path: Path, rng: np.random.Generator, pass_by: Callable[[datetime], None]
) -> None:
    soon = datetime.now(UTC) + SOON
    await store.galleries.create("staff", CONTRACT)
    short, long = NewTemplate(random_vector(rng), CONTRACT, expire_time=soon), NewTemplate(random_vector(rng), CONTRACT)
    await store.enroll("staff", "ada", [short, long])
    await store.identities.create("staff", "bob", expire_time=soon)
    early = await exported(store, tmp_path / "early")
    pass_by(soon)
    summary = await export_store(store, tmp_path / "late", KEY)
    assert dataclasses.astuple(summary.galleries[0]) == ("staff", 1, 1, 1, 1)
    for name, file in (("a", early), ("b", tmp_path / "late")):
        async with opened_store("memory", tmp_path / name) as other:
            found = (await imported(other, file))["staff"]
            assert (found.identities, found.templates) == (1, 1)
            assert (found.left_out.expired_identities, found.left_out.expired_templates) == (
                (1, 1) if name == "a" else (0, 0)
            )


async def test_an_import_asks_what_was_erased(store: Store, tmp_path: Path) -> None:
    await store.galleries.create("staff", CONTRACT)
    file = await exported(store, tmp_path / "x")
    for options in ({}, {"erased": tmp_path / "list", "no_erasures_since": True}):
        with pytest.raises(InvalidArgument, match="give the list of erasures"):
            await import_store(store, file, KEY, **options)  # type: ignore[arg-type]


async def test_who_was_erased_since_does_not_come_back(store: Store, tmp_path: Path, rng: np.random.Generator) -> None:
    await store.galleries.create("staff", CONTRACT)
    ids: dict[str, list[str]] = {}
    for name in ("ada", "bob", "cy", "dan", "eve", "fay"):
        new = [NewTemplate(random_vector(rng), CONTRACT) for _ in range(2)]
        ids[name] = [template.id for template in await store.enroll("staff", name, new)]
    await store.galleries.create("gone", CONTRACT)
    monday = await exported(store, tmp_path / "monday")
    await store.identities.delete("staff", "ada", force=True)
    await store.enroll("staff", "ada", [NewTemplate(random_vector(rng), CONTRACT)])  # another person
    await store.templates.delete("staff", "bob", ids["bob"][0])
    await store.identities.move("staff", "cy", "cyrus")
    await store.identities.move("staff", "cyrus", "cy2")
    await store.identities.delete("staff", "cy2", force=True)
    await store.identities.move("staff", "dan", "eve", merge=True)
    moved = (await store.templates.list("staff", "eve")).items
    known = await store.templates.get("staff", "eve", ids["eve"][0])
    of_dan = [template.id for template in moved if template.id not in ids["eve"]]
    assert known.id not in of_dan
    await store.templates.delete("staff", "eve", of_dan[0])
    await store.galleries.delete("gone")
    listed = tmp_path / "erasures"
    await export_erasures(store, listed, KEY)

    async with opened_store("edge", tmp_path / "target") as other:
        summary = await import_store(other, monday, KEY, erased=listed)
        assert summary.erased_until is not None
        assert summary.erased_until > summary.begun
        staff, gone = sorted(summary.galleries, key=lambda one: one.gallery != "staff")
        assert (gone.gallery, gone.status) == ("gone", ImportStatus.ERASED)
        assert (staff.left_out.erased_identities, staff.left_out.erased_templates) == (2, 2)
        found = {one.id: one.template_count for one in (await other.identities.list("staff")).items}
        assert found == {"bob": 1, "dan": 1, "eve": 2, "fay": 2}
        assert [one.id for one in (await other.templates.list("staff", "bob")).items] == [ids["bob"][1]]
        # The store knows of these erasures from now on, so an older export is refused the same people.
        await other.galleries.delete("staff", force=True)
        again = await imported(other, monday, undelete=["staff"], galleries=["staff"])
        assert again["staff"].left_out.erased_identities == 2
        assert (await imported(other, monday))["gone"].status is ImportStatus.ERASED
        assert (await imported(other, monday, undelete=["gone"]))["gone"].status is ImportStatus.IMPORTED


async def test_a_list_of_erasures_must_fit_the_export(store: Store, tmp_path: Path) -> None:
    await store.galleries.create("staff", CONTRACT)
    await export_erasures(store, tmp_path / "older", KEY)
    file = await exported(store, tmp_path / "x")
    async with opened_store("memory", tmp_path / "target") as other:
        await export_erasures(other, tmp_path / "other", KEY)
        for name, match in (("older", "is older than the export"), ("other", "is of another store")):
            erased = tmp_path / name
            await untouched(other, lambda erased=erased: imported(other, file, erased=erased), ExportMismatch, match)  # type: ignore[misc]
        await untouched(other, lambda: imported(other, file, erased=file), ExportMismatch, "expected the list")
        await untouched(other, lambda: imported(other, tmp_path / "other"), ExportMismatch, "is a list of erasures")


async def test_a_receipt_that_is_pending_is_done_where_it_arrives(tmp_path: Path, rng: np.random.Generator) -> None:
    async with opened_store("edge", tmp_path / "source") as store:
        await store.galleries.create("staff", CONTRACT)
        await store.enroll("staff", "ada", [NewTemplate(random_vector(rng), CONTRACT)])
        receipt = await store.identities.delete("staff", "ada", force=True)
        pending = {"state": ErasureState.PENDING.value}
        await store.engine.set_payload(META, Where({"kind": "receipt"}), pending)
        file = await exported(store, tmp_path / "x")
    async with opened_store("edge", tmp_path / "target") as other:
        await imported(other, file)
        found = await other.erasures.get(receipt.id)
        assert found.state is ErasureState.DONE
        assert any("not rewritten yet when the receipt was exported" in text for text in found.not_covered)


async def test_erasures_in_another_gallery_do_not_count(store: Store, tmp_path: Path, rng: np.random.Generator) -> None:
    await fill(store, rng)
    file = await exported(store, tmp_path / "x")
    await store.identities.delete("signed", "p0", force=True)
    await export_erasures(store, tmp_path / "list", KEY)
    async with opened_store("memory", tmp_path / "target") as other:
        done = await imported(other, file, erased=tmp_path / "list")
        assert (done["staff"].identities, done["signed"].identities) == (7, 0)


async def test_receipts_of_a_stores_own_past_concern_no_gallery_that_comes(tmp_path: Path) -> None:
    async with opened_store("memory", tmp_path / "a") as store, opened_store("memory", tmp_path / "b") as other:
        await store.galleries.create("staff", CONTRACT)
        file = await exported(store, tmp_path / "x")
        await other.galleries.create("staff", CONTRACT)
        await other.galleries.delete("staff")
        assert (await imported(other, file))["staff"].status is ImportStatus.IMPORTED
        assert len((await other.erasures.list()).items) == 1


async def test_an_import_that_failed_goes_on(
    store: Store, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "FRAME_POINTS", 3)
    monkeypatch.setattr("sameface_qdrant.transfer.gallery_import.NOTED_EVERY", 2)
    await fill(store, rng, identities=12)
    before = await view(store)
    file = await exported(store, tmp_path / "x")
    async with opened_store("edge", tmp_path / "target") as other:
        for stop_at in (1, 2, 3, 5, 6):
            with pytest.raises(RuntimeError, match="stopped"):
                await imported(other, file, progress=_stop_after(stop_at))
            assert not [one.id for one in (await other.galleries.list()).items if one.id == "staff"]
        done = await imported(other, file)
        assert done["staff"].status is ImportStatus.IMPORTED
        assert_same(await view(other), before, exact=store.description.kind in KEEPS_BITS)
        with pytest.raises(GalleryNotFound, match="no import"):
            await discard_import(other, "staff")


def _stop_after(frames: int) -> Any:
    seen = 0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal seen
        seen += what == "staff"
        if seen > frames:
            raise RuntimeError("stopped")

    return progress


async def test_an_import_that_is_given_up_leaves_nothing(
    store: Store, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "FRAME_POINTS", 3)
    await fill(store, rng)
    file = await exported(store, tmp_path / "x")
    async with opened_store("edge", tmp_path / "target") as other:
        with pytest.raises(RuntimeError, match="stopped"):
            await imported(other, file, progress=_stop_after(2))
        assert await discard_import(other, "staff") > 3
        assert await other.engine.count(CONTRACT.key, Where({})) == 0
        assert await other.engine.count(META, Where({"kind": "import"})) == 0
        # A gallery of the same id may be made now, and is not touched by a discard.
        await other.galleries.create("staff", CONTRACT)


async def test_discarding_never_removes_a_gallery_that_is_whole(
    store: Store, tmp_path: Path, rng: np.random.Generator
) -> None:
    await fill(store, rng)
    file = await exported(store, tmp_path / "x")
    async with opened_store("edge", tmp_path / "target") as other:
        await imported(other, file)
        before = await view(other)
        # As if the process had ended between the gallery's record and the removal of the note.
        gallery = await other.galleries.get("staff")
        fields = {"kind": "import", "gallery": gallery.uid, "of_gallery": "staff", "collection": CONTRACT.key}
        note = Point("6f1f1a3e-8c0c-5b7e-9d5c-0c7a3f3f7b11", {**fields, "dimension": 8, "file": "f", "frame": 0})
        for finish in (lambda: discard_import(other, "staff"), lambda: imported(other, file)):
            await other.engine.upsert(META, [note])
            await finish()
            assert await other.engine.count(META, Where({"kind": "import"})) == 0
        assert_same(await view(other), before, exact=True)


async def test_people_erased_during_an_interruption_do_not_come_back(
    store: Store, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "FRAME_POINTS", 3)
    monkeypatch.setattr("sameface_qdrant.transfer.gallery_import.NOTED_EVERY", 1)
    await fill(store, rng, identities=12)
    file = await exported(store, tmp_path / "x")
    async with opened_store("edge", tmp_path / "target") as other:
        with pytest.raises(RuntimeError, match="stopped"):
            await imported(other, file, progress=_stop_after(6))
        written, _ = await other.engine.scroll(CONTRACT.key, Where({"kind": "identity"}), 100)
        assert len(written) > 3
        for point in written:
            await store.identities.delete("staff", point.payload["identity"], force=True)
        await export_erasures(store, tmp_path / "list", KEY)
        done = await imported(other, file, erased=tmp_path / "list")
        assert done["staff"].left_out.erased_identities == len(written)
        assert_same(await view(other), await view(store), exact=store.description.kind in KEEPS_BITS)


async def test_an_older_import_that_was_interrupted_is_replaced_by_a_newer_export(
    store: Store, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "FRAME_POINTS", 3)
    await fill(store, rng, identities=12)
    older = await exported(store, tmp_path / "older")
    async with opened_store("edge", tmp_path / "target") as other:
        with pytest.raises(RuntimeError, match="stopped"):
            await imported(other, older, progress=_stop_after(4))
        written, _ = await other.engine.scroll(CONTRACT.key, Where({"kind": "identity"}), 100)
        for point in written:
            await store.identities.delete("staff", point.payload["identity"], force=True)
        await imported(other, await exported(store, tmp_path / "newer"))
        assert_same(await view(other), await view(store), exact=store.description.kind in KEEPS_BITS)


async def test_two_imports_at_the_same_time_end_equal(store: Store, tmp_path: Path, rng: np.random.Generator) -> None:
    await fill(store, rng)
    file = await exported(store, tmp_path / "x")
    async with opened_store("edge", tmp_path / "target") as other:
        results = await asyncio.gather(imported(other, file), imported(other, file), return_exceptions=True)
        assert sum(isinstance(result, dict) for result in results) >= 1, results
        assert all(isinstance(result, dict | ConcurrentUpdate) for result in results), results
        assert_same(await view(other), await view(store), exact=store.description.kind in KEEPS_BITS)


async def test_an_unfinished_export_of_another_store_is_told_by_name(store: Store, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ExportCorrupt, match="is not an export of sameface"):
        await imported(store, tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        await imported(store, tmp_path / "absent")


@pytest.mark.parametrize("contract", [CONTRACT, OTHER], ids=lambda contract: contract.model)
async def test_a_time_zone_of_the_machine_does_not_matter(contract: Contract, store: Store, tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(days=3)
    await store.galleries.create("g", contract)
    await store.identities.create("g", "ada", expire_time=later)
    async with opened_store("memory", tmp_path / "target") as other:
        await imported(other, await exported(store, tmp_path / "x"))
        assert (await other.identities.get("g", "ada")).expire_time == later


@pytest.mark.parametrize("seed", range(8))
async def test_a_file_that_was_cut_or_changed_writes_nothing(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    file, listed = tmp_path / "x", tmp_path / "list"
    async with opened_store("memory", tmp_path / "source") as store:
        await fill(store, rng, identities=int(rng.integers(3, 9)))
        await exported(store, file)
        await export_erasures(store, listed, KEY)
    damaged = file if seed % 4 else listed
    content = bytearray(damaged.read_bytes())
    at = int(rng.integers(0, len(content)))
    if seed % 2:
        content[at] ^= int(rng.integers(1, 256))
    else:
        del content[at:]
    damaged.write_bytes(content)
    errors = (ExportCorrupt, ExportKeyRefused, ExportTooNew)
    async with opened_store("sqlite", tmp_path / "target") as other:
        await untouched(other, lambda: imported(other, file, erased=listed), errors, ".")
