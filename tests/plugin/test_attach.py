"""Attached collections, which another program made: their answers are those of the oracle."""

import asyncio
import dataclasses
import doctest
import importlib
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
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
    Operation,
    Outcome,
    Policy,
    Probe,
    Scope,
    ServerOptions,
    Store,
    ThresholdSource,
    attach,
)
from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.engines.server.engine import ServerEngine
from sameface_qdrant.errors import (
    IdentityNotFound,
    InvalidArgument,
    InvalidEmbedding,
    NotEnoughData,
    StoreUnavailable,
    ThresholdNotCalibrated,
)
from sameface_qdrant.metrics.comparisons import labelled_scores
from tests.plugin import oracle, simulated
from tests.plugin.conftest import CONTRACT, QDRANT_API_KEY, QDRANT_URL, cleared_server, needs_server, opened_store
from tests.plugin.wire import Double

THRESHOLD, MARGIN = 0.6, 0.1
POLICY = Policy(verify_threshold=THRESHOLD, identify_threshold=THRESHOLD, runner_up_margin=MARGIN)
DIRECTIONS = np.random.default_rng(7).normal(size=(12, 4))
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
# Few people, so targets that few can support; no threshold before a calibration applies one.
LOOSE = Policy(target_fmr=0.03, target_fpir=0.12, runner_up_margin=0.0)
VOICES = np.random.default_rng(8).normal(size=(40, CONTRACT.dimension)).astype(np.float32)
COSINE = Distance.COSINE
FIELDS = {"who": "keyword", "number": "integer", "tenant": "keyword"}


class Place:
    """A client and a name for a collection on it."""

    def __init__(self, client: AsyncQdrantClient, name: str) -> None:
        self.client, self.name = client, name

    async def make(self, points: list[models.PointStruct], distance: Distance) -> None:
        await self.client.create_collection(self.name, {"face": models.VectorParams(size=4, distance=distance)})
        for field, kind in FIELDS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the client warns that an index has no effect in memory
                await self.client.create_payload_index(self.name, field, models.PayloadSchemaType(kind))
        if points:
            await self.client.upsert(self.name, points, wait=True)

    async def collections(self) -> set[str]:
        """The collections, without those of other tests that use the server at the moment."""
        found = {one.name for one in (await self.client.get_collections()).collections}
        own = self.name[: len("sameface-test-123456789abc-")]
        return {one for one in found if one.startswith(own) or not one.startswith("sameface-test-")}

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


identities = st.sampled_from(["ada", "bob", "7", 7, 8]) | st.sampled_from([None, True, 1.5, "", ["ada", "bob"], []])
enrolled = st.lists(st.tuples(identities, st.integers(0, 11), st.sampled_from(["red", "blue"])), max_size=25)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("distance", [Distance.COSINE, Distance.DOT, Distance.EUCLID])
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(held=enrolled, probe=st.integers(0, 11), tenant=st.sampled_from(["", "red"]), limit=st.integers(1, 6))
def test_answers_agree_with_brute_force(
    engine: str, distance: Distance, held: list[tuple[Any, int, str]], probe: int, tenant: str, limit: int
) -> None:
    if engine == "server":
        # Its keyword index holds texts only, see `Counts`.
        held = [one for one in held if one[0] is None or isinstance(one[0], str)]

    async def compare() -> None:
        async with new_place(engine) as place:
            points = [
                point(number, DIRECTIONS[direction], who=who, tenant=where)
                for number, (who, direction, where) in enumerate(held)
            ]
            await place.make(points, distance)
            where = {"tenant": tenant} if tenant else {}
            seen = [one for one in held if tenant in ("", one[2])]
            named = [
                (who, DIRECTIONS[direction])
                for who, direction, _ in seen
                if isinstance(who, str | int) and not isinstance(who, bool) and who != ""
            ]
            if seen and not named:
                with pytest.raises(InvalidArgument, match="names an identity"):
                    await place.attach(where=where)
                return
            people = await place.attach(where=where)
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
    if len(scores) < 2:
        with pytest.raises(NotEnoughData):
            await people.scores()
        return
    compared = await people.scores()
    mated, non_mated = oracle.fused_comparisons(named)
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
    # The same id in another tenant is another identity. A number and its digits are two identities.
    assert await red.delete("ada") == 2
    assert await red.delete("ada") == 0
    assert (await (await place.attach()).count()).templates == 1
    with_number = await place.attach(identity_key="number", where={"tenant": "green"}, writable=True)
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
    with pytest.raises(InvalidArgument, match="it has the dense vectors: 'face'"):
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
    await people.enroll("bob", [DIRECTIONS[2]])
    assert (await people.verify("ada", DIRECTIONS[1])).outcome is Outcome.MATCH
    assert (await people.scores()).mated == pytest.approx([oracle.cosine(DIRECTIONS[0], DIRECTIONS[1])] * 2, abs=1e-5)


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


@asynccontextmanager
async def store_and_attached(engine: str, held: list[tuple[str, int]]) -> AsyncIterator[tuple[Store, Attached]]:
    """Yield a store with a gallery ``people``, and its collection, attached."""
    async with opened_store(engine, Path()) as store:
        await store.galleries.create("people", CONTRACT, policy=LOOSE)
        await store.galleries.create("others", CONTRACT, policy=LOOSE)
        await store.enroll("others", "ada", [NewTemplate(VOICES[0], CONTRACT)])
        for name, direction in held:
            await store.enroll("people", name, [NewTemplate(VOICES[direction], CONTRACT)])
        # A store that alone has its templates remembers vectors.
        served = getattr(store._engine, "_engine", store._engine)
        assert isinstance(served, ServerEngine)
        attached = await attach(
            QDRANT_URL if engine == "server" else served._client,
            api_key=QDRANT_API_KEY,
            collection=served._name(CONTRACT.key),
            vector_name="embedding",
            identity_key="identity",
            where={"gallery": (await store.galleries.tenant("people")).uid},
            policy=LOOSE,
        )
        yield store, attached
        await attached.aclose()


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    held=st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 39)),
        min_size=1,
        max_size=30,
        unique_by=lambda one: one[1],
    ),
    probe=st.integers(0, 39),
    seed=st.integers(0, 3),
)
def test_a_store_and_its_attached_collection_decide_and_calibrate_alike(
    engine: str, held: list[tuple[str, int]], probe: int, seed: int
) -> None:
    async def compare() -> None:
        async with store_and_attached(engine, held) as (store, attached):
            templates = [(name, VOICES[direction]) for name, direction in held]
            await decide_alike(store, attached, held[0][0], VOICES[probe], THRESHOLD)
            await calibrate_alike(store, attached, templates, seed)
            if attached.policy != LOOSE:
                await decide_alike(store, attached, held[0][0], VOICES[probe], None)

    asyncio.run(compare())


def assert_alike(one: Any, other: Any) -> None:
    """Compare two results, numbers to four decimals, because in memory the client's scores differ in the last bits."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_alike(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_alike(left, right)
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-4)
    else:
        assert one == other


async def decide_alike(store: Store, attached: Attached, claim: str, vector: Any, threshold: float | None) -> None:
    probe = Probe(vector, CONTRACT)
    for limit in (1, 5):
        decision = await store.identify("people", probe, limit=limit, threshold=threshold)
        assert_alike(await attached.identify(vector, limit=limit, threshold=threshold), decision)
    for scope in (None, *Scope):
        decision = await store.verify("people", claim, probe, scope=scope, threshold=threshold, margin=0.3)
        assert_alike(await attached.verify(claim, vector, scope=scope, threshold=threshold, margin=0.3), decision)


async def calibrate_alike(store: Store, attached: Attached, templates: list[tuple[str, Any]], seed: int) -> None:
    if len({name for name, _ in templates}) < 2:
        for call in (store.calibrate("people"), attached.calibrate(), attached.scores()):
            with pytest.raises(NotEnoughData):
                await call
        return
    sampled = await attached.calibrate(seed=seed, max_comparisons=40)
    again = await store.calibrate("people", seed=seed, max_comparisons=40)
    assert_alike(sampled.calibration, again.calibration)
    ours, theirs = await attached.calibrate(seed=seed), await store.calibrate("people", seed=seed)
    assert_alike(ours.calibration, theirs.calibration)
    assert_alike(ours.expected.answers, theirs.expected.answers)
    mated, non_mated = oracle.fused_comparisons(templates)
    assert sorted(ours.comparisons.mated) == pytest.approx(mated, abs=oracle.CLOSE)
    assert sorted(ours.comparisons.non_mated) == pytest.approx(non_mated, abs=oracle.CLOSE)
    scores = await attached.scores()
    np.testing.assert_allclose(scores.mated, theirs.comparisons.mated, atol=oracle.CLOSE)
    np.testing.assert_allclose(scores.non_mated, theirs.comparisons.non_mated, atol=oracle.CLOSE)
    assert oracle.rate_is(ours.calibration.verify.rate, non_mated, ours.calibration.verify.threshold)
    cohort = Cohort(-VOICES[:20], tuple(f"stranger-{number}" for number in range(20)))
    among_strangers = await attached.calibrate(cohort=cohort, seed=seed)
    assert_alike(among_strangers.calibration, (await store.calibrate("people", cohort=cohort, seed=seed)).calibration)
    table = labelled_scores(np.linspace(-1, 0.4, 500), [f"a{n}" for n in range(500)], [f"b{n}" for n in range(500)])
    applied = await attached.calibrate(apply=True, comparisons=table)
    stored = await store.calibrate("people", apply=True, comparisons=table)
    assert applied.gallery.policy == attached.policy
    assert dataclasses.replace(attached.policy, create_time=stored.gallery.policy.create_time) == stored.gallery.policy
    for operation in Operation:
        ours_changed = await attached.what_if(operation, threshold=0.7, margin=0.1)
        assert_alike(ours_changed, await store.what_if("people", operation, threshold=0.7, margin=0.1))


async def test_a_calibration_is_applied_to_the_policy_and_not_to_the_collection(place: Place) -> None:
    vectors, names = simulated.people(np.random.default_rng(1), 40, 2, dimension=4, spread=0.02)
    await place.make([point(number, vector, who=names[number]) for number, vector in enumerate(vectors)], COSINE)
    before = (await place.client.scroll(place.name, limit=100))[0]
    collections = await place.collections()
    people = await place.attach(policy=LOOSE)
    with pytest.raises(ThresholdNotCalibrated):
        await people.identify(vectors[0])
    with pytest.raises(ThresholdNotCalibrated):
        await people.what_if(Operation.VERIFICATION, threshold=0.5)
    measured = await people.calibrate()
    assert (measured.applied, people.policy) == (False, LOOSE)
    applied = await people.calibrate(apply=True, accept_supported=True, author="ada")
    assert applied.gallery.policy == people.policy
    assert people.policy.verify_threshold == measured.calibration.verify.threshold
    assert people.policy.identify_threshold == measured.calibration.identify.threshold
    assert (people.policy.revision, people.policy.author, people.policy.calibrated_size) == (2, "ada", 40)
    # The same thresholds again make no new revision.
    assert (await people.calibrate(apply=True, accept_supported=True)).gallery.policy.revision == 2
    decision = await people.identify(vectors[0])
    assert (decision.outcome, decision.policy_revision) == (Outcome.MATCH, 2)
    again = await place.attach(policy=people.policy)
    assert_alike(await again.identify(vectors[0]), decision)
    assert (await place.client.scroll(place.name, limit=100))[0] == before
    assert await place.collections() == collections


async def test_a_target_that_few_people_cannot_support_is_not_applied(place: Place) -> None:
    await place.make([point(number, DIRECTIONS[number], who=str(number)) for number in range(6)], COSINE)
    people = await place.attach()
    with pytest.raises(NotEnoughData, match=r"FMR of 0\.0001 is not supported"):
        await people.calibrate(apply=True)
    assert people.policy == POLICY


async def test_the_contract_of_a_cohort_is_not_compared_with_one_that_nobody_knows(place: Place) -> None:
    await place.make([point(number, DIRECTIONS[number], who=str(number)) for number in range(6)], COSINE)
    people = await place.attach()
    cohort = Cohort(DIRECTIONS[6:].astype(np.float32), tuple(f"stranger-{number}" for number in range(6)), CONTRACT)
    assert (await people.calibrate(cohort=cohort)).calibration.evidence.comparisons == 6 * 6
    with pytest.raises(InvalidEmbedding):
        await people.calibrate(cohort=Cohort(cohort.vectors[:, :3], cohort.identities))
    table = labelled_scores([0.1], ["a"], ["b"])
    with pytest.raises(InvalidArgument, match="one of them"):
        await people.calibrate(cohort=cohort, comparisons=table)


async def test_a_sample_is_seeded_and_no_identity_weighs_more_than_allowed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    # Fewer identities with all of their templates, up to the limit, not fewer templates of each.
    assert (one.identities, one.templates, one.complete) == (5, 20, False)
    assert (len(one.mated), len(one.non_mated)) == (20, 20 * 4)
    every = await people.scores(templates_per_identity=60)
    assert (every.identities, every.templates, every.complete) == (11, 120, True)
    with pytest.raises(InvalidArgument, match="max_templates is -1; expected 2 or more"):
        await people.scores(max_templates=-1)
    with pytest.raises(InvalidArgument, match="seed is -1; expected 0 or more"):
        await people.calibrate(seed=-1)
    monkeypatch.setattr("sameface_qdrant.attached.calibrating.MAX_TEMPLATES_OF_ONE", 6)
    assert any("up to 10 times as many" in said for said in (await people.calibrate()).caveats)


async def test_a_client_stays_open_and_a_url_is_closed(place: Place) -> None:
    await place.make([point(1, DIRECTIONS[0], who="ada")], Distance.COSINE)
    async with await place.attach() as people:
        await people.verify("ada", DIRECTIONS[0])
    assert await place.client.collection_exists(place.name)


@pytest.mark.parametrize("module", ["sameface_qdrant.attached.attach", "sameface_qdrant.attached.templates"])
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
    assert await people.count() == Counts(identities=1, templates=1, ignored=1, unusable=0)
    assert (await people.verify("ada", DIRECTIONS[0])).outcome is Outcome.MATCH
    asked = double.requests["Points/Query"]
    assert (asked.params.exact, asked.params.quantization.ignore) == (True, True)
    await people.aclose()
    await double.stop()
    with pytest.raises(StoreUnavailable):
        await attach(double.url, options=ServerOptions(timeout_s=2), **target)
