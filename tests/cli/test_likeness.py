"""Photos of several people are not enrolled under one id by mistake."""

import doctest
import io
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sameface.cli import findings, likeness, start
from sameface.cli.likeness import outside_largest_group
from sameface.cli.photos import NamedPhoto, reader
from sameface.client import Client
from tests.cli.conftest import Run, lines

SIX = "6 of 6 photos enrolled"


def groups(vectors: NDArray[np.float32], threshold: float) -> list[set[int]]:
    """The same by joining sets until nothing changes, in order of their first members."""
    found = [{number} for number in range(len(vectors))]
    joined = True
    while joined:
        joined = False
        for one in found:
            for other in found:
                if one is not other and any(vectors[a] @ vectors[b] >= threshold for a in one for b in other):
                    one |= other
                    found.remove(other)
                    joined = True
                    break
            if joined:
                break
    return sorted(found, key=min)


# Whole numbers, because rounding could differ at the threshold.
SMALL = st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=1, max_size=12)


@given(rows=SMALL, threshold=st.integers(-3, 6))
def test_the_largest_group_is_the_one_that_joining_finds(rows: list[list[int]], threshold: int) -> None:
    vectors = np.array(rows, np.float32)
    largest = max(groups(vectors, threshold), key=len)
    assert outside_largest_group(vectors, threshold) == sorted(set(range(len(rows))) - largest)


@pytest.mark.parametrize("module", [findings, likeness, start])
def test_the_examples_of_the_docstrings_hold(module: ModuleType) -> None:
    examples = doctest.testmod(module)
    assert (examples.failed, examples.attempted > 0) == (0, True)


def templates(sameface: Run, gallery: str) -> dict[str, int]:
    listed = lines(sameface("identity", "list", gallery, "--json").stdout)
    return {one["name"].rpartition("/")[2]: one["template_count"] for one in listed}


def test_photos_of_several_people_under_one_id_are_refused_and_nothing_is_stored(
    sameface: Run, gallery: str, portraits: Path
) -> None:
    for more in ([], ["--dry-run"]):
        result = sameface("enroll", gallery, str(portraits), "--as", "x", "--json", *more)
        assert result.returncode == 3
        records = lines(result.stdout)
        assert [one["error"] for one in records] == ["UNLIKE"] * 6
        assert sum(one["metadata"]["unlike"] == "true" for one in records) == 4
        assert all("--allow-unlike" in one["message"] for one in records)
        assert "0 of 6 photos" in result.stderr
        assert "1 identity, 6 refused" in result.stderr
        assert templates(sameface, gallery) == {}
    # Nobody is there who could be asked.
    assert sameface("enroll", gallery, str(portraits), "--as", "x").returncode == 3
    assert templates(sameface, gallery) == {}


def test_with_a_flag_they_are_enrolled_and_the_summary_counts_what_the_guards_found(
    sameface: Run, gallery: str, portraits: Path
) -> None:
    assert sameface("gallery", "update", gallery, "--on-collision", "warn").returncode == 0
    assert sameface("enroll", gallery, str(portraits / "barack_obama.jpg"), "--as", "obama").returncode == 0
    result = sameface("enroll", gallery, str(portraits), "--as", "x", "--allow-unlike", "--json")
    assert result.returncode == 0
    found = [one["findings"] for one in lines(result.stdout)]
    texts = [text for of_photo in found for text in of_photo]
    collisions = sum("looks like another identity" in text for text in texts)
    outliers = sum("unlike the identity's other photos" in text for text in texts)
    assert collisions == 1
    assert outliers >= 1
    assert f"{SIX}, {sum(map(bool, found))} with findings (" in result.stderr
    assert "1 collision" in result.stderr
    assert f"{outliers} outlier" in result.stderr
    assert "1 identity, 0 refused" in result.stderr
    assert templates(sameface, gallery) == {"obama": 1, "x": 6}


def test_photos_of_one_person_are_enrolled(sameface: Run, gallery: str, portraits: Path) -> None:
    photos = [str(portraits / f"emmanuel_macron_{year}.jpg") for year in (2014, 2025)]
    result = sameface("enroll", gallery, *photos, "--as", "macron")
    assert result.returncode == 0, result.stderr
    assert "2 of 2 photos enrolled, 1 identity, 0 refused" in result.stderr


def test_of_a_folder_of_people_only_the_mixed_one_is_refused(
    sameface: Run, gallery: str, people: Path, portraits: Path
) -> None:
    shutil.copy(portraits / "emmanuel_macron_2025.jpg", people / "Emmanuel Macron")
    shutil.copy(portraits / "rishi_sunak.jpg", people / "Barack Obama")
    result = sameface("enroll", gallery, str(people), "--json")
    assert result.returncode == 3
    assert {(one["identity"], one.get("error", one.get("status"))) for one in lines(result.stdout)} == {
        ("barack-obama", "UNLIKE"),
        ("emmanuel-macron", "ENROLLED"),
        ("jacinda-ardern", "ENROLLED"),
    }
    assert templates(sameface, gallery) == {"emmanuel-macron": 2, "jacinda-ardern": 1}
    assert sameface("enroll", gallery, str(people), "--allow-unlike").returncode == 0
    assert templates(sameface, gallery) == {"barack-obama": 2, "emmanuel-macron": 2, "jacinda-ardern": 1}


def test_before_the_gallery_exists_they_are_compared_too(sameface: Run, gallery: str, portraits: Path) -> None:
    arguments = ["enroll", f"{gallery}-new", str(portraits), "--as", "x", "--create-gallery", "--dry-run", "--json"]
    assert [one["error"] for one in lines(sameface(*arguments).stdout)] == ["UNLIKE"] * 6


def test_the_gallerys_policy_says_what_is_unlike(sameface: Run, gallery: str, portraits: Path) -> None:
    arguments = ["enroll", gallery, str(portraits), "--as", "x", "--dry-run"]
    assert sameface("gallery", "update", gallery, "--outlier-threshold", "-1").returncode == 0
    assert sameface(*arguments).returncode == 0
    assert sameface("gallery", "update", gallery, "--outlier-threshold", "0.99").returncode == 0
    assert "5 of 6 photos do not resemble" in sameface(*arguments).stdout
    assert sameface("gallery", "update", gallery, "--on-outlier", "allow").returncode == 0
    assert sameface(*arguments).returncode == 0


def test_photos_without_a_face_are_refused_for_that_alone(
    sameface: Run, gallery: str, portraits: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (300, 300)).save(tmp_path / "nobody.png")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    named = [str(tmp_path / "nobody.png"), str(tmp_path / "broken.jpg"), str(portraits / "barack_obama.jpg")]
    result = sameface("enroll", gallery, *named, "--as", "obama", "--json")
    found = [one.get("error", one.get("status")) for one in lines(result.stdout)]
    assert found == ["FACE_NOT_FOUND", "IMAGE_UNDECODABLE", "ENROLLED"]


def test_only_photos_that_could_be_unlike_cost_an_inference(
    sameface: Run, gallery: str, people: Path, portraits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []
    embed: Any = Client.embed

    def counted(client: Any, photo: bytes, **more: Any) -> Any:
        embedded.append(len(photo))
        return embed(client, photo, **more)

    monkeypatch.setattr(Client, "embed", counted)
    assert sameface("enroll", gallery, str(people)).returncode == 0
    assert embedded == []
    shutil.copy(portraits / "emmanuel_macron_2025.jpg", people / "Emmanuel Macron")
    # What an interrupted run has enrolled is not looked at again.
    (people / "Barack Obama" / "broken.jpg").write_bytes(b"no photo")
    assert sameface("enroll", gallery, str(people)).returncode == 3
    first = len(embedded)
    assert first == 2 + 2
    assert sameface("enroll", gallery, str(people)).returncode == 3
    assert len(embedded) == first + 1
    monkeypatch.undo()


def test_stdin_is_read_once(monkeypatch: pytest.MonkeyPatch, portraits: Path) -> None:
    photo = (portraits / "barack_obama.jpg").read_bytes()
    stdin: Any = SimpleNamespace(buffer=io.BytesIO(photo))
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(stdin.buffer, "seekable", lambda: False, raising=False)
    read = reader()
    assert read(NamedPhoto("stdin", None)) == read(NamedPhoto("stdin", None)) == photo


@pytest.mark.parametrize(("answer", "code", "stored"), [("y", 0, {"x": 2}), ("n", 3, {})])
def test_on_a_terminal_it_is_asked(
    sameface: Run, gallery: str, portraits: Path, answer: str, code: int, stored: dict[str, int]
) -> None:
    terminal, inside = pty.openpty()
    os.write(terminal, f"{answer}\n".encode())
    photos = [str(portraits / name) for name in ("barack_obama.jpg", "rishi_sunak.jpg")]
    command = [sys.executable, "-m", "sameface.cli", "enroll", gallery, *photos, "--as", "x"]
    ended = subprocess.run(command, stdin=inside, stdout=subprocess.PIPE, stderr=inside, check=False, timeout=60)
    os.close(inside)
    shown = b""
    while b"refused" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)
    assert "rishi_sunak.jpg" in shown.decode().replace("\r\n", "")
    assert "Enrol all 2 as x?" in shown.decode()
    assert ended.returncode == code
    assert templates(sameface, gallery) == stored
