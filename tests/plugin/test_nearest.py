"""Edge's neighbours under any filter are the first of all points sorted by their cosine."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import qdrant_edge as edge
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface_qdrant.engines.base import VECTOR_NAME, Point, Where
from sameface_qdrant.engines.edge.nearest import nearest, nearest_of_few
from sameface_qdrant.engines.edge.shard import open_current
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.vectors import unit
from tests.plugin.conftest import random_vector

POINTS, NOW = 400, 1000.0


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[edge.EdgeShard, list[Point]]]:
    """A shard of two galleries. One has nine points in ten. Half of all points have expired, some expire later."""
    rng = np.random.default_rng(4)
    shard, _, _ = open_current(tmp_path_factory.mktemp("shard") / "collection", 8)
    points, written = [], []
    for number in range(POINTS):
        vector = unit(random_vector(rng), 8)
        payload: dict[str, Any] = {
            "gallery": "large" if number % 10 else "small",
            "identity": f"id-{number % 37}",
            "kind": "template",
            "labels": {"team": str(number % 3)},
        }
        if number % 4 < 3:
            payload["expires"] = NOW + (-1, -2, 5)[number % 4]
        points.append(Point(point_id(str(number)), payload, vector))
        written.append(edge.Point(points[-1].id, {VECTOR_NAME: vector.tolist()}, payload))
    shard.update(edge.UpdateOperation.upsert_points(written))
    yield shard, points
    shard.close()


IDENTITIES = st.lists(st.sampled_from([f"id-{number}" for number in range(37)]), min_size=1, max_size=20).map(tuple)
FILTERS = st.builds(
    Where,
    st.fixed_dictionaries(
        {"gallery": st.sampled_from(["large", "small", "none"])},
        optional={
            "kind": st.sampled_from(["template", "identity"]),
            "identity": st.sampled_from(["id-1", "id-20"]),
            "labels.team": st.sampled_from(["0", "9"]),
        },
    ),
    excludes=st.fixed_dictionaries({}, optional={"identity": st.sampled_from(["id-1", "id-20"])}),
    among=st.fixed_dictionaries({}, optional={"identity": IDENTITIES}),
    outside=st.fixed_dictionaries({}, optional={"identity": IDENTITIES}),
    valid_at=st.sampled_from([None, NOW, NOW + 10]),
)


@settings(deadline=None)
@given(
    where=FILTERS,
    limit=st.integers(1, 60),
    seed=st.integers(0, 50),
    floor=st.sampled_from([None, 0.2]),
    few=st.booleans(),
)
def test_the_nearest_that_match_are_found(
    stored: tuple[edge.EdgeShard, list[Point]], where: Where, limit: int, seed: int, floor: float | None, few: bool
) -> None:
    shard, points = stored
    vector = unit(random_vector(np.random.default_rng(seed)), 8)
    expected = []
    for point in points:
        payload = {**point.payload, "labels.team": point.payload["labels"]["team"]}
        if (
            all(payload[key] == value for key, value in where.equals.items())
            and all(payload[key] != value for key, value in where.excludes.items())
            and all(payload[key] in values for key, values in where.among.items())
            and all(payload[key] not in values for key, values in where.outside.items())
            and (where.valid_at is None or payload.get("expires", where.valid_at + 1) > where.valid_at)
        ):
            assert point.vector is not None
            score = float(np.dot(vector, point.vector))
            if floor is None or score >= floor:
                expected.append((score, point.id))
    expected.sort(reverse=True)
    found = nearest(shard, vector, where, limit, floor, few=few)
    assert [hit.id for hit in found] == [name for _, name in expected[:limit]]
    assert [hit.score for hit in found] == pytest.approx([score for score, _ in expected[:limit]], abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(filters=st.lists(FILTERS, min_size=1, max_size=3), limit=st.integers(1, 60), seed=st.integers(0, 50))
def test_searches_in_one_call_find_what_each_finds_alone(
    stored: tuple[edge.EdgeShard, list[Point]], filters: list[Where], limit: int, seed: int
) -> None:
    shard, _ = stored
    rng = np.random.default_rng(seed)
    searches = [(unit(random_vector(rng), 8), where) for where in filters]
    alone = [nearest(shard, vector, where, limit, None, few=True) for vector, where in searches]
    assert nearest_of_few(shard, searches, limit) == alone
