"""The command: a first run, what it refuses, and how it ends."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from sameface.evaluation.samples import read_embeddings
from sameface_train.cli import main
from tests.training.glyphs import glyphs, write_glyphs
from tests.training.test_comparison import write_official


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run the command in this process, because importing torch each time would take longer than the tests."""

    def command(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["sameface-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        code = ended.value.code
        return Done(code if isinstance(code, int) else 0, captured.out, captured.err.replace("\n", " "))

    return command


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_glyphs(glyphs(36, 4, seed=9), tmp_path_factory.mktemp("drawings"))


def test_recipes_are_listed_with_their_papers(run: Callable[..., Done]) -> None:
    listed = run("recipes", "--json")
    assert listed.returncode == 0
    recipes = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {"siamese", "contrastive", "identification", "joint", "triplet", "fine-tune", "matching"} <= {
        recipe["name"] for recipe in recipes
    }
    assert all(recipe["paper"] for recipe in recipes)


def test_a_folder_is_trained_on_and_embedded_for_evaluation(
    run: Callable[..., Done], drawings: Path, tmp_path: Path
) -> None:
    train = ("train", "triplet", drawings, "--run", tmp_path / "run", "--steps", "4", "--change", "identities=8")
    done = run(*train, "--threads", "1", "--hold-out", "0.2", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["steps"] == 4
    assert 0 <= record["data_wait"] <= 1
    assert "held-out identities at step 4" in done.stderr
    again = run(*train, "--threads", "1", "--hold-out", "0.2", "--change", "margin=0.5")
    assert again.returncode == 3
    assert "WRONG_CHECKPOINT" in again.stderr
    assert "margin is 0.2, expected 0.5" in again.stderr
    embed = ("embed", tmp_path / "run", drawings, "--out", tmp_path / "e.npz")
    leaking = run(*embed)
    assert leaking.returncode == 3
    assert "LEAKED_DATA: 29 of 36 identities were trained on" in leaking.stderr
    embedded = run(*embed, "--allow-leakage")
    assert embedded.returncode == 0, embedded.stderr
    samples = read_embeddings(tmp_path / "e.npz")
    assert samples.vectors.shape == (144, 128)
    assert samples.sample[5] == "glyph001/1.png"
    more = run("train", "triplet", drawings, "--run", tmp_path / "more", "--steps", "1", "--mirrored")
    assert more.returncode == 0, more.stderr
    without = run("train", "triplet", drawings, "--run", tmp_path / "more", "--steps", "1")
    assert "WRONG_CHECKPOINT" in without.stderr
    every = run("embed", tmp_path / "more", drawings, "--out", tmp_path / "e.npz")
    assert "LEAKED_DATA: 36 of 36 identities were trained on" in every.stderr
    refused = run(
        "export", tmp_path / "run", "--version", "9", "--title", "t", "--licence", "l", "--training-data", "d"
    )
    assert refused.returncode == 3
    assert "the network takes images UINT8 [N,1,28,28]" in refused.stderr
    assert "face_embedder takes images UINT8 [N,3,112,112]" in refused.stderr
    assert "--model NAME" in refused.stderr


def test_signatures_are_embedded_by_signer(run: Callable[..., Done], tmp_path: Path) -> None:
    for part, drawn in (("genuine", glyphs(9, 4, seed=3)), ("forgery", glyphs(9, 3, seed=4))):
        write_glyphs(drawn, tmp_path / part)
        for folder in (tmp_path / part).iterdir():
            moved = tmp_path / ("signers" if int(folder.name[-1]) < 6 else "others") / folder.name / part
            moved.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(moved)
    train = ("train", "triplet", tmp_path / "signers", "--task", "signatures", "--run", tmp_path / "run")
    done = run(*train, "--steps", "1", "--threads", "1", "--change", "identities=4", "--change", "each=2")
    assert done.returncode == 0, done.stderr
    embed = ("embed", tmp_path / "run", "--out", tmp_path / "e.npz")
    leaking = run(*embed, tmp_path / "signers")
    assert leaking.returncode == 3
    assert "6 of 6 identities were trained on" in leaking.stderr
    assert run(*embed, tmp_path / "others").returncode == 0
    samples = read_embeddings(tmp_path / "e.npz")
    assert samples.forgeries is not None
    for kind, one in (("genuine", samples), ("forgery", samples.forgeries)):
        assert set(one.identity) == {"glyph006", "glyph007", "glyph008"}
        assert all(f"/{kind}/" in name for name in one.sample)
    assert (len(samples.sample), len(samples.forgeries.sample)) == (12, 9)


def test_a_map_shows_images_where_the_network_puts_them(
    run: Callable[..., Done], drawings: Path, tmp_path: Path
) -> None:
    train = ("train", "contrastive", drawings, "--run", tmp_path / "run", "--steps", "2", "--change", "dimension=2")
    assert run(*train, "--threads", "1", "--change", "identities=8").returncode == 0
    drawn = run("map", tmp_path / "run", drawings, "--out", tmp_path / "map.png", "--identities", "6")
    assert drawn.returncode == 0, drawn.stderr
    assert "24 images of 6 identities" in drawn.stdout
    picture = cv2.imread(str(tmp_path / "map.png"))
    assert picture is not None
    assert picture.std() > 10, "the picture is blank"


def test_leakage_between_training_and_what_judges_is_refused(
    run: Callable[..., Done], drawings: Path, tmp_path: Path
) -> None:
    judge = write_glyphs(glyphs(36, 4, seed=9), tmp_path / "judge")
    (judge / "glyph000").rename(judge / "somebody")
    train = ("train", "triplet", drawings, "--run", tmp_path / "run", "--steps", "1", "--judged-on", judge)
    refused = run(*train)
    assert refused.returncode == 3
    assert "LEAKED_DATA" in refused.stderr
    assert "144 identical files" in refused.stderr
    assert not (tmp_path / "run").exists()
    allowed = run(*train, "--allow-leakage", "--change", "identities=8")
    assert allowed.returncode == 0, allowed.stderr
    assert "144 identical files" in allowed.stderr


def test_recipes_are_compared_with_a_field_changed(run: Callable[..., Done], tmp_path: Path) -> None:
    drawn, names = glyphs(88, 3, seed=1), np.repeat(np.arange(88), 3)
    np.savez(
        tmp_path / "drawings.npz",
        image=drawn.images[:, 0],
        alphabet=np.where(names % 2 == 0, "first", "second"),
        character=np.char.add("character", names.astype(str)),
        drawer=np.tile(np.arange(3), 88),
        split=np.where(names < 44, "background", "evaluation"),
    )
    official = write_official(tmp_path / "official")
    compare = ("compare", "drawings", tmp_path / "drawings.npz", official, "--out", tmp_path / "out", "--seeds", "1")
    one = ("--recipe", "triplet", "--steps", "1", "--threads", "1")
    few = (*one, "--recipe", "identification")
    small = ("--change", "backbone=small", "--change", "identities=8", "--change", "groups=2")
    done = run(*compare, *few, *small)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [(row["recipe"], row["seed"]) for row in rows] == [
        (name, 0) for name in ("triplet", "identification", "identification+head")
    ]
    assert all(0.0 <= row["20-way"] <= row["5-way"] <= 1.0 for row in rows)
    assert cv2.imread(str(tmp_path / "out" / "results.png")) is not None
    assert run(*compare, *few, *small).returncode == 0
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == len(rows), "done again"
    assert run(*compare, *one, *small, "--mirrored").returncode == 0
    more = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert more[: len(rows)] == rows
    (mirrored,) = more[len(rows) :]
    assert mirrored["recipe"] == "triplet", "what mirror images were learnt from is another result"


def test_what_was_typed_wrong_is_said_in_one_line(
    run: Callable[..., Done], drawings: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    a_file = tmp_path_factory.mktemp("file") / "run"
    a_file.touch()
    for arguments, message in (
        (("train", "tripletts", drawings, "--run", tmp_path / "r"), "no recipe 'tripletts'; choose one of"),
        (("train", "triplet", tmp_path, "--run", tmp_path / "r"), f"{tmp_path} is empty; expected one sub-folder"),
        (("train", "triplet", drawings, "--run", tmp_path / "r", "--change", "identities=99"), "and there are 36"),
        (
            ("train", "triplet", drawings, "--run", tmp_path / "r", "--judged-on", tmp_path),
            f"{tmp_path} holds 1 sub-folder without an image; expected",
        ),
        (
            ("train", "triplet", drawings, "--run", tmp_path / "r", "--mirrored", "--change", "mirror=0.5"),
            "triplet mirrors a share of 0.5 of the images as the same identity",
        ),
        (
            ("train", "fine-tune", drawings, "--run", tmp_path / "r", "--mirrored"),
            "fine-tune mirrors a share of 0.5 of the images as the same identity",
        ),
        (("embed", tmp_path / "nowhere", drawings, "--out", tmp_path / "e.npz"), "nowhere does not exist; expected"),
        (("embed", tmp_path, drawings, "--out", tmp_path / "no" / "e.npz"), "no is no folder; make it"),
        (("map", tmp_path, drawings, "--out", tmp_path), "is a folder; expected the name of a file"),
        (("train", "triplet", drawings, "--run", a_file), "is a file; expected a folder for the run"),
        (
            ("compare", "drawings", tmp_path / "o.npz", drawings, "--out", tmp_path / "c"),
            "o.npz does not exist; expected",
        ),
        (
            ("compare", "faces", tmp_path / "no", drawings, "--out", tmp_path / "c"),
            "no does not exist; expected one sub",
        ),
        (("prepare", tmp_path / "no", tmp_path / "p"), "no does not exist; expected one sub-folder of images"),
    ):
        failed = run(*arguments)
        assert failed.returncode == 3
        assert message in failed.stderr
        assert "Traceback" not in failed.stderr
