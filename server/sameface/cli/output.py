"""How commands speak: lines for people on stdout, JSON lines for programs, progress and notes on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sameface.cli.options import ExitCode
from sameface.client import ServiceError
from sameface.v1 import decision_pb2

Item = TypeVar("Item")
Result = TypeVar("Result")

IN_FLIGHT = 4
WORST_FIRST = (ExitCode.ERROR, ExitCode.AMBIGUOUS, ExitCode.NO_MATCH, ExitCode.OK)
OF_OUTCOME = {
    decision_pb2.OUTCOME_MATCH: ExitCode.OK,
    decision_pb2.OUTCOME_AMBIGUOUS: ExitCode.AMBIGUOUS,
    decision_pb2.OUTCOME_NO_MATCH: ExitCode.NO_MATCH,
}
COLOURS = {"MATCH": "green", "NO_MATCH": "red", "AMBIGUOUS": "yellow"}


def note(text: str) -> None:
    """Tell people something beside the result."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def print_json(record: dict[str, Any]) -> None:
    """Print one line for programs."""
    print(json.dumps(record, ensure_ascii=False), flush=True)


def as_dict(message: Message) -> dict[str, Any]:
    """Return a message with the field names of the protos."""
    return MessageToDict(message, preserving_proto_field_name=True)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns for people; rich markup is allowed in cells."""
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    # A pipe has no width of its own: lines are not to be broken for it.
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


def coloured(outcome: str) -> str:
    """Return an outcome with its colour."""
    colour = COLOURS.get(outcome, "magenta")
    return f"[{colour}]{outcome}[/{colour}]"


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the exit code of a command that did several things."""
    found = set(codes)
    return next((code for code in WORST_FIRST if code in found), ExitCode.OK)


def error_record(error: Exception) -> dict[str, Any]:
    """Return a failure for programs."""
    if isinstance(error, ServiceError):
        return {"error": error.reason or error.code.name, "message": error.message, "metadata": error.metadata}
    return {"error": "UNREADABLE", "message": str(error), "metadata": {}}


class _Rate(ProgressColumn):
    """Photos a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "–/s")


def work_on(
    items: Sequence[Item], work: Callable[[Item], Result], label: str
) -> Iterator[tuple[Item, Result | Exception]]:
    """Work on several items at a time with progress; give each with its result or failure, in order.

    A refusal of the service and a file that cannot be read are given; anything else is raised.
    """

    def attempt(item: Item) -> Result | Exception:
        try:
            return work(item)
        except (ServiceError, OSError) as error:
            return error

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    console = Console(stderr=True)
    silent = len(items) < 2 or not console.is_terminal
    with (
        ThreadPoolExecutor(IN_FLIGHT) as threads,
        Progress(*columns, console=console, transient=True, disable=silent) as progress,
    ):
        bar = progress.add_task(label, total=len(items))
        for item, result in zip(items, threads.map(attempt, items), strict=True):
            progress.advance(bar)
            yield item, result
