"""Episodes and runs, compared with scikit-learn's nearest centroid and with counting."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.neighbors
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.evaluation.few_shot import (
    draw_episodes,
    episode_accuracy,
    fused_scores,
    mean_accuracy,
    read_runs,
    template_scores,
)
from sameface_qdrant.errors import InvalidArgument, NotEnoughData

LABELS = [f"{alphabet}/{character}" for alphabet in "AB" for character in range(6) for _ in range(5)]


@settings(max_examples=30, deadline=None)
@given(ways=st.integers(2, 6), shots=st.integers(1, 3), queries=st.integers(1, 2), seed=st.integers(0, 99), grouped=...)
def test_an_episode_has_distinct_classes_and_samples(
    ways: int, shots: int, queries: int, seed: int, grouped: bool
) -> None:
    within = [label[0] for label in LABELS] if grouped else None
    drawn = draw_episodes(LABELS, ways, shots, 7, seed, within, queries=queries)
    assert drawn.support.shape == (7, ways, shots)
    assert drawn.queries.shape == drawn.answers.shape == (7, ways * queries)
    for support, asked, answers in zip(drawn.support, drawn.queries, drawn.answers, strict=True):
        classes = [{LABELS[sample] for sample in shown} for shown in support]
        assert all(len(one) == 1 for one in classes)
        assert len(set.union(*classes)) == ways
        used = [*support.ravel(), *asked]
        assert len(set(used)) == len(used)
        assert [LABELS[sample] for sample in asked] == [next(iter(classes[answer])) for answer in answers]
        if grouped:
            assert len({LABELS[sample][0] for sample in used}) == 1


def test_the_same_seed_draws_the_same_episodes() -> None:
    one, same, other = (draw_episodes(LABELS, 3, 1, 20, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.support, same.support)
    assert (one.support != other.support).any()


@pytest.mark.parametrize(("ways", "shots", "within"), [(13, 1, None), (7, 1, "A"), (2, 5, None)])
def test_too_few_classes_or_samples_are_refused(ways: int, shots: int, within: str | None) -> None:
    groups = None if within is None else [label[0] for label in LABELS]
    with pytest.raises(NotEnoughData, match="draw fewer"):
        draw_episodes(LABELS, ways, shots, 1, 0, groups)
    with pytest.raises(InvalidArgument, match="1 or more"):
        draw_episodes(LABELS, 2, 0, 1, 0)


def test_templates_classify_like_scikit_learns_nearest_neighbour_of_the_means() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(len(LABELS), 4))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    drawn = draw_episodes(LABELS, 4, 3, 40, 0, queries=2)
    ours = episode_accuracy(template_scores(drawn, vectors), drawn.answers)
    for share, support, asked, answers in zip(ours, drawn.support, drawn.queries, drawn.answers, strict=True):
        model = sklearn.neighbors.KNeighborsClassifier(1, metric="cosine")
        model.fit(vectors[support].mean(axis=1), range(4))
        assert share == pytest.approx((model.predict(vectors[asked]) == answers).mean())


def test_one_shot_of_a_score_matrix_is_the_template() -> None:
    vectors = np.eye(12, dtype=np.float32)[[LABELS.index(label) // 5 for label in LABELS]]
    drawn = draw_episodes(LABELS, 5, 1, 10, 0)
    matrix = vectors @ vectors.T
    by_matrix = fused_scores(drawn, lambda probes, references: matrix[np.ix_(probes, references)])
    np.testing.assert_allclose(by_matrix, template_scores(drawn, vectors))
    assert episode_accuracy(by_matrix, drawn.answers).tolist() == [1.0] * 10


def test_shots_are_fused_by_their_mean_or_maximum() -> None:
    drawn = draw_episodes(LABELS, 2, 2, 1, 0)
    scores = np.random.default_rng(1).normal(size=(len(LABELS), len(LABELS)))

    def compare(probes: np.ndarray, references: np.ndarray) -> np.ndarray:
        chosen: np.ndarray = scores[np.ix_(probes, references)]
        return chosen

    for fusion, by_hand in (("mean", np.mean), ("max", np.max)):
        found = fused_scores(drawn, compare, fusion)  # type: ignore[arg-type]
        for query, sample in enumerate(drawn.queries[0]):
            for way, shown in enumerate(drawn.support[0]):
                assert found[0, query, way] == pytest.approx(by_hand([scores[sample, one] for one in shown]))


def test_saying_the_same_about_everything_is_chance() -> None:
    drawn = draw_episodes(LABELS, 4, 1, 10, 0)
    collapsed = np.ones((len(LABELS), 3), np.float32) / np.sqrt(3).astype(np.float32)
    assert episode_accuracy(template_scores(drawn, collapsed), drawn.answers).tolist() == [0.25] * 10


def test_the_interval_narrows_with_episodes() -> None:
    shares = np.random.default_rng(0).binomial(20, 0.9, 1000) / 20
    few, many = mean_accuracy(shares[:40]), mean_accuracy(shares)
    assert few.interval.low < few.value < few.interval.high
    # A normal interval of the mean, by hand.
    reach = 1.96 * shares.std() / np.sqrt(1000)
    assert many.interval.high - many.value == pytest.approx(reach, rel=0.15)


def test_runs_are_read(tmp_path: Path) -> None:
    for run, order in (("run01", (2, 1)), ("run02", (1, 2))):
        (tmp_path / run).mkdir()
        lines = [f"{run}/test/item{item:02}.png {run}/training/class{one:02}.png" for item, one in enumerate(order)]
        (tmp_path / run / "class_labels.txt").write_text("\n".join(lines) + "\n")
    first, second = read_runs(tmp_path)
    assert first.tests == ("run01/test/item00.png", "run01/test/item01.png")
    assert first.training == ("run01/training/class01.png", "run01/training/class02.png")
    assert (first.answers.tolist(), second.answers.tolist()) == ([1, 0], [0, 1])
    (tmp_path / "run02" / "class_labels.txt").write_text("only one column\n")
    with pytest.raises(InvalidArgument, match="exactly 2 columns"):
        read_runs(tmp_path)
    with pytest.raises(InvalidArgument, match="all_runs"):
        read_runs(tmp_path / "run01")


@pytest.mark.dataset
def test_the_official_runs_are_twenty_of_twenty(shared_data: Path) -> None:
    runs = read_runs(shared_data / "omniglot" / "all_runs")
    assert [(len(run.tests), len(run.training)) for run in runs] == [(20, 20)] * 20
    assert all(sorted(run.answers) == list(range(20)) for run in runs)


def test_what_training_imports_needs_neither_service_nor_runtime() -> None:
    modules = (
        "few_shot",
        "forgeries",
        "leakage",
        "samples",
        "verification",
        "identification",
        "model_comparison",
        "groups",
    )
    code = f"import sys, {', '.join(f'sameface.evaluation.{name}' for name in modules)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    unwanted = {"grpc", "onnxruntime", "torch", "tritonclient", "cv2", "qdrant_client", "qdrant_edge", "matplotlib"}
    assert not unwanted & {name.partition(".")[0] for name in loaded}
