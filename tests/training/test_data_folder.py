"""Wrong data is refused before it is read: what was given, what is expected and what to do."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from sameface_qdrant.errors import SamefaceError
from sameface_train.checkpoint import load_trained
from sameface_train.comparison.drawings import read_official
from sameface_train.comparison.signatures import read_signatures
from sameface_train.data import read_data
from sameface_train.data_folder import check_folder
from sameface_train.errors import UnusableData
from sameface_train.leakage import find_leakage
from sameface_train.samples import nesting_hint, read_folder, read_omniglot


def image(path: Path, side: int = 28) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((side, side), np.uint8))


def missing(root: Path) -> Path:
    (root / "drawings").mkdir()
    return root / "drawing"


def a_file(root: Path) -> Path:
    (root / "drawings.zip").write_bytes(b"PK")
    return root / "drawings.zip"


def empty(root: Path) -> Path:
    (root / "d").mkdir()
    (root / "d" / ".hidden").touch()
    return root / "d"


def loose(root: Path) -> Path:
    image(root / "d" / "1.png")
    image(root / "d" / "2.png")
    return root / "d"


def no_image(root: Path) -> Path:
    (root / "d").mkdir()
    (root / "d" / "notes.txt").write_text("none")
    return root / "d"


def without_images(root: Path) -> Path:
    (root / "d" / "ada").mkdir(parents=True)
    (root / "d" / "ada" / "notes.txt").write_text("none")
    return root / "d"


def too_deep(root: Path) -> Path:
    image(root / "d" / "images" / "ada" / "1.png")
    image(root / "d" / "images" / "bob" / "1.png")
    return root / "d"


def alone(root: Path) -> Path:
    image(root / "d" / "ada" / "1.png")
    return root / "d"


WRONG: list[tuple[Callable[[Path], Path], str]] = [
    (missing, "{root}/drawing does not exist; expected {what}: did you mean {root}/drawings?"),
    (a_file, "{root}/drawings.zip is a file; expected a folder with {what}: unpack it"),
    (empty, "{root}/d is empty; expected {what}: put images there"),
    (
        loose,
        "{root}/d holds 2 images itself, for instance 1.png, and no sub-folder; expected {what}: make a sub-folder for "
        "each identity, or give {root} if d is one identity",
    ),
    (no_image, "{root}/d holds no sub-folder and no image, but 1 other file, for instance notes.txt; expected {what}"),
    (without_images, "{root}/d holds 1 sub-folder without an image; expected {what}: give the folder of the images"),
    (
        too_deep,
        "the images of {root}/d lie too deep, for instance in images/ada, and not directly in 1 sub-folder of it; "
        "expected {what}: give {root}/d/images if ada is an identity",
    ),
]
WHAT = "one sub-folder of images for each identity, <identity>/<image>"


@pytest.mark.parametrize(("make", "message"), WRONG, ids=lambda one: getattr(one, "__name__", ""))
def test_each_wrong_folder_is_named_with_what_is_expected_and_what_to_do(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    given = make(tmp_path)
    expected = message.format(root=tmp_path, what=WHAT)
    good = tmp_path / "good"
    image(good / "ada" / "1.png")
    readers: list[Callable[[], object]] = [
        lambda: read_data(given, "conv5"),
        lambda: read_data(given, "signature"),
        lambda: read_folder(given, side=28, grey=True),
        lambda: find_leakage(given, good),
        lambda: find_leakage(good, given),
        lambda: check_folder(given, deeper=False),
    ]
    for reader in readers:
        with pytest.raises(UnusableData) as refused:
            reader()
        assert refused.value.message.startswith(expected)
        assert refused.value.metadata["field"] in ("data", "judged_on")


def test_every_other_path_says_what_it_expects(tmp_path: Path) -> None:
    image(tmp_path / "one" / "genuine" / "1.png")
    image(tmp_path / "deep" / "all" / "ada" / "genuine" / "1.png")
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "network.pt").touch()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "checkpoint.pt").touch()
    for read, name, message in (
        (lambda path: read_omniglot(path, "background"), "o.npz", "does not exist; expected Omniglot's packed file"),
        (lambda path: read_omniglot(path, "background"), "one", "is a folder; expected Omniglot's packed file"),
        (read_official, "all_runs", "does not exist; expected the 20 official runs"),
        (read_signatures, "one", f"give the folder of all signers, {tmp_path}"),
        (read_signatures, "one/genuine", f"give the folder of all signers, {tmp_path}"),
        (read_signatures, "deep", f"give {tmp_path}/deep/all"),
        (lambda path: read_data(path, "signature"), "deep", f"give {tmp_path}/deep/all"),
        (load_trained, "nowhere", "does not exist; expected the folder of a run"),
        (load_trained, "runs", f"give one of its 1, for instance {tmp_path}/runs/first"),
        (load_trained, "runs/first/network.pt", "is a file; expected the folder of a run"),
        (load_trained, "half", "holds a run that is not finished; continue it"),
    ):
        with pytest.raises(SamefaceError) as refused:
            read(tmp_path / name)
        assert message in refused.value.message, name


def test_a_right_folder_passes_at_both_depths(tmp_path: Path) -> None:
    check_folder(alone(tmp_path), deeper=False)
    for name in ("ada", "bob"):
        for number in (1, 2):
            image(tmp_path / "sessions" / name / f"day{number}" / "1.png")
    check_folder(tmp_path / "sessions")
    with pytest.raises(UnusableData, match=r"lie too deep, for instance in ada/day1, .* in 2 sub-folders"):
        check_folder(tmp_path / "sessions", deeper=False)
    samples = read_folder(tmp_path / "sessions", side=28, grey=True)
    assert samples.identities == ("ada", "bob")
    assert "The images lie in 4 sub-folders of these 2, for instance ada/day1" in nesting_hint(samples)
    image(tmp_path / "sessions" / "ada" / "0.png")
    image(tmp_path / "sessions" / "stray.png")
    mixed = read_folder(tmp_path / "sessions", side=28, grey=True)
    assert mixed.skipped["PASSED_OVER"] == ["stray.png"]
    assert nesting_hint(mixed) == ""


@pytest.mark.parametrize(
    ("backbone", "kinds"),
    [
        ("conv5", ("genuine", "forgery")),
        ("conv5", ("", "forged")),
        ("sface", ("Genuine", "FORGED")),
        ("signature", ("original", "forgeries")),
        ("signature", ("", "Forgery")),
    ],
)
def test_forgeries_are_never_of_the_signer_whom_they_imitate(
    backbone: str, kinds: tuple[str, str], tmp_path: Path
) -> None:
    side = {"conv5": (28, 28), "sface": (128, 128), "signature": (90, 200)}[backbone]
    for signer in ("ada", "bob"):
        for kind in kinds:
            for number in range(2):
                path = tmp_path / "all" / signer / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), np.full((*side, 3), 255, np.uint8))
    read = read_data(tmp_path / "all", backbone)
    assert read.identities == ("ada/forgery", "ada/genuine", "bob/forgery", "bob/genuine")
    assert read.bases == read.groups == ("ada", "ada", "bob", "bob")
    for label, name in zip(read.labels, read.names, strict=True):
        assert read.identities[label].endswith("/forgery") == (name.split("/")[1] == kinds[1])
    with pytest.raises(UnusableData, match=rf"too deep.*give {tmp_path}/all"):
        read_data(tmp_path, backbone)
    image(tmp_path / "more" / "cy" / "1.png")
    with pytest.raises(UnusableData, match=rf"kind lies too deep; expected <signer>/genuine.*give {tmp_path}/all"):
        read_data(tmp_path, backbone)
    if kinds[0]:
        with pytest.raises(UnusableData, match=rf"none of signers.*give the folder of all signers, {tmp_path}/all"):
            read_data(tmp_path / "all" / "ada", backbone)


def test_a_folder_of_originals_without_forgeries_is_one_identity(tmp_path: Path) -> None:
    for name in ("ada/original/1.png", "ada/2.png", "bob/day1/original/1.png", "bob/3.png"):
        image(tmp_path / name)
    assert read_data(tmp_path, "conv5").identities == ("ada", "bob")
