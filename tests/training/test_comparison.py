"""Recipes compared on small drawings: the protocols are right, and finished runs are not repeated."""

import math
import statistics
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sameface.evaluation.forgeries import Claims
from sameface_qdrant.errors import NotEnoughData
from sameface_train.backbones import BACKBONES
from sameface_train.checkpoint import Trained
from sameface_train.comparison import drawings, faces, signatures
from sameface_train.comparison.running import compare, summary
from sameface_train.errors import UnusableData
from sameface_train.recipes import recipe
from sameface_train.samples import held_out
from tests.training.glyphs import glyphs, write_glyphs
from tests.training.test_recipes import quick


def write_official(root: Path) -> Path:
    """Two runs of three drawings, black on white and large, as the published ones."""
    for run in (1, 2):
        samples = glyphs(3, 2, seed=run)
        lines = []
        for place in range(3):
            for part, number in (("training", 0), ("test", 1)):
                path = root / f"run{run:02}" / part / f"{part}{place}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), cv2.resize(255 - samples.images[2 * place + number, 0], (105, 105)))
            lines.append(f"run{run:02}/test/test{place}.png run{run:02}/training/training{place}.png")
        (root / f"run{run:02}" / "class_labels.txt").write_text("\n".join(lines) + "\n")
    return root


def pixels() -> Trained:
    """A network that returns its pixels, so that its scores can be calculated without it."""
    network = torch.nn.Sequential(torch.nn.Flatten())
    return Trained(recipe("triplet", dimension=784), network, {}, (), (28, 28), 1, 0)


def test_drawings_are_judged_by_every_protocol(tmp_path: Path) -> None:
    evaluation = glyphs(44, 3, seed=3)
    official = drawings.read_official(write_official(tmp_path))
    found = drawings.judge(pixels(), evaluation, official, episodes=200)
    assert found.keys() == {"5-way", "20-way", "within", "official"}
    assert found["5-way"] > found["20-way"] > 1 / 20
    (tmp_path / "run01" / "test" / "test0.png").unlink()
    with pytest.raises(UnusableData, match=r"test0\.png is missing or cannot be read"):
        drawings.read_official(tmp_path)
    # The official runs, by brute force.
    right = 0
    runs, names, images = official
    units = [image.ravel() / np.linalg.norm(image) for image in images.astype(float)]
    vectors = dict(zip(names, units, strict=True))
    for run in runs:
        for probe, answer in zip(run.tests, run.answers, strict=True):
            right += max(run.training, key=lambda name: vectors[probe] @ vectors[name]) == run.training[answer]
    assert found["official"] == pytest.approx(right / 6)


def test_a_large_dark_drawing_becomes_a_small_bright_one() -> None:
    drawing = np.full((105, 105), 255, np.uint8)
    drawing[40:60, 40:60] = 0
    small = drawings.reduced(drawing)
    assert small.shape == (28, 28)
    assert small[0, 0] == 0
    assert small[13, 13] == 255


def test_signatures_are_read_by_signer_and_judged_by_forgeries(tmp_path: Path) -> None:
    genuine, forged = glyphs(4, 8, seed=3), glyphs(4, 4, seed=4)
    for part, samples in (("genuine", genuine), ("forgery", forged)):
        for image, name in zip(255 - samples.images[:, 0], samples.names, strict=True):
            signer, number = name.split("/")
            path = tmp_path / signer / part / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), cv2.resize(image, (200, 90)))
    read = signatures.read_signatures(tmp_path)
    assert read.images.shape == (48, 1, 96, 192)
    assert read.identities[:2] == ("glyph000/forgery", "glyph000/genuine")
    assert read.groups[:2] == ("glyph000", "glyph000")
    held = held_out(read.bases, 0.5, seed=1)
    assert not set(read.of(held).groups) & set(read.of(~held).groups), "a signer is on both sides"
    torch.manual_seed(0)
    backbone = BACKBONES["signature"]
    network = backbone.build(1, backbone.side, 32).eval()
    trained = Trained(recipe("triplet", "signatures", dimension=32), network, {}, (), backbone.side, 1, 0)
    rates = signatures.judge(trained, read)
    # The forgeries here are other drawings altogether, which even an untrained network tells apart somewhat.
    assert 0.0 <= rates["skilled"] < 0.5
    assert 0.0 <= rates["random"] < 0.5
    by_template = signatures.judge(trained, read, kind="gaussian")
    assert by_template != rates
    assert 0.0 <= by_template["skilled"] < 0.5
    with pytest.raises(NotEnoughData):
        signatures.judge(trained, read, templates=8)
    with pytest.raises(UnusableData, match="nowhere does not exist; expected <signer>/genuine"):
        signatures.read_signatures(tmp_path / "nowhere")


def test_a_claim_is_as_likely_as_the_signer_s_gaussian_says() -> None:
    features = np.random.default_rng(2).normal(size=(14, 3))
    references = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
    claims = Claims(np.array([8, 9, 10]), np.array([0, 1, 1]))
    scores = signatures.gaussian_scores(features, references, claims)
    for place, (probe, signer) in enumerate(zip(claims.probes, claims.claimed, strict=True)):
        density = 0.0
        for column in range(3):
            own = [statistics.variance(features[row, column] for row in rows) for rows in references]
            mean = statistics.mean(features[row, column] for row in references[signer])
            spread = statistics.NormalDist(mean, math.sqrt((own[signer] + (own[0] + own[1]) / 2) / 2))
            density += math.log(spread.pdf(features[probe, column])) + math.log(math.sqrt(2 * math.pi))
        assert scores[place] == pytest.approx(density / 3, rel=1e-6)


def test_rates_of_faces_are_those_of_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "FMRS", (0.1, 0.05, 1e-2))
    rng = np.random.default_rng(4)
    labels = np.array([0, 0, 0, 1, 1, 2, 3, 3])
    half = rng.normal(size=(8, 8)).astype(np.float32)
    scores = half + half.T + 2.0 * (labels[:, None] == labels[None])
    found = faces.rates(scores.astype(np.float32), labels)
    wrong: dict[int, list[bool]] = {0: [], 1: [], 3: []}
    missed: dict[int, list[bool]] = {0: [], 1: [], 3: []}
    _, second, *_ = sorted((scores[a, b] for a in range(8) for b in range(a) if labels[a] != labels[b]), reverse=True)
    for one in range(8):
        others = [other for other in range(8) if other != one]
        if labels[one] in wrong:
            wrong[labels[one]].append(labels[max(others, key=lambda other: scores[one, other])] != labels[one])
        for other in range(one):
            if labels[one] == labels[other]:
                missed[labels[one]].append(scores[one, other] <= second)
    assert found["rank-1"] == pytest.approx(np.mean([np.mean(values) for values in wrong.values()]))
    # Of 23 non-mated comparisons one may match at 5 %; for one false match in 100 they are too few.
    assert found.keys() == {"EER", "FNMR@0.1", "FNMR@0.05", "rank-1"}
    assert found["FNMR@0.05"] == pytest.approx(np.mean([np.mean(values) for values in missed.values()]))
    assert found["FNMR@0.05"] >= found["FNMR@0.1"]
    with pytest.raises(NotEnoughData):
        faces.rates(scores.astype(np.float32), np.arange(8))


def test_a_signature_is_centred_and_keeps_its_shape() -> None:
    drawing = np.full((60, 300), 230, np.uint8)
    drawing[20:30, 100:180] = 40
    picture = signatures.signature(drawing)
    rows, columns = np.nonzero(picture)
    assert picture.shape == (96, 192)
    assert columns.max() - columns.min() + 1 == pytest.approx(184, abs=1)
    assert rows.max() - rows.min() + 1 == pytest.approx(23, abs=1)
    assert abs(rows.mean() - 47.5) < 1
    assert not signatures.signature(np.full((50, 50), 200, np.uint8)).any()


def test_recipes_are_compared_under_every_seed_and_never_twice(tmp_path: Path) -> None:
    notes: list[str] = []
    samples = glyphs(24, 4, seed=5)
    chosen = [quick(name, steps=2) for name in ("siamese", "identification")]
    official = drawings.read_official(write_official(tmp_path / "official"))
    judge = partial(drawings.judge, evaluation=glyphs(44, 3, seed=3), official=official, episodes=20)
    ways = {"identification": "head"}
    baselines = {"(pixels)": pixels}
    again = partial(compare, chosen, range(2), samples, judge, tmp_path / "out", ways=ways, baselines=baselines)
    results = again(note=notes.append)
    assert results.pop(0)["recipe"] == "(pixels)"
    assert [(row["recipe"], row["seed"]) for row in results] == [
        (name, seed) for seed in range(2) for name in ("siamese", "identification", "identification+head")
    ]
    lines = (tmp_path / "out" / "results.jsonl").read_text()
    assert again(note=notes.append)[1:] == results
    assert (tmp_path / "out" / "results.jsonl").read_text() == lines
    # A process that was killed while it wrote the last line.
    (tmp_path / "out" / "results.jsonl").write_text(lines[:-20])
    assert again(note=notes.append)[1:] == results
    assert (tmp_path / "out" / "results.jsonl").read_text() == lines
    headings, rows = summary([*results, {"recipe": "triplet", "seed": 0, "steps": 2, "collapsed": "a point"}])
    assert headings == ("recipe", "seeds", "5-way", "20-way", "within", "official")
    mean = 50 * (results[0]["5-way"] + results[3]["5-way"])
    assert rows[0][:2] == ("siamese", "2")
    assert rows[0][2].startswith(f"{mean:.2f} ± ")
    assert rows[3] == ("triplet", "0 (+1 collapsed)", "–", "–", "–", "–")


def test_glyphs_are_written_and_read_alike(tmp_path: Path) -> None:
    samples = glyphs(2, 2, seed=1)
    write_glyphs(samples, tmp_path)
    np.testing.assert_array_equal(
        cv2.imread(str(tmp_path / "glyph001" / "1.png"), cv2.IMREAD_GRAYSCALE), samples.images[3, 0]
    )
