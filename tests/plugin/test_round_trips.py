"""How many round trips an operation needs, one after the other, on a server that several services share."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from sameface_qdrant import GuardAction, NewTemplate, Outcome, Policy, Probe, Scope, Store
from sameface_qdrant.engines.base import Where
from sameface_qdrant.store import gallery_memory
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


async def test_verify_takes_two_round_trips(store: Store, engine: CountingEngine, rng: np.random.Generator) -> None:
    vectors = {name: random_vector(rng) for name in ("ada", "bob")}
    for name, vector in vectors.items():
        await enrol(store, name, [vector])
    probe = Probe(vectors["ada"], CONTRACT)
    decision, rounds = await engine.rounds_of(store.verify("people", "ada", probe))
    assert (decision.outcome, decision.scope) == (Outcome.MATCH, Scope.GALLERY)
    assert [one.display_name for one in decision.candidates] == ["ada", "bob"]
    assert [sorted(one) for one in rounds] == [["count", "query_batch_points", "retrieve"], ["retrieve"]]
    decision, rounds = await engine.rounds_of(store.verify("people", "ada", probe, scope=Scope.CLAIM))
    assert decision.scope is Scope.CLAIM
    assert [sorted(one) for one in rounds] == [["count", "query_batch_points", "retrieve"]]


@pytest.mark.parametrize("each", [1, POLICY.max_templates])
async def test_identify_takes_two_round_trips_however_many_templates_an_identity_has(
    store: Store, engine: CountingEngine, rng: np.random.Generator, each: int
) -> None:
    probe = random_vector(rng)
    names = [f"p{number}" for number in range(6)]
    for number, name in enumerate(names):
        # All templates of the nearer identities come before the next identity.
        await enrol(store, name, [near(probe, rng, 0.02 + 0.25 * number) for _ in range(each)])
    first, rounds = await engine.rounds_of(store.identify("people", Probe(probe, CONTRACT)))
    # With many templates a first search does not find enough identities. The next call asks for more at once.
    searches = [one for one in rounds if "query_batch_points" in one]
    assert len(searches) == (1 if each == 1 else 3)
    decision, rounds = await engine.rounds_of(store.identify("people", Probe(probe, CONTRACT)))
    assert decision == first
    assert len({one.display_name for one in decision.candidates}) == 5
    assert decision.candidates[0].display_name == names[0]
    assert [sorted(one) for one in rounds] == [["count", "query_batch_points"], ["retrieve"]]


async def test_a_gallery_is_read_for_the_first_decision(engine: CountingEngine, rng: np.random.Generator) -> None:
    earlier, store = await Store.over(engine), await Store.over(engine)
    await earlier.galleries.create("people", CONTRACT, policy=POLICY)
    vector = random_vector(rng)
    await enrol(earlier, "ada", [vector])
    first, rounds = await engine.rounds_of(store.identify("people", Probe(vector, CONTRACT)))
    assert [sorted(one) for one in rounds] == [["retrieve"], ["count", "query_batch_points"], ["retrieve"]]
    second, rounds = await engine.rounds_of(store.identify("people", Probe(vector, CONTRACT)))
    assert [sorted(one) for one in rounds] == [["count", "query_batch_points"], ["retrieve"]]
    assert second == first


async def test_decisions_in_a_large_gallery_count_nothing(
    store: Store, engine: CountingEngine, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_memory, "LARGE", 2)
    monkeypatch.setattr(gallery_memory, "IDENTITIES_PER_S", 0.001)
    vectors = {name: random_vector(rng) for name in ("ada", "bob")}
    for name, vector in vectors.items():
        await enrol(store, name, [vector])
    probe = Probe(vectors["ada"], CONTRACT)
    first = await store.identify("people", probe)
    decision, rounds = await engine.rounds_of(store.verify("people", "ada", probe))
    assert (first.gallery_size, decision.gallery_size) == (2, 2)
    assert [sorted(one) for one in rounds] == [["query_batch_points", "retrieve"], ["retrieve"]]
    decision, rounds = await engine.rounds_of(store.identify("people", probe))
    assert decision == first
    assert rounds == [["query_batch_points"], ["retrieve"]]


async def test_a_search_reads_of_the_payloads_what_it_needs(
    store: Store, engine: CountingEngine, rng: np.random.Generator
) -> None:
    await enrol(store, "ada", [random_vector(rng)])
    tenant = await store.galleries.tenant("people")
    where = Where({"gallery": tenant.uid})
    ((hit,),) = await engine.nearest_each(tenant.collection, [(random_vector(rng), where)], 5, fields=("identity",))
    assert hit.payload == {"identity": "ada"}
    first, second = await engine.nearest_each(
        tenant.collection,
        [(random_vector(rng), where), (random_vector(rng), Where({"gallery": "another"}))],
        5,
        fields=("identity", "kind"),
    )
    assert ([one.payload for one in first], second) == ([{"identity": "ada", "kind": "template"}], [])


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
    assert guards == {"query_batch_points", "scroll"}
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
