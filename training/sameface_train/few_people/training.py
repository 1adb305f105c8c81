"""A whole training on few people: copies, folds over people, the choice of the share, and the network of all people."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sameface.models.face_changes import Changes
from sameface_qdrant.errors import InvalidArgument
from sameface_train import checkpoint
from sameface_train.backbones import BACKBONES
from sameface_train.errors import UnusableData
from sameface_train.few_people.copies import Amounts, Copies, make_copies, split
from sameface_train.few_people.folds import SHARES, HeldOut, check_folds, choose_share, fold_of_people, judged, together
from sameface_train.few_people.learning import Settings, Step, between, outputs, train_upper
from sameface_train.lines import write_whole
from sameface_train.recipes import Recipe, recipe
from sameface_train.samples import Samples

HELD_OUT = "held_out.npz"
FOLDS = "folds.json"
EMBEDDINGS = "held_out"


def few_people_recipe(**fields: Any) -> Recipe:
    """Return `fine-tune` as it is used for few people, with single fields changed (see `sameface_train.recipe`)."""
    defaults: dict[str, Any] = {
        "steps": 100,
        "learning_rate": 3e-5,
        "warm_up": 10,
        "frozen": 24,
        "averaging": 0.95,
        "identities": 16,
        "each": 2,
    }
    return recipe("fine-tune", **{**defaults, **fields})


@dataclass(frozen=True, slots=True)
class Plan:
    """What a training on few people does."""

    recipe: Recipe
    changes: Changes = field(default_factory=Changes)
    amounts: Amounts = field(default_factory=Amounts)
    settings: Settings = field(default_factory=Settings)
    folds: int = 5
    """Folds over people; 0 measures nothing, and needs ``share``."""
    share: float | None = None
    """How far the weights go from the pretrained ones to the trained ones, 0..1; None is what the folds choose."""
    seed: int = 0

    def to_dict(self) -> dict[str, object]:
        """Return the plan as plain values, without ``share``, which changes no training."""
        record = {name: value for name, value in asdict(self).items() if name not in ("share", "recipe")}
        return {**record, "recipe": self.recipe.to_dict()}


@dataclass(frozen=True, slots=True)
class Watch:
    """Functions that are told how far the training is."""

    note: Callable[[str], None] = lambda text: None
    copied: Callable[[int, int], None] | None = None
    stepped: Callable[[int | None, Step], None] | None = None
    """With the fold, or None for the training on all people."""


def train_few_people(samples: Samples, folder: Path, plan: Plan, watch: Watch = Watch()) -> float:
    """Train on ``samples`` and return the share that was taken; an interrupted training goes on at its last fold.

    ``folder`` gets ``network.pt`` (for `sameface-train export`), ``held_out.npz`` with the embeddings of each person by
    the network of the fold that leaves the person out, ``held_out/`` with the same for `sameface evaluate`, and
    ``folds.json`` with their figures.

    Raises:
        InvalidArgument: neither folds nor a share are given.
        UnusableData: there are too few people for a batch or for the folds, or nobody in a fold has two photos. Nothing
            is computed before.
    """
    _check(samples, plan)
    backbone = BACKBONES[plan.recipe.backbone]
    torch.manual_seed(plan.seed)
    network = backbone.build(backbone.channels, backbone.side, plan.recipe.dimension)
    network = network.to(memory_format=torch.channels_last).eval()
    frozen = plan.recipe.schedule.frozen
    copies = make_copies(
        samples, network, frozen, backbone.side[0], plan.changes, plan.amounts, plan.seed, folder, watch.copied
    )
    lower, upper = split(network, frozen)
    output = outputs(upper, copies.plain, np.arange(len(samples)))
    share = plan.share
    if plan.folds:
        held_out = _judge_folds(samples, upper, copies, output, folder, plan, watch)
        chosen, figures = choose_share(held_out.vectors, held_out.labels, held_out.folds)
        share = chosen if share is None else share
        record = {
            "plan": plan.to_dict(),
            "share": share,
            "figures": {name: asdict(one) for name, one in figures.items()},
        }
        write_whole(folder / FOLDS, json.dumps(record, indent=2) + "\n")
        watch.note(f"held-out people choose {chosen:g} of the way to the trained weights, of {_listed(SHARES)}")
    assert share is not None, "without folds there is a share"
    trained = _train(upper, copies, output, samples, np.ones(len(samples), np.bool_), plan, None, watch)
    final = nn.Sequential(*lower, *between(upper, trained, share))
    checkpoint.save(
        folder / "network.pt",
        {
            "recipe": plan.recipe.to_dict(),
            "seed": plan.seed,
            "side": list(backbone.side),
            "strokes": samples.strokes,
            "identities": sorted(set(samples.bases)),
            "step": plan.recipe.schedule.steps,
            "network": {name: value.cpu() for name, value in final.state_dict().items()},
            "head": {},
        },
    )
    return share


def _judge_folds(
    samples: Samples, upper: nn.Sequential, copies: Copies, output: Tensor, folder: Path, plan: Plan, watch: Watch
) -> HeldOut:
    fold_of_photo = fold_of_people(len(samples.identities), plan.folds)[samples.labels]
    described = {**plan.to_dict(), "data": samples.digest}
    parts = []
    for fold in range(plan.folds):
        path = folder / f"fold{fold}.npz"
        part = HeldOut.read(path, described)
        if part is None:
            is_held_out = fold_of_photo == fold
            trained = _train(upper, copies, output, samples, ~is_held_out, plan, fold, watch)
            places = np.flatnonzero(is_held_out)
            part = HeldOut(
                judged(upper, trained, copies, is_held_out, output),
                tuple(samples.identities[label] for label in samples.labels[places]),
                tuple(samples.names[place] for place in places),
                fold_of_photo[places],
            )
            part.write(path, described)
        parts.append(part)
    whole = together(parts)
    whole.write(folder / HELD_OUT, described)
    whole.write_each(folder / EMBEDDINGS)
    return whole


def _train(
    upper: nn.Sequential,
    copies: Copies,
    output: Tensor,
    samples: Samples,
    chosen: NDArray[np.bool_],
    plan: Plan,
    fold: int | None,
    watch: Watch,
) -> nn.Sequential:
    def stepped(step: Step) -> None:
        if watch.stepped is not None:
            watch.stepped(fold, step)

    return train_upper(upper, copies, chosen, samples.labels, plan.recipe, plan.settings, plan.seed, output, stepped)


def _check(samples: Samples, plan: Plan) -> None:
    if not plan.folds and plan.share is None:
        raise InvalidArgument(
            "no folds were asked for, and no share was given; give folds (2 or more), or the share of the way to the "
            "trained weights, 0 to 1",
            metadata={"field": "folds"},
        )
    if plan.folds == 1 or (plan.share is not None and not 0.0 <= plan.share <= 1.0):
        raise InvalidArgument(
            f"folds is {plan.folds} and share is {plan.share}; expected 0, 2 or more folds, and a share of 0 to 1",
            metadata={"field": "folds"},
        )
    if plan.folds:
        check_folds(samples.labels, len(samples.identities), plan.folds)
    sampling = plan.recipe.sampling
    people = len(samples.identities)
    taught = people - (-(-people // plan.folds) if plan.folds else 0)
    if taught < sampling.identities:
        raise UnusableData(
            f"there are {people} people, and {taught} of them in the training of a fold; expected "
            f"{sampling.identities} or more in training: give more people, more folds, or a smaller batch with "
            "--change identities=2",
            metadata={"field": "data", "identities": people},
        )


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
