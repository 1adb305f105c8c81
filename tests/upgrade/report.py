"""What a rolling upgrade did to the calls, as JSON and as Markdown. Pure."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.faults.attempts import OK, Attempt, told
from tests.faults.table import conditions_line

MARKED = re.compile(r"(<!-- upgrade -->\n)(.*?)(<!-- end of upgrade -->)", re.S)


@dataclass(frozen=True, slots=True)
class Step:
    """One part that was replaced."""

    part: str
    away_s: float
    """From the signal that stops it until its successor is ready."""
    calls: int
    repeated: Mapping[str, int] = field(default_factory=dict)
    """Attempts that failed and were repeated, by answer."""
    failed: Sequence[str] = ()
    """Calls that failed with all their repeats."""
    longest_s: float = 0.0
    """The longest attempt."""
    refused_s: float = 0.0
    """From the first failed attempt to the last one."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A replacement that began, and how much was known of the calls then."""

    part: str
    away_s: float
    """See `Step.away_s`."""
    calls: int
    attempts: int
    failed: int


def steps_of(begun: Sequence[Begun], calls: int, attempts: Sequence[Attempt], failed: Sequence[str]) -> list[Step]:
    """Count what was seen from each replacement to the next one, and from the last one to the end of every call.

    Args:
        begun: the replacements, in order.
        calls: how many calls ended in all.
        attempts: every attempt, in the order in which they ended.
        failed: every call that failed, in that order.
    """
    ends = [*begun[1:], Begun("", 0.0, calls, len(attempts), len(failed))]
    return [
        step_of(
            one.part,
            one.away_s,
            end.calls - one.calls,
            attempts[one.attempts : end.attempts],
            failed[one.failed : end.failed],
        )
        for one, end in zip(begun, ends, strict=True)
    ]


def step_of(part: str, away_s: float, calls: int, attempts: Sequence[Attempt], failed: Sequence[str]) -> Step:
    """Count what was seen while a part was replaced."""
    bad = [one for one in attempts if one.failed]
    counted = Counter(one.answer for one in bad)
    return Step(
        part,
        round(away_s, 1),
        calls,
        dict(sorted(counted.items())),
        tuple(failed),
        round(max((one.ended - one.began for one in attempts), default=0.0), 1),
        round(max(one.ended for one in bad) - min(one.began for one in bad), 1) if bad else 0.0,
    )


def as_json(
    conditions: Mapping[str, Any],
    releases: tuple[str, str],
    store: str,
    load: Mapping[str, float],
    rolling: Sequence[Step],
    edge: Step,
    broken: Sequence[str],
) -> dict[str, Any]:
    """What is kept of a run. ``load`` has ``sustained``, ``offered`` and ``edge``, in calls per second."""
    return {
        "conditions": dict(conditions),
        "releases": list(releases),
        "store": store,
        "load": dict(load),
        "rolling": [asdict(step) for step in rolling],
        "edge": asdict(edge),
        "broken": list(broken),
    }


def markdown(kept: Mapping[str, Any]) -> str:
    """The conditions and the tables."""
    before, after = kept["releases"]
    load, rolling, edge = kept["load"], kept["rolling"], kept["edge"]
    failed = sum(len(step["failed"]) for step in rolling)
    calls = sum(step["calls"] for step in rolling)
    promises = "Afterwards everything that was acknowledged was there, and nothing that was erased."
    lines = [
        f"From {before} to {after}, on {kept['store']}. {conditions_line(kept['conditions'])}",
        "",
        f"The two releases together sustained {load['sustained']:.0f} calls a second; {load['offered']:.0f} were made. "
        f"**{failed} of {calls} calls failed.** "
        + (f"**Promises were broken: {'; '.join(kept['broken'])}.**" if kept["broken"] else promises),
        "",
        "| replaced | away | calls meanwhile | repeated attempts | failed calls | longest attempt |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_line(step) for step in rolling),
        "",
        f"On Qdrant Edge, with {load['edge']:.0f} calls a second, the successor was ready {edge['away_s']:.1f} s after "
        f"the signal. Attempts failed for {edge['refused_s']:.1f} s. With all their repeats, {len(edge['failed'])} of "
        f"{edge['calls']} calls failed.",
        "",
    ]
    return "\n".join(lines)


def written(document: str, kept: Mapping[str, Any]) -> str:
    """The document with the tables between its marks."""
    return MARKED.sub(lambda found: f"{found[1]}{markdown(kept)}{found[3]}", document)


def _line(step: Mapping[str, Any]) -> str:
    failed = f"{len(step['failed'])}" + (f": {told(Counter(step['failed']))}" if step["failed"] else "")
    repeated = told({answer: count for answer, count in step["repeated"].items() if answer != OK}) or "none"
    cells = (step["part"], f"{step['away_s']:.1f} s", step["calls"], repeated, failed, f"{step['longest_s']:.1f} s")
    return f"| {' | '.join(map(str, cells))} |"
