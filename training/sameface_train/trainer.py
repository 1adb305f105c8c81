"""Trains any recipe, on CPU or GPU, with all files of a run in one folder.

A run depends on its data, recipe and seed alone. Every random draw is a function of the seed and the number of the step
(`batches`), so on CPU an interrupted run that continues gives the same bits as one that was never interrupted.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from sameface_train import checkpoint, teacher
from sameface_train.backbones import BACKBONES
from sameface_train.batches import batches, draw, members
from sameface_train.drawing import draw_log
from sameface_train.errors import CollapsedRun, UnusableData, WrongCheckpoint
from sameface_train.interrupts import undisturbed
from sameface_train.learner import Learner, objective_of
from sameface_train.monitor import STUCK_STEPS, CollapseWatch, LiveView, Log, read_log
from sameface_train.recipes import Recipe
from sameface_train.samples import Samples, held_out
from sameface_train.validation import check_held_out, cut_after, validate

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


class Run:
    """One run in one folder: ``run.json``, ``log.csv``, ``checkpoint.pt``, ``network.pt``, ``training.png``.

    The caller keeps other processes out of the folder (`checkpoint.alone`).
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
        self._check(samples)
        flags = held_out(samples.bases, options.validation_share, options.seed)
        self.validation = samples.of(flags) if flags.any() else None
        self.samples = samples.of(~flags) if flags.any() else samples
        self._check_validation()
        draw(members(self.samples, recipe.sampling.groups > 0), recipe.sampling, options.seed, 0)
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(options.seed)
        network = self.backbone.build(self.backbone.channels, self.backbone.side, recipe.dimension)
        targets = None
        if recipe.loss == "fine-tune":
            self.samples, targets = teacher.prepare(
                network, self.samples, folder, self.backbone.side, options.device, note
            )
        self.learner = Learner(recipe, network, objective_of(recipe, self.samples, targets), options.device)
        if (folder / "checkpoint.pt").is_file():
            self._resume()
        cut_after(folder / "validation.csv", self.step)

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self.learner.step

    def train(self, view: LiveView) -> None:
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
        try:
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
                try:
                    watch.see(reading)
                except CollapsedRun as error:
                    if self.options.on_collapse == "stop":
                        raise
                    if not collapsed:
                        self._note(f"training continues in spite of this: {error.message}")
                    collapsed = True
                if self.options.validate_every and self.step % self.options.validate_every == 0:
                    view.validated(self.validate())
                if time.monotonic() - saved > CHECKPOINT_S:
                    self.save()
                    log.flush()
                    saved = time.monotonic()
                started = time.monotonic()
        finally:
            log.close()
            if self.step > first and self.learner.is_finite():
                self.save()
        if self.step == schedule.steps:
            self.keep()
            every = self.options.validate_every
            if self.validation is not None and not (every and self.step % every == 0):
                view.validated(self.validate())
            draw_log(read_log(self.folder / "log.csv"), self.folder / "training.png", self._title())

    def validate(self) -> str:
        """Measure the averaged network on held-out identities. Return a line of text; add one to ``validation.csv``."""
        assert self.validation is not None, "there are no held-out identities"
        path = self.folder / "validation.csv"
        text = validate(
            self.learner.averaged(), self.validation, self.backbone.side, self.options.device, self.step, path
        )
        self._note(text)
        return text

    def save(self) -> None:
        """Write what a run needs to continue with the same bits."""
        checkpoint.save(
            self.folder / "checkpoint.pt",
            {
                "recipe": self.recipe.to_dict(),
                "seed": self.options.seed,
                "data": self.samples.digest,
                **self.learner.state(),
            },
        )

    def keep(self) -> None:
        """Write the averaged network alone, with what it was trained on."""
        checkpoint.save(
            self.folder / "network.pt",
            {
                "recipe": self.recipe.to_dict(),
                "seed": self.options.seed,
                "step": self.step,
                "side": list(self.backbone.side),
                "strokes": self.samples.strokes,
                "identities": sorted(set(self.samples.bases)),
                "network": {name: value.cpu() for name, value in self.learner.average.items()},
                "head": {n: v.cpu() for n, v in self.learner.objective.state_dict().items() if n.startswith("head")},
            },
        )

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        content = checkpoint.load(path, self.recipe)
        for name, own in (("seed", self.options.seed), ("data", self.samples.digest)):
            if content[name] != own:
                raise WrongCheckpoint(
                    f"{path} is of a run with another {name}; use the same, or another folder",
                    metadata={"path": path},
                )
        self.learner.restore(content, path)
        self._note(f"continuing after step {self.step} of {self.recipe.schedule.steps}")

    def _check(self, samples: Samples) -> None:
        channels, height, width = samples.images.shape[1:]
        wanted = self.backbone.side
        if channels != self.backbone.channels or height < wanted[0] or width < wanted[1]:
            raise UnusableData(
                f"the images are {channels}x{height}x{width}; {self.recipe.backbone} takes "
                f"{self.backbone.channels}x{wanted[0]}x{wanted[1]} or larger ones, which are cut to their middle",
                metadata={"field": "data"},
            )

    def _check_validation(self) -> None:
        if self.validation is None:
            if self.options.validate_every:
                raise UnusableData(
                    "--validate-every needs held-out identities, and there are none; give --hold-out a share that "
                    "keeps out at least two",
                    metadata={"field": "hold_out"},
                )
            return
        check_held_out(self.validation)
        if not self.recipe.by_cosine:
            self._note(
                f"held-out identities are compared by cosine. {self.recipe.name} compares in another way, and will "
                "look worse than it is"
            )

    def _describe(self) -> None:
        record = {
            "recipe": self.recipe.to_dict(),
            "seed": self.options.seed,
            "device": self.options.device,
            "images": len(self.samples),
            "identities": len(self.samples.identities),
            "held_out_identities": 0 if self.validation is None else len(self.validation.identities),
            "skipped": {reason: len(names) for reason, names in self.samples.skipped.items()},
            "torch": torch.__version__,
        }
        (self.folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def _title(self) -> str:
        return f"{self.recipe.name} ({self.recipe.paper}), seed {self.options.seed}"
