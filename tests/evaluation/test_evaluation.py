"""Pairs, folds and operating points, against counting by hand and brute force."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.evaluation.dataset import read_pairs, read_photos
from sameface.evaluation.operating_points import cross_pairs, measure_thresholds
from sameface.evaluation.pairs import best_threshold, pair_accuracy, single_set_folds
from sameface_qdrant.errors import InvalidArgument


def photo(root: Path, name: str, number: int) -> Path:
    path = root / name / f"{name}_{number:04d}.jpg"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    return path


def test_a_development_list_is_one_set(tmp_path: Path) -> None:
    ada, again, bob = photo(tmp_path, "Ada", 1), photo(tmp_path, "Ada", 2), photo(tmp_path, "Bob", 1)
    (tmp_path / "pairs.txt").write_text("1\nAda\t1\t2\nAda\t2\tBob\t1\n")
    mated, other = read_pairs(tmp_path / "pairs.txt", tmp_path)
    assert (mated.first, mated.second, mated.mated, mated.fold) == (ada, again, True, 0)
    assert (other.first, other.second, other.mated, other.fold) == (again, bob, False, 0)


def test_a_list_of_several_folds_keeps_them(tmp_path: Path) -> None:
    for name in ("Ada", "Bob"):
        for number in (1, 2):
            photo(tmp_path, name, number)
    (tmp_path / "pairs.txt").write_text("2\t1\nAda 1 2\nAda 1 Bob 1\nBob 1 2\nAda 2 Bob 2\n")
    assert [(pair.mated, pair.fold) for pair in read_pairs(tmp_path / "pairs.txt", tmp_path)] == [
        (True, 0),
        (False, 0),
        (True, 1),
        (False, 1),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2\nAda 1 2\n", "announces 4"),
        ("1\nAda 1 2\nAda 1 2 3 4\n", "3 or 4 columns"),
        ("1\nAda 1 2\nAda 1 Cy 1\n", "does not exist"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    photo(tmp_path, "Ada", 1)
    photo(tmp_path, "Ada", 2)
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(InvalidArgument, match=message):
        read_pairs(tmp_path / "pairs.txt", tmp_path)


def test_photos_are_labelled_by_their_folder(tmp_path: Path) -> None:
    ada = photo(tmp_path, "Ada", 1)
    (tmp_path / "Ada" / "notes.txt").write_text("")
    assert read_photos(tmp_path) == {ada: "Ada"}
    with pytest.raises(InvalidArgument, match="holds no photos"):
        read_photos(tmp_path / "Ada")


pairs = st.lists(st.tuples(st.integers(-10, 10).map(lambda value: value / 10), st.booleans()), min_size=2, max_size=30)


@given(pairs)
def test_no_threshold_decides_more_pairs_rightly(listed: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in listed])
    mated = np.array([same for _, same in listed])
    found = ((scores >= best_threshold(scores, mated)) == mated).sum()
    tried = [((scores >= threshold) == mated).sum() for threshold in [*scores, 2.0]]
    assert found == max(tried)


def test_each_fold_is_decided_by_the_others() -> None:
    # In fold 1 the scores lie higher, so the threshold that is best on fold 0 accepts its non-mated pair.
    scores = np.array([0.5, 0.1, 0.9, 0.6])
    mated = np.array([True, False, True, False])
    accuracy = pair_accuracy(scores, mated, np.array([0, 0, 1, 1]))
    # Fold 0 at 0.75: 0.5 is refused wrongly, 0.1 rightly. Fold 1 at 0.3: 0.9 rightly accepted, 0.6 wrongly.
    assert accuracy.cross_validated == 0.5
    assert accuracy.standard_error == 0.0
    assert accuracy.best == 0.75


def test_one_set_is_split_into_ten_folds_with_both_kinds_in_each() -> None:
    mated = np.array([True] * 50 + [False] * 50)
    folds = single_set_folds(mated)
    for fold in range(10):
        assert mated[folds == fold].sum() == 5
        assert (~mated[folds == fold]).sum() == 5
    assert (np.diff(folds[:50]) >= 0).all()


def test_cross_pairs_are_all_pairs_once() -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(9, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = list("aaabbcdde")
    crossed = cross_pairs(vectors, names)
    mated, non_mated, weights = [], [], []
    for first in range(9):
        for second in range(first + 1, 9):
            score = float(vectors[first] @ vectors[second])
            if names[first] == names[second]:
                mated.append(score)
                weights.append({"a": 1 / 3, "b": 1.0, "d": 1.0}[names[first]])
            else:
                non_mated.append(score)
    np.testing.assert_allclose(crossed.mated, mated)
    np.testing.assert_allclose(crossed.non_mated, non_mated)
    np.testing.assert_allclose(crossed.mated_weights, weights)
    assert crossed.identities == 5


def test_a_measured_threshold_keeps_its_rate_and_is_not_stricter_than_needed() -> None:
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(200, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    crossed = cross_pairs(vectors, [f"p{number // 2}" for number in range(200)])
    for point in measure_thresholds(crossed, (1e-2, 1e-3)):
        assert (crossed.non_mated >= point.threshold).mean() <= point.target_fmr
        assert (crossed.non_mated >= point.threshold - 3e-4).mean() > 0.8 * point.target_fmr
        assert point.fnmr == (crossed.mated < point.threshold).mean()
        assert point.fnmr_by_identity == pytest.approx(point.fnmr)
