"""Prints and writes results: tables, JSON, or a report as HTML."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sameface.cli.output import note, print_table, visible

if TYPE_CHECKING:
    from sameface.evaluation.report import Page
    from sameface.evaluation.tables import Table


def show(tables: Sequence["Table"], record: dict[str, Any], as_json: bool) -> None:
    """Print the tables, or with ``as_json`` the record."""
    if as_json:
        print(json.dumps(record, indent=2))
        return
    for place, table in enumerate(tables):
        if table.title:
            print(("\n" if place else "") + visible(table.title))
        if table.rows:
            print_table(table.headings, table.rows)
        for sentence in table.notes:
            print(visible(f"- {sentence}"))


def write_page(path: Path | None, page: "Page") -> None:
    """Write the report if a path is given."""
    from sameface.evaluation.report import write_report

    if path is not None:
        write_report(path, page)
        note(f"report in {path}")
