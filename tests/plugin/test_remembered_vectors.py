"""Guards that compare with vectors in memory find what single searches of the engine find, whatever is written."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface_qdrant import Enrolment, EnrolmentResult, GuardAction, Policy, PolicyChanges, Store
from sameface_qdrant.engines.base import Hit, Point, Where
from sameface_qdrant.engines.server.engine import ServerEngine
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import SamefaceError, StoreUnavailable
from sameface_qdrant.store import vector_table
from sameface_qdrant.store.protection.keys import KeyRing, MasterKey
from sameface_qdrant.store.remembered_gallery import RememberedGallery
from sameface_qdrant.store.remembered_vectors import RememberingEngine
from sameface_qdrant.store.vector_table import VectorTable
from sameface_qdrant.values.finding import Finding, FindingKind
from sameface_qdrant.values.quota import Quota
from tests.plugin.conftest import CONTRACT, SOON, PassBy, random_vector
from tests.plugin.test_enroll_many import drawn, drawn_policy, many, one

CLOSE = 1e-6
WARN = Policy(verify_threshold=0.5, identify_threshold=0.8)


def remembered(store: Store, worth: int = 1) -> RememberingEngine:
    """The engine of a store, which reads a gallery's vectors after so many searches."""
    found = cast(RememberingEngine, store._remembering)
    found.worth = worth
    return found


def unit(rng: np.random.Generator) -> Any:
    vector = random_vector(rng)
    return vector / np.linalg.norm(vector)


def plain(found: Sequence[Sequence[Hit]]) -> list[list[tuple[str, str, int]]]:
    return [[(hit.id, hit.payload["identity"], round(hit.score / CLOSE / 10)) for hit in hits] for hits in found]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_a_table_finds_the_best_row_in_force_of_another_identity(seed: int, block: int) -> None:
    rng, draw, now = np.random.default_rng(seed), random.Random(seed), 100.0
    table, model = VectorTable(3), dict[str, tuple[str, Any, float]]()
    for _ in range(draw.randrange(30)):
        if draw.random() < 0.3 and model:
            gone = draw.choice(list(model))
            table.remove([gone, "unknown"])
            del model[gone]
        else:
            name, identity, expires = f"t{draw.randrange(12)}", f"p{draw.randrange(4)}", draw.choice((99.0, 101.0))
            vector = rng.normal(size=3).astype(np.float32)
            table.put(name, identity, vector, expires, None)
            model[name] = identity, vector, expires
    queries, excluded = rng.normal(size=(4, 3)).astype(np.float32), ["p0", "p1", "", "p3"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(vector_table, "SCORES_AT_ONCE", 4 * block)
        found = table.view(excluded).best(queries, now)
    assert len(table) == len(model)
    for number, (query, own) in enumerate(zip(queries, excluded, strict=True)):
        scores = [float(vector @ query) for identity, vector, end in model.values() if identity != own and end > now]
        assert found.scores[number] == pytest.approx(max(scores, default=-np.inf), abs=1e-5)
        assert (found.best[number] >= 0) == bool(scores)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1))
async def test_it_answers_as_the_engine_does_after_any_writes(seed: int) -> None:
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    below: Any = await ServerEngine.open(":memory:", api_key=None, options=ServerOptions())
    engine = RememberingEngine(below)
    engine.worth = 1
    await engine.ensure("c", 8)
    now = time.time()

    def point() -> Point:
        payload = {"gallery": draw.choice("gh"), "kind": "template", "identity": f"p{draw.randrange(4)}"}
        if draw.random() < 0.4:
            payload["expires"] = cast(Any, now + draw.choice((-5.0, 5.0)))
        # An id belongs to one gallery, as it is derived from the gallery's key.
        block = "0000" if payload["gallery"] == "g" else "0001"
        return Point(f"00000000-{block}-4000-8000-{draw.randrange(10):012d}", payload, unit(rng))

    def some_filter() -> Where:
        kind = draw.choice(({}, {"kind": "template"}, {"kind": "identity"}))
        return draw.choice(
            (
                Where({"gallery": "g", "identity": "p1", **kind}),
                Where({"gallery": "g", **kind}, ids=(point().id, point().id)),
                Where({"gallery": "h", **kind}, expired_at=now),
                Where({"gallery": "h", "note": "x"}),
                Where({"gallery": "g", **kind}),
                Where({"gallery": "h"}, {"identity": "p2"}),
            )
        )

    await engine.upsert("c", [point() for _ in range(12)])
    for _ in range(12):
        vectors = [unit(rng) for _ in range(3)]
        others = [(v, Where({"gallery": "g"}, {"identity": f"p{n}"}, valid_at=now)) for n, v in enumerate(vectors)]
        own = [(v, Where({"gallery": "g", "identity": f"p{n}"}, valid_at=now)) for n, v in enumerate(vectors)]
        await engine.anticipate("c", others[: draw.randint(1, 3)])
        for _ in range(draw.randrange(3)):
            match draw.randrange(4):
                case 0 | 1:
                    await engine.upsert("c", [point() for _ in range(2)], insert_only=draw.random() < 0.5)
                case 2:
                    await engine.delete("c", draw.choice(([point().id, point().id], some_filter())))
                case 3:
                    await engine.set_payload("c", some_filter(), draw.choice(({"note": "x"}, {"expires": now - 1.0})))
        for searches, limit in ((others, 1), (own, 3)):
            expected = await below.nearest_each("c", searches, limit, fields=("identity",), exact=True)
            found = await engine.nearest_each("c", searches, limit, fields=("identity",), exact=True)
            for mine, theirs in zip(plain(found), plain(expected), strict=True):
                assert [(one[0], one[1]) for one in mine] == [(one[0], one[1]) for one in theirs]
                assert all(abs(a[2] - b[2]) <= 1 for a, b in zip(mine, theirs, strict=True))
    await engine.aclose()


def told(result: EnrolmentResult) -> Any:
    """What a caller learns: for findings also the other identity, unless a second one is as near."""

    def shown(finding: Finding) -> Any:
        tied = finding.kind is FindingKind.DUPLICATE or (finding.score or 0.0) > 0.999
        return finding.kind, finding.score and round(finding.score, 4), "" if tied else finding.identity

    cause = getattr(result.error, "finding", None)
    return (
        result.identity,
        type(result.error).__name__,
        cause and shown(cause),
        {shown(finding) for template in result.templates for finding in template.findings},
    )


async def alone(store: Store, enrolment: Enrolment) -> EnrolmentResult:
    try:
        stored = await store.enroll(
            "people",
            enrolment.identity,
            enrolment.templates,
            request_id=enrolment.request_id,
            create_identity=enrolment.create_identity,
        )
    except SamefaceError as error:
        return EnrolmentResult(enrolment.identity, (), error)
    return EnrolmentResult(enrolment.identity, stored)


@pytest.mark.parametrize("seed", range(5))
async def test_a_stream_finds_what_single_calls_find_with_other_writes_between(
    seed: int, tmp_path: Path, pass_by: PassBy
) -> None:
    draw = random.Random(seed)
    keys = KeyRing({"one": MasterKey("one", bytes(range(32)))}, "one") if seed == 4 else None
    urls = [f"edge://{tmp_path / name}" if seed in (1, 3) else ":memory:" for name in "ab"]
    single, stream = [await Store.open(url, keys=keys) for url in urls]
    remembered(single, worth=10**9)
    engine = remembered(stream)
    policy = drawn_policy(draw)
    for store in (single, stream):
        await store.galleries.create("people", CONTRACT, policy=policy)
        if seed % 3 == 2:
            store.use_quotas([Quota("*", identities=6)])
    for number in range(2):
        enrolments = drawn(draw, 8, most=2 if policy.max_templates == 3 and policy.when_full.value == "REJECT" else 1)
        soon = datetime.fromtimestamp(time.time(), UTC) + SOON  # by the clock that the test moves
        enrolments = [
            replace(
                enrolment,
                templates=[
                    replace(new, expire_time=draw.choice((None, soon)), vector=np.asarray(new.vector) + 1e-3 * position)
                    for new in enrolment.templates
                ],
            )
            for position, enrolment in enumerate(enrolments)
        ]
        expected = [told(await alone(single, enrolment)) for enrolment in enrolments]
        results = await many(stream, enrolments, draw.choice((1, 3, 8)))
        assert [told(result) for result in results] == expected
        held = (await single.identities.list("people")).items
        for store in (single, stream):
            if held:
                await store.identities.delete("people", held[0].id, force=True)
            await store.galleries.update("people", policy=PolicyChanges(identify_threshold=0.7))
        if number == 0:
            pass_by(soon)
    if policy.on_collision is not GuardAction.ALLOW:
        assert engine.remembered_bytes > 0
    await single.aclose()
    await stream.aclose()


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(f"edge://{tmp_path}")
    await store.galleries.create("people", CONTRACT, policy=WARN)
    yield store
    await store.aclose()


async def test_a_removal_between_two_batches_of_a_stream_is_seen(edge: Store, rng: np.random.Generator) -> None:
    engine, face, enrolled = remembered(edge), random_vector(rng), asyncio.Event()
    await many(edge, [one("ada", face)])

    async def stream() -> AsyncIterator[Enrolment]:
        yield one("bob", face)
        await enrolled.wait()
        await edge.identities.delete("people", "bob", force=True)
        await edge.identities.delete("people", "ada", force=True)
        yield one("cy", face)

    found = []
    results = edge.enroll_many("people", stream(), batch_size=1)
    async for result in results:
        found.append([(finding.kind, finding.identity) for finding in result.templates[0].findings])
        enrolled.set()
    assert (FindingKind.COLLISION, "ada") in found[0]
    assert found[1] == []
    assert engine.remembered_bytes > 0


async def test_the_memory_has_a_bound_and_is_given_back(edge: Store, rng: np.random.Generator) -> None:
    engine = remembered(edge)
    enrolments = [one(f"p{number}", random_vector(rng)) for number in range(5)]
    await many(edge, enrolments, 2)
    assert 0 < engine.remembered_bytes <= engine.most_bytes
    engine.most_bytes = 10
    await many(edge, [one("more", random_vector(rng))])
    assert engine.remembered_bytes == 0
    (again,) = await many(edge, [one("ada", enrolments[0].templates[0].vector)])
    assert [finding.identity for finding in again.templates[0].findings if finding.score] == ["p0"]
    assert engine.remembered_bytes == 0
    engine.most_bytes = 1 << 20
    await many(edge, [one("bob", random_vector(rng))])
    engine._drop_idle()
    assert engine.remembered_bytes > 0
    engine.idle_s = 0.0
    engine._drop_idle()
    assert engine.remembered_bytes == 0


async def test_after_a_write_that_failed_the_engine_is_asked(edge: Store, rng: np.random.Generator) -> None:
    engine, face = remembered(edge), random_vector(rng)
    await many(edge, [one("ada", random_vector(rng))])
    await many(edge, [one("bob", random_vector(rng))])
    assert engine.remembered_bytes > 0
    below = engine._engine
    upsert = below.upsert

    async def stores_and_fails(*arguments: Any, **options: Any) -> None:
        await upsert(*arguments, **options)
        raise StoreUnavailable("no answer")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(below, "upsert", stores_and_fails)
        with pytest.raises(StoreUnavailable):
            await many(edge, [one("cy", face)])
    (found,) = await many(edge, [one("dee", face)])
    assert (FindingKind.COLLISION, "cy") in [(one.kind, one.identity) for one in found.templates[0].findings]


async def test_what_is_only_made_ready_is_not_written_after_a_failure(edge: Store, rng: np.random.Generator) -> None:
    below = remembered(edge)._engine
    upsert, calls = below.upsert, 0

    async def fails_once(*arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise StoreUnavailable("no answer")
        await upsert(*arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(below, "upsert", fails_once)
        with pytest.raises(StoreUnavailable):
            await many(edge, [one(f"p{number}", random_vector(rng)) for number in range(4)], 1)
    assert (await edge.identities.list("people")).items == ()


async def test_a_stream_is_compared_ahead_and_single_calls_read_no_vectors(
    edge: Store, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = remembered(edge, worth=80)
    for number in range(9):
        await edge.enroll("people", f"single{number}", [one("", random_vector(rng)).templates[0]])
    engine.worth = 16  # two searches of one call are enough now, and single calls have one
    for number in range(20):
        await edge.enroll("people", f"other{number}", [one("", random_vector(rng)).templates[0]])
    assert engine.remembered_bytes == 0
    ahead, found_ahead = 0, RememberedGallery._found_ahead

    def counted(gallery: RememberedGallery, queries: Any) -> Any:
        nonlocal ahead
        found, unknown = found_ahead(gallery, queries)
        ahead += found.rows > 0
        return found, unknown

    monkeypatch.setattr(RememberedGallery, "_found_ahead", counted)
    await many(edge, [one(f"p{number}", random_vector(rng)) for number in range(40)], 10)
    assert engine.remembered_bytes > 0
    assert ahead > 0


def test_expiry_is_compared_with_the_moment_of_the_search() -> None:
    table, ones = VectorTable(2), np.ones((1, 2), np.float32)
    later = datetime.now(UTC) + timedelta(hours=1)
    table.put("t", "p", ones[0], later.timestamp(), None)
    found = table.view([""]).best(ones, time.time())
    assert found.best[0] == 0
    assert table.lost(found, later.timestamp() + 1).tolist() == [0]
