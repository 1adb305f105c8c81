"""The commands that are not `serve`: what they print, what they write, how they end."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sameface import __version__
from sameface.demo.cases import read_script
from sameface.inference.cards import read_cards
from sameface.settings import model_repository_source
from tests.cli.conftest import Run
from tests.conftest import default_version
from tests.processes import regions, until_no_more_regions
from tools.transcripts.places import stale


def test_the_demo_decides_as_expected_and_reports(sameface: Run, tmp_path: Path) -> None:
    before = regions()
    result = sameface("demo", "--output", str(tmp_path))
    decisions = len(read_script().decisions)
    assert result.stdout.splitlines()[-1] == f"demo: {decisions} of {decisions} decisions as expected"
    assert result.returncode == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["decisions"], report["as_expected"]) == (decisions, decisions)
    assert (report["triton_version"], report["qdrant_edge_version"]) == ("2.51.0", "0.9.0")
    # Triton counted at least one detection for every photo that was sent.
    photos = sum(row["given_as"] == "photo" for row in report["results"]) + len(read_script().enrollments)
    assert report["inference_counts"]["face_detector v1"] >= photos
    assert report["inference_counts"][f"face_embedder v{default_version()}"] >= photos - 1
    for row in report["results"]:
        assert row["outcome"] == row["expected"]
    assert not stale("README.md", {"demo": result.stdout}), "README.md shows other scores: make transcripts"
    page = (tmp_path / "report.html").read_text()
    assert page.count("<article") == decisions + len(read_script().enrollments)
    (default,) = (
        card
        for card in read_cards(model_repository_source())
        if card.version == default_version() and card.embeds_faces
    )
    assert f"Licence of face_embedder v{default.version}, which made the embeddings: {default.licence.weights}" in page
    # Self-contained: nothing is loaded from elsewhere.
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    until_no_more_regions(before)


def test_the_demo_ends_badly_where_a_decision_is_not_as_expected(sameface: Run, tmp_path: Path) -> None:
    # The first three decisions, of which one is said to be another than it is.
    script = "[[decision]]".join(Path("server/sameface/demo/decisions.toml").read_text().split("[[decision]]")[:4])
    changed = tmp_path / "decisions.toml"
    changed.write_text(script.replace('expect = "MATCH"', 'expect = "NO_MATCH"', 1))
    result = sameface("demo", "--output", str(tmp_path), "--inference", "onnx", "--script", str(changed))
    decisions = len(tomllib.loads(script)["decision"])
    assert result.stdout.splitlines()[-1] == f"demo: {decisions - 1} of {decisions} decisions as expected"
    assert result.returncode == 1
    assert "expected NO_MATCH" in re.sub(r"\s+", " ", result.stdout)


def test_the_demo_names_what_is_missing(sameface: Run, tmp_path: Path) -> None:
    result = sameface("demo", "--portraits", str(tmp_path / "nowhere"))
    assert result.returncode == 3
    assert str(tmp_path / "nowhere") in result.stderr


def test_the_expectations_cover_what_the_demo_promises() -> None:
    script = read_script()
    assert len(script.decisions) >= 12
    assert {"MATCH", "NO_MATCH", "AMBIGUOUS", "FACE_NOT_FOUND"} <= {case.expect for case in script.decisions}
    assert any(case.as_embedding for case in script.decisions)
    assert any(not case.claim and case.expect == "NO_MATCH" for case in script.decisions)


@pytest.mark.dataset
def test_pairs_accuracy_is_printed(sameface: Run, shared_data: Path, tmp_path: Path) -> None:
    # A few pairs of the development set show that the command works; the whole set is run by hand.
    listed = (shared_data / "lfw_devtest" / "pairsDevTest.txt").read_text().splitlines()
    part = [*listed[1:501:25], *listed[501:1001:25]]
    (tmp_path / "pairs.txt").write_text("\n".join([str(len(part) // 2), *part]))
    folder = str(shared_data / "lfw_devtest")
    arguments = ["evaluate", "pairs", folder, "--pairs", str(tmp_path / "pairs.txt"), "--inference", "onnx"]
    result = sameface(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert figures["pairs"] == len(part)
    assert figures["accuracy"] > 0.95
    assert figures["without_face"] == 0


@pytest.mark.dataset
def test_operating_points_are_printed(sameface: Run, shared_data: Path, tmp_path: Path) -> None:
    for person in sorted((shared_data / "lfw_devtest").iterdir())[:12]:
        if person.is_dir():
            (tmp_path / person.name).symlink_to(person)
    result = sameface("evaluate", "operating-points", str(tmp_path), "--inference", "onnx", "--json")
    assert result.returncode == 0, result.stderr
    points = json.loads(result.stdout)["operating_points"]
    assert [point["fmr"] for point in points] == [1e-3, 1e-4, 1e-5]


def test_a_folder_without_photos_is_named(sameface: Run, tmp_path: Path) -> None:
    result = sameface("evaluate", "operating-points", str(tmp_path), "--inference", "onnx")
    assert result.returncode == 3
    assert "contains no photos" in result.stderr


def test_models_and_runtime_are_made_once(sameface: Run) -> None:
    for noun, verb in (("model", "build"), ("triton", "install")):
        result = sameface(noun, verb)
        assert result.returncode == 0, result.stderr
        assert "ready in" in re.sub(r"\s+", " ", result.stderr)


def test_the_version_is_the_packages(sameface: Run) -> None:
    assert sameface("version").stdout.strip() == __version__
    assert tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"] == __version__


def test_the_benchmark_prints_its_figures_and_writes_the_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "start", "--json", "--starts", "1", "--folder", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=170)
    figures = json.loads(result.stdout)["start"]["figures"]
    assert len(figures["ready_s"]) == 1
    assert figures["idle_memory_mib"] > 0
    assert figures["processes"]["service"] == 1
    assert "Start and memory" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(("turns", "--photos", "2", "--step", "180"), id="turns"),
        pytest.param(("faces", "--rounds", "0", "--empty", "1", "--megapixels", "0.3"), id="faces"),
    ],
)
def test_how_photos_are_read_is_measured_by_one_command(part: tuple[str, ...], shared_data: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "photos", *part, "--data", str(shared_data)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=170).stdout
    assert ("1 without a face" if part[0] == "faces" else "london       180°") in printed


def test_models_are_listed_and_checked(sameface: Run) -> None:
    listed = [json.loads(line) for line in sameface("model", "list", "--json").stdout.splitlines()]
    assert {(one["model"], one["version"]) for one in listed} >= {("face_detector", 1), ("face_embedder", 1)}
    checked = [json.loads(line) for line in sameface("model", "check", "--json").stdout.splitlines()]
    assert min(one["cosine"] for one in checked) > 0.999999
    assert "SFace" in sameface("model", "list").stdout


@pytest.mark.usefixtures("every_version")
def test_a_triton_of_its_own_serves_and_is_checked(sameface: Run) -> None:
    command = [sys.executable, "-m", "sameface.cli", "triton", "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = re.findall(r"gRPC on (\S+),", process.stdout.readline())[0]
        checked = sameface("model", "check", "--triton-url", url, "--json")
        process.terminate()
        assert process.wait(60) == 0
    assert checked.returncode == 0, checked.stderr
    assert len(checked.stdout.splitlines()) == len(read_cards(model_repository_source()))
    assert sameface("model", "check", "--triton-url", url).returncode == 3
