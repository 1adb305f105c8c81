"""What a run keeps: enough to go on bit for bit, and the network alone for everything after."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sameface_train.backbones import BACKBONES
from sameface_train.errors import BusyRun, WrongCheckpoint
from sameface_train.recipes import Recipe

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained network with what it was trained as, on, and how far."""

    recipe: Recipe
    network: nn.Sequential
    head: dict[str, Tensor]
    """Parameters of the objective, for those that score with a head of their own."""
    identities: tuple[str, ...]
    """Whom it was trained on; they must not judge it."""
    side: tuple[int, int]
    step: int
    seed: int


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that either the old or the new one is there, whatever happens."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save({"format": FORMAT, **content}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a run's folder, which is made where there is none.

    The lock is on the folder itself, no file stays. After a kill the kernel lets go of it as soon as the process that
    prepares the batches has noticed, some five seconds later.

    Raises:
        BusyRun: another process trains there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyRun(
                f"{folder} is being trained in by another process; wait for it, or choose another folder",
                metadata={"path": folder},
            ) from None
        yield
    finally:
        # Closing alone would leave it with children that were forked meanwhile.
        fcntl.flock(held, fcntl.LOCK_UN)
        os.close(held)


def load(path: Path, recipe: Recipe | None = None) -> dict[str, Any]:
    """Read a checkpoint; with ``recipe`` it must be one of that.

    Raises:
        WrongCheckpoint: it is missing, damaged, of another format, or of another recipe; the message names the field.
    """
    if not path.is_file():
        raise WrongCheckpoint(
            f"{path} does not exist; expected a run folder with a checkpoint", metadata={"path": path}
        )
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WrongCheckpoint(f"{path} is no checkpoint: {type(error).__name__}", metadata={"path": path}) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise WrongCheckpoint(f"{path} is of another format than {FORMAT}; train again", metadata={"path": path})
    if recipe is not None:
        stored, wanted = content["recipe"], recipe.to_dict()
        different = [
            f"{name} is {stored.get(name)!r}, expected {wanted[name]!r}"
            for name in wanted
            if stored.get(name) != wanted[name]
        ]
        if different:
            raise WrongCheckpoint(
                f"{path} is of another run: {'; '.join(different)}. Choose the same options, or another folder",
                metadata={"path": path},
            )
    return content


def load_trained(run: Path) -> Trained:
    """Return the network that a run kept (``network.pt`` of its folder).

    Raises:
        WrongCheckpoint: see `load`; or recipe or weights are not what this release knows.
    """
    path = run / "network.pt"
    content = load(path)
    try:
        recipe = Recipe.from_dict(content["recipe"])
        backbone, side = BACKBONES[recipe.backbone], tuple(content["side"])
        head, identities, step, seed = (content[name] for name in ("head", "identities", "step", "seed"))
    except (TypeError, KeyError) as error:
        raise WrongCheckpoint(
            f"{path} is of another release, which kept other things: {error}; train again", metadata={"path": path}
        ) from error
    network = backbone.build(backbone.channels, side, recipe.dimension)
    restore(network, content["network"], path)
    return Trained(recipe, network.eval(), head, tuple(identities), side, step, seed)


def restore(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load weights into a module.

    Raises:
        WrongCheckpoint: they are of another architecture; the message names the first difference.
    """
    own = module.state_dict()
    for name in sorted(own.keys() | state.keys()):
        given = tuple(state[name].shape) if name in state else "missing"
        expected = tuple(own[name].shape) if name in own else "nothing of this name"
        if given != expected:
            raise WrongCheckpoint(
                f"{path} is of another architecture: {name} is {given}, expected {expected}",
                metadata={"path": path, "parameter": name},
            )
    module.load_state_dict(state)
