"""Trains the layers after the frozen ones on kept copies, and averages the result with the pretrained weights."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sameface_train.few_people.copies import BATCH, Copies, Half
from sameface_train.few_people.objective import TwoViews
from sameface_train.recipes import Recipe, learning_rate


@dataclass(frozen=True, slots=True)
class Settings:
    """What this training has beside a recipe."""

    share: float = 0.5
    """How much of its identity's mean is added to a photo's teacher (`fine_tune.towards_identity`)."""
    mixtures: int = 12
    """Mixtures in a batch."""
    hold_mixtures: float = 1.0
    """Weight of the mixtures' term."""
    learn_dense: bool = True
    """Whether the dense layer at the end learns too; it has most of the weights."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a training, counted from 1."""

    number: int
    loss: float
    active: float
    """Share of triplets that violate the margin."""


def train_upper(
    upper: nn.Sequential,
    copies: Copies,
    chosen: NDArray[np.bool_],
    labels: NDArray[np.int64],
    recipe: Recipe,
    settings: Settings,
    seed: int,
    output: Tensor,
    on_step: Callable[[Step], None] | None = None,
) -> nn.Sequential:
    """Return ``upper`` trained on the chosen photos; the running average of its weights.

    Args:
        upper: the layers after the frozen ones, pretrained; they are not changed.
        copies: of every photo.
        chosen: a flag for each photo. Mixtures are used if both people are chosen.
        labels: the identity of each photo.
        recipe: sampling, schedule, margin and weight; augmentation is that of the copies.
        settings: the rest.
        seed: of all random choices.
        output: what ``upper`` gives for every photo as it is, [N, 2, D].
        on_step: is called after every step.
    """
    network = copy.deepcopy(upper).train()
    places = np.flatnonzero(chosen)
    _, own = np.unique(labels[places], return_inverse=True)
    objective = TwoViews(
        output[places],
        torch.from_numpy(own),
        weight=recipe.weight,
        margin=0.1 if recipe.margin is None else recipe.margin,
        share=settings.share,
        hold_mixtures=settings.hold_mixtures,
    )
    mixtures = np.flatnonzero(np.isin(copies.mixtures.parents_of(labels), labels[places]).all(axis=1))
    network[-1].requires_grad_(settings.learn_dense)
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learnt, lr=0.0, weight_decay=recipe.schedule.weight_decay)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    for number in range(recipe.schedule.steps):
        rng = np.random.default_rng([seed, 3, number])
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe.schedule, number)
        drawn = _draw(own, recipe.sampling.identities, recipe.sampling.each, rng)
        which = rng.integers(0, copies.changed.shape[1], len(drawn))
        mixed = rng.choice(mixtures, min(settings.mixtures, len(mixtures)), replace=False)
        given = np.concatenate([copies.changed[places[drawn], which], copies.mixed[mixed]])
        found = _output(network, given)
        loss, active = objective(
            found[: len(drawn)],
            torch.from_numpy(own[drawn]),
            torch.from_numpy(drawn),
            found[len(drawn) :],
            torch.from_numpy(copies.mixed_plain[mixed]),
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay = min(recipe.schedule.averaging, (number + 1) / (number + 11))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                average[name].lerp_(value, 1.0 - decay)
        if on_step is not None:
            on_step(Step(number + 1, float(loss.detach()), active))
    network.load_state_dict(average)
    return network.eval()


def between(first: nn.Sequential, second: nn.Sequential, share: float) -> nn.Sequential:
    """Return a network whose weights are ``share`` of the way from the first's to the second's."""
    network = copy.deepcopy(first)
    weights = {name: torch.lerp(value, second.state_dict()[name], share) for name, value in first.state_dict().items()}
    network.load_state_dict(weights)
    return network.eval()


@torch.no_grad()
def outputs(upper: nn.Sequential, kept: Half, places: NDArray[np.int64]) -> Tensor:
    """Return the output [N, 2, D] for kept outputs of the frozen layers, [.., 2, …], at ``places`` [N]."""
    return torch.cat([_output(upper, kept[part]) for part in _parts(places)])


def _output(upper: nn.Sequential, kept: Half) -> Tensor:
    given = torch.from_numpy(np.ascontiguousarray(kept)).float().flatten(0, 1)
    found: Tensor = upper(given.contiguous(memory_format=torch.channels_last))
    return found.reshape(len(kept), 2, -1)


def _parts(places: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for first in range(0, len(places), BATCH):
        yield places[first : first + BATCH]


def _draw(labels: NDArray[np.int64], identities: int, each: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return places of ``each`` photos of ``identities`` people; one with fewer photos gives some twice."""
    people = rng.choice(np.unique(labels), identities, replace=False)
    owned = [np.flatnonzero(labels == person) for person in people]
    return np.concatenate([rng.choice(own, each, replace=len(own) < each) for own in owned])
