"""Changed copies are found; pictures that are alike by chance are not."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sameface.evaluation.leakage import compare_digests, dhash, digest, find_leakage


@pytest.fixture
def sides(portraits: Path, tmp_path: Path) -> tuple[dict[Path, str], dict[Path, str]]:
    """Six portraits to train on, and three files held out: the same bytes, a smaller copy, a mirror image."""
    train = {path: path.stem.rpartition("_")[0] for path in sorted(portraits.glob("*.jpg"))}
    same, smaller, mirrored = (tmp_path / f"{name}.jpg" for name in ("same", "smaller", "mirrored"))
    shutil.copy(portraits / "barack_obama.jpg", same)
    with Image.open(portraits / "rishi_sunak.jpg") as image:
        image.resize((image.width // 3, image.height // 3)).save(smaller, quality=40)
    with Image.open(portraits / "jacinda_ardern_2018.jpg") as image:
        ImageOps.mirror(image.convert("RGB")).save(mirrored)
    return train, {same: "x", smaller: "y", mirrored: "rishi"}


def test_what_both_sides_share_is_named(sides: tuple[dict[Path, str], dict[Path, str]], tmp_path: Path) -> None:
    train, held_out = sides
    found = find_leakage(train, held_out)
    assert [(one.name, other.name) for one, other in found.identical_files] == [("barack_obama.jpg", "same.jpg")]
    assert [(one.name, other.name) for one, other in found.near_duplicates] == [("rishi_sunak.jpg", "smaller.jpg")]
    assert found.shared_identities == ("rishi",)
    assert found.counts() == {"identical_files": 1, "near_duplicates": 1, "shared_identities": 1, "unreadable": 0}
    assert not found.is_clean


def test_other_people_and_other_photos_of_one_are_clean(portraits: Path) -> None:
    photos = sorted(portraits.glob("*.jpg"))
    for number, photo in enumerate(photos):
        rest = {path: path.stem for path in photos[:number] + photos[number + 1 :]}
        assert find_leakage(rest, {photo: photo.stem}).is_clean


def test_a_file_that_is_no_picture_is_compared_by_its_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_bytes(b"no picture")
    found = find_leakage({tmp_path / "one": "a"}, {tmp_path / "other": "b"})
    assert found.identical_files == ((tmp_path / "one", tmp_path / "other"),)
    assert found.unreadable == (tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize(("scale", "quality"), [(0.5, 30), (0.75, 60), (1.6, 90)])
def test_the_hash_survives_sizes_and_compression(portraits: Path, scale: float, quality: int) -> None:
    for photo in sorted(portraits.glob("*.jpg")):
        with Image.open(photo) as image:
            before = dhash(image)
            again = io.BytesIO()
            size = (round(image.width * scale), round(image.height * scale))
            image.convert("RGB").resize(size).save(again, "JPEG", quality=quality)
        with Image.open(again) as copy:
            assert (before ^ dhash(copy)).bit_count() <= 6


def test_the_hash_is_which_cells_are_brighter_than_their_left_neighbour() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9), dtype=np.uint8)
    bits = "".join("1" if row[place + 1] > row[place] else "0" for row in pixels for place in range(8))
    assert dhash(Image.fromarray(pixels)) == int(bits, 2)


def test_pictures_are_near_by_the_number_of_bits_and_by_correlation(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    base = rng.integers(0, 256, (64, 72), dtype=np.uint8)
    slightly = np.clip(base.astype(int) + rng.integers(-3, 4, base.shape), 0, 255).astype(np.uint8)
    paths = [tmp_path / f"{name}.png" for name in ("base", "slightly", "other")]
    for path, pixels in zip(paths, (base, slightly, rng.permutation(base)), strict=True):
        Image.fromarray(pixels).save(path)
    digests = [digest(path) for path in paths]
    held_out = {paths[1]: digests[1], paths[2]: digests[2]}
    assert compare_digests({paths[0]: digests[0]}, held_out, set()).near_duplicates == ((paths[0], paths[1]),)
    # Hashes alone would call everything the same.
    assert compare_digests({paths[0]: digests[0]}, held_out, set(), max_distance=64).near_duplicates == (
        (paths[0], paths[1]),
    )


@pytest.mark.dataset
def test_aligned_faces_of_other_people_are_no_duplicates(shared_data: Path) -> None:
    folders = sorted((shared_data / "celeba128").iterdir())[:600]
    photos = {sorted(folder.glob("*.jpg"))[0]: folder.name for folder in folders}
    half = len(photos) // 2
    listed = list(photos.items())
    assert find_leakage(dict(listed[:half]), dict(listed[half:])).is_clean
