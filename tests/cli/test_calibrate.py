"""`sameface gallery calibrate` and `what-if` as a user meets them."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sameface.client import Client
from sameface.launcher import Service
from tests.cli.conftest import Run
from tests.filled import filled_gallery
from tests.plugin.simulated import people


@pytest.fixture(scope="module")
def staff(service: Service) -> Iterator[str]:
    """Id of a gallery of forty people with two templates each."""
    with Client(service.address) as client, filled_gallery(client, 40) as (gallery, _):
        yield gallery


def test_a_gallery_is_measured_calibrated_and_drawn(
    sameface: Run, service: Service, staff: str, tmp_path: Path
) -> None:
    at = {"SAMEFACE_ADDRESS": service.address}
    page, picture = tmp_path / "report.html", tmp_path / "report.png"
    shown = sameface("gallery", "calibrate", staff, "--identities", "--report", str(page), **at)
    assert shown.returncode == 0, shown.stderr
    assert "FMR 0.03" in shown.stdout
    assert "3,120 non-mated comparisons" in shown.stdout
    assert "nothing was changed" in shown.stderr
    assert "runner-up margin 0." in shown.stdout
    assert "verify mated, scope GALLERY" in shown.stdout
    assert page.read_text().count("<svg") == 3
    applied = sameface("gallery", "calibrate", staff, "--apply", "--report", str(picture), "--json", **at)
    assert applied.returncode == 0, applied.stderr
    policy = json.loads(applied.stdout)["gallery"]["policy"]
    assert (policy["revision"], policy["calibrated_size"]) == (2, "40")
    with Image.open(picture) as image:
        # Higher than without expected answers.
        assert (image.format, image.size) == ("PNG", (1950, 1470))


def test_what_is_not_supported_is_said_and_not_applied(
    sameface: Run, service: Service, staff: str, tmp_path: Path
) -> None:
    at = {"SAMEFACE_ADDRESS": service.address}
    table = tmp_path / "scores.csv"
    rows = [f"{score:.4f},a{number},b{number}" for number, score in enumerate(np.linspace(-0.5, 0.4, 50))]
    table.write_text("\n".join(["score,first,second", *rows]))
    shown = sameface("gallery", "calibrate", staff, "--scores", str(table), **at)
    assert shown.returncode == 0, shown.stderr
    assert "instead of 0.03 " in shown.stdout, "printed without markup"
    assert "nobody has two samples" in shown.stdout
    assert "verify mated" not in shown.stdout
    refused = sameface("gallery", "calibrate", staff, "--scores", str(table), "--apply", **at)
    assert refused.returncode == 3
    assert "CALIBRATION_NOT_SUPPORTED" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_cohort_comes_from_a_file(sameface: Run, service: Service, staff: str, tmp_path: Path) -> None:
    at = {"SAMEFACE_ADDRESS": service.address}
    vectors, names = people(np.random.default_rng(3), 60, 1, dimension=128, prefix="s")
    np.savez(tmp_path / "cohort.npz", vectors=vectors, identities=np.array(names))
    shown = sameface("gallery", "calibrate", staff, "--cohort", str(tmp_path / "cohort.npz"), **at)
    assert shown.returncode == 0, shown.stderr
    assert "2,400 non-mated comparisons" in shown.stdout
    assert sameface("gallery", "calibrate", staff, "--report", "report.txt", **at).returncode == 3
    assert sameface("gallery", "calibrate", staff, "--cohort", "/nowhere.npz", **at).returncode == 3


def test_what_if_shows_what_moves(sameface: Run, service: Service, staff: str, tmp_path: Path) -> None:
    at = {"SAMEFACE_ADDRESS": service.address}
    shown = sameface("gallery", "what-if", staff, "identification", "--threshold", "0.9", **at)
    assert shown.returncode == 0, shown.stderr
    assert "FPIR" in shown.stdout
    assert "0.9000" in shown.stdout
    log = tmp_path / "decisions.csv"
    log.write_text("score,lead,mated\n0.95,0.2,1\n0.95,0.01,1\n0.1,,0\n")
    read = sameface(
        "gallery", "what-if", staff, "verification", "--margin", "0", "--decisions", str(log), "--json", **at
    )
    assert read.returncode == 0, read.stderr
    answer = json.loads(read.stdout)
    assert answer["before"]["ambiguous"] == "1"
    assert answer["transitions"][-1]["count"]
    assert answer["after"]["matches"] == "2"
    log.write_text("points\n1\n")
    assert sameface("gallery", "what-if", staff, "verification", "--decisions", str(log), **at).returncode == 3
