"""The synchronous store has the same methods and errors, in any thread, with or without a running loop."""

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sameface_qdrant import NewTemplate, Outcome, Policy, Probe, blocking
from sameface_qdrant.attached import attached
from sameface_qdrant.errors import GalleryAlreadyExists, GalleryNotFound, InvalidArgument, StoreLocked, StoreUnavailable
from sameface_qdrant.store import galleries, identities, templates
from sameface_qdrant.store import store as aio
from tests.plugin.conftest import CONTRACT, random_vector

PAIRS = [
    (aio.Store, blocking.Store),
    (galleries.Galleries, blocking.Galleries),
    (identities.Identities, blocking.Identities),
    (templates.Templates, blocking.Templates),
    (attached.Attached, blocking.Attached),
]
# Coroutines that callers of the asynchronous store do not use, or have another name for.
INTERNAL = {
    "Store.over",
    "Store.aclose",
    "Attached.aclose",
    "Galleries.open",
    "Galleries.new_protection",
    "Templates.delete_expired",
}
POLICY = Policy(verify_threshold=0.5, identify_threshold=0.6)


@pytest.fixture(params=["memory", "edge"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[blocking.Store]:
    with blocking.Store.open(":memory:" if request.param == "memory" else f"edge://{tmp_path}/store") as opened:
        yield opened


def public(kind: type) -> dict[str, inspect.Signature]:
    """Return every public coroutine method. A method with a tenant, an inner key of the store, is not public."""
    methods = {
        name: inspect.signature(method)
        for name, method in inspect.getmembers(kind, inspect.isroutine)
        if inspect.iscoroutinefunction(inspect.unwrap(method)) and not name.startswith("_")
    }
    return {
        name: signature
        for name, signature in methods.items()
        if f"{kind.__name__}.{name}" not in INTERNAL and "Tenant" not in str(signature)
    }


@pytest.mark.parametrize(("asynchronous", "synchronous"), PAIRS)
def test_every_method_is_there_with_the_same_parameters(asynchronous: type, synchronous: type) -> None:
    expected = public(asynchronous)
    assert len(expected) >= 3
    for name, signature in expected.items():
        facing = getattr(synchronous, name, None)
        assert facing is not None, (
            f"blocking.{synchronous.__name__} lacks {name} = waiting({asynchronous.__name__}.{name})"
        )
        assert not inspect.iscoroutinefunction(facing)
        assert list(inspect.signature(facing).parameters.values()) == list(signature.parameters.values()), name
        assert facing.__doc__
    offered = {name for name, _ in inspect.getmembers(synchronous, inspect.isfunction) if not name.startswith("_")}
    assert offered - set(expected) <= {"close", "enroll_many", "use_quotas"}


def test_a_person_is_enrolled_verified_identified_searched_and_erased(
    store: blocking.Store, rng: np.random.Generator
) -> None:
    store.galleries.create("people", CONTRACT, policy=POLICY)
    ada, bob = random_vector(rng), random_vector(rng)
    (template,) = store.enroll("people", "ada", [NewTemplate(ada, CONTRACT)], display_name="Ada")
    store.enroll("people", "bob", [NewTemplate(bob, CONTRACT)])
    assert store.verify("people", "ada", Probe(ada, CONTRACT)).outcome is Outcome.MATCH
    assert store.identify("people", Probe(ada, CONTRACT)).candidates[0].display_name == "Ada"
    assert store.search("people", Probe(bob, CONTRACT), limit=1)[0].template.identity == "bob"
    assert {one.id for one in store.identities.list("people").items} == {"ada", "bob"}
    store.templates.delete("people", "ada", template.id)
    assert store.identities.get("people", "ada").template_count == 0
    store.galleries.delete("people", force=True)
    with pytest.raises(GalleryNotFound, match="create it first"):
        store.galleries.get("people")


def test_errors_pass_through_unchanged(store: blocking.Store) -> None:
    store.galleries.create("people", CONTRACT)
    with pytest.raises(GalleryAlreadyExists) as caught:
        store.galleries.create("people", CONTRACT)
    assert (type(caught.value), caught.value.metadata) == (GalleryAlreadyExists, {"gallery": "people"})


def test_many_threads_use_one_store(store: blocking.Store, rng: np.random.Generator) -> None:
    store.galleries.create("people", CONTRACT, policy=POLICY)
    vectors = [random_vector(rng) for _ in range(60)]

    def enrol_and_verify(number: int) -> float | None:
        store.enroll("people", f"id-{number}", [NewTemplate(vectors[number], CONTRACT)])
        return store.verify("people", f"id-{number}", Probe(vectors[number], CONTRACT)).score

    with ThreadPoolExecutor(12) as threads:
        scores = list(threads.map(enrol_and_verify, range(len(vectors))))
    assert scores == pytest.approx([1.0] * len(vectors), abs=1e-5)
    assert len(store.identities.list("people").items) == len(vectors)


async def test_it_works_where_a_loop_is_running(tmp_path: Path) -> None:
    """As in Jupyter, this test's own loop is running while the blocking store is used."""
    assert asyncio.get_running_loop().is_running()
    with blocking.Store.open(f"edge://{tmp_path}/store") as store:
        store.galleries.create("people", CONTRACT)
        assert store.galleries.get("people").id == "people"


def test_closing_ends_the_thread_and_frees_the_folder(tmp_path: Path) -> None:
    before = threading.active_count()
    store = blocking.Store.open(f"edge://{tmp_path}/store")
    with pytest.raises(StoreLocked):
        blocking.Store.open(f"edge://{tmp_path}/store")
    store.galleries.create("people", CONTRACT)
    store.close()
    store.close()
    assert threading.active_count() == before
    with pytest.raises(StoreUnavailable, match="closed"):
        store.galleries.get("people")
    with blocking.Store.open(f"edge://{tmp_path}/store") as again:
        assert again.galleries.get("people").contract == CONTRACT


def test_a_store_that_cannot_be_opened_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(InvalidArgument):
        blocking.Store.open("elsewhere://")
    assert threading.active_count() == before


def test_calls_under_way_do_not_hang_when_another_thread_closes(tmp_path: Path, rng: np.random.Generator) -> None:
    store = blocking.Store.open(f"edge://{tmp_path}/store")
    store.galleries.create("people", CONTRACT, policy=POLICY)
    begun = threading.Barrier(5)

    def enrol_until_closed(worker: int) -> int:
        begun.wait()
        for number in range(10_000):
            try:
                store.enroll("people", f"w{worker}-{number}", [NewTemplate(np.ones(8, np.float32), CONTRACT)])
            except StoreUnavailable:
                return number
        return -1

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(enrol_until_closed, worker) for worker in range(4)]
        begun.wait()
        store.close()
        acknowledged = [one.result(timeout=60) for one in running]
    with blocking.Store.open(f"edge://{tmp_path}/store") as again:
        for worker, count in enumerate(acknowledged):
            for number in range(count):
                assert again.identities.get("people", f"w{worker}-{number}").template_count == 1


def test_a_store_left_open_does_not_keep_the_interpreter_alive(tmp_path: Path) -> None:
    program = f"""
from sameface_qdrant.blocking import Store
from tests.plugin.conftest import CONTRACT
store = Store.open("edge://{tmp_path}/store")
store.galleries.create("people", CONTRACT)
print("made")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "made\n", "")
    with blocking.Store.open(f"edge://{tmp_path}/store") as again:
        assert again.galleries.get("people").id == "people"
