"""What was seen in a run, and the table of its faults. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.qdrant.ledger import Violation

FOREVER = float("inf")
KINDS = ("lost", "back", "copies", "untyped", "failed")


@dataclass(slots=True)
class Row:
    """One time that a fault happened, with what it needed to be over."""

    name: str
    majority: bool
    began: float
    ended: float = FOREVER


@dataclass(slots=True)
class Outcome:
    """Everything that was seen in one run."""

    seed: int
    violations: list[Violation] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    """Acknowledged calls and verifications: when they ran, and how often they were repeated."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    """Attempts that failed."""
    kills: int = 0
    races: int = 0
    acknowledged: Counter[str] = field(default_factory=Counter)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the table of faults as Markdown: what happened to the calls that ran while each fault lasted."""
    lines = [
        "| fault | times | a majority was there | over after | calls | failed attempts | longest | broken promises |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = dict.fromkeys(row.name for outcome in outcomes for row in outcome.rows)
    for name in names:
        rows = [(outcome, row) for outcome in outcomes for row in outcome.rows if row.name == name]
        calls = [
            call
            for outcome, row in rows
            for call in outcome.calls
            if call["began"] < row.ended and row.began < call["ended"]
        ]
        failed = [one for outcome, row in rows for one in outcome.failures if row.began <= one["at"] <= row.ended]
        longest = max((call["ended"] - call["began"] for call in calls), default=0.0)
        over = max((row.ended - row.began for _, row in rows if row.ended < FOREVER), default=0.0)
        broken = sum(one.what.endswith(f"(during: {name})") for outcome in outcomes for one in outcome.violations)
        majority = "yes" if rows[0][1].majority else "no"
        counts = f"{len(rows)} | {majority} | {over:.0f} s | {len(calls)} | {len(failed)}"
        lines.append(f"| {name} | {counts} | {longest:.1f} s | {broken} |")
    return "\n".join(lines)


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures of all runs together."""
    violations = [one for outcome in outcomes for one in outcome.violations]
    counted = Counter(one.kind for one in violations)
    acknowledged: Counter[str] = sum((outcome.acknowledged for outcome in outcomes), Counter())
    return {
        "runs": len(outcomes),
        "seeds": [outcome.seed for outcome in outcomes],
        "acknowledged": dict(acknowledged),
        "verifications": sum(call["event"] == "verified" for outcome in outcomes for call in outcome.calls),
        "services killed": sum(outcome.kills for outcome in outcomes),
        "races": sum(outcome.races for outcome in outcomes),
        **{kind: counted[kind] for kind in KINDS},
        "violations": [f"{one.kind}: {one.what}" for one in violations],
    }
