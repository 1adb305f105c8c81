"""The compare-and-set: the same on every engine, also after a lost answer and after a crash."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import GuardAction, NewTemplate, Policy, Probe, Store
from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, IdentityCollision, IdentityNotFound, StoreUnavailable
from tests.plugin.conftest import CONTRACT, random_vector
from tests.plugin.histories import left_over
from tests.plugin.steered import SteeredEngine

ONE, TWO = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
POLICY = Policy(verify_threshold=0.5, identify_threshold=0.5)
GUARDED = Policy(verify_threshold=0.5, identify_threshold=0.5, on_collision=GuardAction.REJECT)


async def stored(store: Store) -> dict[str, Any]:
    found = await store._engine.get(CONTRACT.key, [ONE, TWO])
    return {key: point.payload["revision"] for key, point in found.items()}


def point(key: str, revision: int) -> Point:
    return Point(key, {"kind": "test", "gallery": "g", "identity": "i", "revision": revision})


@pytest.fixture
async def filled(store: Store) -> Store:
    """A store with one point in revision 1."""
    await store._engine.ensure(CONTRACT.key, CONTRACT.dimension)
    await store._engine.upsert(CONTRACT.key, [point(ONE, 1)])
    return store


@pytest.mark.parametrize(
    ("points", "options", "expected"),
    [
        pytest.param([point(ONE, 2)], {"only_if": Where({"revision": 1})}, {ONE: 2}, id="matches"),
        pytest.param([point(ONE, 2)], {"only_if": Where({"revision": 7})}, {ONE: 1}, id="does not match"),
        pytest.param([point(TWO, 2)], {"only_if": Where({"revision": 1})}, {ONE: 1}, id="is not there"),
        pytest.param([point(TWO, 2)], {"only_if": Where({})}, {ONE: 1}, id="is not there, without a condition"),
        pytest.param([point(ONE, 2), point(TWO, 2)], {"insert_only": True}, {ONE: 1, TWO: 2}, id="inserts"),
        pytest.param(
            [point(ONE, 2)],
            {"only_if": Where({"revision": 7}), "companions": [point(TWO, 5)]},
            {ONE: 1, TWO: 5},
            id="companions of a lost race",
        ),
        pytest.param(
            [point(TWO, 5)],
            {"only_if": Where({"revision": 5}), "companions": [point(ONE, 9)]},
            {ONE: 1},
            id="companions that exist",
        ),
    ],
)
async def test_a_conditional_write_is_the_same_on_every_engine(
    filled: Store, points: list[Point], options: dict[str, Any], expected: dict[str, int]
) -> None:
    for _ in range(2):  # A repeat after a lost answer changes nothing more.
        await filled._engine.upsert(CONTRACT.key, points, **options)
        assert await stored(filled) == expected


@pytest.mark.parametrize(("revision", "expected"), [(1, {}), (2, {ONE: 1})])
async def test_a_record_is_removed_only_in_the_revision_that_was_read(
    filled: Store, revision: int, expected: dict[str, int]
) -> None:
    await filled._engine.delete(CONTRACT.key, Where({"revision": revision}, ids=(ONE,)))
    assert await stored(filled) == expected


@pytest.fixture
def client() -> AsyncQdrantClient:
    return AsyncQdrantClient(":memory:")


async def opened(client: AsyncQdrantClient, policy: Policy) -> tuple[SteeredEngine, Store, Store]:
    """Two services on one server, the first one steered."""
    engine = SteeredEngine(client)
    store, other = await Store.over(engine), await Store.over(SteeredEngine(client))
    await store.galleries.create("people", CONTRACT, policy=policy)
    return engine, store, other


def later(pass_by: Callable[[datetime], None]) -> None:
    """Let the time pass after which a writer has crashed."""
    pass_by(datetime.now(UTC) + timedelta(minutes=2))


async def test_a_template_counts_once_it_is_confirmed_and_a_repeat_confirms_it(
    client: AsyncQdrantClient, rng: np.random.Generator
) -> None:
    engine, store, other = await opened(client, POLICY)
    await other.enroll("people", "bob", [NewTemplate(random_vector(rng), CONTRACT)])
    vector = random_vector(rng)
    new = [NewTemplate(vector, CONTRACT)]
    engine.failing = {"set_payload"}
    with pytest.raises(StoreUnavailable):
        await store.enroll("people", "ada", new, request_id="r")
    assert (await other.templates.list("people", "ada")).items == ()
    assert (await other.identities.get("people", "ada")).template_count == 0
    found = await other.search("people", Probe(vector, CONTRACT))
    assert [one.template.identity for one in found] == ["bob"]
    (template,) = await other.enroll("people", "ada", new, request_id="r")
    assert (await other.identify("people", Probe(vector, CONTRACT))).candidates[0].identity == "ada"
    assert (await other.templates.get("people", "ada", template.id)).id == template.id


async def test_a_repeat_looks_with_the_guards_that_the_first_call_could_not_ask(
    client: AsyncQdrantClient, rng: np.random.Generator
) -> None:
    engine, store, other = await opened(client, GUARDED)
    vector = random_vector(rng)

    async def enrol_elsewhere() -> None:
        await other.enroll("people", "bob", [NewTemplate(vector, CONTRACT)])
        engine.failing = {"nearest"}

    engine.before_write = enrol_elsewhere
    new = [NewTemplate(vector, CONTRACT)]
    with pytest.raises(StoreUnavailable):
        await store.enroll("people", "ada", new, request_id="r")
    engine.failing = set()
    with pytest.raises((ConcurrentUpdate, IdentityCollision)):
        await store.enroll("people", "ada", new, request_id="r")
    assert (await other.identify("people", Probe(vector, CONTRACT))).candidates[0].identity == "bob"


@pytest.mark.parametrize("finish", ["sweep", "repeat"])
async def test_what_a_crashed_enrolment_left_is_removed(
    client: AsyncQdrantClient, rng: np.random.Generator, pass_by: Callable[[datetime], None], finish: str
) -> None:
    engine, store, other = await opened(client, POLICY)
    await store.identities.create("people", "ada")
    new = [NewTemplate(random_vector(rng), CONTRACT)]

    async def overtake_and_crash() -> None:
        await other.identities.update("people", "ada", {"display_name": "Ada"})
        engine.failing = {"get", "delete", "set_payload"}

    engine.before_write = overtake_and_crash
    with pytest.raises(StoreUnavailable):
        await store.enroll("people", "ada", new, request_id="r")
    assert len(await left_over(SteeredEngine(client), CONTRACT.key)) == 1
    with pytest.raises(ConcurrentUpdate):
        await other.enroll("people", "ada", new, request_id="r")
    later(pass_by)
    if finish == "sweep":
        await other.sweep()
        assert (await other.identities.get("people", "ada")).template_count == 0
    else:
        await other.enroll("people", "ada", new, request_id="r")
        assert (await other.identities.get("people", "ada")).template_count == 1
    assert await left_over(SteeredEngine(client), CONTRACT.key) == []


@pytest.mark.parametrize("finish", ["sweep", "repeat"])
async def test_a_deletion_that_crashed_is_finished(
    client: AsyncQdrantClient, rng: np.random.Generator, pass_by: Callable[[datetime], None], finish: str
) -> None:
    engine, store, other = await opened(client, POLICY)
    await store.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])
    engine.failing = {"delete"}
    with pytest.raises(StoreUnavailable):
        await store.identities.delete("people", "ada", force=True)
    with pytest.raises(IdentityNotFound):
        await other.identities.get("people", "ada")
    with pytest.raises(IdentityNotFound):
        await other.identities.update("people", "ada", {"purpose": "x"})
    assert (await other.identities.list("people")).items == ()
    with pytest.raises(ConcurrentUpdate):
        await other.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])
    with pytest.raises(ConcurrentUpdate):
        await other.identities.create("people", "ada")
    with pytest.raises(ConcurrentUpdate):
        await other.identities.delete("people", "ada", force=True)
    later(pass_by)
    if finish == "sweep":
        (receipt,) = await other.sweep()
    else:
        receipt = await other.identities.delete("people", "ada", force=True)
    assert receipt.identity == "ada"
    left, _ = await SteeredEngine(client).scroll(CONTRACT.key, Where({}), 10)
    assert left == []


async def test_a_move_that_crashed_is_finished_by_a_deletion(
    client: AsyncQdrantClient, rng: np.random.Generator, pass_by: Callable[[datetime], None]
) -> None:
    engine, store, other = await opened(client, POLICY)
    await store.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])
    engine.failing = {"delete"}
    with pytest.raises(StoreUnavailable):
        await store.identities.move("people", "ada", "bob")
    with pytest.raises(ConcurrentUpdate):
        await other.identities.delete("people", "ada", force=True)
    later(pass_by)
    with pytest.raises(IdentityNotFound):
        await other.identities.delete("people", "ada", force=True)
    assert [one.id for one in (await other.identities.list("people")).items] == ["bob"]
    assert (await other.identities.get("people", "bob")).template_count == 1
    assert await left_over(SteeredEngine(client), CONTRACT.key) == []
