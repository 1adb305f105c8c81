"""What a stolen or changed store gives away, and when a protected store refuses."""

import asyncio
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sameface_qdrant import ErasureState, NewTemplate, Policy, Probe, Provenance, Store, TemplateFilter
from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import (
    InvalidArgument,
    ProtectionKeyRefused,
    QuotaExceeded,
    SamefaceError,
    StoreCorrupt,
    StoreTooNew,
    StoreUnavailable,
    TemplateLimitReached,
)
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.protection import state as protection_state
from sameface_qdrant.store.protection.keys import KeyFile, KeyRing
from sameface_qdrant.store.protection.rotation import Rotation
from sameface_qdrant.transfer.exporting import export_store
from sameface_qdrant.transfer.importing import import_store
from sameface_qdrant.transfer.keys import ExportKey
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.quota import Quota
from sameface_qdrant.values.schema import SchemaVersion
from tests.disk import contents
from tests.plugin.conftest import CONTRACT, near, random_vector
from tests.plugin.protection.conftest import FIRST, KEYS, SECOND, Stopped, StoppingEngine, master_key, opened, stored

POLICY = Policy(verify_threshold=0.5, identify_threshold=0.5, collision_threshold=0.95, max_templates=3)
NAMES = ("lovelace", "Ada Lovelace", "Ward seven", "consent-77", "night shift", "badge 1234", "turing")
"""What the test store says of people."""


async def filled(store: Store, rng: np.random.Generator, gallery: str = "people") -> dict[str, np.ndarray]:
    """Two identities, one of which got another id and lost a template."""
    await store.galleries.create(gallery, CONTRACT, policy=POLICY, display_name="Ward seven")
    vectors = {name: random_vector(rng) for name in ("lovelace", "turing")}
    for name, vector in vectors.items():
        template = NewTemplate(vector, CONTRACT, Provenance("badge 1234", {"Sharpness": 9.0}, "night shift"))
        await store.enroll(
            gallery,
            name,
            [template],
            request_id=f"of-{name}",
            display_name="Ada Lovelace",
            labels={"ward": "Ward seven"},
            consent_reference="consent-77",
            purpose="night shift",
        )
    await store.identities.move(gallery, "turing", "hopper")
    await store.enroll(gallery, "hopper", [NewTemplate(random_vector(rng), CONTRACT)])
    first = (await store.templates.list(gallery, "hopper")).items[0]
    await store.templates.delete(gallery, "hopper", first.id)
    return vectors


@pytest.mark.parametrize("engine", ["edge", "sqlite"])
async def test_the_disk_names_nobody(engine: str, tmp_path: Path, rng: np.random.Generator) -> None:
    store = await opened(engine, tmp_path)
    vectors = await filled(store, rng)
    shown = [*await stored(store._engine, CONTRACT.key), *await stored(store._engine, META)]
    ids = {template.id for template in (await store.templates.list("people", "lovelace")).items}
    await store.aclose()
    content = contents(tmp_path)
    for name in (*NAMES, "hopper", "of-lovelace", "ward", *ids):
        assert name.encode() not in content, name
        assert name not in repr(shown), name
    for vector in vectors.values():
        unit = (vector / np.linalg.norm(vector)).astype(np.float32)
        assert unit.tobytes() not in content
        turned = [one["vector"] for one in shown if one["vector"] is not None]
        assert max(float(one @ unit) for one in turned if one.shape == unit.shape) < 0.99
    # Whoever guesses a name cannot test the guess by the ids.
    found = {one["id of the point"] for one in shown}
    uid = next(one["gallery"] for one in shown if one["kind"] == "gallery")
    for name in ("lovelace", "turing", "hopper"):
        assert not found & {point_id("identity", uid, name), point_id("identity", f"{uid}.1", name)}


async def test_an_unprotected_gallery_beside_it_is_as_before(rng: np.random.Generator) -> None:
    store = await opened("memory", Path())
    await filled(store, rng)
    plain = await store.galleries.create("plain", CONTRACT, policy=POLICY, protected=False)
    assert plain.protection is None
    vector = random_vector(rng)
    (template,) = await store.enroll("plain", "ada", [NewTemplate(vector, CONTRACT)], labels={"team": "x"})
    kept = (await store._engine.get(CONTRACT.key, [template.id], with_vector=True))[template.id]
    assert (kept.payload["identity"], kept.payload["gallery"]) == ("ada", plain.uid)
    assert kept.vector == pytest.approx(vector / np.linalg.norm(vector), abs=1e-6)
    decision = await store.verify("plain", "ada", Probe(vector, CONTRACT))
    assert decision.score == pytest.approx(1.0)
    assert [one.id for one in (await store.identities.list("plain", labels={"team": "x"})).items] == ["ada"]


async def test_galleries_of_one_person_share_nothing(rng: np.random.Generator) -> None:
    """The same vector under the same name in two galleries of one store."""
    store, vector = await opened("memory", Path()), random_vector(rng)
    for gallery in ("one", "two"):
        await store.galleries.create(gallery, CONTRACT, policy=POLICY)
        await store.enroll(gallery, "ada", [NewTemplate(vector, CONTRACT)], labels={"team": "x"}, request_id="r")
    templates = [one for one in await stored(store._engine, CONTRACT.key) if one["kind"] == "template"]
    one, two = templates
    for name in ("identity", "digest", "labels", "id of the point", "gallery", "source"):
        assert one[name] != two[name], name
    assert abs(float(one["vector"] @ two["vector"])) < 0.99


@pytest.mark.parametrize("engine", ["edge", "sqlite"])
async def test_wrong_and_missing_keys_are_refused_and_nothing_is_changed(
    engine: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    store = await opened(engine, tmp_path)
    await filled(store, rng)
    await store.aclose()
    before = contents(tmp_path) if engine == "sqlite" else b""
    wrong = KeyRing({"first": master_key("first", "?")}, "first")
    other = KeyRing({"third": master_key("third")}, "third")
    for keys, told in ((None, "without any"), (wrong, "another one"), (other, "no key 'first'")):
        with pytest.raises(ProtectionKeyRefused, match=told) as refusal:
            await opened(engine, tmp_path, keys)
        assert refusal.value.metadata["key"] == "first"
        assert "'first'" in refusal.value.message
    if engine == "sqlite":
        assert contents(tmp_path) == before
    again = await opened(engine, tmp_path, SECOND)
    assert (await again.identities.get("people", "lovelace")).display_name == "Ada Lovelace"
    await again.aclose()


async def test_a_service_with_another_key_of_the_same_id_writes_nothing(rng: np.random.Generator) -> None:
    """It was started before the store had any protected gallery, so nothing could be checked then."""
    store = await opened("memory", Path())
    other = await Store.over(store._engine, keys=KeyRing({"first": master_key("first", "?")}, "first"))
    await filled(store, rng)
    before = await store._engine.count(META, Where({})), await store._engine.count(CONTRACT.key, Where({}))
    for call in (
        other.enroll("people", "eve", [NewTemplate(random_vector(rng), CONTRACT)]),
        other.identities.create("people", "eve"),
        other.identities.delete("people", "lovelace", force=True),
        other.galleries.delete("people", force=True),
        other.galleries.create("more", CONTRACT),
        other.rekey("people"),
    ):
        with pytest.raises(ProtectionKeyRefused, match="'first' is another one"):
            await call
    assert before == (await store._engine.count(META, Where({})), await store._engine.count(CONTRACT.key, Where({})))


class Changing:
    """A key source whose answers change, or which fails."""

    current = "first"

    def __init__(self) -> None:
        self.answers: KeyRing | Exception = FIRST

    def derive(self, key: str, context: bytes) -> bytes:
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers.derive(key, context)


WRONG = KeyRing({"first": master_key("first", "?")}, "first")


@pytest.mark.parametrize("source", ["file", "provider"])
async def test_a_running_store_writes_nothing_under_an_exchanged_key(
    source: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    provider, path = Changing(), tmp_path / "keys.json"
    path.write_text(FIRST.serialised())
    path.chmod(0o600)
    file = KeyFile(path)
    store = await Store.open(":memory:", keys=file if source == "file" else provider)
    await store.galleries.create("empty", CONTRACT)
    await filled(store, rng)
    provider.answers = WRONG
    path.write_text(WRONG.serialised())
    before = await store._engine.count(META, Where({})), await store._engine.count(CONTRACT.key, Where({}))
    for call in (
        store.galleries.create("more", CONTRACT),
        store.enroll("empty", "ada", [NewTemplate(random_vector(rng), CONTRACT)]),
        store.rekey("people"),
    ):
        with pytest.raises(ProtectionKeyRefused, match="'first'"):
            await call
    assert before == (await store._engine.count(META, Where({})), await store._engine.count(CONTRACT.key, Where({})))
    again = await Store.over(store._engine, keys=FIRST)
    assert (await again.identities.get("people", "lovelace")).display_name == "Ada Lovelace"


async def test_a_key_that_is_exchanged_in_the_middle_of_a_derivation_is_noticed() -> None:
    provider = Changing()
    store = await Store.open(":memory:", keys=provider)
    await store.galleries.create("people", CONTRACT)
    for left in range(5):
        answers = iter([FIRST] * (left + 1) + [WRONG] * 6)

        class Turning(Changing):
            def derive(self, key: str, context: bytes, answers: Any = answers) -> bytes:
                return next(answers).derive(key, context)  # type: ignore[no-any-return]

        store.protections.keys = Turning()
        with pytest.raises(ProtectionKeyRefused, match="'first'"):
            await store.identities.create("people", "ada")


async def test_calls_at_once_draw_one_rotation(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await opened("memory", Path())
    vectors = await filled(store, rng)
    drawn: list[int] = []

    def draw(key: bytes, dimension: int) -> Any:
        drawn.append(dimension)
        return Rotation(key, dimension)

    monkeypatch.setattr(protection_state, "Rotation", draw)
    cold = await Store.over(store._engine, keys=FIRST)
    probe = Probe(vectors["lovelace"], CONTRACT)
    await asyncio.gather(*(cold.verify("people", "lovelace", probe) for _ in range(8)))
    assert len(drawn) == 1


async def test_a_failing_key_source_is_an_error_of_the_server(rng: np.random.Generator) -> None:
    provider = Changing()
    store = await Store.open(":memory:", keys=provider)
    await store.galleries.create("people", CONTRACT)
    provider.answers = RuntimeError("https://kms.example/token=secret")
    with pytest.raises(StoreUnavailable, match="failed with RuntimeError") as refusal:
        await store.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])
    assert "secret" not in repr(refusal.value) + str(refusal.value.__cause__)
    provider.answers = FIRST
    await store.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])


async def test_deletions_go_on_with_a_key_file_that_others_may_read(tmp_path: Path, rng: np.random.Generator) -> None:
    file = KeyFile(tmp_path / "keys.json")
    file.create()
    store = await Store.open(":memory:", keys=file)
    await store.galleries.create("people", CONTRACT)
    await store.galleries.create("plain", CONTRACT, protected=False)
    for gallery in ("plain", "people"):
        await store.enroll(gallery, "ada", [NewTemplate(random_vector(rng), CONTRACT)])
    file.path.chmod(0o644)
    for gallery in ("plain", "people"):
        assert (await store.identities.delete(gallery, "ada", force=True)).unreadable


@pytest.mark.parametrize("changes", range(6))
async def test_older_releases_are_kept_out_before_the_first_key_is_used(changes: int) -> None:
    store = await Store.open(":memory:", keys=FIRST)
    stopping = StoppingEngine(store.galleries.rekeying._engine.records._engine)
    store.galleries.rekeying._engine.records._engine = stopping
    stopping.changes_left = changes
    try:
        await store.galleries.create("people", CONTRACT)
    except Stopped:
        pass
    else:
        assert changes == 5
    points = await stored(store._engine, META)
    (secret,) = [one for one in points if one["kind"] == "secret"]
    assert (secret["schema"]["least_reader"] == 3) == (changes > 0)
    assert secret["schema"]["least_reader"] == 3 or {one["kind"] for one in points} == {"secret"}


async def test_a_removed_check_value_is_noticed(rng: np.random.Generator) -> None:
    store = await opened("memory", Path())
    await filled(store, rng)
    await store._engine.delete(META, Where({"kind": "protection-key"}))
    wrong = KeyRing({"first": master_key("first", "?")}, "first")
    for keys in (None, wrong, FIRST):
        with pytest.raises(StoreCorrupt, match="'first'"):
            await Store.over(store._engine, keys=keys)


async def test_a_key_that_nothing_needs_may_be_gone(tmp_path: Path, rng: np.random.Generator) -> None:
    store = await opened("sqlite", tmp_path, SECOND)
    await store.galleries.create("people", CONTRACT)
    await store.aclose()
    store = await opened("sqlite", tmp_path, FIRST)
    await store.rekey("people")
    await store.aclose()
    left = KeyRing({"first": KEYS["first"]}, "first")
    store = await opened("sqlite", tmp_path, left)
    await store.galleries.delete("people")
    await store.aclose()
    # Its receipt names nobody, but it is sealed.
    with pytest.raises(ProtectionKeyRefused, match="'first'"):
        await opened("sqlite", tmp_path, None)


async def test_an_older_release_refuses_the_store(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened("sqlite", tmp_path)
    before = await Store.over(store._engine)
    await store.galleries.create("people", CONTRACT)
    # One that has it open already.
    with pytest.raises(ProtectionKeyRefused, match="'first'"):
        await before.galleries.get("people")
    await store.aclose()
    with monkeypatch.context() as older:
        older.setattr("sameface_qdrant.values.schema.CURRENT", SchemaVersion(2, 1, 1))
        older.setattr("sameface_qdrant.store.protection.records.ProtectedRecords.check_keys", _nothing)
        with pytest.raises(StoreTooNew, match="schema version 3 or newer"):
            await opened("sqlite", tmp_path, None)


async def _nothing(self: object) -> None:
    pass


async def test_without_keys_no_gallery_can_be_protected(tmp_path: Path) -> None:
    store = await Store.open(":memory:")
    assert (await store.galleries.create("plain", CONTRACT)).protection is None
    with pytest.raises(ProtectionKeyRefused, match="KEYS_FILE"):
        await store.galleries.create("people", CONTRACT, protected=True)
    with pytest.raises(InvalidArgument, match="not protected"):
        await store.rekey("plain")
    assert [one.id for one in (await store.galleries.list()).items] == ["plain"]


async def swapped(store: Store, field: str) -> None:
    """Exchange a stored field of two identities."""
    one, two = [point for point in await stored(store._engine, CONTRACT.key) if point["kind"] == "identity"]
    for here, there in ((one, two), (two, one)):
        this = Where({"kind": "identity"}, ids=(here["id of the point"],))
        await store._engine.set_payload(CONTRACT.key, this, {field: there[field]})


@pytest.mark.parametrize("field", ["point_sealed", "display_name_sealed", "consent_reference_sealed", "labels_sealed"])
async def test_fields_that_were_exchanged_do_not_open(field: str, rng: np.random.Generator) -> None:
    store = await opened("memory", Path())
    await filled(store, rng)
    await swapped(store, field)
    for name in ("lovelace", "hopper"):
        with pytest.raises(StoreCorrupt, match="does not open") as refusal:
            await store.identities.get("people", name)
        assert not any(one in refusal.value.message for one in (*NAMES, "hopper"))
    with pytest.raises(StoreCorrupt):
        await store.identities.list("people")


async def test_a_label_that_was_exchanged_is_not_believed(rng: np.random.Generator) -> None:
    """Look-up digests alone are not authenticated: a filter may find another identity, but its values are its own."""
    store = await opened("memory", Path())
    await filled(store, rng)
    await store.identities.update("people", "hopper", {"labels": {"ward": "eight"}})
    await swapped(store, "labels")
    found = (await store.identities.list("people", labels={"ward": "eight"})).items
    assert [(one.id, one.labels) for one in found] == [("lovelace", {"ward": "Ward seven"})]


async def test_names_and_keys_are_in_no_log_and_no_error(
    tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = await opened("edge", tmp_path)
    await filled(store, rng)
    await store.rekey("people")
    await store.aclose()
    secrets = [KEYS["first"].secret.hex(), repr(KEYS["first"].secret)]
    for told in (*NAMES[:3], *NAMES[4:], *secrets):
        assert told not in caplog.text
        assert told not in repr((FIRST, KEYS, store.protections._derived._values))


async def test_everything_of_the_erased_is_looked_for_as_it_was_stored(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    store = await opened("edge", tmp_path)
    await filled(store, rng)
    await store.rekey("people")
    kept = [one for one in await stored(store._engine, CONTRACT.key) if one["kind"] == "template"]
    needles = [one["vector"].astype("<f4").tobytes() for one in kept]
    content = contents(tmp_path)
    assert all(needle in content for needle in needles)
    receipt = await store.identities.delete("people", "lovelace", force=True)
    assert (receipt.state, receipt.unreadable, receipt.sampled) == (ErasureState.DONE, True, 2)
    vectors, points, digests = receipt.evidence
    assert (vectors.sought, vectors.found_before, vectors.found_after) == (1, 1, 0)
    assert (points.sought, points.found_before, points.found_after) == (2, 2, 0)
    assert (digests.sought, digests.found_after) == (1, 0)
    content = contents(tmp_path)
    assert [needle in content for needle in needles].count(True) == len(needles) - 1
    assert (await store.erasures.get(receipt.id)).identity == "lovelace"
    assert {one.identity for one in (await store.erasures.list(gallery="people")).items} >= {"lovelace", "hopper"}
    await store.aclose()


async def test_retries_guards_limits_and_filters(rng: np.random.Generator) -> None:
    store = await opened("memory", Path())
    vectors = await filled(store, rng)
    again = NewTemplate(vectors["lovelace"], CONTRACT, Provenance("badge 1234", {"Sharpness": 9.0}, "night shift"))
    (first,) = (await store.templates.list("people", "lovelace")).items
    (repeat,) = await store.enroll("people", "lovelace", [again], request_id="of-lovelace")
    assert (repeat.id, repeat.provenance) == (first.id, first.provenance)
    (duplicate,) = await store.enroll("people", "hopper", [again])
    assert {one.kind.value for one in duplicate.findings} >= {"DUPLICATE", "COLLISION"}
    with pytest.raises(TemplateLimitReached):
        await store.enroll("people", "lovelace", [NewTemplate(random_vector(rng), CONTRACT) for _ in range(3)])
    close = Probe(near(vectors["lovelace"], rng, 0.01), CONTRACT)
    for where, names in (
        (TemplateFilter(labels={"ward": "Ward seven"}), {"lovelace", "hopper"}),
        (TemplateFilter(labels={"ward": "ward seven"}), set()),
        (TemplateFilter(labels={"Ward seven".lower().replace(" ", "-"): "ward"}), set()),
        (TemplateFilter(source="badge 1234"), {"lovelace", "hopper"}),
        (TemplateFilter(source="photo"), set()),
        (TemplateFilter(exclude_identities=("hopper",)), {"lovelace"}),
        (TemplateFilter(identities=("hopper",)), {"hopper"}),
    ):
        found = await store.search("people", close, where=where, limit=9)
        assert {one.template.identity for one in found} == names
        assert {one.display_name for one in found} <= {"Ada Lovelace"}


async def test_an_export_is_protected_again_where_it_is_imported(tmp_path: Path, rng: np.random.Generator) -> None:
    store = await opened("memory", Path())
    vectors = await filled(store, rng)
    key = ExportKey("key-file", b"e" * 32)
    await export_store(store, tmp_path / "x", key)
    for keys in (FIRST, KeyRing({"third": master_key("third")}, "third")):
        other = await opened("memory", Path(), keys)
        await import_store(other, tmp_path / "x", key, no_erasures_since=True)
        gallery = await other.galleries.get("people")
        assert gallery.protection is not None
        assert (gallery.protection.current.key, gallery.display_name) == (keys.current, "Ward seven")
        decision = await other.verify("people", "lovelace", Probe(vectors["lovelace"], CONTRACT))
        assert decision.score == pytest.approx(1.0, abs=1e-5)
        (retried,) = await other.enroll(
            "people", "lovelace", [NewTemplate(vectors["lovelace"], CONTRACT)], request_id="of-lovelace"
        )
        assert retried.id == (await store.templates.list("people", "lovelace")).items[0].id
        theirs, ours = [
            {one["id of the point"] for one in await stored(s._engine, CONTRACT.key)} for s in (other, store)
        ]
        assert not theirs & ours
        shown = repr(await stored(other._engine, CONTRACT.key))
        assert not any(name in shown for name in NAMES)
    plain = await Store.open(":memory:")
    with pytest.raises(ProtectionKeyRefused):
        await import_store(plain, tmp_path / "x", key, no_erasures_since=True)
    assert not (await plain.galleries.list()).items


async def unlinked(one: Store, other: Store) -> None:
    """Check that two copies of one gallery have no id, digest, label or embedding in common, though both are its own.

    Only inner products between its templates stay, as they are needed for scores.
    """
    here, there = [await stored(store._engine, CONTRACT.key) for store in (one, other)]
    assert len(here) == len(there) > 3
    for name in ("id of the point", "identity", "digest", "source", "labels", "point_sealed"):
        assert not {repr(point[name]) for point in here if name in point} & {
            repr(point[name]) for point in there if name in point
        }, name
    vectors = [[p["vector"] for p in points if p["kind"] == "template"] for points in (here, there)]
    assert max(float(abs(a @ b)) for a in vectors[0] for b in vectors[1]) < 0.999


async def test_a_generation_does_not_come_back_by_an_import(tmp_path: Path, rng: np.random.Generator) -> None:
    store = await opened("memory", Path())
    await filled(store, rng)
    key = ExportKey("key-file", b"e" * 32)
    await export_store(store, tmp_path / "x", key)
    first, second = [await opened("memory", Path()) for _ in range(2)]
    for other in (first, second):
        await import_store(other, tmp_path / "x", key, no_erasures_since=True)
    await unlinked(first, second)
    # The generation after that of the export has its number too.
    await store.rekey("people")
    for other in (first, second):
        await unlinked(store, other)


@pytest.mark.parametrize("rekeys", [1, 2])
async def test_a_generation_does_not_come_back_in_a_restored_store(
    rekeys: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    store = await opened("sqlite", tmp_path / "one")
    await filled(store, rng)
    await store.aclose()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    copies = [await opened("sqlite", tmp_path / name) for name in ("one", "two")]
    for copy in copies:
        for _ in range(rekeys):
            await copy.rekey("people")
    numbers = [(await copy.galleries.get("people")).protection for copy in copies]
    assert [one and one.current.number for one in numbers] == [1 + rekeys] * 2
    await unlinked(*copies)
    for copy in copies:
        await copy.aclose()


async def test_a_key_that_a_running_service_lacks_is_named(rng: np.random.Generator) -> None:
    store = await opened("memory", Path())
    old = await Store.over(store._engine, keys=KeyRing({"first": KEYS["first"]}, "first"))
    await filled(store, rng)
    assert (await old.identities.get("people", "lovelace")).display_name == "Ada Lovelace"
    new = await Store.over(store._engine, keys=SECOND)
    await new.rekey("people")
    old.galleries._memory.drop("people")
    with pytest.raises(ProtectionKeyRefused, match="'second'") as refusal:
        await old.enroll("people", "eve", [NewTemplate(random_vector(rng), CONTRACT)])
    assert not re.search("lovelace|Ward", refusal.value.message)
    with pytest.raises(ProtectionKeyRefused, match="'second'"):
        await old.verify("people", "lovelace", Probe(random_vector(rng), CONTRACT))


async def test_a_gallery_under_a_missing_key_stops_nothing_else(
    tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    store = await opened("memory", Path())
    old = await Store.over(store._engine, keys=KeyRing({"first": KEYS["first"]}, "first"))
    await filled(store, rng)
    new = await Store.over(store._engine, keys=SECOND)
    await filled(new, rng, "newer")
    receipt = await new.identities.delete("newer", "lovelace", force=True)
    listed = {one.id: one.display_name for one in (await old.galleries.list()).items}
    assert listed == {"people": "Ward seven", "newer": ""}
    assert [one.protection and one.protection.current.key for one in (await old.galleries.list()).items]
    assert receipt.id not in {one.id for one in (await old.erasures.list()).items}
    assert re.search("2 receipts cannot be read without the protection key 'second'", caplog.text)
    assert {one.gallery for one in (await old.erasures.list()).items} == {"people"}
    await old.sweep()
    old.use_quotas([Quota("*", galleries=9, identities=9, bytes=1 << 20)])
    await old.enroll("people", "eve", [NewTemplate(random_vector(rng), CONTRACT)])
    old.use_quotas([Quota("*", identities=4)])
    with pytest.raises(QuotaExceeded, match="4 are used"):
        await old.enroll("people", "adam", [NewTemplate(random_vector(rng), CONTRACT)])
    # What concerns this gallery needs its key, and an export leaves nothing out.
    for call in (
        old.galleries.get("newer"),
        old.galleries.update("newer", policy={"max_templates": 4}),
        old.erasures.get(receipt.id),
        export_store(old, tmp_path / "x", ExportKey("key-file", b"e" * 32)),
    ):
        with pytest.raises(ProtectionKeyRefused, match="'second'"):
            await call
    assert (await new.galleries.get("newer")).display_name == "Ward seven"


async def test_malformed_fields_of_a_changed_store_are_named_as_such(rng: np.random.Generator) -> None:
    store = await opened("memory", Path())
    await filled(store, rng)
    spoiled: list[Any] = ["", "first:1:", "x", "first:one:AAAA", 7, None]
    for value in spoiled:
        await store._engine.set_payload(CONTRACT.key, Where({"kind": "identity"}), {"point_sealed": value})
        with pytest.raises(SamefaceError, match="restore a backup"):
            await store.identities.list("people")
