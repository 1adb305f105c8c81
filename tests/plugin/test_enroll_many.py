"""Many enrolments at once: the same results as one after another, with few requests."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import Enrolment, EnrolmentResult, GuardAction, NewTemplate, Policy, Store, blocking
from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    GalleryNotFound,
    InvalidArgument,
    SamefaceError,
    StoreUnavailable,
)
from sameface_qdrant.store.enrolment import MOST_AT_ONCE
from sameface_qdrant.store.enrolment_batch import EnrolmentBatch
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.gallery import WhenFull
from tests.plugin.conftest import CONTRACT, random_vector
from tests.plugin.counting import CountingEngine
from tests.plugin.histories import left_over
from tests.plugin.steered import SteeredEngine

ACTIONS = list(GuardAction)
WARN = Policy(verify_threshold=0.5, identify_threshold=0.8)
OFF = replace(WARN, on_collision=GuardAction.ALLOW, on_duplicate=GuardAction.ALLOW, on_outlier=GuardAction.ALLOW)


def one(identity: str, vector: Any, **options: Any) -> Enrolment:
    return Enrolment(identity, [NewTemplate(np.asarray(vector, dtype=np.float32), CONTRACT)], **options)


async def many(store: Store, enrolments: Sequence[Enrolment], size: int = 256) -> list[EnrolmentResult]:
    return [result async for result in store.enroll_many("people", enrolments, batch_size=size)]


def drawn_policy(draw: random.Random) -> Policy:
    when_full = draw.choice(list(WhenFull))
    # Until a batch is written, guards still find the templates that it replaces.
    among_others = ACTIONS if when_full is WhenFull.REJECT else [GuardAction.ALLOW]
    return Policy(
        verify_threshold=0.3,
        identify_threshold=draw.choice((0.6, 0.8)),
        on_collision=draw.choice(among_others),
        on_duplicate=draw.choice(among_others),
        on_outlier=draw.choice(ACTIONS),
        max_templates=draw.choice((2, 3)),
        when_full=when_full,
    )


def drawn(draw: random.Random, count: int, most: int) -> list[Enrolment]:
    """Enrolments of few identities with vectors of few directions, so that guards and limits have much to find."""
    rng = np.random.default_rng(draw.randrange(2**32))
    directions = [random_vector(rng) for _ in range(4)]
    found = []
    for _ in range(count):
        vectors = [draw.choice(directions) + draw.choice((0.0, 0.3, 1.0)) * random_vector(rng) for _ in range(2)]
        templates = [NewTemplate(vector, CONTRACT) for vector in vectors[: draw.randint(1, most)]]
        enrolment = Enrolment(f"p{draw.randrange(8)}", templates, create_identity=draw.random() < 0.9)
        found.append(replace(enrolment, request_id=draw.choice(("", f"r{draw.randrange(6)}"))))
    return found


def told(identity: str, error: SamefaceError | None, templates: Sequence[Any]) -> Any:
    """What a caller learns, apart from what is drawn at random or depends on the clock."""
    # The same vector may be stored under several identities: which one is named, and how many duplicates, is open.
    findings = {
        (finding.kind, finding.score and round(finding.score, 4)) for one in templates for finding in one.findings
    }
    return identity, type(error).__name__, [one.provenance.note for one in templates], findings


async def gallery_state(store: Store) -> dict[str, list[Any]]:
    state = {}
    for identity in (await store.identities.list("people")).items:
        listed = (await store.templates.list("people", identity.id)).items
        full = [await store.templates.get("people", identity.id, one.id, with_vector=True) for one in listed]
        state[identity.id] = sorted([round(float(x), 5) for x in one.vector] for one in full if one.vector is not None)
    return state


@pytest.mark.parametrize("shared", [False, True], ids=["the only writer", "several services"])
@pytest.mark.parametrize("seed", range(12))
async def test_a_batch_does_what_single_calls_would_do_in_turn(seed: int, shared: bool) -> None:
    draw = random.Random(seed)
    policy = drawn_policy(draw)
    # Templates of one call are equally old. Which of them is replaced depends on their ids, which are random.
    enrolments = drawn(draw, 24, most=2 if policy.when_full is WhenFull.REJECT else 1)
    in_turn = await Store.open(":memory:")
    engine = SteeredEngine(AsyncQdrantClient(":memory:"))
    batched = await Store.over(engine) if shared else await Store.open(":memory:")
    for store in (in_turn, batched):
        await store.galleries.create("people", CONTRACT, policy=policy)
    expected = []
    for enrolment in enrolments:
        try:
            stored = await in_turn.enroll(
                "people",
                enrolment.identity,
                enrolment.templates,
                request_id=enrolment.request_id,
                create_identity=enrolment.create_identity,
            )
            expected.append(told(enrolment.identity, None, stored))
        except SamefaceError as error:
            expected.append(told(enrolment.identity, error, ()))
    results = await many(batched, enrolments, draw.choice((1, 3, 24)))
    assert [told(result.identity, result.error, result.templates) for result in results] == expected
    assert await gallery_state(batched) == await gallery_state(in_turn)
    if shared:
        assert await left_over(engine, CONTRACT.key) == []


async def test_a_stream_of_enrolments_on_every_engine(store: Store, rng: np.random.Generator) -> None:
    await store.galleries.create("people", CONTRACT, policy=replace(WARN, on_collision=GuardAction.ALLOW))

    async def stream() -> AsyncIterator[Enrolment]:
        for number in range(90):
            yield one(f"p{number}", random_vector(rng), display_name=f"P {number}", labels={"team": "red"})

    results = [result async for result in store.enroll_many("people", stream(), batch_size=40)]
    assert [result.identity for result in results] == [f"p{number}" for number in range(90)]
    assert all(result.error is None and len(result.templates) == 1 for result in results)
    listed = await store.identities.list("people", labels={"team": "red"}, page_size=1000)
    assert {(found.id, found.display_name, found.template_count) for found in listed.items} == {
        (f"p{number}", f"P {number}", 1) for number in range(90)
    }


async def test_what_is_refused_does_not_stop_the_others(store: Store, rng: np.random.Generator) -> None:
    await store.galleries.create("people", CONTRACT, policy=WARN)
    other = replace(CONTRACT, sha256="b" * 64)
    good = [one("ada", random_vector(rng)), one("bob", random_vector(rng))]
    bad = [
        one("", random_vector(rng)),
        one("cy", np.full(CONTRACT.dimension, np.nan)),
        one("dee", random_vector(rng)[:3]),
        Enrolment("eve", [NewTemplate(random_vector(rng), other)]),
        one("fay", random_vector(rng), create_identity=False),
    ]
    results = await many(store, [good[0], *bad, good[1]])
    assert [type(result.error).__name__ for result in results] == [
        "NoneType",
        "InvalidArgument",
        "InvalidEmbedding",
        "InvalidEmbedding",
        "ContractMismatch",
        "IdentityNotFound",
        "NoneType",
    ]
    assert {found.id for found in (await store.identities.list("people")).items} == {"ada", "bob"}


async def test_an_interrupted_load_goes_on_where_it_was(rng: np.random.Generator) -> None:
    engine = SteeredEngine(AsyncQdrantClient(":memory:"))
    store = await Store.over(engine)
    await store.galleries.create("people", CONTRACT, policy=WARN)
    enrolments = [one(f"p{number}", random_vector(rng), request_id=f"r{number}") for number in range(40)]
    results = store.enroll_many("people", enrolments, batch_size=10)
    first = [await anext(results) for _ in range(20)]
    engine.failing.add("set_payload")  # templates of the third batch are written and not confirmed
    with pytest.raises(StoreUnavailable):
        await anext(results)
    engine.failing.clear()
    again = await many(store, enrolments, 16)
    assert all(result.error is None for result in again)
    assert [result.templates[0].id for result in again[:20]] == [result.templates[0].id for result in first]
    assert sum(found.template_count for found in (await store.identities.list("people")).items) == 40
    assert await left_over(engine, CONTRACT.key) == []


async def test_calls_that_wait_share_requests(rng: np.random.Generator) -> None:
    engine = CountingEngine()
    store = await Store.over(engine)
    await store.galleries.create("people", CONTRACT, policy=replace(WARN, on_collision=GuardAction.ALLOW))
    calls = [store.enroll("people", f"p{n}", [NewTemplate(random_vector(rng), CONTRACT)]) for n in range(MOST_AT_ONCE)]
    stored, rounds = await engine.rounds_of(asyncio.gather(*calls))
    assert len({template.id for (template,) in stored}) == MOST_AT_ONCE
    # At most two batches: the first may begin before all calls wait.
    assert len(rounds) <= 12
    assert sum(map(len, rounds)) <= 20


async def test_a_batch_of_other_calls_does_not_run_in_the_context_of_the_first_call(rng: np.random.Generator) -> None:
    present, seen = ContextVar[str]("present", default=""), list[str]()

    class Noting(CountingEngine):
        async def upsert(self, *arguments: Any, **options: Any) -> None:
            seen.append(present.get())
            await super().upsert(*arguments, **options)

    store = await Store.over(Noting())
    await store.galleries.create("people", CONTRACT, policy=WARN)

    async def enroll(call: str) -> None:
        present.set(call)
        await store.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])

    seen.clear()
    await asyncio.gather(*(enroll(call) for call in ("first", "second", "third")))
    # A batch never holds one identity twice, so there are three.
    assert seen[0] == "first"
    assert seen[-1] == ""
    assert set(seen) == {"first", ""}


async def test_calls_for_one_identity_at_once_all_succeed(store: Store, rng: np.random.Generator) -> None:
    await store.galleries.create("people", CONTRACT, policy=replace(WARN, max_templates=20))
    calls = [store.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)]) for _ in range(9)]
    await asyncio.gather(*calls)
    assert (await store.identities.get("people", "ada")).template_count == 9


async def test_a_refusal_holds_only_if_its_cause_is_enrolled(rng: np.random.Generator) -> None:
    """Ada loses against another service, so Bob, who collides with her, must not be refused for good."""
    client = AsyncQdrantClient(":memory:")
    engine, other = SteeredEngine(client), await Store.over(SteeredEngine(client))
    store = await Store.over(engine)
    await store.galleries.create("people", CONTRACT, policy=replace(WARN, on_collision=GuardAction.REJECT))
    face = random_vector(rng)

    async def enrol_ada_elsewhere() -> None:
        await other.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])

    engine.before_write = enrol_ada_elsewhere
    results = await many(store, [one("ada", face), one("bob", face)])
    assert [type(result.error) for result in results] == [ConcurrentUpdate, ConcurrentUpdate]
    assert (await many(store, [one("bob", face)]))[0].error is None


async def test_a_batch_needs_a_gallery_and_a_size(store: Store, rng: np.random.Generator) -> None:
    with pytest.raises(GalleryNotFound):
        await many(store, [one("ada", random_vector(rng))])
    for size in (0, 1001):
        with pytest.raises(InvalidArgument, match="batch_size"):
            await many(store, [], size)


def test_the_blocking_store_yields_while_it_writes(rng: np.random.Generator) -> None:
    read: list[int] = []

    def stream() -> Any:
        for number in range(30):
            read.append(number)
            yield one(f"p{number}", random_vector(rng))

    with blocking.Store.open(":memory:") as store:
        store.galleries.create("people", CONTRACT, policy=WARN)
        results = store.enroll_many("people", stream(), batch_size=10)
        assert next(results).identity == "p0"
        assert len(read) <= 21  # the next batch is made ready meanwhile
        results.close()  # type: ignore[attr-defined]
        assert len(store.identities.list("people").items) in (10, 20)


async def test_identities_have_locks_of_their_own_where_others_write_too() -> None:
    class Shared:
        exclusive = False

    lock, order = WriteLock(Shared()), []

    async def hold(name: str, *identities: str) -> None:
        async with lock.of("people", *identities):
            order.append(f"{name} begins")
            for _ in range(5):
                await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(hold("one", "a", "b"), hold("two", "b", "c"), hold("three", "d"), hold("four", "c", "b", "b"))
    assert order.index("three begins") < order.index("one ends")
    assert order.index("one ends") < order.index("two begins")
    assert order.index("two ends") < order.index("four begins")
    assert not lock._locks
    assert not lock._users
    assert not lock._writing


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_is_written_in_a_gallery_whose_lock_is_held(seed: int) -> None:
    class Shared:
        exclusive = False

    lock, draw = WriteLock(Shared()), random.Random(seed)
    held: list[tuple[str, frozenset[str]]] = []

    async def hold() -> None:
        gallery = draw.choice("xy")
        identities = frozenset([""] if draw.random() < 0.3 else draw.sample("abcd", draw.randint(1, 3)))
        for _ in range(draw.randrange(20)):
            await asyncio.sleep(0)
        async with lock.of(gallery, *identities):
            for other, theirs in held:
                assert other != gallery or not ({""} & (theirs | identities) or theirs & identities)
            held.append((gallery, identities))
            for _ in range(draw.randrange(10)):
                await asyncio.sleep(0)
            held.remove((gallery, identities))

    async with asyncio.timeout(60):
        await asyncio.gather(*(hold() for _ in range(40)))
    assert [lock._locks, lock._users, lock._writing] == [{}, {}, {}]


async def test_a_malformed_call_fails_alone(store: Store, rng: np.random.Generator) -> None:
    await store.galleries.create("people", CONTRACT, policy=WARN)
    new = [NewTemplate(random_vector(rng), CONTRACT)]
    calls: list[Any] = [
        store.enroll("people", "ada", new),
        store.enroll("people", "bob", [NewTemplate(random_vector(rng), CONTRACT)], labels=None),  # type: ignore[arg-type]
        store.enroll("people", "cy", [NewTemplate(np.zeros(CONTRACT.dimension, np.float32), CONTRACT)]),
        store.enroll("people", {}, new),  # type: ignore[arg-type]
        store.enroll("people", "dee", (one for one in new)),  # type: ignore[arg-type]
        store.enroll("people", "eve", [None]),  # type: ignore[list-item]
        store.enroll("people", "fay", [NewTemplate(random_vector(rng), CONTRACT)]),
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(one, BaseException) for one in results] == [False, True, True, True, False, True, False]
    assert {found.id for found in (await store.identities.list("people")).items} == {"ada", "dee", "fay"}


async def test_a_record_of_a_newer_release_fails_alone(rng: np.random.Generator) -> None:
    engine = SteeredEngine(AsyncQdrantClient(":memory:"))
    store = await Store.over(engine)
    await store.galleries.create("people", CONTRACT, policy=WARN)
    await many(store, [one("ada", random_vector(rng))])
    tenant = await store.galleries.tenant("people")
    newer = {"schema": {"version": 99, "least_reader": 1, "least_writer": 99}}
    await engine.set_payload(tenant.collection, Where({"identity": "ada", "kind": "identity"}), newer)
    results = await many(store, [one(name, random_vector(rng)) for name in ("bob", "ada", "cy")])
    assert [type(result.error).__name__ for result in results] == ["NoneType", "StoreTooNew", "NoneType"]


async def test_each_caller_is_told_about_its_own_identity(rng: np.random.Generator) -> None:
    client = AsyncQdrantClient(":memory:")
    engine, other = SteeredEngine(client), await Store.over(SteeredEngine(client))
    store = await Store.over(engine)
    await store.galleries.create("people", CONTRACT, policy=WARN)

    async def delete_elsewhere() -> None:
        await other.galleries.delete("people", force=True)

    engine.before_write = delete_elsewhere
    results = await many(store, [one(name, random_vector(rng)) for name in ("ada", "bob")])
    assert [type(result.error) for result in results] == [ConcurrentUpdate, ConcurrentUpdate]
    assert [result.error.metadata["identity"] for result in results if result.error] == ["ada", "bob"]
    assert await left_over(engine, CONTRACT.key) == []


async def test_templates_that_vanish_while_they_are_compared_give_a_typed_error(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SteeredEngine(AsyncQdrantClient(":memory:"))
    store = await Store.over(engine)
    policy = replace(WARN, max_templates=1, when_full=WhenFull.REPLACE_MOST_REDUNDANT)
    await store.galleries.create("people", CONTRACT, policy=policy)
    await many(store, [one("ada", random_vector(rng))])
    read = engine.get

    async def without_vectors(*arguments: Any, **options: Any) -> Any:
        return {} if options.get("with_vector") else await read(*arguments, **options)

    monkeypatch.setattr(engine, "get", without_vectors)
    (result,) = await many(store, [one("ada", random_vector(rng))])
    assert type(result.error) is ConcurrentUpdate


async def test_a_result_does_not_wait_for_the_next_enrolment(rng: np.random.Generator) -> None:
    store = await Store.over(SteeredEngine(AsyncQdrantClient(":memory:")))
    await store.galleries.create("people", CONTRACT, policy=OFF)
    told: asyncio.Queue[EnrolmentResult] = asyncio.Queue()

    async def stream() -> AsyncIterator[Enrolment]:
        for number in range(5):
            yield one(f"p{number}", random_vector(rng))
            assert (await told.get()).identity == f"p{number}"

    results = []
    async for result in store.enroll_many("people", stream(), batch_size=1):
        results.append(result.identity)
        told.put_nowait(result)
    assert results == [f"p{number}" for number in range(5)]


@pytest.mark.parametrize(("policy", "expected"), [(OFF, 2), (WARN, 1)], ids=["guards off", "guards compare"])
async def test_two_batches_are_written_at_once_unless_guards_compare_them(
    policy: Policy, expected: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.over(SteeredEngine(AsyncQdrantClient(":memory:")))
    await store.galleries.create("people", CONTRACT, policy=policy)
    running: set[int] = set()
    most = 0
    run = EnrolmentBatch.run

    async def counted(batch: EnrolmentBatch) -> Any:
        nonlocal most
        running.add(id(batch))
        most = max(most, len(running))
        try:
            return await run(batch)
        finally:
            running.discard(id(batch))

    monkeypatch.setattr(EnrolmentBatch, "run", counted)
    await many(store, [one(f"p{number}", random_vector(rng)) for number in range(20)], size=4)
    assert most == expected


async def test_a_batch_waits_for_the_one_before_that_has_one_of_its_identities(rng: np.random.Generator) -> None:
    engine = SteeredEngine(AsyncQdrantClient(":memory:"))
    store = await Store.over(engine)
    policy = replace(OFF, max_templates=1, when_full=WhenFull.REPLACE_OLDEST)
    await store.galleries.create("people", CONTRACT, policy=policy)
    # Another call holds the lock of "a": the first batch waits for it, and the second one needs only "b".
    vectors = [random_vector(rng) for _ in range(3)]
    async with store._write_lock.of("people", "a"):
        writing = asyncio.create_task(
            many(store, [one("a", vectors[0]), one("b", vectors[1]), one("b", vectors[2])], size=2)
        )
        for _ in range(50):
            await asyncio.sleep(0)
        assert not writing.done()
    assert [result.error for result in await writing] == [None, None, None]
    assert (await gallery_state(store))["b"] == [[round(float(x), 5) for x in vectors[2] / np.linalg.norm(vectors[2])]]


async def test_whoever_stops_a_stream_waits_for_what_was_begun(rng: np.random.Generator) -> None:
    store = await Store.over(SteeredEngine(AsyncQdrantClient(":memory:")))
    await store.galleries.create("people", CONTRACT, policy=OFF)
    enrolments = [one(f"p{number}", random_vector(rng)) for number in range(12)]
    stream = store.enroll_many("people", enrolments, batch_size=2)
    assert (await anext(stream)).identity == "p0"
    await stream.aclose()
    enrolled = len((await store.identities.list("people")).items)
    assert enrolled in (2, 4, 6)
    await asyncio.sleep(0.05)
    assert len((await store.identities.list("people")).items) == enrolled
