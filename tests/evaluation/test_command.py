"""`sameface evaluate …` as people call it: on files of embeddings, and once on photos through a real service."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sameface.evaluation.samples import Failure, Samples, read_embeddings, write_embeddings
from sameface.launcher import Service
from tests.cli.conftest import Run
from tests.conftest import SINGLE_PASS
from tests.evaluation.conftest import far_apart


@pytest.fixture
def embeddings(tmp_path: Path) -> str:
    """Sixty people with two photos, one without a face, one that is no photo; and one person with one photo."""
    samples = far_apart([*(f"p{number // 2:02}" for number in range(120)), "single"])
    failures = (Failure("p00/dark.jpg", "p00", "FACE_NOT_FOUND"), Failure("p01/note.jpg", "p01", "IMAGE_UNDECODABLE"))
    write_embeddings(tmp_path / "people.npz", replace(samples, failures=failures, model="made up"))
    return str(tmp_path / "people.npz")


def figures(run: Run, *arguments: str) -> Any:
    result = run("evaluate", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_verification_from_a_file(sameface: Run, embeddings: str, tmp_path: Path) -> None:
    table = "\n".join(f"p{number:02},{'a' if number % 2 else 'b'}" for number in range(60))
    (tmp_path / "groups.csv").write_text("identity,half\n" + table)
    arguments = ["verification", "--embeddings", embeddings, "--groups", str(tmp_path / "groups.csv")]
    found = figures(sameface, *arguments, "--replicates", "100", "--html", str(tmp_path / "report.html"))
    assert [point["fmr"] for point in found["points"]] == [1e-2, 1e-3, 1e-4, 1e-5]
    # Sixty pairs, and two with the photo without a face.
    assert found["mated"] == 62
    assert [(group["label"], group["identities"]) for group in found["groups"]] == [("b", 30), ("a", 30)]
    conditions = found["conditions"]
    assert conditions["not_acquired"] == ["p00/dark.jpg"]
    assert conditions["unreadable"] == {"p01/note.jpg": "IMAGE_UNDECODABLE"}
    assert conditions["identities_with_one_sample"] == ["single"]
    assert conditions["failure_to_acquire_rate"] == 1 / 122
    assert "made up" in (tmp_path / "report.html").read_text()
    told = sameface("evaluate", *arguments, "--replicates", "100").stdout
    for said in ("FNMR by identity", "By half", "p00/dark.jpg", "p01/note.jpg", "single"):
        assert said in told


def test_the_same_seed_gives_the_same_figures(sameface: Run, embeddings: str) -> None:
    for command in ("verification", "identification"):
        arguments = [command, "--embeddings", embeddings, "--replicates", "100", "--seed"]
        one, same, other = (figures(sameface, *arguments, seed) for seed in ("1", "1", "2"))
        assert one == same != other


def test_identification_from_a_file(sameface: Run, embeddings: str, tmp_path: Path) -> None:
    arguments = ["identification", "--embeddings", embeddings, "--splits", "3", "--replicates", "100"]
    found = figures(sameface, *arguments, "--html", str(tmp_path / "report.html"))
    assert (found["gallery_size"], found["splits"]) == (30, 3)
    assert [point["fpir"] for point in found["points"]] == [1e-2, 1e-3]
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_two_files_are_compared(sameface: Run, embeddings: str, tmp_path: Path) -> None:
    samples = read_embeddings(Path(embeddings))
    rng = np.random.default_rng(0)
    shaken = samples.vectors + 0.2 * rng.normal(size=samples.vectors.shape)
    write_embeddings(
        tmp_path / "worse.npz",
        replace(samples, vectors=(shaken / np.linalg.norm(shaken, axis=1, keepdims=True)).astype(np.float32)),
    )
    both = ["--embeddings", embeddings, "--embeddings", str(tmp_path / "worse.npz")]
    found = figures(sameface, "compare", *both, "--replicates", "100", "--html", str(tmp_path / "report.html"))
    assert [one["verdict"] for one in found["endpoints"]] == ["worse"] * 3
    assert [one["name"] for one in found["models"]] == ["people.npz", "worse.npz"]
    assert (tmp_path / "report.html").read_text().count("<svg") == 4


def test_few_shot_within_groups(sameface: Run, tmp_path: Path) -> None:
    names = [f"{alphabet}/{number}" for alphabet in ("Greek", "Latin") for number in range(8) for _ in range(4)]
    write_embeddings(tmp_path / "characters.npz", far_apart(names))
    arguments = ["few-shot", "--embeddings", str(tmp_path / "characters.npz"), "--episodes", "50"]
    found = figures(sameface, *arguments, "--ways", "5", "--shots", "2", "--within", "[^/]+")
    assert (found["groups"], found["ways"], found["shots"]) == (2, 5, 2)
    assert found["accuracy"]["value"] > 0.8
    refused = sameface("evaluate", *arguments, "--ways", "9", "--within", "[^/]+")
    assert (refused.returncode, "draw fewer ways" in refused.stderr) == (3, True)
    for pattern, message in (("(", "not a regular expression"), ("Greek", "does not match the identity 'Latin/0'")):
        assert message in sameface("evaluate", *arguments, "--within", pattern).stderr


def test_omniglot_runs_from_a_file(sameface: Run, tmp_path: Path) -> None:
    samples: list[str] = []
    vectors: list[np.ndarray] = []
    for run in ("run01", "run02"):
        (tmp_path / run).mkdir()
        lines = []
        for item in range(4):
            lines.append(f"{run}/test/item{item}.png {run}/training/class{item}.png")
            samples += lines[-1].split()
            # In the second run the first two are taken for each other.
            vectors += [np.eye(4)[item], np.eye(4)[1 - item if run == "run02" and item < 2 else item]]
        (tmp_path / run / "class_labels.txt").write_text("\n".join(lines))
    made = Samples(np.array(vectors, np.float32), ("x",) * len(samples), tuple(samples))
    write_embeddings(tmp_path / "runs.npz", made)
    found = figures(sameface, "omniglot-runs", str(tmp_path), "--embeddings", str(tmp_path / "runs.npz"))
    assert found["runs"] == {"run01": 1.0, "run02": 0.5}
    assert found["accuracy"]["value"] == 0.75
    write_embeddings(tmp_path / "runs.npz", Samples(made.vectors[:3], made.identity[:3], made.sample[:3]))
    refused = sameface("evaluate", "omniglot-runs", str(tmp_path), "--embeddings", str(tmp_path / "runs.npz"))
    assert "no embedding of 13 images" in refused.stderr


def test_forgeries_from_a_file(sameface: Run, tmp_path: Path) -> None:
    # Forgeries lie between the signer and everybody else.
    samples = far_apart([f"s{number}" for number in range(12) for _ in range(8)], noise=0.6)
    other = np.random.default_rng(0).normal(size=samples.vectors.shape)
    is_forgery = np.arange(len(other)) % 8 >= 5
    moved = samples.vectors + np.where(is_forgery[:, None], 0.1, 0.0) * other
    kinds = np.where(is_forgery, "forgery", "genuine")
    write_embeddings(
        tmp_path / "signatures.npz",
        Samples(
            (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32),
            samples.identity,
            tuple(
                f"{who}/{kind}/{place}" for place, (who, kind) in enumerate(zip(samples.identity, kinds, strict=True))
            ),
        ),
    )
    arguments = ["forgeries", "--embeddings", str(tmp_path / "signatures.npz"), "--replicates", "100"]
    found = figures(sameface, *arguments, "--templates", "3", "--html", str(tmp_path / "report.html"))
    assert (found["signers"], found["genuine"], found["skilled"], found["random"]) == (12, 24, 36, 132)
    assert found["eer_random"]["value"] < 0.05 < found["eer_skilled"]["value"] < 0.5
    assert "skilled forgeries" in (tmp_path / "report.html").read_text()
    assert "not a regular expression" in sameface("evaluate", *arguments, "--forged", "(").stderr
    assert "no skilled forgery" in sameface("evaluate", *arguments, "--forged", "nothing").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verification"], "no source was given"),
        (["verification", "--embeddings", "x.npz", "--address", "127.0.0.1:1"], "need no service"),
        (["verification", "--embeddings", "nowhere.npz"], "nowhere.npz"),
        (["pairs"], "no list of pairs"),
        (["verification", "--embeddings", "x.npz", "--html", "nowhere/report.html"], "nowhere is not a folder"),
        (["compare", "--embeddings", "x.npz"], "--embeddings twice"),
        (["compare", "--fmr", "1"], "--fmr is 1; expected above 0 and below 1"),
        (["verification", "folder", "--forged", "/fake/"], "--forged is given without --embeddings"),
        (["verification", "--embeddings", "x.npz", "--forged", "("], "not a regular expression"),
    ],
)
def test_what_cannot_be_measured_is_said(sameface: Run, arguments: list[str], message: str) -> None:
    result = sameface("evaluate", *arguments)
    assert result.returncode == 3
    assert message in result.stderr


def test_photos_through_a_real_service(sameface: Run, service: Service, portraits: Path, tmp_path: Path) -> None:
    people = tmp_path / "people"
    for photo in sorted(portraits.glob("*.jpg")):
        name = photo.stem.rstrip("_0123456789")
        (people / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, people / name)
    (people / "barack_obama" / "broken.jpg").write_bytes(b"no photo")
    (people / "rishi_sunak" / "notes.txt").write_text("no photo either")
    from PIL import Image

    Image.new("RGB", (200, 200), "white").save(people / "emmanuel_macron" / "wall.png")
    kept = str(tmp_path / "kept.npz")
    arguments = ["verification", str(people), "--address", service.address, "--replicates", "100"]
    result = sameface(
        "evaluate", *arguments, "--save-embeddings", kept, "--html", str(tmp_path / "report.html"), "--json"
    )
    assert result.returncode == 0, result.stderr
    assert "rishi_sunak/notes.txt" in result.stderr
    found = json.loads(result.stdout)
    # Two pairs of one person, and two with the wall.
    assert (found["mated"], found["non_mated"]) == (4, 13)
    assert found["points"][0]["fnmr"]["value"] == 0.5
    assert found["conditions"]["not_acquired"] == ["emmanuel_macron/wall.png"]
    assert found["conditions"]["unreadable"] == {"barack_obama/broken.jpg": "IMAGE_UNDECODABLE"}
    assert found["conditions"]["model"].startswith(f"face_embedder version {SINGLE_PASS}, sha256 ")
    text = (tmp_path / "report.html").read_text()
    # Thirteen non-mated pairs of four people make six, and there are two people with two photos.
    assert text.count('class="pair"') == 6 + 2
    again = figures(sameface, "verification", "--embeddings", kept, "--replicates", "100")
    assert again["points"] == found["points"]
    (tmp_path / "pairs.txt").write_text("1\nann 1 2\nann 1 bob 1\n")
    assert (
        "not among the samples"
        in sameface("evaluate", "pairs", "--embeddings", kept, "--pairs", str(tmp_path / "pairs.txt")).stderr
    )


def test_a_service_without_a_model_of_attacks_is_told(sameface: Run, service: Service, tmp_path: Path) -> None:
    for folder in ("live", "attack/print"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.jpg").write_bytes(b"")
    folders = (str(tmp_path / "live"), str(tmp_path / "attack"))
    result = sameface("evaluate", "pad", *folders, "--address", service.address)
    assert result.returncode == 3
    assert "has no face_pad" in result.stderr
