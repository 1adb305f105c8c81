"""Trains any recipe, on CPU or GPU, with all files of a run in one folder.

A run depends on its data, recipe and seed alone. Every random draw is a function of the seed and the number of the step
(`batches`), so on CPU an interrupted run that continues gives the same bits as one that was never interrupted.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sameface_train import checkpoint, teacher
from sameface_train.backbones import BACKBONES
from sameface_train.batches import batches
from sameface_train.checks import check_batch, check_held_out_share, check_images
from sameface_train.drawing import draw_log
from sameface_train.errors import CollapsedRun, WrongCheckpoint
from sameface_train.interrupts import undisturbed
from sameface_train.learner import Learner, objective_of
from sameface_train.lines import write_whole
from sameface_train.monitor import STUCK_STEPS, CollapseWatch, Log, View, read_log
from sameface_train.recipes import Recipe
from sameface_train.samples import Samples, held_out
from sameface_train.tensorboard import Events
from sameface_train.validation import (
    CRITERION,
    Measured,
    read_measured,
    until,
    validate,
    write_measured,
)

CHECKPOINT_S = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a run goes, beside its recipe."""

    seed: int = 0
    device: str = "cpu"
    validation_share: float = 0.0
    """Share of the identities that are kept out of training, to compare runs by."""
    validate_every: int = 0
    """Steps between two validations; 0 validates at the end only."""
    on_collapse: str = "stop"
    """``stop`` raises CollapsedRun, ``continue`` notes the collapse and trains on."""
    stop_after: int | None = None
    """Stop after this many steps of the schedule, like an interruption."""
    tensorboard: bool = False
    """Also write the readings as TensorBoard events, in the folder ``tensorboard`` of the run."""
    report: bool = False
    """Also write ``report.html`` at the end."""


class Run:
    """One run in one folder: ``run.json``, ``log.csv``, ``checkpoint.pt``, ``network.pt``, ``training.png``.

    ``network.pt`` is the best step on held-out identities, if they are measured; else it is the last step. ``last.pt``
    is always the last. The caller keeps other processes out of the folder (`checkpoint.alone`).
    """

    def __init__(
        self, recipe: Recipe, samples: Samples, folder: Path, options: Options, note: Callable[[str], None]
    ) -> None:
        """Make network and objective, or continue from the folder's checkpoint.

        Raises:
            UnusableData: the backbone does not take the images, or they are too few for a batch or for validation.
            WrongCheckpoint: the folder holds a run of other data, recipe or seed.
        """
        self.recipe, self.folder, self.options, self._note = recipe, folder, options, note
        self.backbone = BACKBONES[recipe.backbone]
        check_images(samples, recipe)
        flags = held_out(samples.bases, options.validation_share, options.seed)
        self.validation = samples.of(flags) if flags.any() else None
        self.samples = samples.of(~flags) if flags.any() else samples
        check_held_out_share(self.validation, recipe, options.validate_every, note)
        check_batch(self.samples, recipe, options.seed)
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(options.seed)
        network = self.backbone.build(self.backbone.channels, self.backbone.side, recipe.dimension)
        targets = None
        if recipe.loss == "fine-tune":
            self.samples, targets = teacher.prepare(
                network, self.samples, folder, self.backbone.side, options.device, note
            )
        self.learner = Learner(recipe, network, objective_of(recipe, self.samples, targets), options.device)
        self._best: dict[str, Any] | None = None
        if (folder / "checkpoint.pt").is_file():
            self._resume()
        every = read_measured(folder / "validation.csv")
        self.measured = until(every, self.step)
        if len(self.measured) < len(every):
            write_measured(folder / "validation.csv", self.measured, None if self.best is None else self.best.step)

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self.learner.step

    @property
    def best(self) -> Measured | None:
        """The figures of the best step so far, by `validation.CRITERION`; None if nothing is measured."""
        return None if self._best is None else Measured(**self._best["measured"])

    def train(self, view: View) -> None:
        """Train to the end of the schedule.

        Raises:
            CollapsedRun: the embeddings are one point, or not finite; the folder keeps the log and a checkpoint.
        """
        schedule = self.recipe.schedule
        last = min(schedule.steps, self.options.stop_after or schedule.steps)
        self._describe()
        log = Log(self.folder / "log.csv", self.step)
        watch = CollapseWatch(self.recipe.loss_at_one_point, soft=self.recipe.soft)
        collapsed = False
        for reading in read_log(self.folder / "log.csv")[-STUCK_STEPS:] if self.step else []:
            watch.recall(reading)
        first, saved = self.step, time.monotonic()
        events = self._events()
        try:
            if self._is_due():
                # An interruption came between the step and its figures.
                self._measure(view, events)
                self.save()
            started = time.monotonic()
            for batch in batches(
                self.samples,
                self.recipe.sampling,
                self.recipe.augmentation,
                seed=self.options.seed,
                side=self.backbone.side,
                first=self.step,
                last=last,
            ):
                waited = time.monotonic() - started
                with undisturbed():
                    reading = self.learner.learn(batch, started, waited)
                    log.write(reading)
                view.see(reading)
                if events is not None:
                    events.see(reading)
                try:
                    watch.see(reading)
                except CollapsedRun as error:
                    if self.options.on_collapse == "stop":
                        raise
                    if not collapsed:
                        self._note(f"training continues in spite of this: {error.message}")
                    collapsed = True
                if self._is_due():
                    self._measure(view, events)
                if time.monotonic() - saved > CHECKPOINT_S:
                    # First the log: a checkpoint whose steps are not in it would leave a gap.
                    log.flush()
                    self.save()
                    if events is not None:
                        events.flush()
                    saved = time.monotonic()
                started = time.monotonic()
        finally:
            log.close()
            if self.step > first and self.learner.is_finite():
                self.save()
            if events is not None and self.step < schedule.steps:
                events.close()
        if self.step == schedule.steps:
            self._finish(view, events)

    def _finish(self, view: View, events: Events | None) -> None:
        """Measure the last step, keep the networks, and draw."""
        every = self.options.validate_every
        if self.validation is not None and not (every and self.measured and self.measured[-1].step == self.step):
            self._measure(view, events)
            self.save()
        if events is not None:
            events.close()
        self.keep()
        self._describe()
        draw_log(
            read_log(self.folder / "log.csv"), self.measured, self.best, self.folder / "training.png", self.title()
        )
        if self.options.report:
            # It needs packages for plots that a run of tests or of a comparison does without.
            from sameface_train.report import write_run_report

            write_run_report(self)

    def validate(self) -> Measured:
        """Measure the averaged network on held-out identities, and remember it if it is the best; see `best`."""
        assert self.validation is not None, "there are no held-out identities"
        network = self.learner.averaged()
        return self.remember(validate(network, self.validation, self.backbone.side, self.options.device, self.step))

    def remember(self, found: Measured) -> Measured:
        """Add figures of this step to ``validation.csv``, and keep the averaged network if it is the best so far."""
        self.measured = [*until(self.measured, self.step - 1), found]
        if found.is_as_good_as(self.best):
            weights = {name: value.detach().cpu().clone() for name, value in self.learner.average.items()}
            self._best = {"measured": asdict(found), "network": weights, "head": self._head()}
        write_measured(self.folder / "validation.csv", self.measured, None if self.best is None else self.best.step)
        self._note(found.text)
        return found

    def _is_due(self) -> bool:
        """Return whether this step is to be measured while the run goes on, and is not yet."""
        every = self.options.validate_every
        return bool(
            every and self.step and self.step % every == 0 and [one.step for one in self.measured[-1:]] != [self.step]
        )

    def _measure(self, view: View, events: Events | None) -> None:
        found = self.validate()
        view.validated(found)
        if events is not None:
            events.validated(found)

    def _events(self) -> Events | None:
        if not self.options.tensorboard:
            return None
        readings = read_log(self.folder / "log.csv") if self.step else []
        return Events(self.folder / "tensorboard", readings, self.measured)

    def save(self) -> None:
        """Write what a run needs to continue with the same bits."""
        checkpoint.save(
            self.folder / "checkpoint.pt",
            {
                "recipe": self.recipe.to_dict(),
                "seed": self.options.seed,
                "data": self.samples.digest,
                "best": self._best,
                **self.learner.state(),
            },
        )

    def keep(self) -> None:
        """Write the averaged networks alone, with what they were trained on: ``network.pt`` and ``last.pt``."""
        common = {
            "recipe": self.recipe.to_dict(),
            "seed": self.options.seed,
            "side": list(self.backbone.side),
            "strokes": self.samples.strokes,
            "identities": sorted(set(self.samples.bases)),
        }
        network = {name: value.cpu() for name, value in self.learner.average.items()}
        last = {"step": self.step, "network": network, "head": self._head()}
        best = last
        if self._best is not None:
            best = {"step": self._best["measured"]["step"], **{name: self._best[name] for name in ("network", "head")}}
        for name, one in (("network.pt", best), ("last.pt", last)):
            checkpoint.save(self.folder / name, {**common, **one})

    def _head(self) -> dict[str, Tensor]:
        state = self.learner.objective.state_dict()
        return {name: value.detach().cpu().clone() for name, value in state.items() if name.startswith("head")}

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        content = checkpoint.load(path, self.recipe)
        missing = sorted({"seed", "data", *self.learner.state()} - content.keys())
        if missing:
            raise WrongCheckpoint(
                f"{path} is of another release, without {', '.join(missing)}; train again in another folder",
                metadata={"path": path},
            )
        for name, own in (("seed", self.options.seed), ("data", self.samples.digest)):
            if content[name] != own:
                raise WrongCheckpoint(
                    f"{path} is of a run with another {name}; use the same, or another folder",
                    metadata={"path": path},
                )
        self.learner.restore(content, path)
        self._best = content.get("best")
        earlier = [one.step for one in until(read_measured(self.folder / "validation.csv"), self.step)]
        if earlier and "best" not in content:
            self._note(
                f"this run of an earlier release kept no network of its {len(earlier)} measured steps (the last: "
                f"{earlier[-1]}); the best step is chosen among those that are measured from now on"
            )
        self._note(f"continuing after step {self.step} of {self.recipe.schedule.steps}")

    def _describe(self) -> None:
        record: dict[str, Any] = {
            "recipe": self.recipe.to_dict(),
            "seed": self.options.seed,
            "device": self.options.device,
            "images": len(self.samples),
            "identities": len(self.samples.identities),
            "held_out_identities": 0 if self.validation is None else len(self.validation.identities),
            "skipped": {reason: len(names) for reason, names in self.samples.skipped.items()},
            "torch": torch.__version__,
        }
        if self.best is not None:
            record["best"] = {**asdict(self.best), "criterion": CRITERION}
        write_whole(self.folder / "run.json", json.dumps(record, indent=2) + "\n")

    def title(self) -> str:
        """Return recipe, paper and seed as one line."""
        return f"{self.recipe.name}: {self.recipe.paper}; seed {self.options.seed}"
