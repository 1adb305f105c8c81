"""The measurement of characters and signatures: its data, what it draws, and its rates.

tests/training/test_other_things.py asks a real service.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.things import command
from benchmarks.things.attempts import FORGERY, GENUINE, IMPOSTOR, MATED, NON_MATED, Attempt, draw
from benchmarks.things.picture import scores_png
from benchmarks.things.rates import agreement_table, claims_table, searches_table
from benchmarks.things.splits import Image, characters, signatures
from sameface_train.samples import read_omniglot


def test_no_character_is_in_two_parts(tmp_path: Path) -> None:
    alphabets = [f"alphabet{number}" for number in range(6)]
    rows = [(name, f"character{place}", drawer) for name in alphabets for place in (1, 2) for drawer in (1, 2, 3)]
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "omniglot28.npz",
        image=np.where(rng.random((len(rows), 28, 28)) < 0.1, 0, 255).astype(np.uint8),
        alphabet=np.array([name for name, _, _ in rows]),
        character=np.array([character for _, character, _ in rows]),
        drawer=np.array([drawer for _, _, drawer in rows], np.uint8),
        split=np.array(["background" if name < "alphabet5" else "evaluation" for name, _, _ in rows]),
    )
    thing = characters(tmp_path / "omniglot28.npz", tmp_path / "made")
    trained = {name.replace("/", "-") for name in read_omniglot(thing.training, "background").identities}
    developed = {path.name for path in thing.development.iterdir()}
    reported = {image.identity for image in thing.held_out}
    assert [len(part) for part in (trained, developed, reported)] == [8, 2, 2]
    assert not trained & developed | trained & reported | developed & reported
    # What is photographed is what was trained on, as dark strokes on paper.
    named = read_omniglot(tmp_path / "omniglot28.npz", "evaluation")
    for image in thing.held_out:
        place = named.names.index(f"{image.identity.replace('-', '/')}/{int(image.path.stem)}")
        paper = cv2.imread(str(image.path), cv2.IMREAD_GRAYSCALE)
        assert paper is not None
        assert np.array_equal(255 - paper, named.images[place, 0])


def test_no_signer_is_in_two_parts_and_forgeries_stay_apart(tmp_path: Path) -> None:
    for root, names in (("signers", ("a", "b", "c", "d", "e")), ("others", ("x", "y"))):
        for name in names:
            for kind in ("genuine", "forgery"):
                (tmp_path / root / name / kind).mkdir(parents=True)
                (tmp_path / root / name / kind / "1.png").touch()
    thing = signatures(tmp_path / "signers", tmp_path / "others", tmp_path / "made")
    parts = [sorted(path.name for path in part.iterdir()) for part in (thing.training, thing.development)]
    assert parts == [["a", "b", "c", "e"], ["d"]]
    found = {(image.identity, image.path.parent.name, image.forged) for image in thing.held_out}
    assert found == {(name, kind, kind == "forgery") for name in ("x", "y") for kind in ("genuine", "forgery")}


def test_what_is_enrolled_is_no_probe_and_every_identity_is_probed_in_turn() -> None:
    images = [Image(Path(f"{name}{number}"), name) for name in "abcd" for number in range(3)]
    drawn = draw([*images, Image(Path("forged"), "a", forged=True)], most=5)
    assert [image.identity for image in drawn.enrolled.values()] == list("abcd")
    assert [image.identity for image in drawn.probes] == ["a", "b", "c", "d", "a"]
    assert not {image.path for image in drawn.enrolled.values()} & {image.path for image in drawn.probes}
    assert [image.path.name for image in drawn.forgeries] == ["forged"]
    assert sorted(drawn.halves[0] + drawn.halves[1]) == list("abcd")


def _attempts(kind: str, rows: Sequence[tuple[str, str, float, str]]) -> list[Attempt]:
    return [Attempt(kind, probe, claimed, score, 0.5, outcome) for probe, claimed, score, outcome in rows]


FOUND = [
    *_attempts(GENUINE, [("a", "a", 0.9, "MATCH"), ("a", "a", 0.6, "AMBIGUOUS"), ("b", "b", 0.4, "NO_MATCH")]),
    *_attempts(IMPOSTOR, [("a", "b", 0.5, "NO_MATCH"), ("b", "a", 0.1, "NO_MATCH")]),
    *_attempts(FORGERY, [("a", "a", 0.7, "MATCH"), ("b", "b", 0.2, "NO_MATCH")]),
    *_attempts(MATED, [("a", "a", 0.9, "MATCH"), ("a", "b", 0.9, "MATCH"), ("b", "b", 0.3, "NO_MATCH")]),
    *_attempts(NON_MATED, [("c", "a", 0.6, "MATCH"), ("d", "a", 0.1, "NO_MATCH")]),
]


def test_rates_are_of_scores_for_claims_and_of_outcomes_for_searches(tmp_path: Path) -> None:
    claimed, searched = claims_table("claims", FOUND), searches_table("searches", FOUND)
    assert [row[:5] for row in claimed.rows] == [
        (GENUINE, "3", "1", "1", "1"),
        (IMPOSTOR, "2", "0", "0", "2"),
        (FORGERY, "2", "1", "0", "1"),
    ]
    # Accepted: a score at the threshold too.
    assert [row[5].split(" (")[0] for row in claimed.rows] == ["FNMR 33 %", "FMR 50 %", "FMR 50 %"]
    # A match of another identity is an error of a search.
    assert [row[5].split(" (")[0] for row in searched.rows] == ["FNIR 67 %", "FPIR 50 %"]
    assert searched.rows[0][6] == "67 %"
    other = [*FOUND[:-1], Attempt(NON_MATED, "d", "a", 0.2, 0.5, "MATCH")]
    (row,) = agreement_table({"triton": {"x": FOUND}, "onnx": {"x": other}}).rows
    assert row == ("x", str(len(FOUND)), "1", "1.0e-01")
    scores_png({"x": FOUND}, tmp_path / "scores.png")
    assert cv2.imread(str(tmp_path / "scores.png")) is not None


@pytest.mark.parametrize("arguments", [[], ["--signatures", "x"], ["--omniglot", "x", "--probes", "1"]])
def test_missing_data_is_said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert "expected --" in capsys.readouterr().err
