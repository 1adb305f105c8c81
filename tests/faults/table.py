"""The table of faults: rows that were measured, as JSON and as Markdown. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.faults.attempts import Road, told

SEEN = ("lasted", "calls with a photo", "without a photo", "health", "longest", "back after", "kept", "run; load")
COLUMNS = ("part", "fault", *SEEN)
MARKED = re.compile(r"(<!-- faults -->\n)(.*?)(<!-- end of faults -->)", re.S)


@dataclass(frozen=True, slots=True)
class Row:
    """What one fault did, or why it was not run."""

    part: str
    fault: str
    lasts: str = ""
    """How long it lasted, or who ended it."""
    answers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """How often each answer came, by the value of a `Road`, from the fault until all was well again."""
    health: str = ""
    longest_s: float = 0.0
    """The longest attempt of a call."""
    back_s: float = 0.0
    """See `tests.faults.attempts.back_after`."""
    broken: Sequence[str] = ()
    """Promises that were broken."""
    not_run: str = ""
    """Why it was not run."""
    measured: str = ""
    """When, and the load average of the machine before."""

    @property
    def key(self) -> tuple[str, str]:
        """What names the row."""
        return self.part, self.fault


def merged(order: Sequence[tuple[str, str]], before: Sequence[Row], now: Sequence[Row]) -> list[Row]:
    """Put the rows of this run in the place of earlier ones, in ``order``.

    What this run left out stays as it was measured; a fault that nothing is known of is left out.
    """
    known = {row.key: row for row in before}
    known.update({row.key: row for row in now if not row.not_run or row.key not in known or known[row.key].not_run})
    return [known[key] for key in order if key in known]


def as_json(conditions: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """What is kept of a run."""
    return {"conditions": dict(conditions), "rows": [asdict(row) for row in rows]}


def rows_of(kept: Mapping[str, Any]) -> list[Row]:
    """The rows that `as_json` kept."""
    return [Row(**{**row, "broken": tuple(row["broken"])}) for row in kept["rows"]]


def markdown(kept: Mapping[str, Any]) -> str:
    """The conditions and the table."""
    rows = rows_of(kept)
    lines = [f"{conditions_line(kept['conditions'])}\n" if kept["conditions"] else ""]
    run = [row for row in rows if not row.not_run]
    if run:
        lines += [
            f"| {' | '.join(COLUMNS)} |",
            f"| {' | '.join('---' for _ in COLUMNS)} |",
            *map(_line, run),
            "",
        ]
    left_out = [row for row in rows if row.not_run]
    if left_out:
        lines += ["Not run on this machine:", "", "| part | fault | why |", "| --- | --- | --- |"]
        lines += [f"| {row.part} | {row.fault} | {row.not_run} |" for row in left_out]
        lines += [""]
    return "\n".join(lines)


def written(document: str, kept: Mapping[str, Any]) -> str:
    """The document with the table between its marks."""
    return MARKED.sub(lambda found: f"{found[1]}{markdown(kept)}{found[3]}", document)


def _line(row: Row) -> str:
    photo = told(row.answers.get(Road.PHOTO, {})) or "none was open"
    if Road.HTTP in row.answers:
        photo += f". Over HTTP: {told(row.answers[Road.HTTP])}"
    store = told(row.answers.get(Road.STORE, {})) or "none was open"
    kept = "yes" if not row.broken else f"**no**: {'; '.join(row.broken)}"
    times = f"{row.longest_s:.1f} s | {row.back_s:.1f} s"
    cells = (row.part, row.fault, row.lasts, photo, store, row.health, times, kept, row.measured)
    return f"| {' | '.join(cells)} |"


def conditions_line(found: Mapping[str, Any]) -> str:
    """What the figures depend on, in a sentence."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return (
        f"Seed {found['seed']}; {found['date']}; {found['processor']}, {found['cores']} cores, "
        f"{found['memory_gib']} GiB; {found['system']}, Python {found['python']}; {versions}; "
        f"load average before: {found['load_average']}."
    )
