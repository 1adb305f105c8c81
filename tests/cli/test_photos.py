"""Which photos a command line names, and which ids folder names give."""

import base64
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.cli.photos import (
    NamedPhoto,
    display_name_of,
    find_people,
    find_photos,
    identity_id,
    identity_ids,
    one_photo_each,
    people_named,
)
from sameface.client import NotAPhoto
from sameface.photo_folders import describe_skipped
from sameface_qdrant.errors import InvalidArgument

JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1"


def make(*paths: Path, content: bytes = b"photo") -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


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


def test_photos_of_a_folder_are_told_by_content(tmp_path: Path) -> None:
    ada, bob = tmp_path / "ada", tmp_path / "bob"
    for path in (
        ada / "b.jfif",
        ada / "c.JPE",
        ada / "d",
        ada / "e.mpo",
        ada / "f.pic",
        ada / "g.txt",
        bob / "only.jfif",
    ):
        make(path, content=JPEG)
    make(ada / "h.jpg", content=b"\x89PNG\r\n\x1a\n")
    make(ada / "i", content=b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    make(ada / "j.avif", content=b"\0\0\0\x18ftypavif\0\0\0\0mif1avif")
    # Meant as photos: the service says what is wrong with them.
    make(ada / "k.jpg", content=b"no photo")
    make(ada / "l.png", content=b"")
    make(ada / "m.jpeg", content=b"\xff\x0a")
    people, skipped = find_people(tmp_path)
    assert "".join(Path(photo.name).stem for photo in people["ada"]) == "bcdefghijklm"
    assert [photo.path for photo in people["bob"]] == [bob / "only.jfif"]
    assert not skipped
    make(ada / "notes.txt")
    assert [photo.name for photo in find_photos([str(ada / "notes.txt")])[0]] == [str(ada / "notes.txt")]
    assert str(ada / "notes.txt") in {photo.name for photo in find_photos([f"{ada}/*"])[0]}


def test_what_is_skipped_is_given_with_its_reason(tmp_path: Path) -> None:
    shots = tmp_path / "shots"
    make(shots / "a.jpg", shots / "sub" / "b.PNG", shots / ".hidden.jpg", shots / ".DS_Store", shots / "notes.txt")
    make(shots / ".thumbs" / "d.jpg", shots / "a.sameface.jpg", tmp_path / "elsewhere" / "e.jpg")
    make(shots / "a.xmp", content=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>")
    make(shots / "Thumbs.db", content=b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    make(shots / "live.mov", content=b"\0\0\0\x14ftypqt  \0\0\0\0qt  ")
    make(shots / "c.jxl", content=b"\xff\x0a")
    make(shots / "d.nef", shots / "e.cr3", content=b"MM\0*\0\0\0\x08")
    make(shots / "e.cr3", content=b"\0\0\0\x18ftypcrx \0\0\0\1crx isom")
    make(shots / "empty", content=b"")
    make(shots / "noise", content=b"\x80\x81\x82\x83")
    make(shots / "ada.b64", content=base64.b64encode(JPEG))
    (shots / "link").symlink_to(tmp_path / "elsewhere")
    (shots / "photo-link").symlink_to(shots / "a.jpg")
    make(tmp_path / "linked", content=JPEG)
    (shots / "photo-link-2").symlink_to(tmp_path / "linked")
    (shots / "gone").symlink_to(tmp_path / "nowhere")
    (shots / "itself").symlink_to("itself")
    os.mkfifo(shots / "pipe.jpg")
    (shots / "pipe-link.jpg").symlink_to("pipe.jpg")
    photos, skipped = find_photos([str(shots)])
    assert [photo.name for photo in photos] == [str(shots / name) for name in ("a.jpg", "photo-link-2", "sub/b.PNG")]
    assert {(one.path.name, one.why) for one in skipped} == {
        (".hidden.jpg", "hidden"),
        (".DS_Store", "hidden"),
        (".thumbs", "hidden"),
        ("a.sameface.jpg", "made by --draw"),
        ("link", "a link to a folder"),
        ("notes.txt", "no photo: text"),
        ("a.xmp", "no photo: XMP"),
        ("Thumbs.db", "no photo: OLE document or thumbnail cache"),
        ("live.mov", "no photo: MP4 or MOV video"),
        ("c.jxl", "JPEG XL is not supported"),
        ("d.nef", "camera raw (NEF) is not supported"),
        ("e.cr3", "camera raw (CR3) is not supported"),
        ("empty", "no photo: empty file"),
        ("noise", "no photo: unknown kind of file"),
        ("ada.b64", "no photo: JPEG as base64 text"),
        ("photo-link", "no photo: text"),
        ("gone", "a broken link"),
        ("itself", "a broken link"),
        ("pipe.jpg", "a pipe, socket or device"),
        ("pipe-link.jpg", "a pipe, socket or device"),
    }


CONTENTS = {
    "jpeg": JPEG,
    "png": b"\x89PNG\r\n\x1a\n",
    "text": b"text",
    "empty": b"",
    "raw": b"II*\0\x10\0\0\0CR\2\0",
    "base64": b"/9j/4AAQSkZJRgABAQ",
}
NAMES = st.text("abAB.~ -é", min_size=1, max_size=6).filter(lambda name: name.strip(".") != "")
SUFFIXES = st.sampled_from(["", ".jpg", ".JFIF", ".txt", ".sameface.jpg", ".heic", ".cr2", ".pic"])


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.builds(str.__add__, NAMES, SUFFIXES), st.sampled_from(sorted(CONTENTS)), max_size=8))
def test_every_file_of_a_folder_is_used_or_named(files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "people" / "ada"
        for file, content in files.items():
            make(folder / file, content=CONTENTS[content])
        make(folder / "z.jpg", content=JPEG)
        people, skipped = find_people(folder.parent)
        used, left = {photo.path for photo in people["ada"]}, {one.path for one in skipped}
        assert not used & left
        assert used | left == set(folder.iterdir())
        for file, content in files.items():
            if content in ("jpeg", "png") and not file.startswith(".") and ".sameface" not in file:
                assert folder / file in used
        assert sum(int(line.split()[0]) for line in describe_skipped(skipped)) == len(skipped)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("https://example.org/ada.jpg", "looks like: URL; download the photo"),
        ("data:image/jpeg;base64,/9j/4AAQSkZJRgABAQ", "looks like: data URI"),
        (base64.b64encode(JPEG * 100).decode(), "looks like: JPEG as base64 text"),
        ("x" * 5000, "a name of 5000 characters does not exist"),
    ],
)
def test_a_text_that_is_no_name_is_told_and_not_quoted(name: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why) as error:
        find_photos([name])
    assert name not in error.value.message
    assert len(error.value.message) < 300


def test_beside_people_everything_skipped_is_given(tmp_path: Path) -> None:
    people = tmp_path / "people"
    make(people / "Ada" / "a.jpg", people / ".git" / "b.jpg", people / "loose.jpg", people / "README.md")
    make(people / "unnamed", content=JPEG)
    (people / "Nobody").mkdir()
    (tmp_path / "Bob").mkdir()
    make(tmp_path / "Bob" / "c.jpg")
    (people / "Bob").symlink_to(tmp_path / "Bob")
    found, skipped = find_people(people)
    assert list(found) == ["Ada", "Bob"]
    assert {(one.path.name, one.why) for one in skipped} == {
        (".git", "hidden"),
        ("loose.jpg", "not in a person's folder"),
        ("unnamed", "not in a person's folder"),
        ("README.md", "no photo: text"),
        ("Nobody", "a folder without photos"),
    }
    make(tmp_path / "flat" / "a.jpg")
    with pytest.raises(InvalidArgument, match="1 skipped \\(not in a person's folder\\)"):
        find_people(tmp_path / "flat")


def test_many_skipped_names_are_cut_short(tmp_path: Path) -> None:
    make(tmp_path / "a.jpg", *(tmp_path / f"{number}.txt" for number in range(7)))
    (line,) = describe_skipped(find_photos([str(tmp_path)])[1])
    assert line.startswith("7 skipped (no photo: text): ")
    assert line.endswith("4.txt, …")


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


def test_the_limit_of_a_photo_is_the_environments(monkeypatch: pytest.MonkeyPatch, portraits: Path) -> None:
    photo = NamedPhoto("photo", portraits / "barack_obama.jpg")
    content = photo.read()
    monkeypatch.setenv("SAMEFACE_CLIENT_MAX_PHOTO_BYTES", str(len(content)))
    assert photo.read() == content
    monkeypatch.setenv("SAMEFACE_CLIENT_MAX_PHOTO_BYTES", str(len(content) - 1))
    with pytest.raises(NotAPhoto, match=f"at most {len(content) - 1} ") as error:
        photo.read()
    assert error.value.reason == "IMAGE_TOO_LARGE"
    for wrong in ("16 MiB", "0", str(1 << 40)):
        monkeypatch.setenv("SAMEFACE_CLIENT_MAX_PHOTO_BYTES", wrong)
        with pytest.raises(InvalidArgument, match="SAMEFACE_CLIENT_MAX_PHOTO_BYTES cannot be used: "):
            photo.read()


def test_a_forgery_is_never_enrolled_as_whom_it_imitates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signers = tmp_path / "signers"
    kept = [signers / "ada" / "Genuine" / "1.png", signers / "ada" / "2.png", signers / "forged" / "3.png"]
    forged = [
        signers / "ada" / "forged" / "4.png",
        signers / "ada" / "FORGERY" / "day" / "5.png",
        signers / "bob" / "forgeries" / "6.png",
    ]
    make(*kept, *forged)
    people, skipped = find_people(signers)
    assert {photo.path for found in people.values() for photo in found} == {*kept}
    assert [*people] == ["ada", "forged"]
    assert {one.path for one in skipped if "forgery" in one.why} == {*forged}
    assert len(skipped) == len(forged)
    monkeypatch.chdir(signers / "ada")
    for names in (["."], ["*"], [str(signers / "ada")], ["forged/4.png", "2.png", "Genuine"]):
        found, left_out = people_named(names, "ada")
        assert sorted(photo.path.resolve() for photo in found["ada"] if photo.path) == sorted(kept[:2])
        assert left_out
    with pytest.raises(InvalidArgument, match="no photo is left for ada \\(1 skipped \\(a skilled forgery"):
        people_named(["forged"], "ada")
    make(tmp_path / "kinds" / "Original" / "1.png", tmp_path / "kinds" / "forged" / "1.png")
    with pytest.raises(InvalidArgument, match="none of signers"):
        find_people(tmp_path / "kinds")
