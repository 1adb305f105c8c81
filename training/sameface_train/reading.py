"""Reads the data that a command is given, and shows the progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sameface_train.options import say_skipped

if TYPE_CHECKING:
    from sameface_train.samples import Samples


def read_data(data: Path, backbone: str, split: str) -> "Samples":
    """Return the samples of a folder, of ``omniglot28.npz`` (its ``split``) or of signatures, as a backbone takes them.

    Raises:
        UnusableData: nothing in it can be used.
    """
    from sameface_train.backbones import BACKBONES
    from sameface_train.comparison.signatures import read_signatures
    from sameface_train.errors import UnusableData
    from sameface_train.prepare import SLACK
    from sameface_train.samples import read_folder, read_omniglot

    taken = BACKBONES[backbone]
    if data.suffix == ".npz":
        samples = read_omniglot(data, split)
        if taken.channels != 1:
            raise UnusableData(f"{data} holds grey drawings, and {backbone} takes {taken.channels} channels")
    elif backbone == "signature" and next(data.glob("*/genuine"), None) is not None:
        samples = read_signatures(data)
    else:
        slack = 2 * SLACK if taken.channels == 3 else 0
        side = taken.side[0] + slack, taken.side[1] + slack
        with shown_progress("reading") as progress:
            samples = read_folder(data, side=side, grey=taken.channels == 1, progress=progress)
    say_skipped(samples)
    return samples


@contextmanager
def shown_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Draw a progress bar on stderr. Yields a function that takes the number done and the total."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
