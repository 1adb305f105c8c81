"""The Edge engine: one process per folder, no acknowledged write lost, no erased byte left.

A test covers each problem that was found in Qdrant Edge:

| problem of Qdrant Edge | test |
| --- | --- |
| its write-ahead log keeps erased payloads, and grows | `test_no_write_ahead_log_is_kept` |
| without the log there is no lock: a second process's points vanish | \
`test_a_second_opener_is_told_who_holds_the_folder`, \
`test_another_process_is_refused` |
| without the log and without a flush every write is lost when killed | \
`test_nothing_acknowledged_is_lost_and_no_identity_is_half_written`, `tests/chaos` |
| a kill within a flush keeps a replaced record and loses a new one | `tests/chaos` (kind `policy`) |
| calls hold the interpreter: `optimize` for minutes, a long `flush` | `test_no_call_rewrites_a_collection_in_one_go`, \
`python -m benchmarks.compaction` |
| a child that is forked after opening hangs | `tests/chaos` (every worker is forked from a process without a store) |
| batches are not validated: half of one stays | `test_a_batch_with_one_bad_vector_stores_nothing` |
| NaN and zero vectors are accepted | `test_a_batch_with_one_bad_vector_stores_nothing` |
| removed bytes stay in the files | `test_erased_vectors_and_payloads_leave_the_files`, `test_erasure.py` |
| errors are bare `Exception` | `test_errors_of_the_engine_are_typed` |
| deleting `wal/` by hand loses later updates | `test_no_write_ahead_log_is_kept` (there is none to delete) |
| a full disk ends the process with SIGBUS, through memory maps | `test_a_full_disk_refuses_writes_and_reads_go_on` |
| filtering by a field without an index reads every payload | `test_every_field_that_searches_filter_by_is_indexed` |
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from sameface_qdrant import NewTemplate, Policy, Probe, Provenance, Store, Template
from sameface_qdrant.engines.base import INDEXED_FIELDS, Point, Where
from sameface_qdrant.engines.edge import engine as engine_module
from sameface_qdrant.engines.edge import index, shard
from sameface_qdrant.engines.edge.engine import EdgeEngine
from sameface_qdrant.errors import InvalidEmbedding, StoreCorrupt, StoreFull, StoreLocked, StoreUnavailable
from sameface_qdrant.values.ids import point_id
from tests.disk import contents
from tests.plugin.conftest import CONTRACT, random_vector

BATCH = 3


def write(url: str, start: int, told: Connection) -> None:
    """Enrol identities of three templates, three at a time, and tell each one once it is acknowledged."""

    async def main(first: int) -> None:
        store = await Store.open(url)
        told.send("open")

        async def enroll(number: int) -> None:
            vectors = np.random.default_rng(number).normal(size=(BATCH, CONTRACT.dimension)).astype(np.float32)
            await store.enroll("people", f"p{number}", [NewTemplate(vector, CONTRACT) for vector in vectors])
            told.send(number)

        while True:
            await asyncio.gather(*(enroll(number) for number in range(first, first + 3)))
            first += 3

    asyncio.run(main(start))


async def test_nothing_acknowledged_is_lost_and_no_identity_is_half_written(tmp_path: Path) -> None:
    url = f"edge://{tmp_path / 'store'}"
    store = await Store.open(url)
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    await store.aclose()
    moments = random.Random(20261124)
    acknowledged: set[int] = set()
    # Forked from a process that has imported the store, and has none open.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.plugin.test_edge"])
    for run in range(6):
        told, theirs = context.Pipe(duplex=False)
        writer = context.Process(target=write, args=(url, run * 10_000, theirs))
        writer.start()
        theirs.close()
        assert told.recv() == "open"
        await asyncio.sleep(moments.uniform(0.05, 0.4))
        writer.kill()
        writer.join()
        with contextlib.suppress(EOFError, OSError):  # what was cut off is no acknowledgement
            while True:
                acknowledged.add(told.recv())

        store = await Store.open(url)
        stored: dict[str, int] = {}
        token = ""
        while True:
            page = await store.identities.list("people", page_size=1000, page_token=token)
            stored |= {identity.id: identity.template_count for identity in page.items}
            token = page.next_token
            if not token:
                break
        assert {f"p{number}" for number in acknowledged} <= stored.keys()
        assert set(stored.values()) <= {BATCH}
        await store.aclose()
    assert acknowledged


async def test_a_second_opener_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    with pytest.raises(StoreLocked) as refused:
        await Store.open(f"edge://{tmp_path}")
    assert json.loads(refused.value.metadata["holder"])["pid"] == os.getpid()
    await store.aclose()
    await (await Store.open(f"edge://{tmp_path}")).aclose()


async def test_a_folder_of_another_format_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text("sameface-edge-99")
    with pytest.raises(StoreCorrupt, match="sameface-edge-99"):
        await Store.open(f"edge://{tmp_path}")
    # The refused process does not keep the lock.
    (tmp_path / "FORMAT").write_text("sameface-edge-1")
    await (await Store.open(f"edge://{tmp_path}")).aclose()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        await Store.open(f"edge://{tmp_path / 'file' / 'store'}")


async def test_everything_is_there_after_closing_and_opening(tmp_path: Path, rng: np.random.Generator) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    gallery = await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    vector = random_vector(rng)
    (stored,) = await store.enroll("people", "ada", [NewTemplate(vector, CONTRACT)], display_name="Ada")
    await store.aclose()
    store = await Store.open(f"edge://{tmp_path}")
    assert await store.galleries.get("people") == gallery
    found = await store.templates.get("people", "ada", stored.id, with_vector=True)
    assert found.vector is not None
    np.testing.assert_allclose(found.vector, vector / np.linalg.norm(vector), atol=1e-6)
    decision = await store.verify("people", "ada", Probe(vector, CONTRACT))
    assert decision.score == pytest.approx(1.0, abs=1e-6)
    # A retry after the restart finds its own point.
    assert await store.enroll("people", "ada", [NewTemplate(vector, CONTRACT)]) == (stored,)
    await store.aclose()


async def test_times_are_read_as_they_were_answered(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with contextlib.aclosing(await Store.open(f"edge://{tmp_path}")) as store:
        await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
        for number, second in enumerate(1.79e9 + np.random.default_rng(1).random(100)):
            monkeypatch.setattr(time, "time", lambda second=second: float(second))
            new = NewTemplate(random_vector(rng), CONTRACT)
            (stored,) = await store.enroll("people", f"p{number}", [new])
            assert (await store.templates.get("people", f"p{number}", stored.id)).create_time == stored.create_time
            changed = await store.identities.update("people", f"p{number}", {"display_name": "Ada"})
            assert (await store.identities.get("people", f"p{number}")).etag == changed.etag


@pytest.mark.parametrize("what", ["template", "identity", "gallery"])
async def test_erased_vectors_and_payloads_leave_the_files(tmp_path: Path, rng: np.random.Generator, what: str) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    await store.galleries.create("others", CONTRACT, policy=Policy(verify_threshold=0.5))
    kept, erased = random_vector(rng), random_vector(rng)
    secret_note = "".join(random.Random(5).choices("abcdefghijklmnopqrstuvwxyz", k=40))
    await store.enroll("others", "bob", [NewTemplate(kept, CONTRACT)])
    new = NewTemplate(erased, CONTRACT, provenance=Provenance(note=secret_note))
    (stored,) = await store.enroll("people", "ada", [new])
    needle = _stored_bytes(await store.templates.get("people", "ada", stored.id, with_vector=True))
    control = _stored_bytes(
        await store.templates.get(
            "others", "bob", (await store.templates.list("others", "bob")).items[0].id, with_vector=True
        )
    )
    # The positive control: the scan finds both representations before the removal.
    assert _holds(tmp_path, needle)
    assert _holds(tmp_path, secret_note.encode())
    match what:
        case "template":
            await store.templates.delete("people", "ada", stored.id)
        case "identity":
            await store.identities.delete("people", "ada", force=True)
        case _:
            await store.galleries.delete("people", force=True)
    assert not _holds(tmp_path, needle)
    assert not _holds(tmp_path, secret_note.encode())
    assert _holds(tmp_path, control)
    await store.aclose()


def _stored_bytes(template: Template) -> bytes:
    assert template.vector is not None
    return template.vector.astype("<f4").tobytes()


def _holds(folder: Path, needle: bytes) -> bool:
    return needle in contents(folder)


async def test_reads_go_on_while_a_collection_is_rewritten(tmp_path: Path, rng: np.random.Generator) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5, identify_threshold=0.5))
    vectors = [random_vector(rng) for _ in range(30)]
    for number, vector in enumerate(vectors):
        await store.enroll("people", f"p{number}", [NewTemplate(vector, CONTRACT)])

    async def search() -> list[str]:
        decision = await store.identify("people", Probe(vectors[0], CONTRACT))
        return [found.identity for found in decision.candidates]

    erasing = [store.identities.delete("people", f"p{number}", force=True) for number in range(20, 30)]
    results = await asyncio.gather(*erasing, *(search() for _ in range(50)))
    assert all(found[0] == "p0" for found in results[10:])
    assert len((await store.identities.list("people")).items) == 20
    await store.aclose()


async def test_no_write_ahead_log_is_kept(tmp_path: Path, rng: np.random.Generator) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    await store.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])
    assert not [name for base, folders, names in os.walk(tmp_path) for name in (*folders, *names) if "wal" in name]
    await store.aclose()


async def test_another_process_is_refused(tmp_path: Path) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    script = (
        "import asyncio, sys; from sameface_qdrant import Store; "
        "from sameface_qdrant.errors import StoreLocked\n"
        "try: asyncio.run(Store.open(sys.argv[1]))\n"
        "except StoreLocked as refused: print(refused.metadata['holder'])"
    )
    command = [sys.executable, "-c", script, f"edge://{tmp_path}"]
    other = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    answer, _ = await other.communicate()
    assert json.loads(answer)["pid"] == os.getpid()
    await store.aclose()


@pytest.mark.parametrize("bad", ["nan", "zero", "dimension"])
async def test_a_batch_with_one_bad_vector_stores_nothing(tmp_path: Path, rng: np.random.Generator, bad: str) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    wrong = {
        "nan": np.full(8, np.nan, dtype=np.float32),
        "zero": np.zeros(8, dtype=np.float32),
        "dimension": np.ones(9, dtype=np.float32),
    }[bad]
    batch = [NewTemplate(random_vector(rng), CONTRACT), NewTemplate(wrong, CONTRACT)]
    with pytest.raises(InvalidEmbedding):
        await store.enroll("people", "ada", batch)
    assert (await store.identities.list("people")).items == ()
    assert await store.search("people", Probe(random_vector(rng), CONTRACT)) == ()
    await store.aclose()


async def test_errors_of_the_engine_are_typed(tmp_path: Path) -> None:
    engine = await EdgeEngine.open(tmp_path)
    await engine.ensure("things", 4)
    with pytest.raises(StoreUnavailable):
        await engine.upsert("things", [Point(point_id("one"), {}, np.ones(5, dtype=np.float32))])
    await engine.aclose()


async def test_every_field_that_searches_filter_by_is_indexed(tmp_path: Path) -> None:
    engine = await EdgeEngine.open(tmp_path)
    await engine.ensure("things", 4)
    indexed = engine._collections["things"].handle.shard.info().payload_schema.keys()
    assert set(indexed) == INDEXED_FIELDS.keys()
    await engine.aclose()


async def test_a_shard_that_grows_gets_more_search_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "SMALL", 4 * 40)
    several = max(2, os.cpu_count() or 1)
    engine = await EdgeEngine.open(tmp_path)
    await engine.ensure("things", 4)
    opened = engine._collections["things"]
    vectors = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)

    async def add(numbers: range) -> None:
        await engine.upsert(
            "things", [Point(point_id(str(one)), {"gallery": "g", "number": one}, vectors[one]) for one in numbers]
        )
        await engine.commit("things")

    async def nearest() -> list[int]:
        found = [await engine.nearest("things", vector, Where({"gallery": "g"}), 1) for vector in vectors]
        return [one.payload["number"] for (one,) in found]

    await add(range(30))
    assert (opened.handle.threads, shard.threads_of(opened.handle.folder)) == (1, 1)
    with opened.handle.reading():
        await add(range(30, 50))
        assert opened.handle.threads == 1  # not while somebody reads
    await add(range(50, 60))
    assert (opened.handle.threads, shard.threads_of(opened.handle.folder)) == (several, several)
    await add(range(5))
    assert await nearest() == list(range(60))
    await engine.aclose()
    for small, threads in ((4 * 40, several), (4 * 1000, 1)):
        monkeypatch.setattr(shard, "SMALL", small)
        engine = await EdgeEngine.open(tmp_path)
        await engine.ensure("things", 4)
        assert shard.threads_of(engine._collections["things"].handle.folder) == threads
        assert await nearest() == list(range(60))
        await engine.aclose()


def test_no_call_rewrites_a_collection_in_one_go() -> None:
    # The program that builds an index runs in a process of its own, see `test_edge_index.py`.
    in_process = set(Path(engine_module.__file__).parent.glob("*.py")) - {index.PROGRAM}
    sources = "".join(path.read_text() for path in in_process)
    assert ".optimize(" not in sources
    assert shard.COPY_BATCH <= 500


# Runs against a limit that makes the system itself refuse, and prints what the store says.
LIMITED = """
import asyncio, os, resource, sys
from pathlib import Path
import numpy as np
from sameface_qdrant import NewTemplate, Policy, Probe, Scope, Store
from sameface_qdrant.errors import SamefaceError
from tests.plugin.conftest import CONTRACT

folder, how = Path(sys.argv[1]), sys.argv[2]

def limit(on):
    if how == "size":
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 if on else resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return
    if not on and os.getuid() == 0:
        os.seteuid(0)
    for path in [folder, *folder.rglob("*")]:
        path.chmod((0o555 if on else 0o700) if path.is_dir() else (0o444 if on else 0o600))
    if on and os.getuid() == 0:
        os.seteuid(65534)  # root may write everywhere

async def main():
    store = await Store.open(f"edge://{folder}")
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    one, two = np.eye(8, dtype=np.float32)[:2] + 0.1
    await store.enroll("people", "ada", [NewTemplate(one, CONTRACT)])
    limit(True)
    for write in (
        lambda: store.enroll("people", "bob", [NewTemplate(two, CONTRACT)]),
        lambda: store.identities.delete("people", "ada", force=True),
    ):
        try:
            await write()
            print("WRITTEN")
        except SamefaceError as error:
            print(error.reason)
    print((await store.verify("people", "ada", Probe(one, CONTRACT), scope=Scope.CLAIM)).outcome)
    limit(False)
    await store.enroll("people", "bob", [NewTemplate(two, CONTRACT)])
    receipt = await store.identities.delete("people", "ada", force=True)
    print(receipt.state)
    await store.aclose()

asyncio.run(main())
"""


@pytest.mark.parametrize(("how", "reason"), [("size", "STORE_FULL"), ("mode", "STORE_UNAVAILABLE")])
async def test_a_refusing_system_refuses_writes_and_reads_go_on(tmp_path: Path, how: str, reason: str) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(0o755)
    command = [sys.executable, "-c", LIMITED, str(folder), how]
    limited = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    answer, _ = await limited.communicate()
    assert answer.decode().split() == [reason, reason, "MATCH", "DONE"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 disk of 200 MiB; it needs root, mkfs.ext4 and a loop device."""
    if sys.platform != "linux" or os.getuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("making a small disk needs root on Linux, and mkfs.ext4")
    image, disk = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(200 * 2**20)
    disk.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, disk], check=False).returncode:
        pytest.skip("this system does not let root mount")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(path: Path) -> None:
    """Fill the disk to the last page."""
    with path.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(4096))


async def test_a_full_disk_refuses_writes_and_reads_go_on(small_disk: Path, rng: np.random.Generator) -> None:
    url = f"edge://{small_disk / 'store'}"
    store = await Store.open(url)
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    vector = random_vector(rng)
    await store.enroll("people", "ada", [NewTemplate(vector, CONTRACT)])
    # From here on a write through a memory map would end this process.
    await asyncio.to_thread(fill, small_disk / "ballast")
    with pytest.raises(StoreFull):
        await store.enroll("people", "bob", [NewTemplate(random_vector(rng), CONTRACT)])
    with pytest.raises(StoreFull):
        await store.identities.delete("people", "ada", force=True)
    assert (await store.verify("people", "ada", Probe(vector, CONTRACT))).score == pytest.approx(1.0, abs=1e-6)
    await store.aclose()
    with pytest.raises(StoreFull):
        await Store.open(url)
    # Little room is left, as when writes were refused in time: enough to open and read.
    os.truncate(small_disk / "ballast", (small_disk / "ballast").stat().st_size - 8 * 2**20)
    store = await Store.open(url)
    assert (await store.verify("people", "ada", Probe(vector, CONTRACT))).score == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(StoreFull):
        await store.enroll("people", "bob", [NewTemplate(random_vector(rng), CONTRACT)])
    (small_disk / "ballast").unlink()
    await store.enroll("people", "bob", [NewTemplate(random_vector(rng), CONTRACT)])
    assert (await store.identities.delete("people", "ada", force=True)).compacted


async def test_the_size_of_a_gallery_follows_every_write(tmp_path: Path) -> None:
    """The engine caches counts between writes, so each kind of write must clear them."""
    store = await Store.open(f"edge://{tmp_path / 'store'}")
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5, identify_threshold=0.5))

    async def size() -> int:
        return (await store.identify("people", Probe(np.ones(8, np.float32), CONTRACT))).gallery_size

    sizes = [await size(), await size()]
    await store.enroll("people", "ada", [NewTemplate(np.ones(8, np.float32), CONTRACT)])
    sizes += [await size(), await size()]
    await store.identities.create("people", "bob")
    sizes.append(await size())
    await asyncio.gather(*(store.identities.create("people", f"more-{number}") for number in range(5)), size(), size())
    sizes.append(await size())
    await store.identities.delete("people", "ada", force=True)
    sizes.append(await size())
    assert sizes == [0, 0, 1, 1, 2, 7, 6]
    await store.aclose()
