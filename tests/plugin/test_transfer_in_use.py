"""A store is exported while services write to it, and an import is killed: nobody is lost, doubled, halved or brought
back."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import NewTemplate, Policy, Provenance, Store
from sameface_qdrant.engines.base import Where
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import ConcurrentUpdate
from sameface_qdrant.store.conditional_write import PENDING, STATE
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.receipts import receipt_point_id
from sameface_qdrant.transfer import exporting, whole_identities
from sameface_qdrant.transfer.exporting import export_erasures, export_store
from sameface_qdrant.transfer.importing import import_store
from sameface_qdrant.transfer.keys import ExportKey
from tests.plugin.conftest import CONTRACT, cleared_server, needs_server, opened_store, random_vector
from tests.plugin.filled_store import assert_same, everything, fill, view
from tests.plugin.steered import SteeredEngine
from tests.plugin.test_services import SharedEngine, until_done

KEY = ExportKey("key-file", bytes(range(32)))


@asynccontextmanager
async def shared(seed: int | str) -> AsyncIterator[list[Store]]:
    """Four services on one Qdrant, whose steps interleave."""
    turns = random.Random(str(seed))
    if seed == "server":
        async with cleared_server() as (client, options):
            yield [await Store.over(SharedEngine(client, "server", options, turns)) for _ in range(4)]
        return
    client = AsyncQdrantClient(location=":memory:")
    yield [await Store.over(SharedEngine(client, "memory", ServerOptions(), turns)) for _ in range(4)]


class Worker:
    """Changes identities that it alone changes; so it knows who must be there."""

    def __init__(self, store: Store, name: str, seed: int | str) -> None:
        self.store, self.name = store, name
        self.random = random.Random(f"{seed}{name}")
        self.vectors = np.random.default_rng(self.random.randrange(2**32))
        self.living: dict[str, set[str]] = {}
        """Names of people, by the identity's id."""
        self.erased: set[str] = set()
        self.number = 0

    def free(self) -> str:
        self.number += 1
        return f"{self.random.randrange(10**6)}-{self.name}-{self.number}"

    async def enroll(self, identity: str) -> None:
        person = self.free()
        new = [NewTemplate(random_vector(self.vectors), CONTRACT, Provenance(note=person)) for _ in range(2)]
        await until_done(lambda: self.store.enroll("people", identity, new, request_id=person))
        self.living.setdefault(identity, set()).add(person)

    async def step(self) -> None:
        ids = sorted(self.living)
        what = self.random.choice(["enroll", "add", "move", "move", "merge", "delete", "labels"])
        if what == "enroll" or not ids:
            await self.enroll(self.free())
            return
        one = self.random.choice(ids)
        if what == "add" and len(self.living[one]) < 3:
            await self.enroll(one)
        elif what == "move":
            target = self.free()
            await until_done(lambda: self.store.identities.move("people", one, target))
            self.living[target] = self.living.pop(one)
        elif what == "merge" and len(ids) > 1:
            target = self.random.choice([other for other in ids if other != one])
            if len(self.living[one] | self.living[target]) <= 4:
                await until_done(lambda: self.store.identities.move("people", one, target, merge=True))
                self.living[target] |= self.living.pop(one)
        elif what == "delete":
            await until_done(lambda: self.store.identities.delete("people", one, force=True))
            self.erased |= self.living.pop(one)
        elif what == "labels":
            labels = {"team": self.free()}
            await until_done(lambda: self.store.identities.update("people", one, {"labels": labels}))


@pytest.mark.parametrize("seed", [*range(6), pytest.param("server", marks=needs_server)])
async def test_each_person_is_in_the_file_once_and_whole(
    seed: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_identities, "MOST_IDENTITIES", 3)
    monkeypatch.setattr(exporting, "FRAME_POINTS", 5)
    monkeypatch.setattr(exporting, "ROUNDS", 100)
    async with shared(seed) as (exporter, *others):
        await exporter.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
        workers = [Worker(store, f"w{number}", seed) for number, store in enumerate(others)]
        for worker in workers:
            for _ in range(8):
                await worker.enroll(worker.free())
        enrolled = {person for worker in workers for people in worker.living.values() for person in people}
        going = True

        async def work(worker: Worker) -> int:
            steps = 0
            while going:
                await worker.step()
                steps += 1
            return steps

        running = [asyncio.create_task(work(worker)) for worker in workers]
        await asyncio.sleep(0.05)
        try:
            await export_store(exporter, tmp_path / "x", KEY)
        finally:
            going = False
            steps = sum(await asyncio.gather(*running))
        assert steps > 3
        await export_erasures(exporter, tmp_path / "erasures", KEY)
    async with opened_store("memory", tmp_path / "target") as target:
        await import_store(target, tmp_path / "x", KEY, erased=tmp_path / "erasures")
        found: dict[str, list[str]] = {}
        async for identity in everything(target.identities.list, "people"):
            async for template in everything(target.templates.list, "people", identity.id):
                found.setdefault(template.provenance.note, []).append(identity.id)
        copies, _ = await target.engine.scroll(CONTRACT.key, Where({"kind": "template"}), 1000)
        records, _ = await target.engine.scroll(CONTRACT.key, Where({"kind": "identity"}), 1000)
    erased = set().union(*(worker.erased for worker in workers))
    for person, identities in found.items():
        assert len(identities) == 2, f"{person} is half or twice there: {identities}"
        assert len(set(identities)) == 1, f"{person} is under two ids: {identities}"
    assert not erased & found.keys(), "someone was brought back"
    assert enrolled - erased <= found.keys(), "someone was lost"
    labels = {record.payload["identity"]: record.payload["labels"] for record in records}
    assert all(copy.payload["labels"] == labels[copy.payload["identity"]] for copy in copies)


async def shared_store() -> Store:
    """A store whose engine says that other services write too."""
    return await Store.over(SteeredEngine(AsyncQdrantClient(location=":memory:")))


async def test_everything_arrives_where_services_share_a_server(tmp_path: Path, rng: np.random.Generator) -> None:
    source, target = await shared_store(), await shared_store()
    await fill(source, rng)
    await export_store(source, tmp_path / "x", KEY)
    await import_store(target, tmp_path / "x", KEY, no_erasures_since=True)
    assert_same(await view(target), await view(source), exact=False)
    assert (await target.sweep(), await source.sweep()) == ((), ())


async def test_who_was_erased_and_enrolled_again_just_before_an_export_is_in_it(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    source, target = await shared_store(), await shared_store()
    await source.galleries.create("people", CONTRACT)
    for name in ("ada", "bob"):
        for _ in range(2):
            await source.enroll("people", name, [NewTemplate(random_vector(rng), CONTRACT)])
            receipt = await source.identities.delete("people", name, force=True)
        await source.enroll("people", name, [NewTemplate(random_vector(rng), CONTRACT)])
    # The deletion of bob had begun when the export did, and was not done: it may be about to remove what is read.
    where = Where({"kind": "receipt"}, ids=(receipt_point_id(receipt.id),))
    await source.engine.set_payload(META, where, {"state": "PENDING"})
    await export_store(source, tmp_path / "x", KEY)
    await import_store(target, tmp_path / "x", KEY, no_erasures_since=True)
    assert [one.id for one in (await target.identities.list("people")).items] == ["ada"]


class _Interrupted(SteeredEngine):
    """Lets something happen after the next page of templates."""

    after_page: Any = None

    async def scroll(self, collection: str, where: Where, *arguments: Any) -> Any:
        page = await super().scroll(collection, where, *arguments)
        if self.after_page is not None and where.equals.get("kind") == "template":
            now, self.after_page = self.after_page, None
            await now()
        return page


async def test_an_identity_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_identities, "AT_ONCE", 1)
    client = AsyncQdrantClient(location=":memory:")
    engine = _Interrupted(client)
    exporter, other = await Store.over(engine), await Store.over(SteeredEngine(client))
    await exporter.galleries.create("people", CONTRACT)
    await exporter.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])
    more = [NewTemplate(random_vector(rng), CONTRACT) for _ in range(9)]
    engine.after_page = lambda: other.enroll("people", "ada", more)
    summary = await export_store(exporter, tmp_path / "x", KEY)
    assert summary.galleries[0].templates == 10
    template = (await other.templates.list("people", "ada")).items[0]
    engine.after_page = lambda: other.templates.delete("people", "ada", template.id)
    summary = await export_store(exporter, tmp_path / "x", KEY, force=True)
    assert summary.galleries[0].templates == 9


async def test_templates_that_were_never_confirmed_stay_behind(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_identities, "ATTEMPTS", 2)
    store = await shared_store()
    await store.galleries.create("people", CONTRACT)
    await store.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])
    (late,) = await store.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])
    await store.engine.set_payload(CONTRACT.key, Where({}, ids=(late.id,)), {STATE: PENDING, "pending_since": 9e9})
    summary = await export_store(store, tmp_path / "x", KEY)
    assert [(one.identities, one.templates) for one in summary.galleries] == [(1, 1)]


async def test_a_move_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_identities, "ATTEMPTS", 2)
    store = await shared_store()
    await store.galleries.create("people", CONTRACT)
    await store.identities.create("people", "ada")
    moving = {"moving_to": "eve", "move": "m"}
    await store.engine.set_payload(CONTRACT.key, Where({"identity": "ada"}), moving)
    with pytest.raises(ConcurrentUpdate, match=r"'ada' of 'people' is being moved to 'eve'.*repeat the move"):
        await export_store(store, tmp_path / "x", KEY)
    assert os.listdir(tmp_path) == []
    await store.identities.move("people", "ada", "eve")
    assert (await export_store(store, tmp_path / "x", KEY)).galleries[0].identities == 1


async def test_an_identity_that_is_being_erased_stays_behind(tmp_path: Path) -> None:
    store = await shared_store()
    await store.galleries.create("people", CONTRACT)
    await store.identities.create("people", "ada")
    await store.identities.create("people", "bob")
    await store.engine.set_payload(CONTRACT.key, Where({"identity": "ada"}), {STATE: "closed"})
    assert (await export_store(store, tmp_path / "x", KEY)).galleries[0].identities == 1


async def test_a_gallery_deleted_during_its_export_is_told(tmp_path: Path) -> None:
    async with opened_store("memory", tmp_path / "source") as store:
        await store.galleries.create("people", CONTRACT)
        record = exporting._Export._record
        seen = 0

        async def deleting(self: Any, tenant: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == 2:
                await store.galleries.delete("people")
            return await record(self, tenant)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exporting._Export, "_record", deleting)
            with pytest.raises(ConcurrentUpdate, match="'people' was deleted during the export"):
                await export_store(store, tmp_path / "x", KEY)
        assert not [name for name in os.listdir(tmp_path) if "x" in name]


PROGRAM = """
import asyncio, sys, time
from pathlib import Path
from sameface_qdrant import Store
from sameface_qdrant.transfer import exporting, gallery_import
from sameface_qdrant.transfer.exporting import export_store
from sameface_qdrant.transfer.importing import import_store
from sameface_qdrant.transfer.keys import ExportKey
what, folder, file, lines = sys.argv[1:]
exporting.FRAME_POINTS, gallery_import.NOTED_EVERY = 4, 2
told_lines = 0
def told(gallery, *progress):
    global told_lines
    if gallery == "staff":
        print(gallery, *progress, flush=True)
        told_lines += 1
        # An export may end before the signal comes; an import is killed wherever it is.
        if what == "export" and told_lines == int(lines):
            time.sleep(60)
async def run():
    store = await Store.open(f"edge://{folder}")
    key = ExportKey("key-file", bytes(range(32)))
    if what == "import":
        await import_store(store, Path(file), key, no_erasures_since=True, progress=told)
    else:
        await export_store(store, Path(file), key, progress=told)
    await store.aclose()
asyncio.run(run())
"""


def killed(what: str, folder: Path, file: Path, lines: int) -> bool:
    """Run an export or import, and kill it after some lines of progress; return whether it was still running."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what, str(folder), str(file), str(lines)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(lines):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    return child.wait(timeout=60) == -signal.SIGKILL


async def test_an_import_that_is_killed_goes_on_and_ends_equal(tmp_path: Path, rng: np.random.Generator) -> None:
    file, folder = tmp_path / "x", tmp_path / "target"
    async with opened_store("edge", tmp_path / "source") as source:
        await fill(source, rng, identities=40)
        expected = await view(source)
    assert await asyncio.to_thread(killed, "export", tmp_path / "source", file, 4)
    assert os.listdir(tmp_path) == ["source"] or sorted(os.listdir(tmp_path)) == [".x.partial", "source"]
    async with opened_store("edge", tmp_path / "source") as source:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exporting, "FRAME_POINTS", 4)
            await export_store(source, file, KEY)
    kills = 0
    for lines in (1, 3, 7, 8, 15):
        kills += await asyncio.to_thread(killed, "import", folder, file, lines)
        async with opened_store("edge", folder) as target:
            there = [gallery.id for gallery in (await target.galleries.list()).items]
            whole = {name: len([1 async for _ in everything(target.identities.list, name)]) for name in there}
        # A gallery is there whole, or not at all.
        assert whole.items() <= {"staff": 40, "signed": 1, "empty": 0}.items()
    assert kills >= 4
    async with opened_store("edge", folder) as target:
        await import_store(target, file, KEY, no_erasures_since=True)
        assert_same(await view(target), expected, exact=True)
