"""Within a server's strict mode, the store gives the same answers; what cannot be done is told at the start."""

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from sameface_qdrant import NewTemplate, Policy, Probe, Scope, Store
from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.engines.server.limits import refusals, weaknesses
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import StoreRefused
from tests.plugin.conftest import CONTRACT, random_vector
from tests.plugin.wire import Double

PEOPLE = 12
INEXACT = ServerOptions(exact=False)


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    started = await Double().start()
    yield started
    await started.stop()


async def seen(store: Store, rng: np.random.Generator) -> Any:
    """What a caller sees of a store in which people were enrolled and some deleted."""
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5, identify_threshold=0.5))
    vectors = [random_vector(rng) for _ in range(PEOPLE)]
    for number, vector in enumerate(vectors):
        new = [NewTemplate(vector, CONTRACT), NewTemplate(vector + 0.1, CONTRACT)]
        await store.enroll("people", f"p{number}", new, labels={"team": str(number % 2)})
    receipt = await store.identities.delete("people", "p3", force=True)
    found = await store.identify("people", Probe(vectors[5], CONTRACT), limit=7)
    claim = await store.verify("people", "p5", Probe(vectors[5], CONTRACT), scope=Scope.CLAIM)
    nearest = await store.search("people", Probe(vectors[7], CONTRACT), limit=20)
    calibration = await store.calibrate("people")
    return (
        receipt.templates,
        [one.identity for one in found.candidates],
        claim.score is not None and round(claim.score, 5),
        claim.gallery_size,
        [round(hit.score, 5) for hit in nearest],
        sorted(one.id for one in (await store.identities.list("people")).items),
        np.sort(calibration.comparisons.non_mated).round(4).tolist(),
    )


@pytest.mark.parametrize(
    ("strict_mode", "options"),
    [
        ({"max_query_limit": 1}, ServerOptions()),
        ({"max_query_limit": 5}, ServerOptions()),
        ({"search_allow_exact": False}, INEXACT),
        ({"search_allow_exact": False, "max_query_limit": 2}, INEXACT),
    ],
    ids=["page of 1", "page of 5", "no exact search", "both"],
)
async def test_answers_are_the_same_within_limits(
    double: Double, strict_mode: Mapping[str, Any], options: ServerOptions
) -> None:
    unlimited = await Store.open(double.url, options=ServerOptions(collection_prefix="free-"))
    expected = await seen(unlimited, np.random.default_rng(5))
    await unlimited.aclose()
    double.strict_mode |= strict_mode
    store = await Store.open(double.url, options=options)
    assert await seen(store, np.random.default_rng(5)) == expected
    await store.aclose()


async def test_pages_that_are_put_together_end_where_one_page_would(double: Double) -> None:
    double.strict_mode["max_query_limit"] = 3
    store = await Store.open(double.url)
    engine = store._engine
    await engine.ensure(CONTRACT.key, CONTRACT.dimension)
    ids = [f"00000000-0000-0000-0000-{number:012d}" for number in range(10)]
    await engine.upsert(CONTRACT.key, [Point(one, {"kind": "x"}) for one in ids])
    for limit in (1, 2, 3, 4, 9, 10, 11):
        points, following = await engine.scroll(CONTRACT.key, Where({"kind": "x"}), limit)
        assert [point.id for point in points] == ids[:limit]
        assert following == (ids[limit] if limit < len(ids) else None)
    points, following = await engine.scroll(CONTRACT.key, Where({"kind": "x"}), 4, ids[7])
    assert ([point.id for point in points], following) == (ids[7:], None)
    await store.aclose()


async def test_a_server_that_allows_no_exact_search_is_refused_by_a_store_set_to_it(double: Double) -> None:
    double.strict_mode["search_allow_exact"] = False
    with pytest.raises(StoreRefused, match=r"search_allow_exact is false.*set exact to false"):
        await Store.open(double.url)


@pytest.mark.parametrize(
    ("limits", "options", "named"),
    [
        ({"search_allow_exact": False}, ServerOptions(), "search_allow_exact"),
        ({"search_allow_exact": False}, INEXACT, None),
        ({"search_max_hnsw_ef": 64}, ServerOptions(exact=False, hnsw_ef=128), "search_max_hnsw_ef"),
        ({"search_max_hnsw_ef": 128}, ServerOptions(exact=False, hnsw_ef=128), None),
        ({"search_max_hnsw_ef": 64}, ServerOptions(hnsw_ef=128), None),
        ({"search_max_oversampling": 1.5}, ServerOptions(exact=False, quantization="int8"), "search_max_oversampling"),
        ({"search_max_oversampling": 1.5}, INEXACT, None),
        ({}, ServerOptions(), None),
    ],
)
def test_what_strict_mode_refuses_is_named(limits: dict[str, Any], options: ServerOptions, named: str | None) -> None:
    found = refusals(models.StrictModeConfigOutput(enabled=True, **limits), options)
    assert [reason.split()[0] for reason in found] == ([named] if named else [])
    assert not refusals(models.StrictModeConfigOutput(enabled=False, **limits), options)
    assert not refusals(None, options)


@pytest.mark.parametrize(
    ("replicas", "writes", "nodes", "warnings"),
    [(1, 1, 1, 0), (1, 1, 3, 1), (2, 1, 2, 2), (2, 2, 2, 2), (3, 1, 3, 1), (3, 2, 3, 0), (3, 3, 3, 1), (5, 3, 5, 0)],
)
def test_a_cluster_is_warned_of_what_it_does_not_withstand(
    replicas: int, writes: int, nodes: int, warnings: int
) -> None:
    assert len(weaknesses(replicas, writes, nodes)) == warnings


async def test_a_weakness_is_logged_at_the_start(double: Double, caplog: pytest.LogCaptureFixture) -> None:
    double.peers = 3
    with caplog.at_level(logging.WARNING):
        store = await Store.open(double.url)
    assert "every point is on one of 3 nodes" in caplog.text
    await store.aclose()
