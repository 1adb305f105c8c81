"""This release reads and changes the stores of all releases, which tools/store_fixture.py wrote."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from sameface_qdrant import Contract, ErasureState, GuardAction, NewTemplate, Outcome, Probe, Store, WhenFull
from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.store.payloads import META

CONTRACT = Contract("voices", version=1, sha256="a" * 64, dimension=8, preprocessing="none")
STORES = Path(__file__).parents[1] / "data" / "stores"
RELEASES = sorted(path.name.removesuffix(".json") for path in STORES.glob("*.json"))
FORMS = [pytest.param(release, form, id=f"{release}-{form}") for release in RELEASES for form in ("edge", "server")]


async def opened(release: str, form: str, folder: Path) -> Store:
    """Open a copy of a release's store."""
    if form == "edge":
        with tarfile.open(STORES / f"{release}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        return await Store.open(f"edge://{folder}/store")
    store = await Store.open(":memory:")
    await store._engine.delete(META, Where({}))
    for collection, records in json.loads((STORES / f"{release}.json").read_text()).items():
        await store._engine.ensure(collection, 1 if collection == META else CONTRACT.dimension)
        points = [
            Point(
                record["id"],
                record["payload"],
                None if record["vector"] is None else np.array(record["vector"], dtype=np.float32),
            )
            for record in records
        ]
        await store._engine.upsert(collection, points)
    return await Store.over(store._engine)


def probe(axis: int) -> Probe:
    return Probe(np.eye(8, dtype=np.float32)[axis], CONTRACT)


def test_there_is_a_store_of_the_first_release() -> None:
    assert "0.1.0" in RELEASES


@pytest.mark.parametrize(("release", "form"), FORMS)
async def test_its_records_are_read(release: str, form: str, tmp_path: Path) -> None:
    store = await opened(release, form, tmp_path)
    gallery = await store.galleries.get("people")
    assert (gallery.display_name, gallery.contract) == ("People", CONTRACT)
    policy = gallery.policy
    assert (policy.verify_threshold, policy.identify_threshold, policy.max_templates) == (0.6, 0.7, 4)
    assert (policy.runner_up_margin, policy.revision, policy.author) == (0.1, 2, "ops")
    assert (policy.when_full, policy.on_collision) == (WhenFull.REJECT, GuardAction.WARN)
    assert [one.runner_up_margin for one in await store.galleries.revisions("people")] == [0.05, 0.1]
    assert [(point.fmr, point.threshold) for point in gallery.operating_points] == [(1e-3, 0.4), (1e-4, 0.5)]
    ada = await store.identities.get("people", "ada")
    assert (ada.display_name, dict(ada.labels), ada.verify_threshold) == ("Ada", {"team": "blue"}, 0.65)
    assert (ada.consent_reference, ada.purpose, ada.template_count) == ("consent/1", "door", 1)
    assert ada.expire_time is not None
    assert ada.expire_time.year == 2100
    assert [
        identity.id for identity in sorted((await store.identities.list("people")).items, key=lambda one: one.id)
    ] == [
        "ada",
        "bobby",
    ]
    (template,) = (await store.templates.list("people", "ada")).items
    assert (template.provenance.source, dict(template.provenance.quality)) == ("photo", {"Sharpness": 90.0})
    assert template.expire_time is not None
    assert template.expire_time.year == 2099
    (receipt,) = (await store.erasures.list(gallery="people")).items
    assert (receipt.state, receipt.identity, receipt.templates) == (ErasureState.DONE, "eve", 1)
    await store.aclose()


@pytest.mark.parametrize(("release", "form"), FORMS)
async def test_it_decides_and_is_changed(release: str, form: str, tmp_path: Path) -> None:
    store = await opened(release, form, tmp_path)
    assert (await store.verify("people", "ada", probe(0))).outcome is Outcome.MATCH
    assert (await store.verify("people", "ada", probe(1))).outcome is Outcome.NO_MATCH
    found = await store.identify("people", probe(1))
    assert (found.outcome, found.candidates[0].identity) == (Outcome.MATCH, "bobby")
    assert (await store.identify("people", probe(2))).outcome is Outcome.NO_MATCH
    before = (await store.templates.list("people", "ada")).items
    new = NewTemplate(np.eye(8, dtype=np.float32)[0], CONTRACT)
    (enrolled,) = await store.enroll("people", "ada", [new])
    assert {one.id for one in (await store.templates.list("people", "ada")).items} == {before[0].id, enrolled.id}
    await store.identities.update("people", "ada", {"labels": {"team": "red"}})
    await store.galleries.update("people", policy={"max_templates": 8})
    await store.identities.move("people", "ada", "ada-2", merge=False)
    assert (await store.verify("people", "ada-2", probe(0))).outcome is Outcome.MATCH
    receipt = await store.galleries.delete("people", force=True)
    assert receipt.unreadable
    await store.aclose()


@pytest.mark.parametrize(("release", "form"), FORMS)
async def test_a_repeat_of_a_request_from_before_finds_its_template(release: str, form: str, tmp_path: Path) -> None:
    store = await opened(release, form, tmp_path)
    (before,) = (await store.templates.list("people", "ada")).items
    vector = (await store.templates.get("people", "ada", before.id, with_vector=True)).vector
    assert vector is not None
    assert (
        before.id
        == (await store.enroll("people", "ada", [NewTemplate(vector, CONTRACT)], request_id="request-ada"))[0].id
    )
    await store.aclose()
