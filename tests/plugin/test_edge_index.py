"""Large galleries on Edge: an index is built in the background, scores and claims stay exact, nothing is lost."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Set
from pathlib import Path

import numpy as np
import pytest

from sameface_qdrant import (
    EdgeOptions,
    Enrolment,
    ErasureState,
    NewTemplate,
    Policy,
    PolicyChanges,
    Probe,
    Scope,
    Store,
)
from sameface_qdrant.engines.base import INDEXED_POINT_ID, POINT_ID, ByteSearch
from sameface_qdrant.engines.edge import compaction, erasure_notes, index
from sameface_qdrant.engines.edge import engine as engine_module
from sameface_qdrant.engines.edge import nearest as nearest_module
from sameface_qdrant.engines.edge import reads as reads_module
from sameface_qdrant.engines.edge.collection import EdgeCollection
from sameface_qdrant.engines.edge.engine import EdgeEngine
from sameface_qdrant.engines.edge.files import copy_files
from sameface_qdrant.errors import IdentityCollision, InvalidArgument, StoreUnavailable
from sameface_qdrant.values.gallery import GuardAction
from sameface_qdrant.values.schema import schema_of
from tests.disk import contents
from tests.plugin.conftest import CONTRACT, random_vector
from tests.plugin.oracle import CLOSE, best_scores
from tests.plugin.protection.conftest import FIRST

SMALL = EdgeOptions(index_from=200, m=8, ef_construct=32, index_threads=1)
PEOPLE, EACH = 150, 2
POLICY = Policy(verify_threshold=0.5, identify_threshold=0.5)
VECTORS = np.random.default_rng(7).normal(size=(2 * PEOPLE, EACH, CONTRACT.dimension)).astype(np.float32)


async def fill(store: Store, people: range) -> None:
    """Enrol ``p<number>`` with the templates ``VECTORS[number]``."""
    enrolments = [Enrolment(f"p{one}", [NewTemplate(vector, CONTRACT) for vector in VECTORS[one]]) for one in people]
    async for result in store.enroll_many("people", enrolments):
        assert result.error is None


def collection(store: Store) -> EdgeCollection:
    # A store that alone has its templates remembers vectors.
    engine = getattr(store._engine, "_engine", store._engine)
    assert isinstance(engine, EdgeEngine)
    return engine._opened(CONTRACT.key)


async def indexed(store: Store) -> None:
    """Wait until an index was built, and nothing is built any more."""
    for _ in range(2400):
        building = collection(store).compaction
        if building is not None and building.done() and collection(store).handle.indexed:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("no index was built within two minutes")


async def scores(store: Store, probe: np.ndarray, limit: int = 5) -> dict[str, float]:
    decision = await store.identify("people", Probe(probe, CONTRACT), limit=limit)
    return {candidate.identity: candidate.score for candidate in decision.candidates}


def expected(people: range, probe: np.ndarray) -> dict[str, float]:
    return best_scores([(f"p{one}", vector) for one in people for vector in VECTORS[one]], probe)


@pytest.fixture(scope="module", autouse=True)
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The program with the priority of a test. With its own it waits as long as other tests keep the cores busy."""
    source = index.PROGRAM.read_text()
    assert source.count("os.nice(19)") == 1
    copy = tmp_path_factory.mktemp("program") / index.PROGRAM.name
    copy.write_text(source.replace("os.nice(19)", "os.nice(0)"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "PROGRAM", copy)
        yield


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a closed store whose collection is indexed, with a small gallery in it too."""
    folder = tmp_path_factory.mktemp("indexed") / "store"

    async def make() -> None:
        store = await Store.open(f"edge://{folder}", edge=SMALL)
        await store.galleries.create("people", CONTRACT, policy=POLICY)
        await store.galleries.create("few", CONTRACT, policy=POLICY)
        await store.enroll("few", "ada", [NewTemplate(VECTORS[0, 0], CONTRACT)])
        assert store.description.exact
        await fill(store, range(PEOPLE))
        await indexed(store)
        await store.aclose()

    asyncio.run(make())
    return folder


@pytest.fixture
async def store(filled: Path, tmp_path: Path) -> AsyncIterator[Store]:
    """A store of its own that begins as ``filled``."""
    copy_files(filled, tmp_path / "store")  # keeps holes
    opened = await Store.open(f"edge://{tmp_path / 'store'}", edge=SMALL)
    await opened.galleries.get("people")
    await opened.identities.get("people", "p0")
    yield opened
    await opened.aclose()


async def test_the_graph_finds_the_nearest_with_exact_scores(store: Store, rng: np.random.Generator) -> None:
    assert not store.description.exact
    found = 0
    for number in range(60):
        probe = VECTORS[number, 0] + 0.3 * random_vector(rng) if number % 2 else random_vector(rng)
        known, best = expected(range(PEOPLE), probe), await scores(store, probe)
        for identity, score in best.items():
            assert abs(score - known[identity]) < CLOSE
        found += max(known, key=known.__getitem__) == next(iter(best))
    assert found >= 57  # of 60; the graph may miss some


async def test_claims_and_small_galleries_are_compared_exactly(store: Store, rng: np.random.Generator) -> None:
    for number in range(0, PEOPLE, 10):
        probe = random_vector(rng)
        decision = await store.verify("people", f"p{number}", Probe(probe, CONTRACT), scope=Scope.CLAIM)
        assert abs((decision.score or 0) - expected(range(PEOPLE), probe)[f"p{number}"]) < CLOSE
    few = await store.identify("few", Probe(VECTORS[0, 0], CONTRACT))
    assert [candidate.identity for candidate in few.candidates] == ["ada"]


async def test_guards_search_outside_the_graph(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom a graph misses cannot be enrolled a second time."""

    def graph(*arguments: object) -> None:
        raise LookupError("searched in the graph")

    await store.galleries.update("people", policy=PolicyChanges(on_collision=GuardAction.REJECT))
    monkeypatch.setattr(nearest_module, "_search", graph)
    monkeypatch.setattr(reads_module, "QUICK_NUMBERS", 0)  # as in a gallery that is not compared at once
    for number in (0, 70, PEOPLE - 1):
        with pytest.raises(IdentityCollision):
            await store.enroll("people", "somebody", [NewTemplate(VECTORS[number, 0], CONTRACT)])
    with pytest.raises(StoreUnavailable, match="in the graph"):
        await scores(store, VECTORS[0, 0])
    with pytest.raises(StoreUnavailable, match="in the graph"):
        await store.verify("people", "p0", Probe(VECTORS[0, 0], CONTRACT))


async def test_a_protected_gallery_is_searched_in_a_graph_too(tmp_path: Path, rng: np.random.Generator) -> None:
    store = await Store.open(f"edge://{tmp_path / 'store'}", edge=SMALL, keys=FIRST)
    await store.galleries.create("people", CONTRACT, policy=POLICY)
    await fill(store, range(PEOPLE))
    await indexed(store)
    for number in range(0, PEOPLE, 10):
        probe = VECTORS[number, 0] + 0.3 * random_vector(rng)
        known, best = expected(range(PEOPLE), probe), await scores(store, probe)
        assert next(iter(best)) == max(known, key=known.__getitem__)
        assert all(abs(score - known[identity]) < CLOSE for identity, score in best.items())
    receipt = await store.identities.delete("people", "p5", force=True)
    assert receipt.state is ErasureState.DONE
    assert {one.found_after for one in receipt.evidence} == {0}
    assert collection(store).handle.indexed
    await store.aclose()


async def test_exact_compares_with_every_template_and_builds_nothing(
    filled: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    copy_files(filled, tmp_path / "store")  # keeps holes
    store = await Store.open(f"edge://{tmp_path / 'store'}", edge=EdgeOptions(exact=True, index_from=1))
    await fill(store, range(PEOPLE, PEOPLE + 20))
    assert store.description.exact
    assert collection(store).compaction is None
    for _ in range(20):
        probe = random_vector(rng)
        known, best = expected(range(PEOPLE + 20), probe), await scores(store, probe)
        assert list(best) == sorted(known, key=lambda name: -known[name])[:5]
    await store.aclose()


async def test_what_is_written_during_a_build_counts_and_later_growth_is_indexed(store: Store) -> None:
    await fill(store, range(PEOPLE, PEOPLE + 40))
    building = collection(store).compaction
    assert building is not None
    assert not building.done()
    await store.enroll("people", "late", [NewTemplate(VECTORS[-1, 0], CONTRACT)])
    await store.identities.update("people", "p3", {"display_name": "Ada"})
    (gone, _) = (await store.templates.list("people", "p1")).items
    await asyncio.gather(
        store.templates.delete("people", "p1", gone.id), store.identities.delete("people", "p2", force=True)
    )
    assert building.done()
    assert collection(store).handle.shard.info().indexed_vectors_count > (PEOPLE + 20) * EACH
    assert next(iter(await scores(store, VECTORS[-1, 0]))) == "late"
    assert "p2" not in await scores(store, VECTORS[2, 0])
    assert (await store.identities.get("people", "p1")).template_count == EACH - 1
    assert (await store.identities.get("people", "p3")).display_name == "Ada"
    assert next(iter(await scores(store, VECTORS[PEOPLE + 5, 0]))) == f"p{PEOPLE + 5}"


async def test_an_erasure_takes_templates_out_of_indexed_files(store: Store, tmp_path: Path) -> None:
    await store.enroll("people", "late", [NewTemplate(VECTORS[-1, 0], CONTRACT)])
    identities = ("p5", "late")  # in the indexed segment, and in the other one
    needles = []
    for identity in identities:
        (template, *_) = (await store.templates.list("people", identity)).items
        vector = (await store.templates.get("people", identity, template.id, with_vector=True)).vector
        assert vector is not None
        needles.append(vector.astype("<f4").tobytes())
        assert holds(tmp_path, needles[-1])
    receipts = await asyncio.gather(*(store.identities.delete("people", one, force=True) for one in identities))
    for identity, needle, receipt in zip(identities, needles, receipts, strict=True):
        assert receipt.state is ErasureState.DONE
        assert receipt.not_provable == ()
        assert {one.found_after for one in receipt.evidence} == {0}
        assert any(one.representation == INDEXED_POINT_ID for one in receipt.evidence) == (identity == "p5")
        assert not holds(tmp_path, needle)
    assert collection(store).handle.indexed


def holds(folder: Path, needle: bytes) -> bool:
    return needle in contents(folder)


async def test_an_id_is_searched_for_as_the_files_have_it_now(store: Store) -> None:
    """A template that was noted in the other segment may be indexed before it is removed."""
    opened = collection(store)
    (template, *_) = (await store.templates.list("people", "p5")).items
    erasure_notes.note(opened.folder, "receipt", [ByteSearch(POINT_ID, (uuid.UUID(template.id).bytes,), (True,))])
    erasure_notes.removed(opened.folder)
    await compaction._conclude(opened, erasure_notes.due(opened.folder), 0.0)
    _, (evidence,) = erasure_notes.outcome(opened.folder, "receipt") or (None, ())
    assert (evidence.found_after, evidence.held_elsewhere) == (1, 1)


async def test_an_erasure_goes_on_where_no_index_can_be_built(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # as after an upgrade of the environment
    receipt = await store.identities.delete("people", "p5", force=True)
    assert receipt.state is ErasureState.DONE
    assert store.description.exact
    assert next(iter(await scores(store, VECTORS[6, 0]))) == "p6"


@pytest.mark.parametrize(
    ("executable", "program", "said"),
    [
        ("/gone/python3", "", "could be started"),
        ("/usr/bin/true", "", "no Python interpreter"),  # an app that was frozen into one file
        (None, "", "no Python interpreter"),
        (sys.executable, "raise MemoryError('no room')", "no room"),
    ],
)
async def test_a_build_that_cannot_run_is_a_typed_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None, program: str, said: str
) -> None:
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(index, "PROGRAM", tmp_path / "program.py")
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(StoreUnavailable, match=said):
        await index.build(collection(store), tmp_path)


async def test_the_program_finds_what_this_process_has_imported(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter below an environment has no packages of its own."""
    monkeypatch.setattr(sys, "executable", sys._base_executable)  # type: ignore[attr-defined]
    index.copy_shard(collection(store), tmp_path / "copy")
    await index.build(collection(store), tmp_path / "copy")


async def test_a_collection_that_shrank_loses_its_index(store: Store) -> None:
    opened = collection(store)
    assert await compaction.wants_index(opened)
    opened.options = EdgeOptions(index_from=2 * opened.size)
    assert await compaction.wants_index(opened)
    opened.options = EdgeOptions(index_from=2 * opened.size + 2)
    assert not await compaction.wants_index(opened)


async def test_releases_without_graphs_refuse_a_folder_with_one(store: Store, tmp_path: Path) -> None:
    def least_reader(folder: Path) -> int:
        return schema_of(json.loads((folder / "FORMAT").read_text())).least_reader

    new = await Store.open(f"edge://{tmp_path / 'new'}", edge=SMALL)
    await new.aclose()
    assert (least_reader(tmp_path / "new"), least_reader(tmp_path / "store")) == (1, 3)


async def test_a_disk_without_room_leaves_the_store_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "COPIES", 1 << 40)
    await fill(store, range(PEOPLE, PEOPLE + 40))
    building = collection(store).compaction
    assert building is not None
    error = await building
    assert error is not None
    assert error.reason == "STORE_FULL"
    assert next(iter(await scores(store, VECTORS[PEOPLE + 5, 0]))) == f"p{PEOPLE + 5}"
    await store.enroll("people", "late", [NewTemplate(VECTORS[-1, 0], CONTRACT)])
    assert collection(store).compaction is building  # not tried again at once


async def test_closing_ends_the_build(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "waits.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(index, "PROGRAM", tmp_path / "waits.py")
    # Other tests in this process may have left servers running.
    others = children()
    await fill(store, range(PEOPLE, PEOPLE + 40))
    running = await begun(others)
    await store.aclose()
    assert not running & children()
    assert len(list((tmp_path / "store" / CONTRACT.key).glob("shard-*"))) == 1


def children() -> set[str]:
    """Process ids of this process's children."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def ended(process: str) -> bool:
    """Whether a process has ended; what nobody waited for keeps its number, but no command line."""
    try:
        return not Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return True


async def begun(others: Set[str] = frozenset()) -> set[str]:
    """Wait until a child process runs that is none of the ``others``."""
    for _ in range(3000):
        if running := children() - others:
            return running
        await asyncio.sleep(0.01)
    raise AssertionError("no process was started within 30 s")


KILLED = """
import asyncio, sys
from sameface_qdrant import Store
from tests.plugin import test_edge_index as here

async def main(url):
    store = await Store.open(url, edge=here.SMALL)
    await store.galleries.create("people", here.CONTRACT, policy=here.POLICY)
    await here.fill(store, range(here.PEOPLE))
    print(*await here.begun(), flush=True)
    for number in range(here.PEOPLE, 2 * here.PEOPLE):
        await store.enroll("people", f"p{number}", [here.NewTemplate(v, here.CONTRACT) for v in here.VECTORS[number]])
        print(number, flush=True)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with the one that started it")
async def test_nothing_acknowledged_is_lost_by_a_kill_during_a_build(tmp_path: Path) -> None:
    url = f"edge://{tmp_path / 'store'}"
    command = [sys.executable, "-c", KILLED, url]
    writer = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    (child,) = (await writer.stdout.readline()).split()
    await asyncio.sleep(0.3)
    writer.send_signal(signal.SIGKILL)
    acknowledged = [int(line) for line in (await writer.stdout.read()).split(b"\n")[:-1]]
    await writer.wait()
    assert acknowledged
    store = await Store.open(url, edge=SMALL)
    for number in [*range(PEOPLE), *acknowledged]:
        assert (await store.identities.get("people", f"p{number}")).template_count == EACH
    # What was interrupted begins again when the collection is opened.
    await indexed(store)
    assert next(iter(await scores(store, VECTORS[3, 0]))) == "p3"
    await store.aclose()
    assert ended(child.decode())


@pytest.mark.parametrize(
    ("name", "value"), [("index_from", 0), ("m", 1), ("ef_construct", 5000), ("hnsw_ef", 0), ("index_threads", -1)]
)
def test_an_option_out_of_range_is_named(name: str, value: int) -> None:
    with pytest.raises(InvalidArgument) as refused:
        EdgeOptions(**{name: value})  # type: ignore[arg-type]
    assert refused.value.metadata["field"] == name


def test_a_larger_gallery_is_searched_more_thoroughly() -> None:
    assert EdgeOptions().ef(1000) == EdgeOptions().ef(100_000) == 256
    assert EdgeOptions().ef(1_000_000) == 552
    assert EdgeOptions(hnsw_ef=64).ef(1_000_000) == 64


def test_the_program_that_holds_the_interpreter_is_never_imported() -> None:
    folder = Path(engine_module.__file__).parent
    for path in folder.parents[1].rglob("*.py"):
        assert "import index_process" not in path.read_text()
        assert "index_process import" not in path.read_text()
