"""Training of embedders: recipes, mining, evaluation during training, export.

The names below are imported when they are used, because they need the packages of the extra ``train``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sameface_train.api import FinishedRun, load_run, train
    from sameface_train.data import read_data
    from sameface_train.monitor import Reading
    from sameface_train.recipes import RECIPES, TASKS, Recipe, recipe
    from sameface_train.samples import Samples
    from sameface_train.validation import Measured

__all__ = [
    "RECIPES",
    "TASKS",
    "FinishedRun",
    "Measured",
    "Reading",
    "Recipe",
    "Samples",
    "load_run",
    "read_data",
    "recipe",
    "train",
]

_HOMES = {
    "FinishedRun": "api",
    "load_run": "api",
    "train": "api",
    "read_data": "data",
    "Reading": "monitor",
    "RECIPES": "recipes",
    "TASKS": "recipes",
    "Recipe": "recipes",
    "recipe": "recipes",
    "Samples": "samples",
    "Measured": "validation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
