"""Every version of the embedder on one thread, in turns: how much faster one is than another."""

import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.in_turns import Loads, Turn, in_turns, middle, of, ratio
from benchmarks.load import measure_load
from sameface.errors import RuntimeMissing
from sameface.evaluation.tables import Table
from sameface.inference.cards import ModelCard, read_all_cards
from sameface.inference.defaults import chosen_version
from sameface.inference.onnx import OnnxInference
from sameface.settings import Settings

BASE = "face_embedder version 1"
"""The pretrained network in ONNX Runtime, with nothing added."""


async def measure_embedders(size: tuple[int, float], progress: Callable[[str], None]) -> dict[str, Any]:
    """Run every version in process on one crop, for ``size``: so many rounds, each for so many seconds."""
    repository = Settings().model_repository
    crop = np.random.default_rng(1).integers(0, 256, (1, 3, 112, 112), np.uint8)
    inference = OnnxInference(repository, threads=1)
    default = chosen_version(None, repository, repository).version
    contenders: dict[str, Turn] = {}
    absent: dict[str, str] = {}
    first = ""
    for card in (one for one in read_all_cards(repository) if one.embeds_faces):
        call = partial(inference.run, card.model, card.version, {"images": crop})
        try:
            await call()
        except RuntimeMissing as error:
            absent[_name(card)] = error.message
            continue
        contenders[_name(card)] = _calling(call)
        if (card.model, card.version) == ("face_embedder", default):
            first = _name(card)
    loads = await in_turns(contenders, *size, progress)
    await inference.aclose()
    return {"loads": loads, "absent": absent, "default": first}


def _calling(call: Callable[[], Awaitable[object]]) -> Turn:
    return lambda seconds: measure_load(call, 1, seconds, {"process": [os.getpid()]})


def _name(card: ModelCard) -> str:
    return f"{card.model} version {card.version}"


def embedders_tables(found: dict[str, Any]) -> list[Table]:
    """Return the table of the embedders."""
    loads: Loads = found["loads"]
    default, base = (of(loads, name, "median_ms") for name in (found["default"], BASE))
    rows = tuple(
        (name, f"{middle(loads, name, 'median_ms'):.2f}", str(ratio(default, each)), str(ratio(each, base)))
        for name in loads
        for each in [of(loads, name, "median_ms")]
    )
    notes = tuple(f"{name}: {why}" for name, why in found["absent"].items())
    headings = ("embedder", "median, ms", f"speed; {found['default']} = 1", f"time; {BASE} = 1")
    return [Table("Embedders, one crop on one thread", headings, rows, notes)]
