"""A run is its data, recipe and seed: interrupted or not, it gives the same bits. What does not fit is refused."""

import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sameface.evaluation.samples import Samples as Embedded
from sameface_train.backbones import BACKBONES
from sameface_train.checkpoint import alone, load, load_trained, restore, save
from sameface_train.errors import BusyRun, CollapsedRun, UnusableData, WrongCheckpoint
from sameface_train.monitor import CollapseWatch, Log, Reading, live_view, read_log, spread
from sameface_train.objectives import Outcome
from sameface_train.recipes import Recipe
from sameface_train.samples import Samples
from sameface_train.trainer import Options, Run
from sameface_train.validation import Measured, measure, read_measured, until, write_measured
from tests.training.glyphs import glyphs
from tests.training.test_recipes import quick


class Quiet:
    """Shows nothing."""

    def see(self, reading: Reading) -> None:
        """Ignore a reading."""

    def validated(self, measured: Measured) -> None:
        """Ignore figures."""


def short(name: str = "triplet", steps: int = 8) -> Recipe:
    return quick(name, steps=steps)


def go(recipe: Recipe, samples: Samples, folder: Path, options: Options) -> Run:
    run = Run(recipe, samples, folder, options, lambda text: None)
    with live_view("", 1, quiet=True) as view:
        run.train(view)
    return run


@pytest.mark.parametrize("name", ["triplet", "fine-tune"])
def test_a_run_that_goes_on_gives_the_bits_of_one_that_never_stopped(name: str, tmp_path: Path) -> None:
    samples, options = glyphs(24, 4, seed=5), Options(seed=7)
    go(short(name), samples, tmp_path / "whole", options)
    go(short(name), samples, tmp_path / "parts", replace(options, stop_after=3))
    assert not (tmp_path / "parts" / "network.pt").exists()
    go(short(name), samples, tmp_path / "parts", options)
    whole, parts = (load(tmp_path / part / "network.pt")["network"] for part in ("whole", "parts"))
    assert all(torch.equal(whole[layer], parts[layer]) for layer in whole)
    first, second = (read_log(tmp_path / part / "log.csv") for part in ("whole", "parts"))
    assert [reading.loss for reading in first] == [reading.loss for reading in second]
    other = go(short(name), samples, tmp_path / "other", replace(options, seed=8))
    assert not torch.equal(other.learner.average["1.weight"], whole["1.weight"])


def test_a_run_keeps_its_record_curves_and_whom_it_learnt_on(tmp_path: Path) -> None:
    samples = glyphs(30, 4, seed=5)
    run = go(short(), samples, tmp_path, Options(validation_share=0.2, validate_every=4))
    assert {"run.json", "log.csv", "validation.csv", "training.png", "network.pt"} <= {
        p.name for p in tmp_path.iterdir()
    }
    assert len((tmp_path / "validation.csv").read_text().splitlines()) == 3
    assert run.validation is not None
    learnt_on = load_trained(tmp_path).identities
    assert len(learnt_on) == 24
    assert not set(learnt_on) & set(run.validation.identities)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: (short("triplet-batch-hard"), glyphs(24, 4, seed=5), 7), "another run: name is 'triplet'"),
        (lambda: (short(), glyphs(24, 4, seed=5), 8), "another seed"),
        (lambda: (short(), glyphs(25, 4, seed=5), 7), "another data"),
    ],
)
def test_a_folder_of_another_run_is_refused(change, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    go(short(), glyphs(24, 4, seed=5), tmp_path, Options(seed=7, stop_after=2))
    recipe, samples, seed = change()
    with pytest.raises(WrongCheckpoint, match=message):
        Run(recipe, samples, tmp_path, Options(seed=seed), lambda text: None)


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with alone(folder), pytest.raises(BusyRun, match="another process"), alone(folder):
        pytest.fail("both are in")
    with alone(folder):
        assert not list(folder.iterdir())


def test_ctrl_c_in_the_middle_of_a_step_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, options = glyphs(24, 4, seed=5), Options(seed=7)
    whole = go(short(), samples, tmp_path / "whole", options)
    interrupted = Run(short(), samples, tmp_path / "parts", options, lambda text: None)
    learn, embedded = interrupted.learner.objective.forward, list[int]()

    def forward(*batch: torch.Tensor) -> Outcome:
        embedded.append(len(embedded))
        if len(embedded) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        outcome: Outcome = learn(*batch)
        return outcome

    monkeypatch.setattr(interrupted.learner.objective, "forward", forward)
    with live_view("", 1, quiet=True) as view, pytest.raises(KeyboardInterrupt):
        interrupted.train(view)
    assert interrupted.step == 3
    assert len(read_log(tmp_path / "parts" / "log.csv")) == 3
    again = go(short(), samples, tmp_path / "parts", options)
    assert all(
        torch.equal(whole.learner.average[layer], again.learner.average[layer]) for layer in whole.learner.average
    )


def test_a_network_of_a_recipe_that_trains_otherwise_now_is_not_gone_on_with(tmp_path: Path) -> None:
    go(short(), glyphs(24, 4, seed=5), tmp_path, Options(stop_after=2))
    older = replace(short(), revision=1)
    assert older.digest != short().digest
    with pytest.raises(WrongCheckpoint, match="revision is 2, expected 1"):
        Run(older, glyphs(24, 4, seed=5), tmp_path, Options(), lambda text: None)


def test_held_out_identities_are_measured_at_a_rate_that_they_support(tmp_path: Path) -> None:
    samples, options = glyphs(30, 4, seed=5), Options(validation_share=0.2, validate_every=2)
    go(short(), samples, tmp_path, replace(options, stop_after=5))
    go(short(), samples, tmp_path, options)
    go(short(), samples, tmp_path, replace(options, validate_every=0))  # finished: measured again, not written twice
    rows = [line.split(",") for line in (tmp_path / "validation.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["2", "4", "6", "8"]
    # Six identities of four: 24 · 23 / 2 pairs, six times 6 of them mated.
    assert [float(row[1]) for row in rows] == pytest.approx([1 / (276 - 36)] * 4, rel=1e-4)
    assert [one.step for one in until(read_measured(tmp_path / "validation.csv"), 4)] == [2, 4]


def test_a_step_whose_figures_were_interrupted_is_measured_when_the_run_goes_on(tmp_path: Path) -> None:
    samples, options = glyphs(30, 4, seed=5), Options(validation_share=0.2, validate_every=2)
    go(short(), samples, tmp_path / "whole", options)

    class Interrupted(Quiet):
        def see(self, reading: Reading) -> None:
            if reading.step == 4:
                raise KeyboardInterrupt

    run = Run(short(), samples, tmp_path / "parts", options, lambda text: None)
    with pytest.raises(KeyboardInterrupt):
        run.train(Interrupted())
    assert [one.step for one in read_measured(tmp_path / "parts" / "validation.csv")] == [2]
    go(short(), samples, tmp_path / "parts", options)
    for name in ("validation.csv", "network.pt"):
        whole, parts = ((tmp_path / part / name).read_bytes() for part in ("whole", "parts"))
        assert whole == parts, name


def test_forgeries_are_no_impostors_by_chance_and_have_a_figure_of_their_own(tmp_path: Path) -> None:
    rng, vectors, owners = np.random.default_rng(0), list[np.ndarray](), list[str]()
    for signer in range(6):
        centre = rng.normal(size=16)
        for kind, count in (("genuine", 3), ("forgery", 2 + signer)):
            vectors += [centre + 0.5 * rng.normal(size=16) for _ in range(count)]
            owners += [f"s{signer}/{kind}"] * count
    units = np.array([one / np.linalg.norm(one) for one in vectors], np.float32)
    plain = [place for place, owner in enumerate(owners) if owner.endswith("genuine")]
    names = tuple(map(str, range(len(owners))))
    found = measure(Embedded(units, tuple(owners), names), 5)
    alone = measure(Embedded(units[plain], tuple(owners[one] for one in plain), tuple(names[one] for one in plain)), 5)
    assert alone.forgery_fmr is None
    assert found == replace(alone, forgery_fmr=found.forgery_fmr)
    shares = []
    for signer in range(6):
        forged, genuine = (
            [units[one] for one, owner in enumerate(owners) if owner == f"s{signer}/{kind}"]
            for kind in ("forgery", "genuine")
        )
        shares.append(np.mean([float(a @ b) >= found.threshold for a in forged for b in genuine]))
    assert found.forgery_fmr == pytest.approx(np.mean(shares))
    assert "FMR of skilled forgeries" in found.text
    write_measured(tmp_path / "validation.csv", [found, alone], None)
    again = read_measured(tmp_path / "validation.csv")
    assert [one.forgery_fmr for one in again] == [pytest.approx(found.forgery_fmr, abs=1e-5), None]


def test_a_checkpoint_of_an_earlier_release_is_named_and_says_what_it_lacks(tmp_path: Path) -> None:
    samples, options = glyphs(30, 4, seed=5), Options(validation_share=0.2)
    run = Run(short(), samples, tmp_path, options, lambda text: None)
    run.save()
    content = load(tmp_path / "checkpoint.pt")
    del content["best"]
    save(tmp_path / "checkpoint.pt", content)
    write_measured(tmp_path / "validation.csv", [Measured(0, 1e-3, 0.5, 0.25)], 0)
    notes: list[str] = []
    assert Run(short(), samples, tmp_path, options, notes.append).best is None
    assert any("kept no network of its 1 measured steps" in text for text in notes)
    for name in ("recipe", "seed", "data", "average", "step"):
        save(tmp_path / "checkpoint.pt", {key: value for key, value in content.items() if key != name})
        with pytest.raises(WrongCheckpoint, match=f"of another release, without {name}"):
            Run(short(), samples, tmp_path, options, lambda text: None)


def test_figures_after_the_checkpoint_are_measured_again(tmp_path: Path) -> None:
    samples, options = glyphs(30, 4, seed=5), Options(validation_share=0.2, validate_every=2)
    go(short(), samples, tmp_path, replace(options, stop_after=4))
    with (tmp_path / "validation.csv").open("a", encoding="utf-8") as file:
        file.write("6,0.001,0.5,0.0,\n")  # a process that was killed before it wrote its checkpoint
    run = Run(short(), samples, tmp_path, options, lambda text: None)
    assert [one.step for one in run.measured] == [2, 4]
    assert [one.step for one in read_measured(tmp_path / "validation.csv")] == [2, 4]


@pytest.mark.parametrize("cut", [1, 4, 30, 10_000])
def test_half_a_line_at_the_end_of_a_file_of_a_run_is_left_out(cut: int, tmp_path: Path) -> None:
    reading = Reading(1, 0.25, 0.5, 1.0, 0.75, 1e-3, 0.1, 0.0)
    log = Log(tmp_path / "log.csv", 0)
    for step in (1, 2):
        log.write(replace(reading, step=step))
    log.close()
    write_measured(tmp_path / "validation.csv", [Measured(2, 1e-3, 0.5, 0.25), Measured(4, 1e-3, 0.5, 0.125)], 4)
    for name in ("log.csv", "validation.csv"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: max(5, len(content) - cut)])
    assert read_log(tmp_path / "log.csv") == [reading][: cut < 10_000]
    assert [one.step for one in read_measured(tmp_path / "validation.csv")] == ([2] if cut < 10 else [])
    Log(tmp_path / "log.csv", 1).close()
    assert read_log(tmp_path / "log.csv") == [reading][: cut < 10_000]
    for name, read in (("log.csv", read_log), ("validation.csv", read_measured)):
        (tmp_path / name).write_text("step,fmr\n1,0.5\n")
        with pytest.raises(WrongCheckpoint, match=rf"{name} is damaged: line 2 .*delete this line"):
            read(tmp_path / name)


def test_a_checkpoint_of_another_architecture_or_a_damaged_one_is_named(tmp_path: Path) -> None:
    small, conv4 = (BACKBONES[name].build(1, (28, 28), 32) for name in ("small", "conv4"))
    with pytest.raises(WrongCheckpoint, match=r"another architecture: 1\.bias is \(16,\), expected \(64,\)"):
        restore(conv4, small.state_dict(), tmp_path)
    (tmp_path / "network.pt").write_bytes(b"nothing of the kind")
    with pytest.raises(WrongCheckpoint, match="is no checkpoint"):
        load_trained(tmp_path)
    with pytest.raises(WrongCheckpoint, match="does not exist"):
        load_trained(tmp_path / "nowhere")
    save(tmp_path / "network.pt", {"recipe": {**short().to_dict(), "shots": 1}})
    with pytest.raises(WrongCheckpoint, match=r"of another release, .* 'shots'"):
        load_trained(tmp_path)
    save(tmp_path / "network.pt", {"recipe": short().to_dict()})
    with pytest.raises(WrongCheckpoint, match=r"of another release, .* 'side'"):
        load_trained(tmp_path)
    save(tmp_path / "other.pt", {"format": 99})
    with pytest.raises(WrongCheckpoint, match="another format"):
        load(tmp_path / "other.pt")


def test_embeddings_that_are_one_point_end_the_run_and_keep_its_log(tmp_path: Path) -> None:
    samples = glyphs(24, 4, seed=5)
    alike = replace(samples, images=np.repeat(samples.images[:1], len(samples), axis=0))
    recipe = replace(short("triplet-batch-all", steps=40), augmentation=type(short().augmentation)())
    with pytest.raises(CollapsedRun, match=r"step 20: all embeddings are one point .* which is the margin.*semi-hard"):
        go(recipe, alike, tmp_path, Options())
    assert len(read_log(tmp_path / "log.csv")) == 20
    went_on = go(recipe, alike, tmp_path, Options(on_collapse="continue"))
    assert went_on.step == 40


def test_embeddings_of_one_direction_are_one_point_whatever_their_length(tmp_path: Path) -> None:
    run = Run(short(steps=1), glyphs(24, 4, seed=5), tmp_path, Options(), lambda text: None)
    last = run.learner.network[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight[:] = last.weight[:1].abs()
        last.bias.fill_(5.0)
    with live_view("", 1, quiet=True) as view:
        run.train(view)
    assert read_log(tmp_path / "log.csv")[0].spread < 0.01


def test_a_collapse_that_training_continues_from_is_noted_once(tmp_path: Path) -> None:
    samples, notes = glyphs(24, 4, seed=5), list[str]()
    alike = replace(samples, images=np.repeat(samples.images[:1], len(samples), axis=0))
    recipe = replace(short("triplet-batch-all", steps=25), augmentation=type(short().augmentation)())
    run = Run(recipe, alike, tmp_path, Options(on_collapse="continue"), notes.append)
    with live_view("", 1, quiet=True) as view:
        run.train(view)
    assert sum("training continues in spite of this" in text for text in notes) == 1


def test_a_refused_first_attempt_leaves_no_run_behind(tmp_path: Path) -> None:
    few = glyphs(12, 4, seed=5)
    with pytest.raises(UnusableData, match="give more data, or a smaller batch with --change identities=12"):
        Run(short(), few, tmp_path, Options(), lambda text: None)
    recipe = short()
    smaller = replace(recipe, sampling=replace(recipe.sampling, identities=8))
    assert go(smaller, few, tmp_path, Options()).step == recipe.schedule.steps


def test_a_diverged_step_does_not_take_the_checkpoint_s_place(tmp_path: Path) -> None:
    samples = glyphs(24, 4, seed=5)
    go(short(steps=8), samples, tmp_path, Options(stop_after=4))
    run = Run(short(steps=8), samples, tmp_path, Options(), lambda text: None)
    schedule = replace(run.recipe.schedule, learning_rate=float("nan"))
    run.learner.recipe = replace(run.recipe, schedule=schedule)
    with pytest.raises(CollapsedRun, match="diverged"), live_view("", 1, quiet=True) as view:
        run.train(view)
    assert load(tmp_path / "checkpoint.pt")["step"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(validate_every=2), "there are none; give --hold-out"),
        (Options(validate_every=2, validation_share=0.01), "there are none; give --hold-out"),
        (Options(validation_share=0.04), "1 identities with 4 images are held out"),
    ],
)
def test_held_out_identities_that_cannot_be_judged_by_are_refused_first(
    options: Options, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UnusableData, match=message):
        Run(short(), glyphs(24, 4, seed=5), tmp_path, options, lambda text: None)


def test_frozen_layers_keep_their_batch_statistics(tmp_path: Path) -> None:
    recipe = short(steps=2)
    frozen = replace(recipe, schedule=replace(recipe.schedule, frozen=1))
    run = Run(frozen, glyphs(24, 4, seed=5), tmp_path, Options(), lambda text: None)
    before = {name: value.clone() for name, value in run.learner.network.state_dict().items()}
    with live_view("", 1, quiet=True) as view:
        run.train(view)
    after = run.learner.network.state_dict()
    first = next(place for place, layer in enumerate(run.learner.network) if isinstance(layer, torch.nn.Conv2d))
    second = next(p for p, layer in enumerate(run.learner.network) if isinstance(layer, torch.nn.Conv2d) and p > first)
    for name, value in after.items():
        same = value.equal(before[name])
        assert same == (int(name.split(".")[0]) < second), name


def test_a_soft_margin_that_stays_at_log_2_is_named() -> None:
    watch = CollapseWatch(math.log(2.0), soft=True)
    stuck = Reading(1, math.log(2.0) + 1e-3, 0.95, 40.0, 0.075, 0.1, 0.1, 0.0)
    for _ in range(299):
        watch.see(stuck)
    watch.see(replace(stuck, loss=0.6))
    for _ in range(299):
        watch.see(stuck)
    with pytest.raises(CollapsedRun, match=r"has stayed at log 2 for 300 steps .*95% .*easy_steps"):
        watch.see(stuck)


def test_a_run_that_diverges_is_no_collapse() -> None:
    reading = Reading(5, float("nan"), 0.5, 1.0, 0.9, 0.1, 0.1, 0.0)
    with pytest.raises(CollapsedRun, match="diverged"):
        CollapseWatch(0.2).see(reading)


def test_one_narrow_batch_is_no_collapse() -> None:
    watch, narrow = CollapseWatch(None), Reading(1, 0.1, 0.5, 1.0, 0.001, 0.1, 0.1, 0.0)
    for _ in range(3):
        for _ in range(19):
            watch.see(narrow)
        watch.see(replace(narrow, spread=0.5))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads Linux's /proc")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    program = """
import re, torch
from sameface_train.memory import keep_freed_memory
resident = lambda: int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
def grown():
    before = resident()
    torch.ones(50_000_000)
    return resident() - before
returned = grown()
keep_freed_memory()
print(returned, grown())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    returned, kept = map(int, ended.stdout.split())
    # kB more than before a tensor of 200 MB was made and freed.
    assert returned <= 150_000
    assert kept > 150_000


def test_spread_is_the_share_of_the_length_that_differs() -> None:
    assert spread(torch.tensor([[3.0, 1.0], [3.0, -1.0]])) == pytest.approx((1 / 10) ** 0.5)
    assert spread(torch.full((4, 2), 0.7)) == 0.0


def test_images_that_the_network_does_not_take_are_named(tmp_path: Path) -> None:
    samples = glyphs(24, 4, seed=5)
    with pytest.raises(UnusableData, match=r"1x20x20; small takes 1x28x28"):
        Run(short(), replace(samples, images=samples.images[:, :, 4:24, 4:24]), tmp_path, Options(), lambda text: None)
    with pytest.raises(UnusableData, match="a batch takes 16 identities with two images or more, and there are 5"):
        go(short(), glyphs(5, 4, seed=5), tmp_path, Options())
