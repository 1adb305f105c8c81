"""The files of a run: a checkpoint to continue with the same bits, and the trained network."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sameface.inference.whole_image import Strokes
from sameface_train.backbones import BACKBONES
from sameface_train.errors import BusyRun, WrongCheckpoint
from sameface_train.recipes import Recipe

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained network with its recipe, the identities of its training, and how many steps it was trained."""

    recipe: Recipe
    network: nn.Sequential
    head: dict[str, Tensor]
    """Parameters of the objective's head, if it has one."""
    identities: tuple[str, ...]
    """The identities of its training; nothing may be measured on them."""
    side: tuple[int, int]
    step: int
    seed: int
    strokes: Strokes | None = None
    """What was done to the strokes of its images; None in a run of an earlier release, which did not say."""

    @property
    def channels(self) -> int:
        """How many channels its images have: 1 (grey) or 3 (RGB)."""
        return BACKBONES[self.recipe.backbone].channels


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; after a crash either the old or the new one is there."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save({"format": FORMAT, **content}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock a run's folder against other processes that train; make the folder if it does not exist.

    The lock is on the folder itself, so no lock file stays. After a kill it ends when the worker process has noticed,
    some five seconds later.

    Raises:
        BusyRun: another process trains there.
        WrongCheckpoint: it is a file.
    """
    if folder.is_file():
        raise WrongCheckpoint(
            f"{folder} is a file; expected a folder for the run, which is made if it does not exist",
            metadata={"path": folder},
        )
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyRun(
                f"another process trains in {folder}; wait for it, or choose another folder",
                metadata={"path": folder},
            ) from None
        yield
    finally:
        # Closing is not enough: children that were forked meanwhile would keep the lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def load(path: Path, recipe: Recipe | None = None) -> dict[str, Any]:
    """Read a checkpoint; with ``recipe`` it must be of this recipe.

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
        stored, wanted = content.get("recipe"), recipe.to_dict()
        if not isinstance(stored, dict):
            raise WrongCheckpoint(
                f"{path} is of another release, without recipe; train again in another folder", metadata={"path": path}
            )
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
        WrongCheckpoint: it is no folder of a finished run; see `load`; or this release does not know the recipe or
            the weights.
    """
    path = run / "network.pt"
    _check_run(run)
    content = load(path)
    try:
        recipe = Recipe.from_dict(content["recipe"])
        backbone, side = BACKBONES[recipe.backbone], tuple(content["side"])
        head, identities, step, seed = (content[name] for name in ("head", "identities", "step", "seed"))
    except (TypeError, KeyError) as error:
        raise WrongCheckpoint(
            f"{path} is of another release, with other contents: {error}; train again", metadata={"path": path}
        ) from error
    network = backbone.build(backbone.channels, side, recipe.dimension)
    restore(network, content["network"], path)
    return Trained(recipe, network.eval(), head, tuple(identities), side, step, seed, content.get("strokes"))


def _check_run(run: Path) -> None:
    if (run / "network.pt").is_file():
        return
    if not run.is_dir():
        given = "is a file" if run.is_file() else "does not exist"
        message = f"{run} {given}; expected the folder of a run: give what --run was given"
    elif (run / "checkpoint.pt").is_file():
        message = f"{run} holds a run that is not finished; continue it with the same command or call"
    else:
        runs = [path.parent for path in sorted(run.glob("*/network.pt"))]
        message = f"{run / 'network.pt'} does not exist; expected the folder of a run: "
        message += f"give one of its {len(runs)}, for instance {runs[0]}" if runs else "train one, or check the path"
    raise WrongCheckpoint(message, metadata={"path": run})


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
