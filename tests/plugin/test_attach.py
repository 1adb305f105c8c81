"""Attached collections: somebody else made them, and the answers are those of the oracle all the same."""

import asyncio
import doctest
import importlib
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.models import Distance

from sameface_qdrant import (
    Attached,
    Counts,
    NewTemplate,
    OperatingPoint,
    Outcome,
    Policy,
    Probe,
    Scope,
    ServerOptions,
    Store,
    ThresholdSource,
    attach,
)
from sameface_qdrant.engines.server.engine import ServerEngine
from sameface_qdrant.errors import (
    IdentityNotFound,
    InvalidArgument,
    InvalidEmbedding,
    StoreUnavailable,
    ThresholdNotCalibrated,
)
from tests.plugin import oracle
from tests.plugin.conftest import CONTRACT, cleared_server, needs_server, random_vector
from tests.plugin.wire import Double

THRESHOLD, MARGIN = 0.6, 0.1
POLICY = Policy(verify_threshold=THRESHOLD, identify_threshold=THRESHOLD, runner_up_margin=MARGIN)
DIRECTIONS = np.random.default_rng(7).normal(size=(12, 4))
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
FIELDS = {"who": "keyword", "number": "integer", "tenant": "keyword"}


class Place:
    """A client and a name for a collection on it."""

    def __init__(self, client: AsyncQdrantClient, name: str) -> None:
        self.client, self.name = client, name

    async def make(self, points: list[models.PointStruct], distance: Distance) -> None:
        await self.client.create_collection(self.name, {"face": models.VectorParams(size=4, distance=distance)})
        for field, kind in FIELDS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # in memory an index has no effect, which the client warns of
                await self.client.create_payload_index(self.name, field, models.PayloadSchemaType(kind))
        if points:
            await self.client.upsert(self.name, points, wait=True)

    async def attach(self, **changes: Any) -> Attached:
        given = {"collection": self.name, "vector_name": "face", "identity_key": "who", "policy": POLICY, **changes}
        return await attach(self.client, **given)


ENGINES = ["memory", pytest.param("server", marks=needs_server)]


@asynccontextmanager
async def new_place(engine: str) -> AsyncIterator[Place]:
    if engine == "server":
        async with cleared_server() as (client, options):
            yield Place(client, f"{options.collection_prefix}{uuid.uuid4().hex[:8]}")
        return
    client = AsyncQdrantClient(":memory:")
    yield Place(client, "made-by-others")
    await client.close()


@pytest.fixture(params=ENGINES)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with new_place(request.param) as opened:
        yield opened


def point(number: int, vector: Any, **payload: Any) -> models.PointStruct:
    return models.PointStruct(id=number, vector={"face": np.asarray(vector).tolist()}, payload=payload)


identities = st.sampled_from(["ada", "bob", "7", 7, 8]) | st.sampled_from([None, True, 1.5, ["ada", "bob"], []])
enrolled = st.lists(st.tuples(identities, st.integers(0, 11), st.sampled_from(["red", "blue"])), max_size=25)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("distance", [Distance.COSINE, Distance.DOT, Distance.EUCLID])
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(held=enrolled, probe=st.integers(0, 11), tenant=st.sampled_from(["", "red"]), limit=st.integers(1, 6))
def test_answers_agree_with_brute_force(
    engine: str, distance: Distance, held: list[tuple[Any, int, str]], probe: int, tenant: str, limit: int
) -> None:
    if engine == "server":
        # Its keyword index knows texts alone, see `Counts`.
        held = [one for one in held if one[0] is None or isinstance(one[0], str)]

    async def compare() -> None:
        async with new_place(engine) as place:
            points = [
                point(number, DIRECTIONS[direction], who=who, tenant=where)
                for number, (who, direction, where) in enumerate(held)
            ]
            await place.make(points, distance)
            people = await place.attach(where={"tenant": tenant} if tenant else {})
            seen = [one for one in held if tenant in ("", one[2])]
            named = [
                (who, DIRECTIONS[direction])
                for who, direction, _ in seen
                if isinstance(who, str | int) and not isinstance(who, bool)
            ]
            await agree(people, named, len(seen), DIRECTIONS[probe], limit)

    asyncio.run(compare())


async def agree(people: Attached, named: list[tuple[Any, Any]], seen: int, probe: Any, limit: int) -> None:
    scores = oracle.best_scores(named, probe)
    counts = await people.count()
    assert (counts.identities, counts.templates, counts.ignored) == (len(scores), len(named), seen - len(named))
    decision = await people.identify(probe, limit=limit)
    outcome, score, lead = oracle.identification(scores, THRESHOLD, MARGIN)
    assert decision.score == (None if score is None else pytest.approx(score, abs=oracle.CLOSE))
    assert decision.lead == (None if lead is None else pytest.approx(lead, abs=oracle.CLOSE))
    if oracle.clear_cut(score, lead, THRESHOLD, MARGIN):
        assert decision.outcome == outcome
    ranked = sorted(scores.values(), reverse=True)[:limit]
    assert [found.score for found in decision.candidates] == pytest.approx(ranked, abs=oracle.CLOSE)
    found = await people.search(probe, limit=limit)
    every = sorted((oracle.cosine(vector, probe) for _, vector in named), reverse=True)
    assert [one.score for one in found] == pytest.approx(every[:limit], abs=oracle.CLOSE)
    above = await people.search(probe, limit=1000, min_score=THRESHOLD)
    clear = [value for value in every if value > THRESHOLD + oracle.CLOSE]
    assert [one.score for one in above][: len(clear)] == pytest.approx(clear, abs=oracle.CLOSE)
    for scope in Scope:
        for identity in ("ada", "7", 7):
            if identity not in scores:
                with pytest.raises(IdentityNotFound):
                    await people.verify(identity, probe, scope=scope)
                continue
            claim = await people.verify(identity, probe, scope=scope)
            outcome, score, lead = oracle.verification(scores, identity, scope is Scope.GALLERY, THRESHOLD, MARGIN)
            assert claim.score == pytest.approx(score, abs=oracle.CLOSE)
            assert claim.lead == (None if lead is None else pytest.approx(lead, abs=oracle.CLOSE))
            if oracle.clear_cut(score, lead, THRESHOLD, MARGIN):
                assert claim.outcome == outcome
    compared = await people.scores(templates_per_identity=1000)
    mated, non_mated = oracle.pairs(named)
    assert sorted(compared.mated) == pytest.approx(mated, abs=oracle.CLOSE)
    assert sorted(compared.non_mated) == pytest.approx(non_mated, abs=oracle.CLOSE)
    assert compared.complete


async def test_an_identity_of_very_many_templates_hides_nobody(place: Place, rng: np.random.Generator) -> None:
    crowd = [point(number, DIRECTIONS[0] + 0.01 * rng.normal(size=4), who="ada") for number in range(300)]
    others = [point(1000 + number, DIRECTIONS[number], who=str(number)) for number in range(1, 5)]
    await place.make([*crowd, *others], Distance.COSINE)
    decision = await (await place.attach()).identify(DIRECTIONS[0], limit=5)
    scores = oracle.best_scores([(number, DIRECTIONS[number]) for number in range(1, 5)], DIRECTIONS[0])
    assert [one.identity for one in decision.candidates] == [
        "ada",
        *(str(number) for number in sorted(scores, key=lambda number: -scores[number])),
    ]
    assert decision.gallery_size == 5


async def test_nothing_is_written_unless_asked(place: Place) -> None:
    await place.make([point(1, DIRECTIONS[0], who="ada")], Distance.COSINE)
    people = await place.attach()
    for write in (people.enroll("bob", [DIRECTIONS[1]]), people.delete("ada")):
        with pytest.raises(InvalidArgument, match="writable=True"):
            await write
    assert (await place.client.count(place.name)).count == 1
    assert {found.name for found in (await place.client.get_collections()).collections} >= {place.name}


async def test_enrolled_content_is_stored_once_and_found_under_its_tenant(place: Place) -> None:
    await place.make([point(1, DIRECTIONS[0], who="ada", tenant="blue")], Distance.EUCLID)
    red = await place.attach(where={"tenant": "red"}, writable=True)
    first = await red.enroll("ada", [5 * DIRECTIONS[1], DIRECTIONS[2]], payload={"note": "n", "tenant": "ignored"})
    assert await red.enroll("ada", [5 * DIRECTIONS[1], DIRECTIONS[2]]) == first
    assert (await red.verify("ada", DIRECTIONS[1])).score == pytest.approx(1.0, abs=oracle.CLOSE)
    (nearest,) = await red.search(DIRECTIONS[2], limit=1)
    assert (nearest.id, nearest.payload) == (first[1], {"note": "n", "tenant": "red", "who": "ada"})
    assert (await red.identify(DIRECTIONS[1])).gallery_size == 1
    # The same identity of another tenant is another one, and so are a number and its digits.
    assert await red.delete("ada") == 2
    assert await red.delete("ada") == 0
    assert (await (await place.attach()).count()).templates == 1
    with_number = await place.attach(identity_key="number", writable=True)
    assert await with_number.enroll(7, [DIRECTIONS[3]]) != await with_number.enroll("7", [DIRECTIONS[3]])
    assert await with_number.delete(7) == 1


async def test_a_point_that_several_share_is_not_deleted_with_one(place: Place) -> None:
    await place.make([point(1, DIRECTIONS[0], who="ada"), point(2, DIRECTIONS[0], who=["ada", "bob"])], Distance.COSINE)
    people = await place.attach(writable=True)
    assert await people.delete("ada") == 1
    assert (await place.client.count(place.name)).count == 1


async def test_a_malformed_embedding_stores_nothing(place: Place) -> None:
    await place.make([], Distance.COSINE)
    people = await place.attach(writable=True)
    malformed: list[Any] = [np.ones(3), np.zeros(4), np.array([1.0, np.nan, 0.0, 0.0])]
    for wrong in malformed:
        with pytest.raises(InvalidEmbedding):
            await people.enroll("ada", [DIRECTIONS[0], wrong])
        with pytest.raises(InvalidEmbedding):
            await people.identify(wrong)
    assert (await people.count()).templates == 0
    assert (await people.identify(DIRECTIONS[0])).outcome is Outcome.NO_MATCH


async def test_nested_fields_are_read_but_not_written(place: Place) -> None:
    await place.make([point(1, DIRECTIONS[0], meta={"who": "ada"})], Distance.COSINE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        people = await place.attach(identity_key="meta.who", writable=True)
    assert (await people.verify("ada", DIRECTIONS[0])).outcome is Outcome.MATCH
    with pytest.raises(InvalidArgument, match="nested"):
        await people.enroll("ada", [DIRECTIONS[1]])


@pytest.mark.parametrize("distance", [Distance.DOT, Distance.EUCLID])
async def test_vectors_that_are_not_unit_give_no_cosines(place: Place, distance: Distance) -> None:
    await place.make([point(1, DIRECTIONS[0], who="ada"), point(2, 3 * DIRECTIONS[1], who="bob")], distance)
    with pytest.raises(InvalidArgument, match="unit"):
        await place.attach()


async def test_a_vector_that_lost_its_norm_later_is_noticed_under_dot(place: Place) -> None:
    await place.make([point(1, DIRECTIONS[0], who="ada")], Distance.DOT)
    people = await place.attach()
    await place.client.upsert(place.name, [point(2, 3 * DIRECTIONS[1], who="bob")], wait=True)
    with pytest.raises(InvalidArgument, match="unit"):
        await people.identify(DIRECTIONS[1])


async def test_what_cannot_be_decided_on_is_refused(place: Place) -> None:
    await place.make([], Distance.MANHATTAN)
    with pytest.raises(InvalidArgument, match="Manhattan"):
        await place.attach()
    with pytest.raises(InvalidArgument, match=r"it has \['face'\]"):
        await place.attach(vector_name="voice")
    with pytest.raises(InvalidArgument, match="no collection"):
        await place.attach(collection=f"{place.name}-2")
    with pytest.raises(InvalidArgument, match="verify_threshold"):
        await place.attach(policy=Policy(verify_threshold=2.0))
    for wrong in ("edge:///somewhere", QdrantClient(":memory:")):
        with pytest.raises(InvalidArgument, match="AsyncQdrantClient"):
            await attach(wrong, collection=place.name, identity_key="who")  # type: ignore[arg-type]


async def test_the_unnamed_vector_will_do(place: Place) -> None:
    params = models.VectorParams(size=4, distance=Distance.COSINE)
    await place.client.create_collection(place.name, params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        people = await place.attach(vector_name="", writable=True)
    await people.enroll("ada", [DIRECTIONS[0], DIRECTIONS[1]])
    assert (await people.verify("ada", DIRECTIONS[1])).outcome is Outcome.MATCH
    assert (await people.scores()).mated == pytest.approx([oracle.cosine(DIRECTIONS[0], DIRECTIONS[1])], abs=1e-5)


async def test_thresholds_come_from_where_the_caller_gave_them(place: Place) -> None:
    await place.make([point(1, DIRECTIONS[0], who="ada")], Distance.COSINE)
    with pytest.raises(ThresholdNotCalibrated):
        await (await place.attach(policy=Policy())).verify("ada", DIRECTIONS[0])
    points = [OperatingPoint(1e-3, 0.4), OperatingPoint(1e-4, 0.5)]
    carded = await place.attach(policy=Policy(target_fmr=1e-3), operating_points=points)
    decision = await carded.verify("ada", DIRECTIONS[0])
    assert (decision.threshold, decision.threshold_source) == (0.4, ThresholdSource.MODEL_CARD)
    decision = await carded.verify("ada", DIRECTIONS[0], threshold=0.9)
    assert (decision.threshold, decision.threshold_source) == (0.9, ThresholdSource.REQUEST)


async def test_a_stores_own_collection_gives_the_stores_own_decisions(rng: np.random.Generator) -> None:
    store = await Store.open(":memory:")
    await store.galleries.create("people", CONTRACT, policy=POLICY)
    await store.galleries.create("others", CONTRACT, policy=POLICY)
    for number in range(12):
        gallery = ("people", "others")[number % 2]
        await store.enroll(gallery, f"p{number}", [NewTemplate(random_vector(rng), CONTRACT) for _ in range(3)])
    engine = store._engine
    assert isinstance(engine, ServerEngine)
    people = await attach(
        engine._client,
        collection=f"sameface-{CONTRACT.key}",
        vector_name="embedding",
        identity_key="identity",
        where={"gallery": (await store.galleries.tenant("people")).uid},
        policy=POLICY,
    )
    for _ in range(20):
        probe = random_vector(rng)
        theirs = await store.identify("people", Probe(probe, CONTRACT), limit=6)
        assert await people.identify(probe, limit=6) == theirs
        assert await people.verify("p4", probe) == await store.verify("people", "p4", Probe(probe, CONTRACT))
    await store.aclose()


async def test_a_sample_is_seeded_and_no_identity_weighs_more_than_allowed(place: Place) -> None:
    vectors = np.random.default_rng(1).normal(size=(120, 4))
    await place.make(
        [point(number, vector, who=number % 10 if number < 60 else "many") for number, vector in enumerate(vectors)],
        Distance.COSINE,
    )
    people = await place.attach()
    one = await people.scores(max_templates=20, templates_per_identity=4, seed=3)
    again = await people.scores(max_templates=20, templates_per_identity=4, seed=3)
    other = await people.scores(max_templates=20, templates_per_identity=4, seed=4)
    np.testing.assert_array_equal(one.mated, again.mated)
    np.testing.assert_array_equal(one.non_mated, again.non_mated)
    assert not np.array_equal(one.non_mated, other.non_mated)
    assert (one.identities, one.templates, one.complete) == (5, 20, False)
    assert (len(one.mated), len(one.non_mated)) == (5 * 6, 20 * 19 // 2 - 5 * 6)
    every = await people.scores(templates_per_identity=60)
    assert (every.identities, every.templates, every.complete) == (11, 120, True)


async def test_a_client_stays_open_and_a_url_is_closed(place: Place) -> None:
    await place.make([point(1, DIRECTIONS[0], who="ada")], Distance.COSINE)
    async with await place.attach() as people:
        await people.verify("ada", DIRECTIONS[0])
    assert await place.client.collection_exists(place.name)


@pytest.mark.parametrize("module", ["sameface_qdrant.attached.attach", "sameface_qdrant.metrics.comparisons"])
def test_the_examples_of_the_documentation_run(module: str) -> None:
    examples = doctest.testmod(importlib.import_module(module))
    assert examples.attempted
    assert not examples.failed


@contextmanager
def warned(count: int) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert sum("has no index" in str(one.message) for one in caught) == count


# The double of the wire is no evidence of a server's behaviour: this shows what is asked of one.
async def test_a_missing_index_is_named_and_a_present_one_is_counted_by() -> None:
    double = await Double().start()
    await double.client.create_collection("faces", {"face": models.VectorParams(size=4, distance=Distance.COSINE)})
    await double.client.upsert("faces", [point(1, DIRECTIONS[0], who="ada"), point(2, DIRECTIONS[1])])
    target: dict[str, Any] = {"collection": "faces", "vector_name": "face", "identity_key": "who", "policy": POLICY}
    with warned(2):
        people = await attach(double.url, where={"tenant": "red"}, **target)
    await people.aclose()
    assert "Points/Facet" not in double.log
    double.indexes["faces"]["who"] = None
    with warned(0):
        people = await attach(double.url, **target)
    assert "Points/Facet" in double.log
    assert await people.count() == Counts(identities=1, templates=1, ignored=1)
    assert (await people.verify("ada", DIRECTIONS[0])).outcome is Outcome.MATCH
    asked = double.requests["Points/Query"]
    assert (asked.params.exact, asked.params.quantization.ignore) == (True, True)
    await people.aclose()
    await double.stop()
    with pytest.raises(StoreUnavailable):
        await attach(double.url, options=ServerOptions(timeout_s=2), **target)
