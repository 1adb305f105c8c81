"""Attached collections with broken points: what cannot be compared matches nothing, and is counted."""

import asyncio
import math
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.local.async_qdrant_local import AsyncQdrantLocal

from sameface_qdrant import Attached, Outcome, Policy, Scope, attach
from sameface_qdrant.attached import counting, queries, scoring
from sameface_qdrant.errors import IdentityNotFound, InvalidArgument, NotEnoughData
from sameface_qdrant.policy import Threshold, decide_comparison, decide_identification, decide_verification
from sameface_qdrant.values.decision import Candidate, ThresholdSource
from sameface_qdrant.values.vectors import cosine
from tests.plugin import oracle

POLICY = Policy(verify_threshold=0.6, identify_threshold=0.6, runner_up_margin=0.1)
DIRECTIONS = np.random.default_rng(7).normal(size=(12, 4))
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
BROKEN = {
    "nan": [math.nan] * 4,
    "one nan": [0.6, math.nan, 0.8, 0.0],
    "inf": [math.inf, 0.0, 0.0, 1.0],
    "zero": [0.0] * 4,
}
Held = Sequence[tuple[Any, int | str]]


async def poisoned(held: Held, distance: models.Distance, named: bool) -> AsyncQdrantClient:
    """A collection of templates, by direction, and of broken ones, by the name of what is wrong.

    Qdrant's client refuses some of them, and Qdrant Edge takes them, so they are put into the client's arrays.
    """
    client = AsyncQdrantClient(":memory:")
    params = models.VectorParams(size=4, distance=distance)
    await client.create_collection("faces", {"face": params} if named else params)
    for number, (who, what) in enumerate(held):
        vector = DIRECTIONS[what].tolist() if isinstance(what, int) else DIRECTIONS[0].tolist()
        point = models.PointStruct(id=number, vector={"face": vector} if named else vector, payload={"who": who})
        await client.upsert("faces", [point])
    local = client._client
    assert isinstance(local, AsyncQdrantLocal)
    rows = local.collections["faces"].vectors["face" if named else ""]
    for number, (_, what) in enumerate(held):
        if isinstance(what, str):
            rows[number] = BROKEN[what]
    return client


async def attached(client: AsyncQdrantClient, named: bool = True, **changes: Any) -> Attached:
    given = {"collection": "faces", "vector_name": "face" if named else "", "identity_key": "who", "policy": POLICY}
    return await attach(client, **{**given, **changes})


people = st.sampled_from(["ada", "bob", 7, ""])
kinds = st.integers(0, 11) | st.sampled_from(sorted(BROKEN))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    held=st.lists(st.tuples(people, kinds), min_size=1, max_size=14),
    distance=st.sampled_from([models.Distance.COSINE, models.Distance.DOT, models.Distance.EUCLID]),
    named=st.booleans(),
    probe=st.integers(0, 11),
)
def test_broken_points_match_nothing_on_every_road(
    held: Held, distance: models.Distance, named: bool, probe: int
) -> None:
    async def compare() -> None:
        client = await poisoned(held, distance, named)
        templates = [(who, DIRECTIONS[what]) for who, what in held if who != "" and isinstance(what, int)]
        broken = [who for who, what in held if who != "" and not isinstance(what, int)]
        if not templates and not broken:
            with pytest.raises(InvalidArgument, match="names an identity"):
                await attached(client, named)
            return
        one = await attached(client, named, writable=True)
        scores = oracle.best_scores(templates, DIRECTIONS[probe])
        counts = await one.count()
        assert (counts.identities, counts.templates) == (len(scores), len(templates))
        assert (counts.ignored, counts.unusable) == (sum(who == "" for who, _ in held), len(broken))
        await decide(one, scores, DIRECTIONS[probe])
        table = await one.score_many(DIRECTIONS)
        assert table.unusable == len(broken)
        assert set(table.identities) == set(scores)
        for row, direction in enumerate(DIRECTIONS):
            expected = oracle.best_scores(templates, direction)
            got = dict(zip(table.identities, table.scores[row].tolist(), strict=True))
            assert got == pytest.approx(expected, abs=oracle.CLOSE)
        await calibrate(one, templates, len(scores))
        assert await one.delete("ada") == sum(who == "ada" for who, _ in held)
        assert (await one.count()).unusable == len([who for who in broken if who != "ada"])
        await client.close()

    asyncio.run(compare())


async def decide(one: Attached, scores: dict[Any, float], probe: Any) -> None:
    found = await one.search(probe, limit=100)
    assert all(-1.0 <= neighbour.score <= 1.0 for neighbour in found)
    decision = await one.identify(probe)
    outcome, score, lead = oracle.identification(scores, 0.6, 0.1)
    assert decision.score == (None if score is None else pytest.approx(score, abs=oracle.CLOSE))
    assert decision.gallery_size == len(scores)
    if oracle.clear_cut(score, lead, 0.6, 0.1):
        assert decision.outcome == outcome
    for identity in ("ada", "bob", 7):
        if identity not in scores:
            with pytest.raises(IdentityNotFound):
                await one.verify(identity, probe)
            continue
        claim = await one.verify(identity, probe, scope=Scope.CLAIM)
        assert claim.score == pytest.approx(scores[identity], abs=oracle.CLOSE)


async def calibrate(one: Attached, templates: list[tuple[Any, Any]], identities: int) -> None:
    if identities < 2:
        with pytest.raises(NotEnoughData):
            await one.scores()
        return
    compared = await one.scores()
    mated, non_mated = oracle.fused_comparisons(templates)
    assert sorted(compared.mated) == pytest.approx(mated, abs=oracle.CLOSE)
    assert sorted(compared.non_mated) == pytest.approx(non_mated, abs=oracle.CLOSE)
    assert compared.complete
    calibrated = await one.calibrate()
    assert len(calibrated.comparisons.non_mated) == len(non_mated)
    assert any("left out" in caveat for caveat in calibrated.caveats) == bool((await one.count()).unusable)


async def test_very_many_broken_points_are_passed_over_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    held: Held = [("ada", 1), *[("bob", "nan")] * 60, ("eve", 2)]
    client = await poisoned(held, models.Distance.COSINE, True)
    one = await attached(client)
    assert [found.identity for found in (await one.identify(DIRECTIONS[1])).candidates] == ["ada", "eve"]
    monkeypatch.setattr(queries, "MOST_SKIPPED", 20)
    monkeypatch.setattr(counting, "READ_UP_TO", 2)
    unread = await attached(client)
    with pytest.raises(InvalidArgument, match=r"more than 20 points .* not finite or has zero norm.*delete"):
        await unread.identify(DIRECTIONS[1])
    await unread.count(embeddings=True)
    assert (await unread.identify(DIRECTIONS[1])).score == pytest.approx(1.0, abs=oracle.CLOSE)
    await client.close()


async def test_a_large_collection_is_counted_without_its_embeddings_unless_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counting, "READ_UP_TO", 2)
    client = await poisoned([("ada", 1), ("bob", "zero"), ("eve", 2)], models.Distance.COSINE, True)
    one = await attached(client)
    counts = await one.count()
    assert (counts.identities, counts.templates, counts.unusable) == (3, 3, None)
    counts = await one.count(embeddings=True)
    assert (counts.identities, counts.templates, counts.unusable) == (2, 2, 1)
    await client.close()


async def test_scores_of_many_pages_and_many_templates_are_those_of_brute_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    monkeypatch.setattr(queries, "VECTOR_NUMBERS", 4 * 7)
    monkeypatch.setattr(scoring, "COMPARED", 30)
    held = [(int(rng.integers(0, 9)), int(rng.integers(0, 12))) for _ in range(60)]
    client = await poisoned(held, models.Distance.COSINE, True)
    one = await attached(client)
    probes = rng.normal(size=(10, 4))
    table = await one.score_many(probes)
    assert table.scores.dtype == np.float32
    assert table.scores.shape == (10, len(table.identities))
    best = await one.score_many(probes.tolist(), limit=4)
    for row, probe in enumerate(probes):
        expected = oracle.best_scores([(who, DIRECTIONS[what]) for who, what in held], probe)
        got = dict(zip(table.identities, table.scores[row].tolist(), strict=True))
        assert got == pytest.approx(expected, abs=oracle.CLOSE)
        ranked = sorted(expected.values(), reverse=True)[:4]
        assert best.scores[row].tolist() == pytest.approx(ranked, abs=oracle.CLOSE)
        names = [best.identities[column] for column in best.columns[row]]
        assert len(set(names)) == 4
        assert [expected[name] for name in names] == pytest.approx(ranked, abs=oracle.CLOSE)
        assert best.best(row)[1] == best.scores[row, 0] == table.best(row)[1]
    with pytest.raises(InvalidArgument, match="limit"):
        await one.score_many(probes, limit=0)
    every = await one.score_many(probes[0], limit=1000)
    assert every.scores.shape == (1, len(table.identities))
    await client.close()


@pytest.mark.parametrize("limit", [None, 1, 1000])
def test_the_memory_of_many_scores_is_bounded_beside_the_result(limit: int | None) -> None:
    rng = np.random.default_rng(1)
    probes, templates = rng.normal(size=(2_000, 4)).astype(np.float32), rng.normal(size=(1_000, 4)).astype(np.float32)
    best = scoring._All(2_000, 1_000) if limit is None else scoring._Nearest(2_000, limit)
    tracemalloc.start()
    scoring._compare(probes, templates, np.arange(1_000), best)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6  # one array of all scores has 8e6
    columns, scores = best.result(1_000)
    expected = np.clip(probes[7] @ templates.T, -1.0, 1.0)
    assert scores[7, 0] == pytest.approx(expected[columns[7, 0]], abs=1e-6)


def test_a_score_that_is_no_number_never_matches() -> None:
    assert cosine(math.nan) == -1.0
    threshold = Threshold(0.5, ThresholdSource.REQUEST)
    broken, other = Candidate("ada", math.nan, "t"), Candidate("bob", 0.1, "t")
    about: dict[str, Any] = {"threshold": threshold, "margin": 0.0, "policy_revision": 1, "gallery_size": 2}
    for scope in Scope:
        assert decide_verification(broken, other, scope=scope, **about).outcome is Outcome.NO_MATCH
    assert decide_identification([broken, other], limit=5, **about).outcome is Outcome.NO_MATCH
    sure = Candidate("eve", 0.9, "t")
    assert decide_identification([sure, broken], limit=5, **about).outcome is Outcome.AMBIGUOUS
    assert decide_comparison(math.nan, policy=POLICY, operating_points=(), threshold=0.1).outcome is Outcome.NO_MATCH
