"""Prints results on stdout, as tables or as JSON lines; and notes on stderr.

Names of files, people and galleries may contain anything. They are printed as plain text: markup in them has no
effect, and control characters are escaped.
"""

import codecs
import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sameface.cli.options import ExitCode
from sameface.photo_folders import Skipped, describe_skipped
from sameface.v1 import decision_pb2

Cell: TypeAlias = str | Text

WORST_FIRST = (ExitCode.ERROR, ExitCode.AMBIGUOUS, ExitCode.NO_MATCH, ExitCode.OK)
OF_OUTCOME = {
    decision_pb2.OUTCOME_MATCH: ExitCode.OK,
    decision_pb2.OUTCOME_AMBIGUOUS: ExitCode.AMBIGUOUS,
    decision_pb2.OUTCOME_NO_MATCH: ExitCode.NO_MATCH,
}
COLOURS = {"MATCH": "green", "NO_MATCH": "red", "AMBIGUOUS": "yellow"}


def visible(text: str) -> str:
    """Return text with what could deceive a reader escaped: control characters, changes of the direction of writing,
    characters without width, and bytes that are not UTF-8.

    >>> visible("a\\x1b[31m\\n[red]é"), visible("Jos\\udce9.jpg")
    ('a\\\\x1b[31m\\\\n[red]é', 'Jos\\\\udce9.jpg')
    >>> visible("ada\\u202egpj.exe\\u200b")
    'ada\\\\u202egpj.exe\\\\u200b'
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else character
        for character in text
    )


def note(text: str) -> None:
    """Print a note on stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(visible(text)))


def note_skipped(skipped: Iterable[Skipped]) -> None:
    """Print what was skipped in the named folders, and why."""
    for line in describe_skipped(skipped):
        note(line)


def note_cut(photo: str, returned: int, found: int) -> None:
    """Print how many faces of a photo the service returned, if these are not all."""
    if found > returned:
        note(f"{photo}: {returned} of {found} faces")


def print_json(record: dict[str, Any]) -> None:
    """Print a record as one line of JSON."""
    # In another encoding stdout escapes the characters that it lacks, in a form that is not JSON.
    is_utf8 = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    print(json.dumps(record, ensure_ascii=not is_utf8), flush=True)


def as_dict(message: Message) -> dict[str, Any]:
    """Return a message with the field names of the protos; fields that are zero, false or empty are included."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def print_table(headings: Sequence[Cell], rows: Iterable[Sequence[Cell]]) -> None:
    """Print a table."""
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    for heading in headings:
        table.add_column(_text(heading), overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    # A pipe has no width: its lines must not be wrapped.
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


class GrowingTable:
    """A table that is printed row by row, as results come."""

    def __init__(self, headings: Sequence[str], first_column: Iterable[str]) -> None:
        """Make the first column wide enough for ``first_column``; the others widen when a cell needs it."""
        self._console = Console(highlight=False, soft_wrap=True)
        self._headings: Sequence[Cell] = [Text(heading, style="bold") for heading in headings]
        self._widths = [len(heading) for heading in headings]
        self._widths[0] = max([self._widths[0], *(_text(cell).cell_len for cell in first_column)])

    def add(self, row: Sequence[Cell]) -> None:
        """Print a row; the headings come before the first one."""
        headings, self._headings = self._headings, ()
        cells = [_text(cell) for cell in row]
        self._widths = [max(width, cell.cell_len) for width, cell in zip(self._widths, cells, strict=True)]
        if headings:
            self._print([_text(heading) for heading in headings])
        self._print(cells)

    def _print(self, cells: Sequence[Text]) -> None:
        line = Text()
        for width, cell in zip(self._widths, cells, strict=True):
            line.append_text(cell)
            line.append(" " * (width - cell.cell_len + 2))
        line.rstrip()
        self._console.print(line)


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(visible(cell))


def coloured(outcome: str, more: str = "", *, colour: str = "") -> Text:
    """Return an outcome in its colour, then ``more`` without colour."""
    text = Text(visible(outcome), style=colour or COLOURS.get(outcome, "magenta"))
    return Text.assemble(text, visible(f" {more}" if more else ""))


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the worst of several exit codes: 3, then 2, then 1."""
    found = set(codes)
    return next((code for code in WORST_FIRST if code in found), ExitCode.OK)


def show_messages(
    messages: Iterable[Message], as_json: bool, headings: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Print messages as one JSON object a line, or ``rows`` as a table."""
    if as_json:
        for message in messages:
            print_json(as_dict(message))
        return
    print_table(headings, rows)
