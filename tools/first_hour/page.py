"""What a page of the first hours holds: numbered steps, their blocks of code, and what these print."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = {name: ROOT / "docs" / f"{name}.md" for name in ("first-hour", "first-hour-vectors", "first-hour-training")}
"""Names that the command takes, and their documents."""
STEP = re.compile(r"^## (\d+)\. (.+)$", re.M)
CODE = re.compile(r"^```(sh|python)\n(.*?)^```$(?:\n\n```\n(.*?)^```$)?", re.M | re.S)
NEEDS = re.compile(r"^Needs: `([\w-]+)`", re.M)
ONE_SESSION = "<!-- the blocks of Python are one session -->\n"
"""A page with this line runs its blocks of Python one after another in one interpreter, as a notebook would."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code, and the lines that it must print."""

    language: str
    code: str
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A section of the page."""

    number: int
    title: str
    blocks: tuple[Block, ...]
    needs: str
    """A program without which the step is skipped; empty for none."""


def steps(text: str) -> list[Step]:
    """Return the steps of a page, in their order."""
    starts = [*STEP.finditer(text)]
    ends = [*(one.start() for one in starts[1:]), len(text)]
    found = []
    for start, end in zip(starts, ends, strict=True):
        body = text[start.end() : end]
        blocks = tuple(Block(one[1], one[2], tuple((one[3] or "").splitlines())) for one in CODE.finditer(body))
        needs = NEEDS.search(body)
        found.append(Step(int(start[1]), start[2], blocks, needs[1] if needs else ""))
    return found


def missing_line(expected: Sequence[str], printed: str) -> str | None:
    """Return the first expected line that was not printed after those before it; None if all were."""
    lines: Iterator[str] = iter(printed.splitlines())
    for wanted in expected:
        pattern = ".*".join(re.escape(part) for part in wanted.rstrip().split("…"))
        if not any(re.fullmatch(pattern, line.rstrip()) for line in lines):
            return wanted
    return None
