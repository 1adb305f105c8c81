"""Recipes: how an embedder is learnt, as small records of backbone × loss × miner × sampling × schedule."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeAlias, get_args

from sameface_qdrant.errors import InvalidArgument
from sameface_train.augmentation import DRAWINGS, FACES, SIGNATURES, Augmentation
from sameface_train.backbones import BACKBONES
from sameface_train.batches import Sampling
from sameface_train.objectives import Mining

REVISION = 2
"""Of networks and objectives. It is raised when a recipe with the same fields begins to train in another way."""

ARC_MARGIN, ARC_SCALE = 0.3, 16.0
"""Margin in radians and scale of ``arcface``. The paper's 0.5 and 64 are for millions of photos."""

Loss: TypeAlias = Literal[
    "siamese", "contrastive", "identification", "joint", "triplet", "fine-tune", "matching", "arcface"
]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Adam under a learning rate that rises over ``warm_up`` steps and falls along a half cosine to zero."""

    steps: int
    learning_rate: float
    warm_up: int = 50
    weight_decay: float = 0.0
    frozen: int = 0
    """How many of the first convolutions stay as they are."""
    averaging: float = 0.99
    """Decay of the exponential average of the weights, which is what is kept.

    After Polyak and Juditsky 1992, who average all steps alike.
    """


def learning_rate(schedule: Schedule, step: int) -> float:
    """Return the rate of a step, counted from 0: a linear rise, then a half cosine down to nearly zero.

    >>> schedule = Schedule(steps=100, learning_rate=1.0, warm_up=10)
    >>> learning_rate(schedule, 0), learning_rate(schedule, 9), round(learning_rate(schedule, 55), 3)
    (0.1, 1.0, 0.5)
    """
    if step < schedule.warm_up:
        return schedule.learning_rate * (step + 1) / schedule.warm_up
    done = (step - schedule.warm_up) / max(1, schedule.steps - schedule.warm_up)
    return schedule.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way of learning an embedder."""

    name: str
    paper: str
    loss: Loss
    sampling: Sampling
    schedule: Schedule
    augmentation: Augmentation = DRAWINGS
    backbone: str = "conv5"
    dimension: int = 128
    miner: Mining | None = None
    margin: float | None = None
    """Margin of the loss; None is the soft margin for triplets, and the objective's default for others.

    For ``arcface`` it is an angle in radians.
    """
    easy_steps: int = 0
    """How many steps learn from all triplets of a batch, under a margin, before the miner chooses (triplet)."""
    weight: float = 1.0
    """Weight of the verification signal (joint), or of the triplets beside the teacher (fine-tune)."""
    feature_scale: float | None = None
    """What cosines are multiplied by before the softmax (arcface); None for losses without it."""
    revision: int = REVISION

    @property
    def by_cosine(self) -> bool:
        """Whether unit vectors are compared by their cosine, as the service does it."""
        return self.loss not in ("siamese", "contrastive")

    @property
    def digest(self) -> str:
        """Distinguishes recipes of the same name."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def soft(self) -> bool:
        """Whether a triplet loss has the soft margin."""
        return self.loss == "triplet" and self.margin is None

    @property
    def loss_at_one_point(self) -> float | None:
        """The triplet loss of embeddings that are all one point; None for other losses."""
        return (self.margin or math.log(2.0)) if self.loss == "triplet" else None

    def row(self) -> tuple[str, ...]:
        """Return name, paper, loss, miner, margin, batch and backbone as texts."""
        margin = "soft" if self.soft else str(self.margin or "–")
        batch = f"{self.sampling.identities} × {self.sampling.each}"
        return (self.name, self.paper, self.loss, self.miner or "–", margin, batch, self.backbone)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values, for a run's files."""
        record = asdict(self)
        # Older files do not have it; a recipe without it keeps its digest.
        return record if self.feature_scale is not None else {k: v for k, v in record.items() if k != "feature_scale"}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> "Recipe":
        """Return the recipe of a run's file."""
        parts = {"sampling": Sampling, "schedule": Schedule, "augmentation": Augmentation}
        return Recipe(**{name: parts[name](**value) if name in parts else value for name, value in record.items()})


_QUICK = Schedule(steps=6000, learning_rate=2e-3)
_PAIRS = Sampling(identities=32, each=4)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("siamese", "Koch et al. 2015; Bromley et al. 1993", "siamese", _PAIRS, _QUICK),
        Recipe("contrastive", "Hadsell et al. 2006 (DrLIM)", "contrastive", _PAIRS, _QUICK, margin=10.0),
        Recipe("identification", "Taigman et al. 2014 (DeepFace)", "identification", Sampling(64, 2), _QUICK),
        Recipe("joint", "Sun et al. 2014 (DeepID2)", "joint", _PAIRS, _QUICK, margin=1.0, weight=10.0),
        Recipe("triplet", "Schroff et al. 2015 (FaceNet)", "triplet", _PAIRS, _QUICK, miner="semi-hard", margin=0.2),
        Recipe(
            "triplet-batch-hard",
            "Hermans et al. 2017",
            "triplet",
            _PAIRS,
            _QUICK,
            miner="batch-hard",
            easy_steps=500,
        ),
        Recipe("triplet-batch-all", "Hermans et al. 2017", "triplet", _PAIRS, _QUICK, miner="batch-all", margin=0.2),
        Recipe(
            "arcface",
            "Deng et al. 2019",
            "arcface",
            Sampling(64, 2),
            _QUICK,
            margin=ARC_MARGIN,
            feature_scale=ARC_SCALE,
        ),
        Recipe("matching", "Vinyals et al. 2016", "matching", Sampling(64, 2), _QUICK),
        Recipe(
            "fine-tune",
            "Parkhi et al. 2015, section 4.2; Hermans et al. 2017",
            "fine-tune",
            Sampling(16, 4),
            Schedule(steps=1000, learning_rate=5e-5, warm_up=50, frozen=13),
            FACES,
            backbone="sface",
        ),
    )
}


TASKS: dict[str, dict[str, Any]] = {
    # Characters of one alphabet are the hardest to tell apart.
    "drawings": {"groups": 4},
    "signatures": {
        "backbone": "signature",
        "augmentation": SIGNATURES,
        "sampling": Sampling(16, 6, groups=8),
        "schedule": Schedule(steps=1000, learning_rate=1e-3),
    },
    "faces": {
        "backbone": "sface",
        "augmentation": FACES,
        "sampling": Sampling(16, 4),
        "schedule": Schedule(steps=300, learning_rate=1e-4, frozen=20),
        # The pretrained network tells people apart from the first step on.
        "easy_steps": 0,
    },
}
"""Fields that a task changes in every recipe. Without a task the recipes suit any folder of drawings."""


def recipe(name: str, task: str = "", **changes: Any) -> Recipe:
    """Return a recipe by name, as a task uses it, with single fields changed.

    ``changes`` are fields of `Recipe`, or of its parts: ``steps=100`` means the schedule's.

    Raises:
        InvalidArgument: there is no such recipe, task or field, or a value is not what the field takes.
    """
    if name not in RECIPES:
        raise InvalidArgument(
            f"there is no recipe {name!r}; choose one of {', '.join(RECIPES)}", metadata={"field": "recipe"}
        )
    if task and task not in TASKS:
        raise InvalidArgument(
            f"there is no task {task!r}; choose one of {', '.join(TASKS)}", metadata={"field": "task"}
        )
    chosen = RECIPES[name]
    for field, value in {**TASKS.get(task, {}), **changes}.items():
        chosen = _changed(chosen, field, value)
    _check(chosen)
    return chosen


def _check(chosen: Recipe) -> None:
    for field, known in (("miner", get_args(Mining)), ("backbone", tuple(BACKBONES))):
        value = getattr(chosen, field)
        if value is not None and value not in known:
            raise InvalidArgument(
                f"there is no {field} {value!r}; choose one of {', '.join(known)}", metadata={"field": field}
            )
    sampling = chosen.sampling
    if sampling.identities < 2 or sampling.each < 2 or sampling.groups < 0 or chosen.dimension < 2:
        raise InvalidArgument(
            f"a batch of {sampling.identities} identities × {sampling.each} images from {sampling.groups} groups and "
            f"embeddings of {chosen.dimension} numbers were asked for; expected 2 or more of each, 0 or more groups",
            metadata={"field": "change"},
        )
    if chosen.loss == "triplet" and chosen.miner == "semi-hard" and chosen.margin is None:
        raise InvalidArgument(
            "semi-hard triplets need a margin, and there is none; give --change margin=0.2",
            metadata={"field": "margin"},
        )
    for field, least, most in _RANGES:
        value = next(getattr(part, field) for part in (chosen.schedule, chosen.augmentation) if hasattr(part, field))
        if not least <= value <= most:
            raise InvalidArgument(f"{field} is {value!r}; expected {least} to {most}", metadata={"field": field})
    if chosen.backbone == "sface" and chosen.dimension != 128:
        raise InvalidArgument(
            f"SFace gives 128 numbers; a dimension of {chosen.dimension} was asked for", metadata={"field": "dimension"}
        )
    if chosen.loss == "arcface" and not (
        0.0 <= (chosen.margin or 0.0) < math.pi / 2 and 0.0 < (chosen.feature_scale or 0.0) <= 1000.0
    ):
        raise InvalidArgument(
            f"arcface was given margin {chosen.margin!r} and feature_scale {chosen.feature_scale!r}; expected a margin "
            "in radians, 0 to 1.57, and a scale above 0, at most 1000",
            metadata={"field": "margin"},
        )
    defaults = {entry.name: entry.default for entry in fields(Recipe)}
    unused = [
        field
        for field, losses in _USED_BY.items()
        if getattr(chosen, field) != defaults[field] and chosen.loss not in losses
    ]
    if unused:
        raise InvalidArgument(f"the loss of {chosen.name} has no {unused[0]}", metadata={"field": unused[0]})


_USED_BY = {
    "miner": ("triplet",),
    "easy_steps": ("triplet",),
    "margin": ("triplet", "contrastive", "joint", "fine-tune", "arcface"),
    "feature_scale": ("arcface",),
    "weight": ("joint", "fine-tune"),
}
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("steps", 1, 10**9),
    ("averaging", 0.0, 0.99999),
    ("degrees", 0.0, 180.0),
    ("shift", 0.0, 1.0),
    ("scale", 0.0, 0.9),
    ("shear", 0.0, 80.0),
    ("mirror", 0.0, 1.0),
    ("light", 0.0, 1.0),
    ("low_resolution", 0.0, 1.0),
    ("occlusion", 0.0, 1.0),
)
"""Fields of schedule and augmentation with the least and the most that they may be."""


def _changed(chosen: Recipe, field: str, value: Any) -> Recipe:
    if field in {entry.name for entry in fields(Recipe)} - {"name", "paper", "loss", "revision"}:
        _check_type(field, getattr(chosen, field), value, optional=field in ("miner", "margin", "feature_scale"))
        return replace(chosen, **{field: value})
    for part in ("schedule", "sampling", "augmentation"):
        record = getattr(chosen, part)
        if field in {entry.name for entry in fields(record)}:
            _check_type(field, getattr(record, field), value)
            return replace(chosen, **{part: replace(record, **{field: value})})
    raise InvalidArgument(f"a recipe has no field {field!r}", metadata={"field": field})


def _check_type(field: str, now: Any, value: Any, *, optional: bool = False) -> None:
    if optional and (value is None or isinstance(value, str if field == "miner" else (int, float))):
        return
    wanted = (int, float) if isinstance(now, float) else type(now)
    if not isinstance(value, wanted) or isinstance(value, bool) or (isinstance(value, (int, float)) and value < 0):
        raise InvalidArgument(f"{field} is {value!r}; expected something like {now!r}", metadata={"field": field})
