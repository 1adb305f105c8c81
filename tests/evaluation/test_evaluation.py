"""Labelled photos, pairs, folds and operating points, compared with counting by hand and brute force."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.evaluation.cross_comparison import NO_SCORE, compare_all_samples
from sameface.evaluation.dataset import Pair, files_passed_over, read_pairs, read_photos
from sameface.evaluation.operating_points import measure_operating_points
from sameface.evaluation.pairs import best_threshold, pair_accuracy, pair_scores, single_set_folds
from sameface.evaluation.samples import Samples
from sameface_qdrant.errors import InvalidArgument


def photo(root: Path, name: str, number: int) -> Path:
    path = root / name / f"{name}_{number:04d}.jpg"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    return path


def test_a_development_list_is_one_set(tmp_path: Path) -> None:
    for name, number in (("Ada", 1), ("Ada", 2), ("Bob", 1)):
        photo(tmp_path, name, number)
    (tmp_path / "pairs.txt").write_text("1\nAda\t1\t2\nAda\t2\tBob\t1\n")
    mated, other = read_pairs(tmp_path / "pairs.txt", tmp_path)
    assert (mated.first, mated.second, mated.mated, mated.fold) == ("Ada/Ada_0001.jpg", "Ada/Ada_0002.jpg", True, 0)
    assert (other.first, other.second, other.mated, other.fold) == ("Ada/Ada_0002.jpg", "Bob/Bob_0001.jpg", False, 0)


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
        ("1\nAda 1 2\nAda one Bob 1\n", "names and numbers"),
        ("pairs\nAda 1 2\n", "expected the number of pairs"),
        ("", "expected the number of pairs"),
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
    photo(tmp_path, "Ada", 2).rename(tmp_path / "beside.jpg")
    assert [one.path for one in files_passed_over(tmp_path)] == [
        tmp_path / "Ada" / "notes.txt", tmp_path / "beside.jpg"
    ]  # fmt: skip
    for empty in (tmp_path / "Ada", tmp_path / "nowhere"):
        with pytest.raises(InvalidArgument, match="contains no photos"):
            read_photos(empty)


def test_a_photo_of_a_data_set_is_told_by_its_content_and_all_else_is_named(tmp_path: Path) -> None:
    ada = tmp_path / "Ada"
    for name in ("1.jpg", "2", "3.heic", "4.photo", "5.JFIF", ".6.jpg", "7.txt", "8.pcx"):
        photo(tmp_path, "Ada", 0).rename(ada / name)
    (ada / "2").write_bytes(b"\xff\xd8\xff\xe0")
    (ada / "4.photo").write_bytes(b"\x89PNG\r\n\x1a\n")
    (ada / "7.txt").write_bytes(b"notes")
    (ada / "8.pcx").write_bytes(b"\x0a\x05\x01")
    (ada / "9.jpg").mkdir()
    (ada / "gone.jpg").symlink_to("nowhere")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README").write_text("photos")
    assert read_photos(tmp_path) == {ada / name: "Ada" for name in ("1.jpg", "2", "3.heic", "4.photo", "5.JFIF")}
    assert {(one.path.name, one.why) for one in files_passed_over(tmp_path)} == {
        (".cache", "hidden"),
        (".6.jpg", "hidden"),
        ("7.txt", "no photo: text"),
        ("8.pcx", "PCX is not supported"),
        ("9.jpg", "a folder in an identity's folder"),
        ("gone.jpg", "cannot be read"),
        ("README", "no photo: text"),
    }


def test_a_list_alone_names_samples(tmp_path: Path, people: Samples) -> None:
    (tmp_path / "pairs.txt").write_text("1\nAda 1 2\nAda 1 Cy 1\n")
    pairs = read_pairs(tmp_path / "pairs.txt")
    assert [pair.second for pair in pairs] == ["Ada/Ada_0002.jpg", "Cy/Cy_0001.jpg"]
    with pytest.raises(InvalidArgument, match="not among the samples"):
        pair_scores(people, pairs)


def test_a_pair_without_a_face_scores_below_everything(people: Samples) -> None:
    one, other = people.sample[:2]
    found = pair_scores(people, [Pair(one, other, False, 0), Pair(one, people.failures[0].sample, True, 0)])
    assert found[0] == float(people.vectors[0] @ people.vectors[1])
    assert found[1] == NO_SCORE


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


def test_a_measured_threshold_keeps_its_rate_and_is_not_stricter_than_needed(people: Samples) -> None:
    scores = people.vectors @ people.vectors.T
    first, second = np.triu_indices(len(scores), 1)
    same = np.array(people.identity)[first] == np.array(people.identity)[second]
    non_mated, mated = scores[first, second][~same], scores[first, second][same]
    for point in measure_operating_points(compare_all_samples(people), (1e-1, 1e-2)):
        assert (non_mated >= point.threshold).mean() <= point.target_fmr
        # The next lower score would be accepted too.
        assert (non_mated >= non_mated[non_mated < point.threshold].max()).mean() > point.target_fmr
        # Nine mated comparisons are with photos without a face.
        assert point.fnmr == ((mated < point.threshold).sum() + 9) / (mated.size + 9)


def test_a_threshold_of_four_decimals_is_above_what_it_excludes() -> None:
    """The score 0.5 is accepted by 0.5 itself: rounding the threshold just above it up must not fall back to it."""
    halves = np.array([[1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0]], np.float32)
    found = measure_operating_points(compare_all_samples(Samples(halves, ("a", "b", "a"), ("1", "2", "3"))), (0.1,))
    assert found[0].threshold == 0.5001
