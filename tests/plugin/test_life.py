"""An identity is moved, merged, expires, and is found by its labels."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from sameface_qdrant import NewTemplate, Outcome, Policy, Probe, Store
from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    GalleryNotFound,
    IdentityAlreadyExists,
    IdentityExpired,
    IdentityNotFound,
    InvalidArgument,
    StoreUnavailable,
    TemplateLimitReached,
    TemplateNotFound,
)
from sameface_qdrant.store import conditional_write
from sameface_qdrant.values.template import Provenance
from tests.plugin.conftest import CONTRACT, SOON, PassBy

AXES = np.eye(8, dtype=np.float32)


@pytest.fixture(autouse=True)
async def gallery(store: Store) -> None:
    policy = Policy(verify_threshold=0.5, identify_threshold=0.6, max_templates=4)
    await store.galleries.create("people", CONTRACT, policy=policy)


async def enroll(store: Store, identity: str, *axes: int, expire_time: datetime | None = None) -> list[str]:
    new = [NewTemplate(AXES[axis], CONTRACT, Provenance(note=str(axis)), expire_time=expire_time) for axis in axes]
    return [one.id for one in await store.enroll("people", identity, new, display_name=identity.title())]


async def found(store: Store, axis: int) -> str:
    decision = await store.identify("people", Probe(AXES[axis], CONTRACT))
    return decision.candidates[0].identity if decision.outcome is Outcome.MATCH else decision.outcome.value


async def test_a_moved_identity_is_found_under_its_new_id_with_all_that_is_known_of_it(store: Store) -> None:
    await store.identities.create(
        "people",
        "ada",
        display_name="Ada",
        labels={"team": "a"},
        verify_threshold=0.4,
        consent_reference="form 7",
        purpose="door",
    )
    await enroll(store, "ada", 0, 1)
    before = {one.provenance.note: one for one in (await store.templates.list("people", "ada")).items}
    moved = await store.identities.move("people", "ada", "ada-lovelace")
    assert (moved.id, moved.display_name, moved.labels, moved.verify_threshold) == (
        "ada-lovelace",
        "Ada",
        {"team": "a"},
        0.4,
    )
    assert (moved.consent_reference, moved.purpose, moved.template_count) == ("form 7", "door", 2)
    after = {one.provenance.note: one for one in (await store.templates.list("people", "ada-lovelace")).items}
    assert {note: one.create_time for note, one in after.items()} == {n: o.create_time for n, o in before.items()}
    with pytest.raises(IdentityNotFound):
        await store.identities.get("people", "ada")
    assert await found(store, 0) == await found(store, 1) == "ada-lovelace"
    await enroll(store, "ada-lovelace", 2)
    await enroll(store, "ada", 3)
    assert await found(store, 3) == "ada"


async def test_any_text_is_the_id_of_an_identity(store: Store) -> None:
    gallery, identity, other = "people", '田中 花子/O\'Brien \\ "x"', "Ada@example.org"
    await enroll(store, identity, 0, 1)
    await enroll(store, other, 2)
    assert await found(store, 0) == identity
    claim = await store.verify(gallery, other, Probe(AXES[2], CONTRACT))
    assert claim.outcome is Outcome.MATCH
    assert {one.id for one in (await store.identities.list(gallery)).items} == {identity, other}
    with pytest.raises(IdentityNotFound):
        await store.identities.get(gallery, other.lower())
    upper = "6F9619FF-8B86-D011-B42D-00C04FC964FF"
    await store.identities.move(gallery, identity, upper)
    assert await found(store, 1) == upper
    assert (await store.identities.move(gallery, upper, other, merge=True)).template_count == 3
    receipt = await store.identities.delete(gallery, other, force=True)
    assert (receipt.identity, receipt.templates) == (other, 3)
    assert [one.identity for one in (await store.erasures.list(gallery=gallery)).items] == [other]
    for wrong in ("a\x1fb", "Jose\u0301", "..", "a" * 201):
        with pytest.raises(InvalidArgument):
            await enroll(store, wrong, 0)
        with pytest.raises(InvalidArgument):
            await store.identities.create(gallery, wrong)
        with pytest.raises(InvalidArgument):
            await store.identities.move(gallery, "nobody", wrong)


async def test_a_merge_brings_both_together_and_keeps_the_targets_name(store: Store) -> None:
    await enroll(store, "ada", 0)
    await enroll(store, "lovelace", 1)
    with pytest.raises(IdentityAlreadyExists):
        await store.identities.move("people", "ada", "lovelace")
    assert await found(store, 0) == "ada"
    merged = await store.identities.move("people", "ada", "lovelace", merge=True)
    assert (merged.display_name, merged.template_count) == ("Lovelace", 2)
    assert await found(store, 0) == await found(store, 1) == "lovelace"
    assert (await store.identify("people", Probe(AXES[0], CONTRACT))).gallery_size == 1


async def test_a_merge_beyond_the_cap_changes_nothing(store: Store) -> None:
    await enroll(store, "ada", 0, 1, 2)
    await enroll(store, "lovelace", 3, 4)
    with pytest.raises(TemplateLimitReached):
        await store.identities.move("people", "ada", "lovelace", merge=True)
    await enroll(store, "ada", 5)
    assert [await found(store, axis) for axis in (0, 3, 5)] == ["ada", "lovelace", "ada"]


@pytest.mark.parametrize("target", ["ada", "No\x1fSuch Id", ""])
async def test_a_target_that_cannot_be_is_refused(store: Store, target: str) -> None:
    await enroll(store, "ada", 0)
    with pytest.raises(InvalidArgument):
        await store.identities.move("people", "ada", target)
    with pytest.raises(IdentityNotFound):
        await store.identities.move("people", "nobody", "somebody")
    with pytest.raises(GalleryNotFound):
        await store.identities.move("nowhere", "ada", "somebody")


async def test_a_move_that_was_cut_off_is_finished_by_its_repeat(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await enroll(store, "ada", 0, 1)
    engine = store._engine
    delete = type(engine).delete

    async def cut_off(*arguments: object) -> None:
        raise OSError("cut off")

    monkeypatch.setattr(type(engine), "delete", cut_off)
    with pytest.raises(OSError, match="cut off"):
        await store.identities.move("people", "ada", "lovelace")
    monkeypatch.setattr(type(engine), "delete", delete)
    moved = await store.identities.move("people", "ada", "lovelace")
    assert moved.template_count == 2
    assert await found(store, 0) == "lovelace"
    with pytest.raises(IdentityNotFound):
        await store.identities.get("people", "ada")


@pytest.mark.parametrize("merged_before", [False, True], ids=["alone", "another one was merged since"])
@pytest.mark.parametrize("deleted", ["ada", "lovelace"])
async def test_a_person_whose_move_was_cut_off_is_erased_under_both_ids(
    store: Store, monkeypatch: pytest.MonkeyPatch, deleted: str, merged_before: bool
) -> None:
    await enroll(store, "ada", 0)
    await enroll(store, "cy", 3)
    engine = store._engine
    commit = engine.commit

    async def cut_off(*arguments: object, **options: object) -> None:
        raise OSError("cut off")

    monkeypatch.setattr(engine, "commit", cut_off)
    with pytest.raises(OSError, match="cut off"):
        await store.identities.move("people", "ada", "lovelace")
    monkeypatch.setattr(engine, "commit", commit)
    monkeypatch.setattr(conditional_write, "CRASHED_AFTER_S", 0.0)
    if merged_before:
        await store.identities.move("people", "cy", "lovelace", merge=True)
    if deleted == "ada":
        # The deletion finishes the move first, and then there is no such identity.
        with pytest.raises(IdentityNotFound):
            await store.identities.delete("people", "ada", force=True)
    await store.identities.delete("people", "lovelace", force=True)
    with pytest.raises(IdentityNotFound):
        await store.identities.move("people", "ada", "lovelace", merge=True)
    left = {one.id for one in (await store.identities.list("people")).items}
    assert left == (set() if merged_before else {"cy"})
    assert await found(store, 0) in ("NO_MATCH", "no_match")


@pytest.mark.parametrize("whole", [True, False], ids=["the identity", "a template"])
async def test_what_is_deleted_under_the_target_of_a_move_that_was_cut_off_does_not_come_back(
    store: Store, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    await enroll(store, "ada", 0, 1)
    engine = store._engine
    commit = engine.commit

    async def cut_off(*arguments: object, **options: object) -> None:
        raise OSError("cut off")

    monkeypatch.setattr(engine, "commit", cut_off)  # the copies have arrived, and the originals are there
    with pytest.raises(OSError, match="cut off"):
        await store.identities.move("people", "ada", "lovelace")
    monkeypatch.setattr(engine, "commit", commit)
    gone = next(one for one in (await store.templates.list("people", "lovelace")).items if one.provenance.note == "0")

    async def delete() -> None:
        if whole:
            await store.identities.delete("people", "lovelace", force=True)
        else:
            await store.templates.delete("people", "lovelace", gone.id)

    if not engine.exclusive:
        with pytest.raises(ConcurrentUpdate):  # a service may still be busy with the move
            await delete()
        monkeypatch.setattr(conditional_write, "CRASHED_AFTER_S", 0.0)
    await delete()
    with pytest.raises(IdentityNotFound):
        await store.identities.move("people", "ada", "lovelace")
    left = {one.id: one.template_count for one in (await store.identities.list("people")).items}
    assert left == ({} if whole else {"lovelace": 1})
    if not whole:
        assert await found(store, 1) == "lovelace"


async def test_an_identity_that_has_expired_is_ignored_and_lives_on_when_it_is_prolonged(
    store: Store, pass_by: PassBy
) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    await enroll(store, "ada", 0)
    await enroll(store, "ada", 1, expire_time=later)
    soon = datetime.now(UTC) + SOON
    changed = await store.identities.update("people", "ada", {"expire_time": soon})
    assert changed.expire_time == soon
    (third,) = await enroll(store, "ada", 2)
    assert (await store.templates.get("people", "ada", third)).expire_time == soon
    pass_by(soon)
    assert {await found(store, axis) for axis in range(3)} == {"NO_MATCH"}
    with pytest.raises(IdentityNotFound):
        await store.verify("people", "ada", Probe(AXES[0], CONTRACT))
    await store.identities.update("people", "ada", {"expire_time": None})
    assert {await found(store, axis) for axis in range(3)} == {"ada"}
    expiries = {one.provenance.note: one.expire_time for one in (await store.templates.list("people", "ada")).items}
    assert expiries == {"0": None, "1": later, "2": None}


async def test_a_template_is_given_another_expiry(store: Store) -> None:
    (one,) = await enroll(store, "ada", 0)
    later = datetime.now(UTC) + timedelta(hours=1)
    assert (await store.templates.update("people", "ada", one, expire_time=later)).expire_time == later
    assert (await store.templates.update("people", "ada", one, expire_time=None)).expire_time is None
    with pytest.raises(InvalidArgument, match="past"):
        await store.templates.update("people", "ada", one, expire_time=datetime.now(UTC) - timedelta(days=1))
    with pytest.raises(TemplateNotFound):
        await store.templates.update("people", "ada", "no-such", expire_time=None)


async def test_identities_are_listed_by_their_labels(store: Store) -> None:
    for number in range(6):
        await store.identities.create(
            "people", f"i{number}", labels={"team": "ab"[number % 2], "site": "north" if number < 4 else "south"}
        )
    page = await store.identities.list("people", labels={"team": "a", "site": "north"})
    assert {one.id for one in page.items} == {"i0", "i2"}
    with pytest.raises(InvalidArgument):
        await store.identities.list("people", labels={"No Such": ""})


async def test_a_sweep_erases_what_has_expired_and_nothing_else(store: Store, pass_by: PassBy) -> None:
    soon = datetime.now(UTC) + SOON
    await enroll(store, "ada", 0)
    await enroll(store, "ada", 1, expire_time=soon)
    await enroll(store, "bob", 2)
    await enroll(store, "bob", 3, expire_time=soon + timedelta(hours=1))
    await store.identities.update("people", "bob", {"expire_time": soon})
    assert await store.sweep() == ()
    pass_by(soon)
    receipts = await store.sweep()
    assert sorted((one.identity, one.templates) for one in receipts) == [("", 1), ("bob", 2)]
    assert all(one.unreadable for one in receipts)
    assert await found(store, 0) == "ada"
    assert (await store.identities.get("people", "ada")).template_count == 1
    with pytest.raises(IdentityNotFound):
        await store.identities.get("people", "bob")
    assert await store.sweep() == ()


async def test_a_move_that_did_not_arrive_does_not_take_somebody_else_for_its_target(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enroll(store, "ada", 0)
    engine, upserts = store._engine, 0
    upsert = type(engine).upsert

    async def second_fails(*arguments: Any, **options: Any) -> None:
        nonlocal upserts
        upserts += 1
        if upserts == 2:
            raise OSError("cut off")
        await upsert(*arguments, **options)

    monkeypatch.setattr(type(engine), "upsert", second_fails)
    with pytest.raises(OSError, match="cut off"):
        await store.identities.move("people", "ada", "lovelace")
    monkeypatch.setattr(type(engine), "upsert", upsert)
    await enroll(store, "lovelace", 5)
    with pytest.raises(IdentityAlreadyExists):
        await store.identities.move("people", "ada", "lovelace")
    assert (await store.identities.get("people", "lovelace")).template_count == 1
    # Nothing had arrived, so the caller may choose another target.
    moved = await store.identities.move("people", "ada", "augusta")
    assert moved.template_count == 1
    assert [await found(store, axis) for axis in (0, 5)] == ["augusta", "lovelace"]


async def test_expired_templates_move_along_and_may_be_prolonged(store: Store, pass_by: PassBy) -> None:
    soon = datetime.now(UTC) + SOON
    await enroll(store, "ada", 0, expire_time=soon)
    pass_by(soon)
    moved = await store.identities.move("people", "ada", "lovelace")
    assert moved.template_count == 1
    (one,) = (await store.templates.list("people", "lovelace")).items
    await store.templates.update("people", "lovelace", one.id, expire_time=None)
    assert await found(store, 0) == "lovelace"


async def test_an_expired_identity_takes_no_templates_and_revives_within_its_cap(store: Store, pass_by: PassBy) -> None:
    await enroll(store, "ada", 0, 1)
    soon = datetime.now(UTC) + SOON
    await store.identities.update("people", "ada", {"expire_time": soon})
    await store.galleries.update("people", policy={"max_templates": 1})
    pass_by(soon)
    with pytest.raises(IdentityExpired):
        await enroll(store, "ada", 2)
    with pytest.raises(TemplateLimitReached):
        await store.identities.update("people", "ada", {"expire_time": None})
    await store.galleries.update("people", policy={"max_templates": 2})
    await store.identities.update("people", "ada", {"expire_time": None})
    assert await found(store, 1) == "ada"


async def test_what_is_prolonged_is_not_swept(store: Store, pass_by: PassBy) -> None:
    soon = datetime.now(UTC) + SOON
    _, other = await enroll(store, "ada", 0, 1, expire_time=soon)
    pass_by(soon)
    await store.templates.update("people", "ada", other, expire_time=None)
    (receipt,) = await store.sweep()
    assert receipt.templates == 1
    assert [kept.id for kept in (await store.templates.list("people", "ada")).items] == [other]


async def test_a_gallery_that_cannot_be_read_stops_no_other_ones_sweep(
    store: Store, pass_by: PassBy, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = datetime.now(UTC) + SOON
    for gallery in ("first", "second", "third"):
        await store.galleries.create(gallery, CONTRACT)
        await store.identities.create(gallery, "ada", expire_time=end)
    unreadable = (await store.galleries.get("second")).uid
    scroll = store._engine.scroll

    async def failing(collection: str, where: Where, *arguments: Any, **options: Any) -> Any:
        if where.expired_at is not None and where.equals.get("gallery") == unreadable:
            raise StoreUnavailable("not now", retry_after_s=1.0)
        return await scroll(collection, where, *arguments, **options)

    pass_by(end)
    with monkeypatch.context() as patch:
        patch.setattr(store._engine, "scroll", failing)
        assert {receipt.gallery for receipt in await store.sweep()} == {"first", "third"}
    assert [receipt.gallery for receipt in await store.sweep()] == ["second"]
