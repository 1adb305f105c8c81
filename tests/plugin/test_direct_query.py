"""Queries sent over gRPC directly answer like those of qdrant-client."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.http.models import QueryResponse

from sameface_qdrant.engines.base import VECTOR_NAME, Hit
from sameface_qdrant.engines.server.client import connect
from sameface_qdrant.engines.server.conversion import hits_of
from sameface_qdrant.engines.server.direct_query import _hits, query_each
from sameface_qdrant.engines.server.options import ServerOptions
from tests.plugin.conftest import random_vector
from tests.plugin.wire import Double

SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text()
PAYLOADS = st.dictionaries(
    st.text(min_size=1),
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)),
    max_size=4,
)
IDS = st.uuids().map(str)


@given(st.lists(st.tuples(IDS, st.floats(-1.125, 1.125, width=32), PAYLOADS), max_size=4))
def test_hits_are_those_of_the_client(points: list[tuple[str, float, dict[str, Any]]]) -> None:
    scored = [models.ScoredPoint(id=key, version=1, score=score, payload=payload) for key, score, payload in points]
    sent = [RestToGrpc.convert_scored_point(point) for point in scored]
    expected = hits_of(QueryResponse(points=[GrpcToRest.convert_scored_point(point) for point in sent]))
    assert [(one.id, one.payload) for one in _hits(sent)] == [(one.id, one.payload) for one in expected]
    assert [one.score for one in _hits(sent)] == pytest.approx([one.score for one in expected])
    assert all(-1.0 <= one.score <= 1.0 for one in _hits(sent))


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    serving = await Double().start()
    await serving.client.create_collection(
        "c", vectors_config={VECTOR_NAME: models.VectorParams(size=8, distance=models.Distance.COSINE)}
    )
    yield serving
    await serving.stop()


async def test_one_query_and_several_answer_like_the_client(double: Double, rng: np.random.Generator) -> None:
    points = [
        models.PointStruct(
            id=str(uuid.UUID(int=number)),
            vector={VECTOR_NAME: random_vector(rng).tolist()},
            payload={"identity": f"p{number % 3}", "note": "long"},
        )
        for number in range(9)
    ]
    await double.client.upsert("c", points)
    client = connect(double.url, None, ServerOptions())
    request = models.QueryRequest(
        query=random_vector(rng).tolist(), using=VECTOR_NAME, limit=4, with_payload=["identity"]
    )
    of_one = models.Filter(must=[models.FieldCondition(key="identity", match=models.MatchValue(value="p1"))])
    several = [request, request.model_copy(update={"filter": of_one, "limit": 2})]
    expected: list[list[Hit]] = [hits_of(one) for one in await client.query_batch_points("c", several)]
    assert [len(hits) for hits in expected] == [4, 2]
    assert await query_each(client, "c", several, 5) == expected
    assert [await query_each(client, "c", [one], 5) for one in several] == [[hits] for hits in expected]
    await client.close()
