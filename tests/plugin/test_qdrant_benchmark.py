"""`python -m benchmarks qdrant` runs, and its people and exact answers are what it says."""

import json

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from benchmarks.qdrant import command
from benchmarks.qdrant.filling import CONTRACT, fill, gallery_id, identity_id
from benchmarks.qdrant.people import DIMENSION, People, nearest_scores
from sameface_qdrant import Outcome, Probe, Store
from tests.plugin.steered import SteeredEngine

SMALL = [
    "--url",
    ":memory:",
    "--templates",
    "40",
    "--galleries",
    "2",
    "--each",
    "2",
    "--probes",
    "8",
    "--enrol",
    "9",
    "--json",
]


@pytest.mark.parametrize("sweep", [[], ["--sweep", "--only", "int8"]], ids=["usual", "sweep"])
def test_the_benchmark_prints_its_figures(sweep: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command.main([*SMALL, *sweep])
    figures = json.loads(capsys.readouterr().out)
    assert (figures["templates"], figures["galleries"], figures["identities_of_a_gallery"]) == (40, 2, 10)
    assert len(figures["settings"]) == (6 if sweep else 2)
    ways = [(one["guards"], one["way"]) for one in figures["enrolment"]]
    assert len(set(ways)) == 6
    assert all(one["enrolments"] == 9 and one["per_s"] > 0 for one in figures["enrolment"])
    for row in figures["settings"]:
        assert row["recall_at_1"] == 1.0
        bare = row["bare"]["p50_ms"]
        assert row["goal_ms"] == pytest.approx(1.5 * bare + 2, abs=0.02)
        for name in ("verify", "verify CLAIM", "identify"):
            ratio = row[name]["p50_ms"] / bare
            # All three figures are rounded to two decimals.
            assert row[name]["ratio"] == pytest.approx(ratio, abs=0.005 + 0.0051 * (1 + ratio) / (bare - 0.005))
            assert row[name]["p95_ms"] >= row[name]["p50_ms"] > 0


def test_people_are_the_same_for_a_seed_and_scatter_as_described() -> None:
    vectors = People(1).templates(0, 2000, 2)
    assert np.array_equal(vectors, People(1).templates(0, 2000, 2))
    assert not np.allclose(vectors, People(1).templates(1, 2000, 2))
    assert np.linalg.norm(vectors, axis=2) == pytest.approx(1.0, abs=1e-5)
    mated = (vectors[:, 0] * vectors[:, 1]).sum(axis=1)
    others = vectors[:-1, 0] @ vectors[1:, 1].T
    assert 0.70 < mated.mean() < 0.74
    assert abs(others.mean()) < 0.01
    assert 0.10 < others.std() < 0.13


def test_every_second_probe_is_of_somebody_unknown_and_the_answers_are_exact() -> None:
    people = People(3)
    stored = people.templates(0, 300, 2)
    probes, whose = people.probes(0, 300, 40)
    assert (whose[1::2] == -1).all()
    assert (whose[::2] >= 0).all()
    best = nearest_scores(stored.reshape(-1, DIMENSION), probes, block=77)
    slow = [max(float(probe @ vector) for vector in stored.reshape(-1, DIMENSION)) for probe in probes]
    assert best == pytest.approx(slow, abs=1e-5)
    own = [(probe @ stored[person].T).max() for probe, person in zip(probes[::2], whose[::2], strict=True)]
    assert np.mean(best[::2] - own < 1e-5) > 0.95
    assert best[1::2].max() < best[::2].mean()


async def test_what_it_fills_in_can_be_used_like_what_was_enrolled() -> None:
    client, people = AsyncQdrantClient(":memory:"), People(2)
    engine = SteeredEngine(client)
    store = await Store.over(engine)
    await fill(store, engine, client, "sameface-" + CONTRACT.key, people, 2, 3, 2)
    vectors = people.templates(1, 3, 2)
    decision = await store.verify(gallery_id(1), identity_id(2), Probe(vectors[2, 1], CONTRACT))
    assert (decision.outcome, decision.gallery_size) == (Outcome.MATCH, 3)
    identity = await store.identities.get(gallery_id(1), identity_id(2))
    assert (identity.display_name, identity.template_count) == ("Person 2", 2)
    await store.identities.move(gallery_id(1), identity_id(2), "moved")
    assert (await store.identify(gallery_id(1), Probe(vectors[2, 0], CONTRACT))).candidates[0].identity == "moved"
    await store.galleries.delete(gallery_id(1), force=True)
    assert (await store.identities.get(gallery_id(0), identity_id(2))).template_count == 2
