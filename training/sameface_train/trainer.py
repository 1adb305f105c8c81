"""The one trainer: any recipe, on CPU or GPU, with everything of a run in one folder.

A run depends on its data, recipe and seed alone: every random draw is a function of the seed and the number of the step
(`batches`), so going on after an interruption gives the same bits on CPU as never having stopped.
"""

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sameface_train import checkpoint, fine_tune, objectives, teacher
from sameface_train.backbones import BACKBONES, features, freeze, learning
from sameface_train.batches import batches, draw, members
from sameface_train.drawing import draw_log
from sameface_train.errors import CollapsedRun, UnusableData, WrongCheckpoint
from sameface_train.interrupts import undisturbed
from sameface_train.monitor import STUCK_STEPS, CollapseWatch, LiveView, Log, Reading, read_log, spread
from sameface_train.recipes import Recipe, learning_rate
from sameface_train.samples import Samples, held_out
from sameface_train.validation import check_held_out, cut_after, validate

CHECKPOINT_S = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a run goes, beside its recipe."""

    seed: int = 0
    device: str = "cpu"
    validation_share: float = 0.0
    """Share of the identities that are kept out of training, to choose by."""
    validate_every: int = 0
    """Steps; 0 looks at the held-out identities at the end alone."""
    on_collapse: str = "stop"
    """``stop`` raises, ``continue`` goes on and leaves it to the log."""
    stop_after: int | None = None
    """Leave after this many steps of the schedule, as an interruption would."""


class Run:
    """One run in one folder: ``run.json``, ``log.csv``, ``checkpoint.pt``, ``network.pt``, ``training.png``.

    Whoever makes one keeps other processes out of the folder (`checkpoint.alone`).
    """

    def __init__(
        self, recipe: Recipe, samples: Samples, folder: Path, options: Options, note: Callable[[str], None]
    ) -> None:
        """Make networks and objective, or take them up from the folder's checkpoint.

        Raises:
            UnusableData: the images are not what the backbone takes, or too few to draw a batch or to validate.
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
        self.network = self.backbone.build(self.backbone.channels, self.backbone.side, recipe.dimension)
        if recipe.loss == "fine-tune":
            self.samples, self._teacher = teacher.prepare(
                self.network, self.samples, folder, self.backbone.side, options.device, note
            )
        self.objective = self._objective().to(options.device)
        freeze(self.network, recipe.schedule.frozen)
        self.network = self.network.to(options.device, memory_format=torch.channels_last)
        trained = [p for p in (*self.network.parameters(), *self.objective.parameters()) if p.requires_grad]
        self.optimiser = torch.optim.Adam(trained, lr=0.0, weight_decay=recipe.schedule.weight_decay)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.step = 0
        if (folder / "checkpoint.pt").is_file():
            self._resume()
        cut_after(folder / "validation.csv", self.step)

    def train(self, view: LiveView) -> None:
        """Go on to the end of the schedule.

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
                    reading = self._learn(batch.images, batch.labels, batch.places, started, waited)
                    log.write(reading)
                view.see(reading)
                try:
                    watch.see(reading)
                except CollapsedRun as error:
                    if self.options.on_collapse == "stop":
                        raise
                    if not collapsed:
                        self._note(f"going on all the same: {error.message}")
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
            if self.step > first and self._is_finite():
                self.save()
        if self.step == schedule.steps:
            self.keep()
            every = self.options.validate_every
            if self.validation is not None and not (every and self.step % every == 0):
                view.validated(self.validate())
            draw_log(read_log(self.folder / "log.csv"), self.folder / "training.png", self._title())

    def _learn(self, images: Tensor, labels: Tensor, places: Tensor, started: float, waited: float) -> Reading:
        device, schedule = self.options.device, self.recipe.schedule
        rate = learning_rate(schedule, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        learning(self.network)
        images = images.to(device, memory_format=torch.channels_last)
        embedded = features(self.network, images)
        outcome = self.objective(embedded, labels.to(device), places.to(device))
        self.optimiser.zero_grad()
        if outcome.loss.requires_grad:  # without a single mined triplet there is nothing to learn from
            outcome.loss.backward()
            self.optimiser.step()
        self.step += 1
        self._average(schedule.averaging)
        return Reading(
            step=self.step,
            loss=float(outcome.loss.detach()),
            active=outcome.active,
            norm=float(embedded.detach().norm(dim=1).mean()),
            spread=spread(nn.functional.normalize(embedded) if self.recipe.by_cosine else embedded),
            learning_rate=rate,
            step_s=time.monotonic() - started,
            waited_s=waited,
        )

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        # Early on a shorter memory: the first weights are nothing to hold on to.
        decay = min(decay, self.step / (self.step + 10.0))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1.0 - decay)
            else:
                self.average[name].copy_(value)

    def averaged(self) -> nn.Sequential:
        """Return the network with the running average of the weights."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.average)
        return network.eval()

    def validate(self) -> str:
        """Measure the averaged network on the held-out identities; a line for people, and one in ``validation.csv``."""
        assert self.validation is not None, "there are no held-out identities"
        path = self.folder / "validation.csv"
        text = validate(self.averaged(), self.validation, self.backbone.side, self.options.device, self.step, path)
        self._note(text)
        return text

    def save(self) -> None:
        """Write what it takes to go on bit for bit."""
        checkpoint.save(
            self.folder / "checkpoint.pt",
            {
                "recipe": self.recipe.to_dict(),
                "seed": self.options.seed,
                "data": self.samples.digest,
                "step": self.step,
                "network": self.network.state_dict(),
                "objective": self.objective.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "average": self.average,
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
                "identities": sorted(set(self.samples.bases)),
                "network": {name: value.cpu() for name, value in self.average.items()},
                "head": {n: v.cpu() for n, v in self.objective.state_dict().items() if n.startswith("head")},
            },
        )

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        content = checkpoint.load(path, self.recipe)
        for name, own in (("seed", self.options.seed), ("data", self.samples.digest)):
            if content[name] != own:
                raise WrongCheckpoint(
                    f"{path} is of a run with another {name}; choose the same, or another folder",
                    metadata={"path": path},
                )
        checkpoint.restore(self.network, content["network"], path)
        checkpoint.restore(self.objective, content["objective"], path)
        self.optimiser.load_state_dict(content["optimiser"])
        self.average = {name: value.to(self.options.device) for name, value in content["average"].items()}
        self.step = content["step"]
        self._note(f"going on after step {self.step} of {self.recipe.schedule.steps}")

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
                    "--validate-every looks at held-out identities, and there are none; say --hold-out with a share "
                    "that makes at least one",
                    metadata={"field": "hold_out"},
                )
            return
        check_held_out(self.validation)
        if not self.recipe.by_cosine:
            self._note(
                f"held-out identities are compared by cosine, which {self.recipe.name} does not: figures below its own"
            )

    def _is_finite(self) -> bool:
        return all(bool(value.isfinite().all()) for value in self.network.state_dict().values())

    def _objective(self) -> objectives.Objective:
        recipe, identities = self.recipe, len(self.samples.identities)
        match recipe.loss:
            case "siamese":
                return objectives.Siamese(recipe.dimension)
            case "contrastive":
                return objectives.Contrastive(1.0 if recipe.margin is None else recipe.margin)
            case "identification":
                return objectives.Identification(recipe.dimension, identities)
            case "joint":
                margin = 1.0 if recipe.margin is None else recipe.margin
                return objectives.Joint(recipe.dimension, identities, recipe.weight, margin)
            case "triplet":
                return objectives.Triplet(recipe.miner or "batch-hard", recipe.margin, recipe.easy_steps)
            case "matching":
                return objectives.Matching()
            case "fine-tune":
                margin = fine_tune.MARGIN if recipe.margin is None else recipe.margin
                labels = torch.from_numpy(self.samples.labels)
                return fine_tune.FineTune(self._teacher, labels, weight=recipe.weight, margin=margin)

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
