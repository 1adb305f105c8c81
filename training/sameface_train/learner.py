"""Trains a network with its objective and optimiser, one batch at a time, and averages its weights."""

import copy
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sameface_train import checkpoint, fine_tune, objectives
from sameface_train.arcface import ArcFace
from sameface_train.backbones import features, freeze, learning
from sameface_train.batches import Batch
from sameface_train.monitor import Reading, spread
from sameface_train.recipes import ARC_SCALE, Recipe, learning_rate
from sameface_train.samples import Samples


def objective_of(recipe: Recipe, samples: Samples, teacher: Tensor | None) -> objectives.Objective:
    """Return the objective of a recipe; ``teacher`` [N, D] holds the target embeddings of fine-tuning."""
    identities = len(samples.identities)
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
        case "arcface":
            return ArcFace(recipe.dimension, identities, recipe.margin or 0.0, recipe.feature_scale or ARC_SCALE)
        case "matching":
            return objectives.Matching()
        case "fine-tune":
            assert teacher is not None, "fine-tuning needs the embeddings of a teacher"
            margin = fine_tune.MARGIN if recipe.margin is None else recipe.margin
            return fine_tune.FineTune(teacher, torch.from_numpy(samples.labels), weight=recipe.weight, margin=margin)


class Learner:
    """A network in training."""

    def __init__(self, recipe: Recipe, network: nn.Sequential, objective: objectives.Objective, device: str) -> None:
        self.recipe, self.device = recipe, device
        self.objective = objective.to(device)
        freeze(network, recipe.schedule.frozen)
        self.network = network.to(device, memory_format=torch.channels_last)
        trained = [p for p in (*self.network.parameters(), *self.objective.parameters()) if p.requires_grad]
        self.optimiser = torch.optim.Adam(trained, lr=0.0, weight_decay=recipe.schedule.weight_decay)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.step = 0

    def learn(self, batch: Batch, started: float, waited: float) -> Reading:
        """Take one step.

        Args:
            batch: what to learn from.
            started: when the wait for this batch began, by `time.monotonic`.
            waited: how long it took, in seconds.
        """
        rate = learning_rate(self.recipe.schedule, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        learning(self.network)
        images = batch.images.to(self.device, memory_format=torch.channels_last)
        embedded = features(self.network, images)
        outcome = self.objective(embedded, batch.labels.to(self.device), batch.places.to(self.device))
        self.optimiser.zero_grad()
        if outcome.loss.requires_grad:  # without a single mined triplet there is nothing to learn from
            outcome.loss.backward()
            self.optimiser.step()
        self.step += 1
        self._average(self.recipe.schedule.averaging)
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
        # The first weights are far from the last ones, so the average forgets them faster.
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

    def is_finite(self) -> bool:
        """Return whether every weight is a finite number."""
        return all(bool(value.isfinite().all()) for value in self.network.state_dict().values())

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to continue with the same bits."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
        }

    def restore(self, state: dict[str, Any], path: Path) -> None:
        """Continue from what `state` returned; ``path`` is where it was kept, for error messages.

        Raises:
            WrongCheckpoint: the weights are of another network or objective.
        """
        checkpoint.restore(self.network, state["network"], path)
        checkpoint.restore(self.objective, state["objective"], path)
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = {name: value.to(self.device) for name, value in state["average"].items()}
        self.step = state["step"]
