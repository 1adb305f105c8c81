"""How many round trips an operation needs, one after the other, on a server that several services share."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from sameface_qdrant import GuardAction, NewTemplate, Outcome, Policy, Probe, Scope, Store
from tests.plugin.conftest import CONTRACT, near, random_vector
from tests.plugin.counting import CountingEngine

POLICY = Policy(verify_threshold=0.7, identify_threshold=0.7)


@pytest.fixture
async def engine() -> AsyncIterator[CountingEngine]:
    opened = CountingEngine()
    yield opened
    await opened.aclose()


@pytest.fixture
async def store(engine: CountingEngine) -> Store:
    store = await Store.over(engine)
    await store.galleries.create("people", CONTRACT, policy=POLICY)
    return store


async def enrol(store: Store, identity: str, vectors: list[np.ndarray]) -> None:
    await store.enroll("people", identity, [NewTemplate(one, CONTRACT) for one in vectors], display_name=identity)


async def test_verify_takes_three_round_trips(store: Store, engine: CountingEngine, rng: np.random.Generator) -> None:
    vectors = {name: random_vector(rng) for name in ("ada", "bob")}
    for name, vector in vectors.items():
        await enrol(store, name, [vector])
    probe = Probe(vectors["ada"], CONTRACT)
    decision, rounds = await engine.rounds_of(store.verify("people", "ada", probe))
    assert (decision.outcome, decision.scope) == (Outcome.MATCH, Scope.GALLERY)
    assert [one.display_name for one in decision.candidates] == ["ada", "bob"]
    assert [sorted(one) for one in rounds] == [
        ["retrieve"],
        ["count", "query_points", "query_points", "retrieve"],
        ["retrieve"],
    ]
    decision, rounds = await engine.rounds_of(store.verify("people", "ada", probe, scope=Scope.CLAIM))
    assert decision.scope is Scope.CLAIM
    assert [sorted(one) for one in rounds] == [["retrieve"], ["count", "query_points", "retrieve"]]


@pytest.mark.parametrize("each", [1, POLICY.max_templates])
async def test_identify_takes_three_round_trips_however_many_templates_an_identity_has(
    store: Store, engine: CountingEngine, rng: np.random.Generator, each: int
) -> None:
    probe = random_vector(rng)
    names = [f"p{number}" for number in range(6)]
    for number, name in enumerate(names):
        # All templates of the nearer identities come before the next identity.
        await enrol(store, name, [near(probe, rng, 0.02 + 0.25 * number) for _ in range(each)])
    decision, rounds = await engine.rounds_of(store.identify("people", Probe(probe, CONTRACT)))
    assert len({one.display_name for one in decision.candidates}) == 5
    assert decision.candidates[0].display_name == names[0]
    assert [sorted(one) for one in rounds] == [["retrieve"], ["count", "query_points"], ["retrieve"]]


GUARDED = Policy(
    verify_threshold=0.7,
    identify_threshold=0.7,
    on_collision=GuardAction.REJECT,
    on_duplicate=GuardAction.REJECT,
    on_outlier=GuardAction.REJECT,
)


@pytest.mark.parametrize("known", [False, True], ids=["a new identity", "a known identity"])
async def test_enrol_with_all_guards_takes_six_round_trips(
    store: Store, engine: CountingEngine, rng: np.random.Generator, known: bool
) -> None:
    await store.galleries.create("guarded", CONTRACT, policy=GUARDED)
    face = random_vector(rng)
    if known:
        await store.enroll("guarded", "ada", [NewTemplate(face, CONTRACT)])
    await store.enroll("guarded", "bob", [NewTemplate(random_vector(rng), CONTRACT)])
    new = [NewTemplate(near(face, rng, 0.05), CONTRACT) for _ in range(3)]
    stored, rounds = await engine.rounds_of(store.enroll("guarded", "ada", new))
    assert len(stored) == 3
    gallery, reads, guards, write, checks, confirmation = (set(one) for one in rounds)
    assert gallery == {"retrieve"}
    assert reads == {"retrieve"}
    assert guards == {"query_points", "scroll"}
    assert write == {"batch_update_points"}
    assert checks == reads | guards  # the policy rejects, so the guards look again
    assert confirmation == {"set_payload"}


async def test_a_repeated_enrolment_takes_two_round_trips(
    store: Store, engine: CountingEngine, rng: np.random.Generator
) -> None:
    vector = random_vector(rng)
    await enrol(store, "ada", [vector])
    _, rounds = await engine.rounds_of(enrol(store, "ada", [vector]))
    assert [set(one) for one in rounds] == [{"retrieve"}, {"retrieve"}]


async def test_a_gallery_that_was_read_is_not_read_again(
    store: Store, engine: CountingEngine, rng: np.random.Generator
) -> None:
    vector = random_vector(rng)
    await enrol(store, "ada", [vector])
    await enrol(store, "bob", [random_vector(rng)])
    gallery, probe = await store.galleries.get("people"), Probe(vector, CONTRACT)
    for operation in (
        store.verify(gallery, "ada", probe),
        store.identify(gallery, probe),
        store.search(gallery, probe),
    ):
        _, rounds = await engine.rounds_of(operation)
        assert len(rounds) == 2


async def test_requests_that_follow_each_other_are_told_from_those_that_do_not(engine: CountingEngine) -> None:
    """The counter itself: to open a store takes one request after the other."""
    _, rounds = await engine.rounds_of(Store.over(engine))
    assert all(len(one) == 1 for one in rounds)
    assert [name for (name,) in rounds][:2] == ["collection_exists", "create_collection"]
