"""Every record and folder has a schema version, and this release refuses what a newer one wrote."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface_qdrant import NewTemplate, Policy, PresentationAttackAction, Probe, Store
from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import StoreTooNew
from sameface_qdrant.store.payloads import META
from sameface_qdrant.values.schema import CURRENT, SchemaVersion, check_readable, check_writable, schema_of, stamped
from tests.plugin.conftest import CONTRACT, random_vector

STAMP = stamped({})["schema"]
UNREADABLE = {"schema": {"version": 99, "least_reader": 99, "least_writer": 99}}
READ_ONLY = {"schema": {"version": 99, "least_reader": CURRENT.version, "least_writer": 99}}
COMPATIBLE = {"schema": {"version": 99, "least_reader": CURRENT.version, "least_writer": CURRENT.version}}


async def every_record(store: Store) -> list[dict[str, Any]]:
    found = []
    for collection in (META, CONTRACT.key):
        points, following = await store._engine.scroll(collection, Where({}), 1000)
        assert following is None
        found += [dict(point.payload) for point in points]
    return found


async def fill(store: Store, rng: np.random.Generator) -> None:
    """Records of every kind: gallery, policy revisions, secret, identities, templates and a receipt."""
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    await store.galleries.update("people", policy={"verify_threshold": 0.6})
    for identity in ("ada", "bob"):
        await store.enroll("people", identity, [NewTemplate(random_vector(rng), CONTRACT)])
    await store.identities.update("people", "ada", {"display_name": "Ada"})
    await store.identities.move("people", "ada", "eve")
    await store.identities.delete("people", "bob", force=True)


KINDS = ("gallery", "policy", "secret", "identity", "template", "receipt", "move")


async def test_every_kind_of_record_carries_the_version(store: Store, rng: np.random.Generator) -> None:
    await fill(store, rng)
    records = await every_record(store)
    assert {record["kind"] for record in records} == set(KINDS)
    assert all(record["schema"] == STAMP for record in records)


def forget(store: Store) -> None:
    """Let the store read galleries again that a test has changed behind its back."""
    for gallery in ("people", "guarded", "later"):
        store.galleries._memory.drop(gallery)


async def mark(store: Store, collection: str, kind: str, version: dict[str, Any]) -> None:
    await store._engine.set_payload(collection, Where({"kind": kind}), version)
    forget(store)


Call = Callable[[Store], Awaitable[object]]
READS: dict[str, tuple[str, Call]] = {
    "gallery": (META, lambda store: store.galleries.get("people")),
    "policy": (META, lambda store: store.galleries.revisions("people")),
    "receipt": (META, lambda store: store.erasures.list()),
    "identity": (CONTRACT.key, lambda store: store.identities.get("people", "eve")),
    "template": (CONTRACT.key, lambda store: store.templates.list("people", "eve")),
}


@pytest.mark.parametrize("kind", READS)
async def test_a_record_that_would_be_misread_is_refused(store: Store, rng: np.random.Generator, kind: str) -> None:
    await fill(store, rng)
    collection, read = READS[kind]
    await mark(store, collection, kind, COMPATIBLE)
    await read(store)
    await mark(store, collection, kind, UNREADABLE)
    with pytest.raises(StoreTooNew, match=r"schema version 99.* Upgrade sameface"):
        await read(store)


async def test_a_decision_on_a_template_that_would_be_misread_is_refused(
    store: Store, rng: np.random.Generator
) -> None:
    await fill(store, rng)
    probe = Probe(random_vector(rng), CONTRACT)
    await mark(store, CONTRACT.key, "template", UNREADABLE)
    with pytest.raises(StoreTooNew):
        await store.verify("people", "eve", probe)
    with pytest.raises(StoreTooNew):
        await store.identify("people", probe)
    with pytest.raises(StoreTooNew):
        await store.search("people", probe)


WRITES: dict[str, tuple[str, str, Call]] = {
    "update a gallery": (META, "gallery", lambda store: store.galleries.update("people", display_name="all")),
    "update an identity": (
        CONTRACT.key,
        "identity",
        lambda store: store.identities.update("people", "eve", {"purpose": "door"}),
    ),
    "enrol": (
        CONTRACT.key,
        "identity",
        lambda store: store.enroll("people", "eve", [NewTemplate(np.ones(8, dtype=np.float32), CONTRACT)]),
    ),
    "move": (CONTRACT.key, "identity", lambda store: store.identities.move("people", "eve", "ida")),
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_record_that_would_be_damaged_is_not_changed(store: Store, rng: np.random.Generator, name: str) -> None:
    await fill(store, rng)
    collection, kind, change = WRITES[name]
    await mark(store, collection, kind, READ_ONLY)
    before = await every_record(store)
    with pytest.raises(StoreTooNew, match="cannot change"):
        await change(store)
    assert await every_record(store) == before


@pytest.mark.parametrize("name", WRITES)
async def test_a_change_keeps_what_a_newer_release_added(store: Store, rng: np.random.Generator, name: str) -> None:
    await fill(store, rng)
    collection, kind, change = WRITES[name]
    await mark(store, collection, kind, {**COMPATIBLE, "added_later": "kept"})
    await change(store)
    changed = [record for record in await every_record(store) if record["kind"] == kind]
    assert changed
    assert all(record["added_later"] == "kept" and record["schema"] == COMPATIBLE["schema"] for record in changed)


DELETIONS: dict[str, tuple[str, str, Call]] = {
    "a template": (CONTRACT.key, "identity", lambda store: delete_template(store)),
    "an identity": (CONTRACT.key, "template", lambda store: store.identities.delete("people", "eve", force=True)),
    "a gallery": (META, "gallery", lambda store: store.galleries.delete("people", force=True)),
}


async def delete_template(store: Store) -> None:
    (template,) = (await store.templates.list("people", "eve")).items
    await store.templates.delete("people", "eve", template.id)


@pytest.mark.parametrize("name", DELETIONS)
async def test_a_deletion_is_refused_before_anything_is_removed(
    store: Store, rng: np.random.Generator, name: str
) -> None:
    await fill(store, rng)
    collection, kind, delete = DELETIONS[name]
    await mark(store, collection, kind, READ_ONLY)
    before = await every_record(store)
    with pytest.raises(StoreTooNew, match="cannot change"):
        await delete(store)
    assert await every_record(store) == before


async def test_what_a_newer_release_added_inside_a_policy_or_contract_stays(
    store: Store, rng: np.random.Generator
) -> None:
    await fill(store, rng)
    (record,) = [record for record in await every_record(store) if record["kind"] == "gallery"]
    newer = {name: {**record[name], "added_later": "kept"} for name in ("policy", "contract")}
    version = {"schema": {**COMPATIBLE["schema"], "added_later": "kept"}}
    await mark(store, META, "gallery", {**newer, **version})
    assert (await store.galleries.get("people")).contract == CONTRACT
    await store.galleries.update("people", policy={"verify_threshold": 0.7})
    records = await every_record(store)
    (changed,) = [record for record in records if record["kind"] == "gallery"]
    assert changed["policy"]["added_later"] == changed["contract"]["added_later"] == "kept"
    assert changed["schema"]["version"] == 99
    history = {record["revision"]: record for record in records if record["kind"] == "policy"}
    assert history[2]["added_later"] == "kept"
    assert history[2]["schema"]["version"] == 99


@pytest.mark.parametrize(
    "read",
    [
        lambda store: store.calibrate("people"),
        lambda store: store.identities.move("people", "eve", "ida"),
        lambda store: store.enroll("people", "ida", [NewTemplate(np.ones(8, dtype=np.float32), CONTRACT)]),
    ],
    ids=["calibrate", "move", "guards at enrolment"],
)
async def test_no_read_of_a_template_goes_unchecked(store: Store, rng: np.random.Generator, read: Call) -> None:
    await fill(store, rng)
    await store.galleries.update("people", policy={"identify_threshold": -1.0})
    await mark(store, CONTRACT.key, "template", UNREADABLE)
    with pytest.raises(StoreTooNew):
        await read(store)


async def test_a_store_that_this_release_may_not_change_is_not_opened(store: Store) -> None:
    await mark(store, META, "secret", READ_ONLY)
    with pytest.raises(StoreTooNew, match="the store has schema version 99"):
        await Store.over(store._engine)


async def test_a_folder_that_this_release_may_not_change_is_not_opened(tmp_path: Path) -> None:
    await (await Store.open(f"edge://{tmp_path}/store")).aclose()
    noted = tmp_path / "store" / "FORMAT"
    assert json.loads(noted.read_text())["schema"] == STAMP
    noted.write_text(json.dumps({**json.loads(noted.read_text()), **READ_ONLY}))
    before = noted.read_text()
    with pytest.raises(StoreTooNew, match=r"folder .* has schema version 99"):
        await Store.open(f"edge://{tmp_path}/store")
    assert noted.read_text() == before


async def test_a_folder_from_before_the_versions_is_opened_and_gets_one(tmp_path: Path) -> None:
    await (await Store.open(f"edge://{tmp_path}/store")).aclose()
    noted = tmp_path / "store" / "FORMAT"
    noted.write_text("sameface-edge-1")
    await (await Store.open(f"edge://{tmp_path}/store")).aclose()
    assert json.loads(noted.read_text())["schema"] == STAMP


NUMBERS = st.integers(0, 2 * CURRENT.version + 2)


@given(version=NUMBERS, reader=NUMBERS, writer=NUMBERS)
def test_the_least_reader_and_writer_decide(version: int, reader: int, writer: int) -> None:
    found = SchemaVersion(version, reader, writer)
    assert schema_of({"schema": {"version": version, "least_reader": reader, "least_writer": writer}}) == found
    for check, refused in (
        (check_readable, reader > CURRENT.version),
        (check_writable, max(reader, writer) > CURRENT.version),
    ):
        if refused:
            with pytest.raises(StoreTooNew):
                check(found, "it")
        else:
            check(found, "it")


def test_a_record_without_a_version_is_of_the_first() -> None:
    assert schema_of({}) == SchemaVersion(1, 1, 1)


def forms(records: list[dict[str, Any]]) -> set[tuple[str, int, int, int]]:
    # A server does not keep the order of the fields.
    return {(record["kind"], *(record["schema"][name] for name in STAMP)) for record in records}


async def test_only_a_gallery_that_examines_attacks_needs_this_release(
    store: Store, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, rng)
    rejecting = Policy(presentation_attack=PresentationAttackAction.REJECT)
    await store.galleries.create("guarded", CONTRACT, policy=rejecting)
    await store.galleries.create("later", CONTRACT)
    await store.galleries.update("later", policy={"presentation_attack": PresentationAttackAction.REPORT})
    forget(store)
    with monkeypatch.context() as older:
        older.setattr("sameface_qdrant.values.schema.CURRENT", SchemaVersion(1, 1, 1))
        assert (await store.galleries.get("people")).policy.verify_threshold == 0.6
        # That release does not know the setting, and would accept attacks.
        for gallery in ("guarded", "later"):
            with pytest.raises(StoreTooNew, match="schema version 2 or newer"):
                await store.galleries.get(gallery)
            with pytest.raises(StoreTooNew):
                await store.galleries.update(gallery, display_name="x")
    assert (await store.galleries.get("guarded")).policy.presentation_attack is PresentationAttackAction.REJECT
    await store.galleries.update("guarded", policy={"presentation_attack": None})
    await store.galleries.update("later", policy={"presentation_attack": PresentationAttackAction.OFF})
    forget(store)
    with monkeypatch.context() as older:
        older.setattr("sameface_qdrant.values.schema.CURRENT", SchemaVersion(1, 1, 1))
        assert (await store.galleries.get("guarded")).policy.revision == 2
        # Its history still has a revision with the setting.
        with pytest.raises(StoreTooNew):
            await store.galleries.revisions("guarded")
    assert forms(await every_record(store)) == {
        *((kind, *STAMP.values()) for kind in KINDS),
        ("policy", CURRENT.version, 2, 2),
    }


async def test_a_record_of_a_newer_release_is_also_kept_from_those_before_the_setting(store: Store) -> None:
    await store.galleries.create("people", CONTRACT)
    newer = {"schema": {"version": 99, "least_reader": 1, "least_writer": 1, "added_later": "kept"}}
    await mark(store, META, "gallery", newer)
    await store.galleries.update("people", policy={"presentation_attack": PresentationAttackAction.REJECT})
    (record,) = [record for record in await every_record(store) if record["kind"] == "gallery"]
    assert record["schema"] == {"version": 99, "least_reader": 2, "least_writer": 2, "added_later": "kept"}
