"""Works on many photos: a few at a time, few in memory, with results in order as they come."""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import grpc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from sameface.cli.output import note
from sameface.client import NotAPhoto, ServiceError
from sameface_qdrant.errors import SamefaceError

Item = TypeVar("Item")
Result = TypeVar("Result")

IN_FLIGHT = 40
"""As many as keep the service busy, also while most wait to be written. What it has no room for is sent again later."""
# One slow photo must not delay the others, and a folder of thousands must not be read into memory.
WINDOW = 2 * IN_FLIGHT
FIRST = 4
"""So many are tried before the first answer: a service that cannot be reached is not asked for every item."""


class NotTried(Exception):
    """Nothing was done about an item, because the service did not answer for an earlier one."""


def error_record(error: Exception) -> dict[str, Any]:
    """Return an error as plain values, for JSON."""
    if isinstance(error, ServiceError):
        return {"error": error.reason or error.code.name, "message": error.message, "metadata": error.metadata}
    if isinstance(error, SamefaceError):
        return {"error": error.reason, "message": error.message, "metadata": error.metadata}
    if isinstance(error, NotAPhoto):
        return {"error": error.reason, "message": error.message, "metadata": {}}
    if isinstance(error, NotTried):
        return {
            "error": "NOT_TRIED",
            "message": "not tried, because the service could not be reached for an earlier photo",
            "metadata": {},
        }
    return {"error": "UNREADABLE", "message": str(error), "metadata": {}}


class _Rate(ProgressColumn):
    """Photos per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "–/s")


def work_on(
    items: Sequence[Item], work: Callable[[Item], Result], label: str
) -> Iterator[tuple[Item, Result | Exception]]:
    """Work on several items at a time. Yield each with its result or its error, in order, as they come.

    An error of the service, a file that cannot be read and one that is no photo are yielded; any other error is
    raised. Once the service cannot be reached, every item that was not started is yielded with `NotTried`.
    """

    def attempt(item: Item) -> Result | Exception:
        try:
            return work(item)
        except (ServiceError, OSError, NotAPhoto) as error:
            return error

    not_tried = 0
    with ThreadPoolExecutor(IN_FLIGHT) as threads, _progress(len(items)) as progress:
        bar = progress.add_task(label, total=len(items))
        remaining = iter(items)
        under_way: deque[tuple[Item, Future[Result | Exception]]] = deque(
            (item, threads.submit(attempt, item)) for item in islice(remaining, FIRST)
        )
        try:
            reachable = True
            while under_way:
                item, future = under_way.popleft()
                result = NotTried() if future.cancelled() else future.result()
                not_tried += isinstance(result, NotTried)
                if reachable and _unreachable(result):
                    reachable = False
                    for _, waiting in under_way:
                        waiting.cancel()
                if reachable:
                    more = islice(remaining, WINDOW - len(under_way))
                    under_way.extend((later, threads.submit(attempt, later)) for later in more)
                progress.advance(bar)
                yield item, result
        finally:
            for _, waiting in under_way:
                waiting.cancel()
        for item in remaining:
            not_tried += 1
            yield item, NotTried()
    if not_tried:
        note(f"{not_tried} photos were not tried: the service cannot be reached")


def _unreachable(result: object) -> bool:
    # An answer of the service has a reason. A failed connection has none.
    return isinstance(result, ServiceError) and result.code == grpc.StatusCode.UNAVAILABLE and not result.reason


def _progress(total: int) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    console = Console(stderr=True)
    # If results are printed on the same terminal, a bar would garble them.
    silent = total < 2 or not console.is_terminal or sys.stdout.isatty()
    # With redirection, Rich would print results on stderr together with the bar.
    return Progress(
        *columns, console=console, transient=True, disable=silent, redirect_stdout=False, redirect_stderr=False
    )
