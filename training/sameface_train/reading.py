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


def read_shown(data: Path, backbone: str, split: str) -> "Samples":
    """Return the samples of `data.read_data`; draw a progress bar and print what was left out.

    Raises:
        UnusableData: nothing in it can be used.
    """
    from sameface_train.data import read_data

    with shown_progress("reading") as progress:
        samples = read_data(data, backbone, split, progress=progress)
    say_skipped(samples)
    return samples


@contextmanager
def shown_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Draw a progress bar on stderr. Yields a function that takes the number done and the total."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
