"""What became of single attempts of calls while a fault lasted. Pure.

An attempt is one request and its answer. A client repeats failed attempts, so a call may have several.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

OK = "OK"


class Road(StrEnum):
    """What a call needs: the models and the store, the store alone, or both behind HTTP."""

    PHOTO = "photo"
    STORE = "store"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request. Times are monotonic seconds."""

    road: Road
    began: float
    ended: float
    answer: str
    """``OK``, or status and reason: ``UNAVAILABLE STORE_UNAVAILABLE``. Without a reason it came from gRPC itself."""

    @property
    def failed(self) -> bool:
        return self.answer != OK


@dataclass(frozen=True, slots=True)
class Look:
    """The state of the service at one moment: ``SERVING``, ``NOT_SERVING``, or ``no answer``."""

    at: float
    state: str


def during(attempts: Iterable[Attempt], began: float, ended: float) -> list[Attempt]:
    """Those that were open at some moment between ``began`` and ``ended``."""
    return [one for one in attempts if one.ended >= began and one.began <= ended]


def counts(attempts: Iterable[Attempt]) -> dict[Road, dict[str, int]]:
    """How often each answer came, by road; the most frequent first, then by name."""
    found: dict[Road, Counter[str]] = {}
    for one in attempts:
        found.setdefault(one.road, Counter())[one.answer] += 1
    return {
        road: dict(sorted(counter.items(), key=lambda item: (-item[1], item[0]))) for road, counter in found.items()
    }


def back_after(attempts: Sequence[Attempt], over: float) -> float:
    """Seconds from ``over`` until calls began that all succeeded; 0 where none that began later failed."""
    failed = [one.began for one in attempts if one.failed and one.began >= over]
    if not failed:
        return 0.0
    return min((one.began for one in attempts if one.began > max(failed)), default=float("inf")) - over


def is_settled(attempts: Iterable[Attempt], roads: Iterable[Road], now: float, quiet_s: float) -> bool:
    """Whether for ``quiet_s`` seconds nothing has failed, and a call of every road has begun and succeeded."""
    latest = [one for one in attempts if one.ended > now - quiet_s]
    succeeded = {one.road for one in latest if not one.failed and one.began > now - quiet_s}
    return succeeded >= set(roads) and not any(one.failed for one in latest)


def health(looks: Sequence[Look], began: float, ended: float) -> str:
    """When the service was not SERVING, in seconds after ``began``; ``SERVING`` where it always was."""
    spans: list[tuple[str, float, float]] = []
    within = [one for one in looks if began <= one.at <= ended]
    for one, after in zip(within, [*within[1:], None], strict=True):
        until = after.at if after else ended
        if spans and spans[-1][0] == one.state:
            spans[-1] = (one.state, spans[-1][1], until)
        else:
            spans.append((one.state, one.at, until))
    away = [f"{state} {start - began:.1f} to {end - began:.1f} s" for state, start, end in spans if state != "SERVING"]
    return ", ".join(away) or "SERVING"


def told(answers: Mapping[str, int]) -> str:
    """A cell of the table: ``40 OK; 3 UNAVAILABLE MODEL_UNAVAILABLE``. OK comes first."""
    ordered = sorted(answers.items(), key=lambda item: (item[0] != OK, -item[1], item[0]))
    return "; ".join(f"{count} {answer}" for answer, count in ordered)
