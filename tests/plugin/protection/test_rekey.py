"""Re-keys: what is there before is there after, whatever happens meanwhile."""

import asyncio
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import NewTemplate, Outcome, Policy, Probe, Store
from sameface_qdrant.engines.base import Where
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import ConcurrentUpdate, GalleryNotFound, IdentityNotFound, InvalidArgument
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.protection import rekey
from sameface_qdrant.store.protection import state as protection_state
from sameface_qdrant.store.protection.keys import KeyRing
from sameface_qdrant.store.protection.records import ProtectedRecords
from sameface_qdrant.store.write_lock import STORE
from tests.plugin.conftest import CONTRACT, random_vector
from tests.plugin.protection.conftest import FIRST, KEYS, SECOND, Stopped, StoppingEngine, master_key, opened, stored
from tests.plugin.test_services import SharedEngine, until_done

POLICY = Policy(verify_threshold=0.9, identify_threshold=0.9, runner_up_margin=0.01, on_collision="ALLOW")  # type: ignore[arg-type]


async def filled(store: Store, rng: np.random.Generator, identities: int = 11) -> dict[str, np.ndarray]:
    await store.galleries.create("people", CONTRACT, policy=POLICY, display_name="Ward")
    vectors = {f"p{number}": random_vector(rng) for number in range(identities)}
    for name, vector in vectors.items():
        await store.enroll("people", name, [NewTemplate(vector, CONTRACT)], labels={"half": str(int(name[1:]) % 2)})
    return vectors


async def check(store: Store, vectors: dict[str, np.ndarray]) -> None:
    """Every identity is there once, verifies, is identified, found by label, and has its template."""
    listed = (await store.identities.list("people", page_size=1000)).items
    assert sorted(one.id for one in listed) == sorted(vectors)
    assert {one.template_count for one in listed} <= {1}
    for name, vector in vectors.items():
        probe = Probe(vector, CONTRACT)
        decision = await store.verify("people", name, probe)
        assert (decision.outcome, decision.gallery_size) == (Outcome.MATCH, len(vectors)), name
        assert decision.score == pytest.approx(1.0, abs=1e-5)
        best = (await store.identify("people", probe, limit=2)).candidates
        assert best[0].identity == name
        assert len({one.identity for one in best}) == 2
    for half in ("0", "1"):
        pages = []
        token = ""
        while True:
            page = await store.identities.list("people", labels={"half": half}, page_size=2, page_token=token)
            pages += [one.id for one in page.items]
            if not (token := page.next_token):
                break
        assert sorted(pages) == sorted(name for name in vectors if int(name[1:]) % 2 == int(half))


async def generations(store: Store) -> set[str]:
    return {one["gallery"].split(".")[1] for one in await stored(store._engine, CONTRACT.key)}


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
async def test_a_rekey_takes_the_current_key_and_leaves_nothing_of_the_old(
    engine: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    store = await opened(engine, tmp_path)
    vectors = await filled(store, rng)
    await store.identities.move("people", "p0", "p100")
    vectors["p100"] = vectors.pop("p0")
    before = await stored(store._engine, CONTRACT.key)
    again = await Store.over(store._engine, keys=SECOND)
    done = await again.rekey("people")
    assert done.gallery.protection is not None
    assert (done.gallery.protection.current.key, done.gallery.protection.current.number) == ("second", 2)
    assert (done.moved, done.resumed, done.gallery.display_name) == (22, False, "Ward")
    await check(again, vectors)
    after = await stored(store._engine, CONTRACT.key)
    for name in ("id of the point", "identity", "gallery", "key"):
        assert not {one[name] for one in before} & {one[name] for one in after}, name
    # Nothing in clear tells which point of an old copy a new one was.
    common = {
        "kind",
        "contract",
        "verify_threshold",
        "expires",
        "own_expires",
        "merging",
        "revision",
        "schema",
        "state",
    }
    told = [
        {str(value) for one in copy for name, value in one.items() if name not in common and name != "vector"}
        for copy in (before, after)
    ]
    assert not told[0] & told[1]
    assert "first:" not in repr(after)
    assert "first:" not in repr(await stored(store._engine, META))
    # The old key is needed no more.
    keys = type(SECOND)({"second": SECOND.keys["second"]}, "second")
    await check(await Store.over(store._engine, keys=keys), vectors)


@pytest.mark.parametrize("changes", range(24))
async def test_every_step_can_be_the_last_one(
    changes: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends after any number of changes; another one finds everything, and goes on."""
    monkeypatch.setattr(rekey, "BATCH", 4)
    monkeypatch.setattr(rekey, "REMOVED_AT_ONCE", 8)
    store = await opened("memory", Path())
    vectors = await filled(store, rng, 5)
    protected = store.galleries.rekeying._engine
    stopping = StoppingEngine(protected.stored)
    protected.stored = stopping
    protected.records._engine = stopping
    stopping.changes_left = changes
    stopped = False
    try:
        await store.rekey("people")
    except Stopped:
        stopped = True
    assert stopped or changes > 12
    other = await Store.over(store._engine, keys=SECOND)
    await check(other, vectors)
    # Changes while both generations are there.
    await other.identities.delete("people", "p1", force=True)
    del vectors["p1"]
    vectors["p6"] = random_vector(rng)
    await other.enroll("people", "p6", [NewTemplate(vectors["p6"], CONTRACT)], labels={"half": "0"})
    await other.identities.update("people", "p2", {"display_name": "Two", "labels": {"half": "0", "new": "x"}})
    await other.identities.move("people", "p3", "p13")
    vectors["p13"] = vectors.pop("p3")
    await check(other, vectors)
    assert (await other.galleries.get("people")).protection is not None
    await other.rekey("people")
    await check(other, vectors)
    assert len(await generations(other)) == 1
    assert [one.id for one in (await other.identities.list("people", labels={"new": "x"})).items] == ["p2"]
    (moved,) = (await other.templates.list("people", "p2")).items
    found = await other.search("people", Probe(vectors["p2"], CONTRACT), limit=1)
    assert found[0].template.id == moved.id


async def test_a_process_that_is_killed_loses_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    store = await opened("edge", tmp_path / "first")
    vectors = await filled(store, rng, 9)
    await store.aclose()
    moments = (3, 12)

    async def killed(changes: int) -> None:
        folder = tmp_path / str(changes)
        await asyncio.to_thread(shutil.copytree, tmp_path / "first", folder)
        command = [sys.executable, "-m", "tests.plugin.protection.killed", str(folder), str(changes)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        told, _ = await process.communicate()
        assert (process.returncode, told) == (-signal.SIGKILL, b"")
        again = await opened("edge", folder, SECOND)
        protection = (await again.galleries.get("people")).protection
        assert protection is not None
        assert protection.following is not None
        await check(again, vectors)
        done = await again.rekey("people")
        assert done.resumed
        await check(again, vectors)
        assert await generations(again) == {"2"}
        await again.aclose()

    await asyncio.gather(*map(killed, moments))


async def left_over_receipts(store: Store, second: Store, rng: np.random.Generator) -> None:
    """A gallery is deleted, also an unprotected one; receipts stay."""
    await store.galleries.create("plain", CONTRACT, protected=False)
    await store.identities.create("plain", "ada")
    await store.identities.delete("plain", "ada", force=True)
    await store.galleries.delete("people", force=True)


async def unfinished_sealing(store: Store, second: Store, rng: np.random.Generator) -> None:
    """A re-key ends after it has changed the gallery's record."""
    await store.identities.delete("people", "p0", force=True)
    with mock.patch.object(ProtectedRecords, "seal_again", side_effect=Stopped), pytest.raises(Stopped):
        await second.rekey("people")


async def late_service(store: Store, second: Store, rng: np.random.Generator) -> None:
    """A service whose current key is the old one changes the gallery."""
    await second.rekey("people")
    late = await Store.over(store._engine, keys=KeyRing(KEYS, "first"))
    await late.galleries.update("people", display_name="Ward eight")


async def interrupted(store: Store, second: Store, rng: np.random.Generator) -> None:
    """A re-key to another key than the current one is interrupted."""
    other = await Store.over(store._engine, keys=KeyRing({**KEYS, "third": master_key("third")}, "third"))
    with mock.patch("sameface_qdrant.store.protection.rekey._Moving.all", side_effect=Stopped), pytest.raises(Stopped):
        await other.rekey("people")


@pytest.mark.parametrize("case", [left_over_receipts, unfinished_sealing, late_service, interrupted])
async def test_the_list_of_needed_keys_is_complete(case: Any, rng: np.random.Generator) -> None:
    """A store opens without the keys that it does not need, and all that is sealed can be read."""
    store = await opened("memory", Path())
    vectors = await filled(store, rng, 3)
    second = await Store.over(store._engine, keys=SECOND)
    await case(store, second, rng)
    ring = KeyRing({**KEYS, "third": master_key("third")}, "second")
    last = await Store.over(store._engine, keys=ring)
    assert await last.galleries.rekeying.needed_keys() - {"second"}
    while behind := await last.galleries.rekeying.behind():
        for gallery in behind:
            await last.rekey(gallery)
    assert await last.galleries.rekeying.seal_names() == {"second"}
    alone = await Store.over(store._engine, keys=KeyRing({"second": KEYS["second"]}, "second"))
    assert {one.gallery for one in (await alone.erasures.list()).items} <= {"people", "plain"}
    if case is left_over_receipts:
        assert {one.identity for one in (await alone.erasures.list()).items} == {"", "ada"}
    else:
        name = "Ward eight" if case is late_service else "Ward"
        assert (await alone.galleries.get("people")).display_name == name
        if case is unfinished_sealing:
            del vectors["p0"]
        await check(alone, vectors)


async def test_sealing_again_keeps_a_change_of_a_service_with_another_key(rng: np.random.Generator) -> None:
    store = await opened("memory", Path())
    await filled(store, rng, 1)
    second = await Store.over(store._engine, keys=SECOND)
    records = second.galleries.rekeying._engine.records
    of_store = second.protections.of_store

    async def changed_meanwhile(key: str = "") -> Any:
        if key == "first":
            await store.galleries.update("people", display_name="Ward eight")
        return await of_store(key)

    with mock.patch.object(second.protections, "of_store", changed_meanwhile):
        await records.seal_again("gallery")
    assert (await second.galleries.get("people")).display_name == "Ward eight"


# Other services.


@pytest.fixture(params=[0])
async def services(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Store]:
    """Three services on one server, whose calls take turns at random; the first one knows no policy by heart."""
    monkeypatch.setattr(protection_state, "MAX_AGE_S", 0.0)
    monkeypatch.setattr(protection_state, "LEASE_S", 0.02)
    monkeypatch.setattr(rekey, "LEASE_S", 0.02)
    monkeypatch.setattr(rekey, "BATCH", 3)
    monkeypatch.setattr(rekey, "REMOVED_AT_ONCE", 6)
    turns, client = random.Random(request.param), AsyncQdrantClient(location=":memory:")
    return [
        await Store.over(SharedEngine(client, "memory", ServerOptions(), turns), keys=SECOND, gallery_max_age_s=0)
        for _ in range(3)
    ]


async def test_services_enrol_change_and_erase_during_a_rekey(services: list[Store], rng: np.random.Generator) -> None:
    one, two, three = services
    vectors = await filled(one, rng, 12)
    probes = dict(vectors)

    async def writes() -> None:
        for number in range(6):
            name = f"p{100 + number}"
            new = [NewTemplate(random_vector(rng), CONTRACT)]
            await until_done(
                lambda name=name, new=new, half=str(number % 2): two.enroll("people", name, new, labels={"half": half})
            )
            vectors[name] = np.asarray(new[0].vector)
            await _erased(two, f"p{number}")
            del vectors[f"p{number}"]

    async def changes() -> None:
        for number in range(6, 12):
            labels = {"half": str(number % 2), "seen": "x"}
            await until_done(
                lambda number=number, labels=labels: three.identities.update("people", f"p{number}", {"labels": labels})
            )

    async def decisions() -> None:
        # Those that nobody changes are found at every moment.
        for number in [*range(6, 12)] * 3:
            decision = await three.verify("people", f"p{number}", Probe(probes[f"p{number}"], CONTRACT))
            assert decision.outcome is Outcome.MATCH
            best = (await two.identify("people", Probe(probes[f"p{number}"], CONTRACT))).candidates
            assert best[0].identity == f"p{number}"

    await asyncio.gather(one.rekey("people"), writes(), changes(), decisions())
    for store in services:
        await check(store, vectors)
    seen = (await one.identities.list("people", labels={"seen": "x"})).items
    assert sorted(found.id for found in seen) == sorted(f"p{number}" for number in range(6, 12))
    assert await generations(one) == {"2"}
    for number in range(6):
        with pytest.raises(IdentityNotFound):
            await two.identities.get("people", f"p{number}")


async def _erased(store: Store, identity: str) -> None:
    """Delete an identity, as a client does that repeats after ABORTED."""

    async def once() -> Any:
        try:
            return await store.identities.delete("people", identity, force=True)
        except IdentityNotFound:
            return None

    await until_done(once)


@pytest.mark.parametrize("how", ["repeated", "rekeyed again", "deleted"])
async def test_a_late_write_leaves_nobody_in_an_old_generation(
    how: str, services: list[Store], rng: np.random.Generator
) -> None:
    """A service enrols, and its write arrives after a re-key of another service has ended."""
    one, two, _ = services
    vectors = await filled(one, rng, 2)
    await two.galleries.get("people")
    late = two.galleries.rekeying._engine
    shared = late.stored

    class Late:
        waits = True

        def __getattr__(self, name: str) -> Any:
            return getattr(shared, name)

        async def upsert(self, collection: str, *arguments: Any, **options: Any) -> None:
            if self.waits and collection != META:
                self.waits = False
                await one.rekey("people")
                await shared.upsert(collection, *arguments, **options)
                if how != "repeated":
                    raise Stopped
                return
            await shared.upsert(collection, *arguments, **options)

    late.stored = Late()
    vectors["p4"] = random_vector(rng)
    enrolling = two.enroll("people", "p4", [NewTemplate(vectors["p4"], CONTRACT)], labels={"half": "0"})
    if how == "repeated":
        await enrolling
        await check(one, vectors)
        assert await generations(one) == {"2"}
        return
    with pytest.raises(Stopped):
        await enrolling
    assert await generations(one) == {"1", "2"}
    if how == "rekeyed again":
        await one.rekey("people")
        assert await generations(one) == {"3"}
    else:
        await one.galleries.delete("people", force=True)
        assert await generations(one) == set()


async def test_an_embedded_rekey_copies_while_nobody_else_writes(rng: np.random.Generator) -> None:
    store = await opened("memory", Path())
    await filled(store, rng, 2)
    protected = store.galleries.rekeying._engine
    below, locked = protected.stored, list[bool]()

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(below, name)

        async def upsert(self, *arguments: Any, **options: Any) -> None:
            lock = store._write_lock._locks.get(STORE)
            locked.append(lock is not None and lock.locked())
            await below.upsert(*arguments, **options)

    protected.stored = Watched()
    await store.rekey("people")
    assert locked
    assert all(locked)


async def test_a_gallery_that_was_read_before_the_store_was_opened_is_refused(rng: np.random.Generator) -> None:
    store = await opened("memory", Path())
    vectors = await filled(store, rng, 1)
    kept, probe = await store.galleries.get("people"), Probe(vectors["p0"], CONTRACT)
    again = await Store.over(store._engine, keys=FIRST)
    for call in (again.verify(kept, "p0", probe), again.identify(kept, probe), again.search(kept, probe)):
        with pytest.raises(InvalidArgument, match="read it again"):
            await call
    await again.galleries.get("people")
    assert (await again.verify(kept, "p0", probe)).outcome is Outcome.MATCH


async def test_two_services_that_rekey_at_once_lose_nothing(services: list[Store], rng: np.random.Generator) -> None:
    vectors = await filled(services[0], rng, 8)
    results = await asyncio.gather(*(store.rekey("people") for store in services[:2]), return_exceptions=True)
    assert [one for one in results if isinstance(one, BaseException) and not isinstance(one, ConcurrentUpdate)] == []
    await services[2].rekey("people")
    await check(services[2], vectors)
    assert len(await generations(services[0])) == 1


async def test_a_gallery_that_is_deleted_during_a_rekey_stays_deleted(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekey, "BATCH", 3)
    monkeypatch.setattr(rekey, "REMOVED_AT_ONCE", 6)
    store = await opened("memory", Path(), FIRST)
    await filled(store, rng)
    deleting: list[asyncio.Task[Any]] = []

    def progress(done: int, total: int) -> None:
        if not deleting:
            deleting.append(asyncio.create_task(store.galleries.delete("people", force=True)))

    with pytest.raises(GalleryNotFound):
        await store.rekey("people", progress=progress)
    receipt = await deleting[0]
    assert receipt.unreadable
    assert await store._engine.count(CONTRACT.key, Where({})) == 0


async def test_a_second_rekey_in_the_same_process_is_refused(rng: np.random.Generator) -> None:
    store = await opened("memory", Path())
    await filled(store, rng, 2)
    results = await asyncio.gather(store.rekey("people"), store.rekey("people"), return_exceptions=True)
    assert [type(one).__name__ for one in results] == ["Rekeyed", "ConcurrentUpdate"]
