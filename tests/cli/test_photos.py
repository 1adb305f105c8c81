"""Which photos a command line names, and which ids folder names give."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sameface.cli.photos import (
    describe_skipped,
    display_name_of,
    find_people,
    find_photos,
    identity_id,
    identity_ids,
    one_photo_each,
)
from sameface_qdrant.errors import InvalidArgument


def make(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photo")


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("Ada Lovelace", "ada-lovelace"),
        ("José Ángel  Núñez", "jose-angel-nunez"),
        ("Łukasz", "lukasz"),
        ("O'Brien (2)", "o-brien-2"),
        ("_x.", "x"),
        ("李小龙", "lixiaolong"),
        ("a" * 100, "a" * 64),
    ],
)
def test_names_become_ids(name: str, identity: str) -> None:
    assert identity_id(name) == identity


def test_names_that_collide_or_vanish_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="both give the id 'ada-l'"):
        identity_ids(["Ada L", "ada-l"])
    with pytest.raises(InvalidArgument, match="no id can be made"):
        identity_id("!!!")


def test_what_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="does not exist"):
        find_photos([str(tmp_path / "*.jpg")])
    with pytest.raises(InvalidArgument, match="holds no photo"):
        find_photos([str(tmp_path)])
    with pytest.raises(InvalidArgument, match="no sub-folder with photos"):
        find_people(tmp_path)
    with pytest.raises(InvalidArgument, match="an empty name does not exist"):
        find_photos([""])
    with pytest.raises(InvalidArgument, match="stdin holds one photo"):
        find_photos(["-", "-"])
    with pytest.raises(InvalidArgument, match="stdin holds one photo"):
        one_photo_each("-", "-")


def test_what_is_skipped_is_given_with_its_reason(tmp_path: Path) -> None:
    shots = tmp_path / "shots"
    make(shots / "a.jpg", shots / "sub" / "b.PNG", shots / "c.heic", shots / ".hidden.jpg", shots / "notes.txt")
    make(shots / ".thumbs" / "d.jpg", shots / "a.sameface.jpg", tmp_path / "elsewhere" / "e.jpg")
    (shots / "link").symlink_to(tmp_path / "elsewhere")
    photos, skipped = find_photos([str(shots)])
    assert [photo.name for photo in photos] == [str(shots / "a.jpg"), str(shots / "sub" / "b.PNG")]
    assert {(one.path.name, one.why) for one in skipped} == {
        ("c.heic", "HEIC is not supported"),
        (".hidden.jpg", "hidden"),
        (".thumbs", "hidden"),
        ("a.sameface.jpg", "made by --draw"),
        ("link", "a link to a folder"),
    }


def test_beside_people_everything_skipped_is_given(tmp_path: Path) -> None:
    people = tmp_path / "people"
    make(people / "Ada" / "a.jpg", people / ".git" / "b.jpg", people / "loose.jpg", people / "README.md")
    (people / "Nobody").mkdir()
    (tmp_path / "Bob").mkdir()
    make(tmp_path / "Bob" / "c.jpg")
    (people / "Bob").symlink_to(tmp_path / "Bob")
    found, skipped = find_people(people)
    assert list(found) == ["Ada", "Bob"]
    assert {(one.path.name, one.why) for one in skipped} == {
        (".git", "hidden"),
        ("loose.jpg", "not in a person's folder"),
        ("Nobody", "a folder without photos"),
    }
    make(tmp_path / "flat" / "a.jpg")
    with pytest.raises(InvalidArgument, match="1 skipped \\(not in a person's folder\\)"):
        find_people(tmp_path / "flat")


def test_many_skipped_names_are_cut_short(tmp_path: Path) -> None:
    make(tmp_path / "a.jpg", *(tmp_path / f"{number}.heic" for number in range(7)))
    (line,) = describe_skipped(find_photos([str(tmp_path)])[1])
    assert line.startswith("7 skipped (HEIC is not supported): ")
    assert line.endswith("4.heic, …")


def test_a_folder_and_a_file_that_cannot_be_read_are_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "Ada" / "a.jpg", tmp_path / "Bob" / "b.jpg")
    (tmp_path / "Ada" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    real = os.scandir

    def scandir(path: Any) -> Iterator[os.DirEntry[str]]:
        # Tests may run as root, for whom permissions do not count.
        if Path(path).name == "Bob":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    photos, _ = find_photos([str(tmp_path)])
    assert [Path(photo.name).name for photo in photos] == ["a.jpg", "gone.jpg", "Bob"]
    for photo in photos[1:]:
        with pytest.raises(OSError, match=photo.name):
            photo.read()
    assert list(find_people(tmp_path)[0]) == ["Ada", "Bob"]


def test_names_of_folders_are_told_apart_as_text() -> None:
    assert display_name_of("Jose\u0301") == "José"
    assert display_name_of("Jos\udce9") != display_name_of("Jos\udce8")
