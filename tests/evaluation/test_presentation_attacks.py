"""`sameface evaluate pad`: on scores that are known, and once on photos through a real service."""

import doctest
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sameface.evaluation import presentation_attack_report as report
from sameface.evaluation.presentation_attacks import (
    Presentations,
    measure_attacks,
    read_attacks,
    read_bona_fide,
)
from sameface.photo_folders import Skipped
from sameface_qdrant.errors import InvalidArgument
from tests.cli.conftest import Run
from tests.toy_pad import tinted, with_toy_pad

pytestmark = pytest.mark.usefixtures("every_version")


def group(*scores: float, without_face: int = 0) -> Presentations:
    names = tuple(f"{number}.jpg" for number in range(len(scores)))
    return Presentations(
        names, np.array(scores, dtype=np.float64), tuple(f"none{number}.jpg" for number in range(without_face))
    )


def test_rates_of_a_worked_example() -> None:
    attacks = {"print": group(0.1, 0.2, 0.3, 0.6, without_face=1), "replay": group(0.4, 0.8), "mask": group()}
    found = measure_attacks(group(0.55, 0.7, 0.9, 0.95, without_face=2), attacks, 0.6)
    apcer = {species: rate and rate.value for species, rate in found.apcer.items()}
    assert apcer == {"print": 0.25, "replay": 0.5, "mask": None}
    assert (found.worst, found.bpcer.value) == ("replay", 0.25)
    assert {species: rate.value for species, rate in found.apnrr.items()} == {"print": 0.2, "replay": 0.0}
    assert found.bpnrr.value == pytest.approx(2 / 6)
    # Nothing above 0.8 passes for an attack, so two of four people are left.
    assert [(point.name, point.bpcer.value) for point in found.points] == [
        ("BPCER10", 0.5),
        ("BPCER20", 0.5),
        ("BPCER100", 0.5),
    ]
    assert found.points[0].threshold == np.nextafter(0.8, 1)
    record = report.pad_record(found, "toy", ("live", "attack"))
    assert json.loads(json.dumps(record))["apcer"]["value"] == 0.5
    assert record["attacks"]["mask"]["apcer"] is None
    assert len(report.pad_pictures(found)) == 2


@pytest.mark.parametrize("scores", [(1.0, 1.0), (0.0,)], ids=["all pass", "none passes"])
def test_an_extreme_detector_is_drawn_and_told(scores: tuple[float, ...]) -> None:
    found = measure_attacks(group(1.0, 1.0), {"print": group(*scores)}, 0.5)
    assert all("<svg" in picture.svg for picture in report.pad_pictures(found))
    record = report.pad_record(found, "toy", ("live", "attack"))
    assert [point["attainable"] for point in record["bpcer_at_apcer"]] == [scores == (0.0,)] * 3
    thresholds = [row[1] for row in report.pad_tables(found, "toy", ("live", "attack"))[1].rows]
    assert thresholds == ["none up to 1" if scores == (1.0, 1.0) else "0.000001"] * 3


def test_a_printed_threshold_refuses_what_it_should() -> None:
    assert doctest.testmod(report).failed == 0


def test_sub_folders_are_species(tmp_path: Path) -> None:
    for name in ("live/ada/1.jpg", "live/2.png", "attack/print/a/3.jpg", "attack/replay/4.jpg", "attack/5.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "attack" / "notes").mkdir()
    (tmp_path / "attack" / "notes" / "read.txt").write_text("no photo")
    assert [path.name for path in read_bona_fide(tmp_path / "live")] == ["2.png", "1.jpg"]
    found = {species: [path.name for path in photos] for species, photos in read_attacks(tmp_path / "attack").items()}
    assert found == {"print": ["3.jpg"], "replay": ["4.jpg"], "unsorted": ["5.jpg"]}


def test_presentations_are_told_by_their_content_and_all_else_is_named(tmp_path: Path) -> None:
    for name in ("print/1", "print/deep/2.heic", "3", "notes.txt", "print/notes.txt", "print/.4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no photo" if name.endswith(".txt") else b"\xff\xd8\xff\xe0")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "print" / "deep")
    (tmp_path / "print" / "gone.png").symlink_to("nowhere")
    skipped: list[Skipped] = []
    found = {name: [path.name for path in paths] for name, paths in read_attacks(tmp_path, skipped).items()}
    assert found == {"elsewhere": ["2.heic"], "print": ["1", "2.heic"], "unsorted": ["3"]}
    left_out = {("notes.txt", "no photo: text"), (".4.jpg", "hidden"), ("gone.png", "cannot be read")}
    assert {(one.path.name, one.why) for one in skipped} == left_out
    skipped.clear()
    assert [path.name for path in read_bona_fide(tmp_path / "print", skipped)] == ["1", "2.heic"]
    assert {(one.path.name, one.why) for one in skipped} == left_out


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    for read in (read_bona_fide, read_attacks):
        with pytest.raises(InvalidArgument, match="contains no photos"):
            read(tmp_path)
    with pytest.raises(InvalidArgument, match="no face was found in any photo of the live folder"):
        measure_attacks(group(without_face=1), {"print": group(0.1)})
    with pytest.raises(InvalidArgument, match="attack folder"):
        measure_attacks(group(0.9), {"print": group(without_face=1)})
    with pytest.raises(InvalidArgument, match="expected 0 to 1"):
        measure_attacks(group(0.9), {"print": group(0.1)}, 1.5)


def test_photos_through_a_service(sameface: Run, tmp_path: Path, portraits: Path) -> None:
    live, prints, screens = tmp_path / "live", tmp_path / "attack" / "print", tmp_path / "attack" / "replay"
    for folder in (live, prints, screens):
        folder.mkdir(parents=True)
    for photo in sorted(portraits.glob("*.jpg"))[:2]:
        (live / f"{photo.stem}.png").write_bytes(tinted(photo, 50))
        (prints / f"{photo.stem}.png").write_bytes(tinted(photo, -50))
        (screens / f"{photo.stem}.png").write_bytes(tinted(photo, 50))
    Image.new("RGB", (120, 120)).save(prints / "dark.png")
    (live / "broken.jpg").write_bytes(b"no photo")
    # The client refuses this one.
    (live / "text.jpg").write_text("/9j/4AAQSkZJRgABAQ")
    repository, _ = with_toy_pad(tmp_path)
    arguments = ["evaluate", "pad", str(live), str(tmp_path / "attack"), "--inference", "onnx"]
    environment = {"SAMEFACE_MODEL_REPOSITORY": str(repository), "SAMEFACE_EMBEDDER_VERSION": "1"}
    result = sameface(*arguments, "--html", str(tmp_path / "report.html"), "--json", **environment)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["model"].startswith("face_pad version 1")
    assert (found["bona_fide"]["bpcer"]["value"], found["bona_fide"]["unreadable"]) == (0.0, ["broken.jpg", "text.jpg"])
    assert found["attacks"]["print"]["apcer"]["value"] == 0.0
    assert found["attacks"]["print"]["apnrr"]["value"] == pytest.approx(1 / 3)
    assert (found["worst_species"], found["apcer"]["value"]) == ("replay", 1.0)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2
    assert re.search(r"APCER, worst species \(replay\)", page)
