"""How well quality predicts errors: on made-up samples, and as a command on the portraits."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sameface.evaluation.assessed import AssessedPhotos
from sameface.evaluation.quality import GATE, UNIFIED, ComponentCurve, QualityOfSet, measure_quality
from sameface.evaluation.quality_report import quality_pictures, quality_tables
from sameface.evaluation.samples import Samples
from sameface.launcher import Service
from sameface_qdrant.errors import NotEnoughData
from tests.cli.conftest import Run

PEOPLE, EACH = 40, 3


@pytest.fixture
def assessed() -> AssessedPhotos:
    """People with three photos. One photo of every fourth person is spoiled, and ``Good`` alone knows which."""
    rng = np.random.default_rng(0)
    names = [f"p{number:02}" for number in range(PEOPLE) for _ in range(EACH)]
    centres = {name: rng.normal(size=32) for name in sorted(set(names))}
    spoiled = np.array([place % (4 * EACH) == 0 for place in range(len(names))])
    vectors = np.stack([centres[name] + 0.3 * rng.normal(size=32) for name in names])
    vectors[spoiled] = rng.normal(size=(spoiled.sum(), 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    samples = Samples(
        vectors.astype(np.float32), tuple(names), tuple(f"{name}/{place}.jpg" for place, name in enumerate(names))
    )
    quality = {
        UNIFIED: np.where(spoiled, 10.0, 90.0),
        "Good": np.where(spoiled, 10.0, 50.0) + rng.uniform(size=len(names)),
        "Wrong": np.where(spoiled, 90.0, 50.0) + rng.uniform(size=len(names)),
        "Constant": np.full(len(names), 70.0),
    }
    points = tuple(np.zeros((5, 2)) for _ in names)
    return AssessedPhotos(samples, quality, spoiled, points, ("",) * len(names))


def by_name(one: QualityOfSet) -> dict[str, ComponentCurve]:
    return {part.name: part for part in one.components}


def test_a_component_that_knows_the_spoiled_photos_removes_the_errors(assessed: AssessedPhotos) -> None:
    figures = measure_quality(assessed, None, 1e-2, replicates=100, seed=0)
    (as_they_are,) = figures.sets
    assert as_they_are.comparisons == PEOPLE * EACH
    # Two of the three pairs of every fourth person.
    assert as_they_are.fnmr.value == pytest.approx(1 / 6, abs=0.02)
    assert as_they_are.refused == pytest.approx(1 / 12)
    assert as_they_are.fnmr_passing == 0.0
    parts = by_name(as_they_are)
    for name in (GATE, "Good"):
        assert parts[name].fnmr_after.value == pytest.approx(as_they_are.ideal.fnmr(0.05), abs=1e-9)
        assert parts[name].areas[-1].interval.high < 1.0
        assert parts[name].curve.fnmr(0.2) == pytest.approx(0.0, abs=1e-9)
    assert parts["Wrong"].areas[-1].value > 1.0
    assert parts["Constant"].areas[-1].value == pytest.approx(1.0)
    (table,) = quality_tables(figures)
    verdicts = {row[0]: row[-1] for row in table.rows}
    assert verdicts.pop("Wrong") != "yes"
    assert verdicts == {GATE: "yes", UNIFIED: "yes", "Good": "yes", "Constant": "not shown"}
    assert "<svg" in quality_pictures(figures)[0].svg


def test_copies_are_compared_with_the_other_photos_of_their_identity(assessed: AssessedPhotos) -> None:
    figures = measure_quality(assessed, assessed, 1e-2, replicates=100, seed=0)
    copies = figures.sets[1]
    assert copies.comparisons == PEOPLE * EACH * (EACH - 1)
    assert copies.fnmr.value == pytest.approx(figures.sets[0].fnmr.value)
    nobody = replace(
        assessed, samples=replace(assessed.samples, identity=tuple(f"q{place}" for place in range(PEOPLE * EACH)))
    )
    with pytest.raises(NotEnoughData):
        measure_quality(assessed, nobody, 1e-2, replicates=100, seed=0)


def test_quality_of_photos_through_a_real_service(
    sameface: Run, service: Service, portraits: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    for photo in sorted(portraits.glob("*.jpg")):
        name = photo.stem.rstrip("_0123456789")
        (people / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, people / name)
    (people / "barack_obama" / "broken.jpg").write_bytes(b"no photo")
    report = tmp_path / "report.html"
    arguments = [str(people), "--address", service.address, "--degrade", "blur, cropped", "--replicates", "100"]
    result = sameface("evaluate", "quality", *arguments, "--html", str(report), "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    as_they_are, copies = found["sets"]
    assert (as_they_are["comparisons"], as_they_are["fnmr"]["value"], as_they_are["refused"]) == (2, 0.0, 0.0)
    assert 0 < copies["comparisons"] <= 4
    assert copies["refused"] > 0
    assert found["conditions"][0]["unreadable"] == {"barack_obama/broken.jpg": "IMAGE_UNDECODABLE"}
    names = [part["name"] for part in copies["components"]]
    assert names[0] == GATE
    assert {"Sharpness", "FaceCompleteness", "DynamicRange", "DetectionScore"} <= set(names)
    assert report.read_text().count("<svg") == 2
    told = sameface("evaluate", "quality", *arguments).stdout
    assert "predicts errors" in told
    assert "Conditions of the copies" in told
    refused = sameface("evaluate", "quality", str(people), "--degrade", "rain")
    assert (refused.returncode, "expected all, or some of blur" in refused.stderr) == (3, True)
