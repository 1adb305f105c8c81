"""What an interrupted enrolment has done is not done again, and nothing else is skipped."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from PIL import Image

from sameface.cli import resume
from sameface.cli.resume import resumed
from tests.cli.conftest import Run, lines

ONE, TWO = str(uuid.uuid4()), str(uuid.uuid4())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMEFACE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "enroll"


def test_a_run_that_ended_early_is_resumed_and_a_complete_one_leaves_nothing(cache: Path) -> None:
    with resumed("here:1", "staff", 5, ["people"], restart=False) as first:
        assert first.enrolled == {}
        first.add(ONE, TWO)
    (file,) = cache.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    with resumed("here:1", "staff", 5, ["people"], restart=False) as second:
        assert second.enrolled == {ONE: TWO}
        second.add(TWO, ONE)
    with resumed("here:1", "staff", 5, ["people"], restart=False) as third:
        assert third.enrolled == {ONE: TWO, TWO: ONE}
        third.complete()
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    ("address", "gallery", "made", "photos"),
    [
        ("there:1", "staff", 5, ["people"]),
        ("here:1", "guests", 5, ["people"]),
        ("here:1", "staff", 6, ["people"]),
        ("here:1", "staff", 5, ["others"]),
    ],
)
def test_another_service_gallery_or_folder_is_not_resumed(
    address: str, gallery: str, made: int, photos: list[str]
) -> None:
    with resumed("here:1", "staff", 5, ["people"], restart=False) as first:
        first.add(ONE, TWO)
    with resumed(address, gallery, made, photos, restart=False) as other:
        assert other.enrolled == {}
    with resumed("here:1", "staff", 5, ["people"], restart=True) as again:
        assert again.enrolled == {}


@pytest.mark.parametrize("torn", [1, 36, 37, 50, 72])
def test_a_line_that_a_kill_has_cut_counts_for_nothing(cache: Path, torn: int) -> None:
    with resumed("here:1", "staff", 5, ["people"], restart=False) as first:
        first.add(ONE, TWO)
    (file,) = cache.iterdir()
    with file.open("ab") as cut:
        cut.write(f"{TWO} {ONE}\n".encode()[:torn])
    for _ in range(2):
        with resumed("here:1", "staff", 5, ["people"], restart=False) as second:
            assert second.enrolled == {ONE: TWO}
            second.add(ONE, TWO)
    file.write_bytes(b"\xff\xfe not ours")
    with resumed("here:1", "staff", 5, ["people"], restart=False) as third:
        assert third.enrolled == {}


def test_without_a_writable_folder_nothing_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(resume, "cache_folder", lambda: tmp_path / "file")
    with resumed("here:1", "staff", 5, ["people"], restart=False) as first:
        first.add(ONE, TWO)
        assert first.enrolled == {}


def test_an_enrolment_that_was_killed_goes_on_where_it_was(
    sameface: Run, gallery: str, people: Path, portraits: Path, cache: Path
) -> None:
    # Thirty people have one face here.
    assert sameface("gallery", "update", gallery, "--on-collision", "warn").returncode == 0
    with Image.open(portraits / "barack_obama.jpg") as image:
        image.convert("RGB").resize((160, 160)).save(people / "small.jpg")
    photo = (people / "small.jpg").read_bytes()
    (people / "small.jpg").unlink()
    for number in range(30):
        (people / f"person {number}").mkdir()
        # A byte after the end of the image makes another photo of it.
        (people / f"person {number}" / "photo.jpg").write_bytes(photo + bytes([number]))
    command = [sys.executable, "-m", "sameface.cli", "enroll", gallery, str(people)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None and not any(file.stat().st_size > 300 for file in cache.glob("*")):
        time.sleep(0.005)
    run.kill()
    run.wait()
    (file,) = cache.iterdir()
    before = sum(1 for line in file.read_text().splitlines() if line)
    assert 4 <= before < 33
    again = sameface("enroll", gallery, str(people), "--json")
    assert again.returncode == 0
    assert f"an earlier run has enrolled {before} of these photos" in again.stderr
    records = lines(again.stdout)
    assert len(records) == 33
    # What was sent but not noted when the run was killed is there too, and is recognised by its request id.
    assert sum(one["status"] == "ALREADY_THERE" for one in records) >= before
    assert sum(not one["quality"] for one in records) == before
    for one in records[:5]:
        listed = lines(sameface("template", "list", gallery, one["identity"], "--json").stdout)
        assert [template["name"] for template in listed] == [one["template"]]
    listed = lines(sameface("identity", "list", gallery, "--json").stdout)
    assert [one["template_count"] for one in listed] == [1] * 33
    assert not list(cache.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_disk_that_becomes_full_costs_only_the_resuming(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open
    monkeypatch.setattr(os, "open", lambda path, *mode: opened("/dev/full", os.O_WRONLY))
    with resumed("here:1", "staff", 5, ["people"], restart=False) as first:
        first.add(ONE, TWO)


def test_a_photo_whose_template_was_deleted_since_is_enrolled_again(sameface: Run, gallery: str, people: Path) -> None:
    (people / "Barack Obama" / "broken.jpg").write_bytes(b"no photo")
    assert sameface("enroll", gallery, str(people)).returncode == 3
    (template,) = lines(sameface("template", "list", gallery, "emmanuel-macron", "--json").stdout)
    name = template["name"].rpartition("/")[2]
    assert sameface("template", "delete", gallery, "emmanuel-macron", name).returncode == 0
    again = sameface("enroll", gallery, str(people), "--json")
    statuses = {one["identity"]: one.get("status") for one in lines(again.stdout) if one["identity"] != "barack-obama"}
    assert statuses["emmanuel-macron"] == "ENROLLED"
    assert len(lines(sameface("template", "list", gallery, "emmanuel-macron", "--json").stdout)) == 1


def test_a_person_who_was_erased_since_is_enrolled_again(
    sameface: Run, gallery: str, people: Path, cache: Path
) -> None:
    (people / "Barack Obama" / "broken.jpg").write_bytes(b"no photo")
    assert sameface("enroll", gallery, str(people)).returncode == 3
    assert len(list(cache.iterdir())) == 1
    assert sameface("identity", "delete", gallery, "emmanuel-macron", "--force").returncode == 0
    (people / "Barack Obama" / "broken.jpg").unlink()
    again = sameface("enroll", gallery, str(people))
    assert "1 of 3 photos enrolled, 2 already there" in again.stderr
    assert not list(cache.iterdir())
