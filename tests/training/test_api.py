"""Training from Python: a run, its best step, its page, and what is refused."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import sameface_train
from sameface_qdrant.errors import InvalidArgument
from sameface_train import Measured, Reading, load_run, recipe, train
from sameface_train.checkpoint import load
from sameface_train.errors import CollapsedRun, WrongCheckpoint
from sameface_train.recipes import Recipe
from sameface_train.samples import Samples
from sameface_train.trainer import Options, Run
from sameface_train.validation import read_measured
from tests.training.glyphs import glyphs, write_glyphs
from tests.training.test_recipes import quick


class Silent:
    """Shows nothing."""

    def see(self, reading: Reading) -> None:
        """Ignore a reading."""

    def validated(self, measured: Measured) -> None:
        """Ignore figures."""


def small() -> Recipe:
    return quick("triplet", steps=8)


def test_a_run_from_python_tells_how_it_goes_and_what_it_found(tmp_path: Path) -> None:
    folder = write_glyphs(glyphs(30, 4, seed=5), tmp_path / "drawings")
    steps: list[Reading] = []
    measured: list[Measured] = []
    notes: list[str] = []
    done = train(
        small(),
        folder,
        tmp_path / "run",
        hold_out=0.2,
        validate_every=4,
        tensorboard=True,
        on_step=steps.append,
        on_measured=measured.append,
        note=notes.append,
    )
    assert [one.step for one in steps] == list(range(1, 9))
    assert [one.step for one in measured] == [4, 8]
    assert done.best is not None
    first, last = measured
    assert done.step == (last if last.fnmr <= first.fnmr else first).step
    assert done.best.fnmr == pytest.approx(min(first.fnmr, last.fnmr), abs=1e-5)
    assert any("96 images of 24 identities" in text for text in notes)
    samples = sameface_train.read_data(folder, done.recipe.backbone)
    vectors = done.embed(samples.images)
    assert vectors.shape == (120, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    again = load_run(str(tmp_path / "run"))
    np.testing.assert_array_equal(again.embed(samples.images), vectors)
    assert len(again.log) == 8
    assert again.record["best"]["step"] == done.step
    assert len(repr(again)) < 200
    done.draw_map(samples, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 5_000
    assert (tmp_path / "run" / "tensorboard" / "events.out.tfevents.sameface").stat().st_size > 8 * 100
    page = (tmp_path / "run" / "report.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "the page needs another file"
    assert page.count("data:image/png;base64,") >= 2
    for text in (
        "6 identities were held out",
        "chosen by them among 2 steps",
        "96 images of 24 identities",
        "semi-hard",
    ):
        assert text in page, text
    for wrong in (vectors, samples.images[:, :, 4:], samples.images.astype(np.float32), samples.images[0]):
        with pytest.raises(InvalidArgument, match=r"expected uint8 \[N, 1, 28, 28\] or larger ones"):
            done.embed(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match=r"expected uint8 \[N, 1, 28, 28\] or larger ones"):
            done.draw_map(replace(samples, images=cast(Any, wrong)), tmp_path / "map.png")


class Scripted(Run):
    """A run whose figures on held-out identities are given: only these decide which step is kept."""

    fnmrs: tuple[float, ...] = (0.5, 0.2, 0.2, 0.4)

    def validate(self) -> Measured:
        found = self.remember(Measured(self.step, 1e-3, 0.5, self.fnmrs[self.step // 2 - 1]))
        self.averages = {**getattr(self, "averages", {}), self.step: self.learner.averaged().state_dict()}
        return found


def scripted(samples: Samples, folder: Path, options: Options) -> Scripted:
    run = Scripted(small(), samples, folder, options, lambda text: None)
    run.train(Silent())
    return run


def test_the_best_held_out_step_is_kept_to_the_bit_and_of_equal_ones_the_latest(tmp_path: Path) -> None:
    samples, options = glyphs(30, 4, seed=5), Options(validation_share=0.2, validate_every=2)
    whole, folder = scripted(samples, tmp_path / "whole", options), tmp_path / "whole"
    best, last = load(folder / "network.pt"), load(folder / "last.pt")
    assert (best["step"], last["step"]) == (6, 8)
    for name, value in best["network"].items():
        assert torch.equal(value, whole.averages[6][name])
    assert not torch.equal(best["network"]["1.weight"], last["network"]["1.weight"])
    assert json.loads((folder / "run.json").read_text())["best"]["step"] == 6
    lines = (folder / "validation.csv").read_text().splitlines()
    assert [line.rpartition(",")[2] for line in lines] == ["best", "", "", "best", ""]
    assert whole.best == Measured(6, 1e-3, 0.5, 0.2)
    # The same with an interruption after the best step.
    for stop in (7, None):
        scripted(samples, tmp_path / "parts", replace(options, stop_after=stop))
    again = load(tmp_path / "parts" / "network.pt")
    assert again["step"] == 6
    assert all(torch.equal(best["network"][name], again["network"][name]) for name in best["network"])
    assert read_measured(folder / "validation.csv") == read_measured(tmp_path / "parts" / "validation.csv")


def test_without_held_out_identities_the_last_step_is_kept(tmp_path: Path) -> None:
    done = train(small(), glyphs(24, 4, seed=5), tmp_path)
    assert done.step == 8
    assert done.best is None
    assert load(tmp_path / "last.pt")["step"] == 8
    assert "best" not in done.record
    assert "none" in (tmp_path / "report.html").read_text()


def test_what_cannot_be_trained_is_refused_with_its_field(tmp_path: Path) -> None:
    samples = glyphs(24, 4, seed=5)
    for options, message in (
        ({"hold_out": 1.5}, "hold_out is 1.5; expected 0 to 0.9"),
        ({"on_collapse": "ignore"}, "expected stop or continue"),
        ({"hold_out": "0.1"}, "expected 0 to 0.9"),
        ({"hold_out": float("nan")}, "expected 0 to 0.9"),
        ({"validate_every": -1, "hold_out": 0.3}, "validate_every is -1; expected a whole number, 0 to"),
        ({"validate_every": 2.5}, "expected a whole number"),
        ({"seed": -1}, "seed is -1; expected a whole number, 0 to"),
        ({"seed": True}, "expected a whole number"),
        ({"seed": 2**64}, "expected a whole number"),
        ({"device": "tpu"}, "device 'tpu' is not available.*expected cpu, cuda or cuda:N"),
        ({"device": "meta"}, "device 'meta' is not available"),
        ({"device": None}, "device None is not available"),
        ({"judged_on": "tr"}, r"expected a list of folders: give \['tr'\]"),
        ({"judged_on": tmp_path}, "expected a list of folders"),
        ({"judged_on": ["x"]}, "needs a folder to compare with"),
    ):
        with pytest.raises(InvalidArgument, match=message) as refused:
            train(small(), samples, tmp_path / "run", **options)
        assert refused.value.metadata["field"] in options
    with pytest.raises(InvalidArgument, match="expected a name or a Recipe"):
        train(None, samples, tmp_path / "run")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="no backbone 'conv6'; choose one of"):
        sameface_train.read_data(tmp_path, "conv6")
    with pytest.raises(InvalidArgument, match="no recipe 'tripletts'"):
        train("tripletts", samples, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(WrongCheckpoint, match="does not exist; expected the folder of a run"):
        load_run(tmp_path / "run")
    with pytest.raises(TypeError, match="bogus"):
        train(small(), samples, tmp_path / "run", bogus=True)  # type: ignore[call-arg]


def test_public_names_exist_and_cost_nothing_before_they_are_used() -> None:
    assert all(getattr(sameface_train, name) is not None for name in sameface_train.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sameface_train.nothing  # noqa: B018
    code = "import sys, sameface_train; assert 'torch' not in sys.modules; assert 'train' in sameface_train.__all__"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_changed_recipe_says_what_it_is() -> None:
    changed = recipe("arcface", "drawings", steps=5, margin=0.4, feature_scale=20.0)
    assert (changed.schedule.steps, changed.margin, changed.feature_scale) == (5, 0.4, 20.0)
    assert issubclass(CollapsedRun, Exception)
