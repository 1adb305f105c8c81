"""The figures of a run: kept as JSON, shown in the terminal, as one HTML page, and in docs/benchmarks.md."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.conditions import conditions_rows
from benchmarks.parts import PARTS
from sameface.cli.output import print_table
from sameface.evaluation.report import Page, write_report
from sameface.evaluation.tables import Table

FILE = "figures.json"
Results = dict[str, dict[str, Any]]
"""By name of the part: ``conditions`` and ``figures``."""
MARKED = re.compile(r"(<!-- figures: (\w+) -->\n)(.*?)(<!-- end of figures -->)", re.S)


def read_results(folder: Path) -> Results:
    """Return what was measured so far, in the order of the report."""
    path = folder / FILE
    found: Results = json.loads(path.read_text()) if path.is_file() else {}
    return {name: found[name] for name in PARTS if name in found}


def write_results(folder: Path, results: Results) -> None:
    """Write the figures, and the page that shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    tables, pictures = [], []
    for name, part in PARTS.items():
        if name in results:
            figures = results[name]["figures"]
            tables += [*part.tables(figures), conditions_table(name, results)]
            pictures += part.pictures(figures)
    summary = "Contenders take turns within one run, so a noisy machine slows all of them. Compare within a table."
    write_report(folder / "index.html", Page("sameface: benchmarks", summary, tables, pictures))


def conditions_table(name: str, results: Results) -> Table:
    """Return the conditions of a part."""
    return Table(f"Conditions of “{PARTS[name].title}”", ("", ""), conditions_rows(results[name]["conditions"]))


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables in the terminal."""
    for table in tables:
        print(f"\n{table.title}")
        print_table(table.headings, table.rows)
        for note in table.notes:
            print(f"  {note}")


def refreshed(document: str, results: Results) -> str:
    """Return a Markdown document with the tables between its markers replaced: ``<!-- figures: PART -->`` to
    ``<!-- end of figures -->``. A part that was not measured keeps its tables.
    """

    def replace(found: re.Match[str]) -> str:
        name = found[2]
        if name not in results:
            return found[0]
        tables = PARTS[name].tables(results[name]["figures"])
        conditions = dict(conditions_rows(results[name]["conditions"]))
        told = f"{conditions['processor']}; {conditions['system']}; {conditions['versions']}; {conditions['date']}; "
        told += f"load average before: {conditions['load average before']}."
        return f"{found[1]}{told}\n\n" + "\n".join(markdown(table) for table in tables) + found[4]

    return MARKED.sub(replace, document)


def markdown(table: Table) -> str:
    """Return a table as Markdown, with its title and notes."""
    lines = [f"**{table.title}**", "", _row(table.headings), _row(["---"] * len(table.headings))]
    lines += [_row(row) for row in table.rows]
    return "\n".join([*lines, *(["", *(f"{note}" for note in table.notes)] if table.notes else []), ""])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
