"""Options that several commands share, and functions around them."""

import json
import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sameface.cli.output import note
from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
    from sameface_train.recipes import Recipe
    from sameface_train.samples import Samples

INTERRUPTED = 130


def check_device(device: str) -> str:
    """Return a device that PyTorch can compute on.

    Raises:
        InvalidArgument: there is no such device here.
    """
    if device != "cpu":
        import torch

        try:
            # The device meta takes tensors, and gives none back.
            torch.empty(0, device=torch.device(device)).cpu()
        except (RuntimeError, AssertionError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise InvalidArgument(
                f"device {device!r} is not available: {reason}; expected cpu, cuda or cuda:N",
                metadata={"field": "device"},
            ) from None
    return device


def check_whole(field: str, value: Any, most: int = 10**18) -> int:
    """Return a whole number, 0 to ``most``, as a plain one.

    Raises:
        InvalidArgument: it is something else.
    """
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number <= most:
        raise InvalidArgument(f"{field} is {value!r}; expected a whole number, 0 to {most}", metadata={"field": field})
    return number


def _writable(path: Path) -> Path:
    if path.is_dir():
        raise InvalidArgument(f"{path} is a folder; expected the name of a file", metadata={"field": "out"})
    if not path.parent.is_dir():
        raise InvalidArgument(
            f"{path} cannot be written, because {path.parent} is no folder; make it, or choose another place",
            metadata={"field": "out"},
        )
    return path


Data = Annotated[Path, typer.Argument(help="folder with one sub-folder of images per identity, or omniglot28.npz")]
RunFolder = Annotated[Path, typer.Argument(help="folder of a run")]
EmbeddingsFile = Annotated[
    Path, typer.Option(help="npz file for `sameface evaluate … --embeddings`", callback=_writable)
]
PictureFile = Annotated[Path, typer.Option(help="png file", callback=_writable)]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N", callback=check_device)]
Change = Annotated[
    list[str] | None, typer.Option(help="change a field of the recipe, for instance margin=0.3; may be repeated")
]
Mirrored = Annotated[
    bool,
    typer.Option(
        "--mirrored", help="add the mirror image of each identity as another identity; for drawings, not for faces"
    ),
]
Steps = Annotated[int | None, typer.Option(min=1, help="training steps; default: the recipe's", show_default=False)]
Threads = Annotated[int, typer.Option(min=0, help="threads of PyTorch; 0: all cores")]


def changes(change: list[str] | None, steps: int | None) -> dict[str, Any]:
    """Return the fields of a recipe that ``--change`` and ``--steps`` ask for; values are JSON, or else text."""
    asked: dict[str, Any] = {}
    for text in change or ():
        name, separator, value = text.partition("=")
        if not separator:
            raise typer.BadParameter(f"{text!r} is not field=value", param_hint="--change")
        try:
            asked[name] = json.loads(value)
        except ValueError:
            asked[name] = value
    return asked | ({"steps": steps} if steps else {})


def check_mirrored(recipes: "Iterable[Recipe]") -> None:
    """Refuse ``--mirrored`` where the augmentation makes mirror images of the same identity.

    Raises:
        InvalidArgument: a recipe does so.
    """
    for recipe in recipes:
        if rate := recipe.augmentation.mirror:
            raise InvalidArgument(
                f"--mirrored makes mirror images other identities, but {recipe.name} mirrors a share of {rate:g} of "
                "the images as the same identity; leave out --mirrored, or give --change mirror=0",
                metadata={"field": "mirrored"},
            )


@contextmanager
def interruptible() -> Iterator[None]:
    """On Ctrl-C, print how to continue and exit with 130."""
    try:
        yield
    except KeyboardInterrupt:
        note("interrupted; the same command continues")
        raise typer.Exit(INTERRUPTED) from None


def say_skipped(samples: "Samples") -> None:
    """Print how many samples were left out, and why."""
    for reason, names in sorted(samples.skipped.items()):
        note(f"{reason}: {len(names)}, for instance {names[0]}")
