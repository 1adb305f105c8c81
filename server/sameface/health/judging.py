"""Judges from the answers to probes whether a part serves. Pure.

One failure may be chance, so a part is away after several in a row. A part that is back must answer for a while. That
while grows with every fall of the last minutes, so that a part that comes and goes does not move all callers with it.
"""

from dataclasses import dataclass, replace

from sameface.health.parts import PartHealth

FIRST_STEADY_S, LONGEST_STEADY_S = 0.5, 8.0
"""A part that is back must answer for so long: the first time, and at most."""
REMEMBERED_S = 120.0
"""Falls are forgotten after so many seconds."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known about a part."""

    health: PartHealth
    failures: int = 0
    """Failures since the latest success."""
    well_since: float | None = None
    """When it began to answer again, while it does not serve yet. Seconds of the monotonic clock."""
    falls: tuple[float, ...] = ()
    """When it fell, in seconds of the monotonic clock."""


def judged(before: Judgement, reason: str, *, now: float, at: float, failures_needed: int) -> Judgement:
    """Return the judgement after one more probe.

    Args:
        before: the judgement so far.
        reason: of the failure; empty for a success.
        now: of the monotonic clock, in seconds.
        at: seconds since the epoch.
        failures_needed: failures in a row after which the part is away.
    """
    falls = tuple(fall for fall in before.falls if now - fall < REMEMBERED_S)
    if reason:
        failures = before.failures + 1
        if not before.health.serving:
            return Judgement(replace(before.health, reason=reason), failures, None, falls)
        if failures < failures_needed:
            return Judgement(before.health, failures, None, falls)
        return Judgement(PartHealth(False, at, reason), failures, None, (*falls, now))
    if before.health.serving:
        return Judgement(before.health, 0, None, falls)
    well_since = now if before.well_since is None else before.well_since
    if now - well_since < steady_s(len(falls)):
        return Judgement(before.health, 0, well_since, falls)
    return Judgement(PartHealth(True, at), 0, None, falls)


def steady_s(falls: int) -> float:
    """Return for how many seconds a part must answer before it serves again, after so many falls."""
    return min(FIRST_STEADY_S * 2.0 ** max(0, falls - 1), LONGEST_STEADY_S)
