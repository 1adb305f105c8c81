"""Who waits for how long: pure rules of the queue, without a clock of their own. Times are seconds.

Work is begun in the order of start-time fair queueing (Goyal, Vin and Cheng 1996): callers share the time of the models
in equal parts, and the work of one caller is begun oldest first. Newest first would answer some calls sooner, but let
others wait in vain. Here nobody waits in vain: a call that would wait too long is refused when it comes.
"""

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

Key = TypeVar("Key")

FIRST_S = 0.05
"""Work of which nothing is known is expected to take so long."""
WEIGHT = 0.1
"""How much the latest measurement counts."""
OUTLIER = 4.0
"""A measurement counts as at most so many times what was expected, and at least as its inverse."""
MOST_KINDS = 1024
"""So many kinds are remembered of all callers together, and as many of single callers."""
MOST_CALLERS = 4096
"""So many are remembered while others wait; then the one is forgotten whose work came longest ago."""
ROUNDS = 6.0
"""Work may always wait as long as so much of its own kind takes, however short the longest wait is."""
PLANNED = 0.8
"""A call is taken if it would wait at most this part of the longest wait, because predictions err."""
PRESSURE_S = 2.0
"""Over so many seconds refusals are counted."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0


class Forecast:
    """How long work of each kind takes, by what was measured: of the caller itself where it is known."""

    def __init__(self) -> None:
        self._seconds: OrderedDict[str, float] = OrderedDict()
        """By kind; the one that was measured longest ago first."""
        self._own: OrderedDict[tuple[str, str], float] = OrderedDict()
        """The same by caller and kind."""
        self.usual_s = FIRST_S
        """How long work of any kind takes."""

    def seconds(self, kind: str, caller: str = "") -> float:
        """Return how long work of a kind is expected to take, more than 0."""
        return self._own.get((caller, kind)) or self._seconds.get(kind, self.usual_s)

    def seconds_within(self, left_s: float | None, kind: str, caller: str) -> float:
        """Return the same for work that is to end within ``left_s``.

        What others have measured may not fit a caller: their photos may take much longer. So of a caller that is not
        known, the work is expected to take half of the time at most.
        """
        if (own := self._own.get((caller, kind))) is not None:
            return own
        expected_s = self._seconds.get(kind, self.usual_s)
        return expected_s if left_s is None else min(expected_s, max(0.0, left_s / 2))

    def add(self, kind: str, seconds: float, caller: str = "") -> None:
        """Learn how long one piece of work took."""
        _learn(self._seconds, kind, seconds)
        if caller:
            _learn(self._own, (caller, kind), seconds)
        self.usual_s = _nearer(self.usual_s, seconds)


def _learn(known: OrderedDict[Key, float], key: Key, seconds: float) -> None:
    if key in known:
        known[key] = _nearer(known[key], seconds)
    else:
        # The first of its kind is no outlier: a large photo takes much longer than the usual one.
        known[key] = max(1e-4, seconds)
        if len(known) > MOST_KINDS:
            known.popitem(last=False)
    known.move_to_end(key)


def _nearer(expected: float, measured: float) -> float:
    within = min(max(measured, expected / OUTLIER), expected * OUTLIER)
    return max(1e-4, expected + WEIGHT * (within - expected))


@dataclass(eq=False, slots=True)
class Work:
    """One piece of work that waits or is done."""

    caller: str
    kind: str
    expected_s: float
    begin_by: float
    """It is not begun after this time."""
    came: float = 0.0
    """When it came."""
    gives_up: float = float("inf")
    """When its caller gives up."""
    starts: float = 0.0
    """Its place in the order: the virtual time at which it starts."""
    gone: bool = False
    """Whether its caller waits no longer."""


@dataclass(slots=True)
class Line:
    """The work that waits, in fair order."""

    _heap: list[tuple[float, int, Work]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _now: float = 0.0
    """Virtual time: where the latest work that was begun had its start."""
    _ends: dict[str, float] = field(default_factory=dict)
    """For each caller whose work has been put in order: the virtual time at which the last of it ends."""
    length: int = 0
    """How much work waits."""

    def add(self, work: Work) -> None:
        """Put work in its place."""
        work.starts = self._start_of(work.caller)
        self._ends.pop(work.caller, None)
        self._ends[work.caller] = work.starts + work.expected_s
        if len(self._ends) > MOST_CALLERS:
            del self._ends[next(iter(self._ends))]
        heapq.heappush(self._heap, (work.starts, next(self._numbers), work))
        self.length += 1

    def leave(self, work: Work) -> None:
        """Take work out whose caller waits no longer."""
        if not work.gone:
            work.gone = True
            self.length -= 1
            # What is gone is dropped when its turn comes; until then it must not pile up.
            if len(self._heap) > 2 * self.length + 8:
                self._heap = [one for one in self._heap if not one[2].gone]
                heapq.heapify(self._heap)

    def next(self) -> Work | None:
        """Take out the work whose turn it is; None if nothing waits."""
        while self._heap:
            starts, _, work = heapq.heappop(self._heap)
            if not work.gone:
                work.gone = True
                self.length -= 1
                self._now = max(self._now, starts)
                if not self.length:
                    # Nobody waits any more, so all callers are equal again.
                    self._now = max(self._now, *self._ends.values())
                    self._ends.clear()
                return work
        return None

    def charge(self, caller: str, seconds: float) -> None:
        """Note that a caller's work took so many seconds more than expected, or fewer if they are negative.

        So a caller whose work takes long has its turns less often, whatever was expected of it.
        """
        if caller in self._ends:
            self._ends[caller] = max(self._now, self._ends[caller] + seconds)

    def ahead_s(self, caller: str) -> float:
        """Return how long the work takes that would be begun before new work of a caller, one after another."""
        start, ahead_s = self._start_of(caller), 0.0
        for starts, _, work in self._heap:  # each call asks this, and a generator takes twice the time
            if starts <= start and not work.gone:
                ahead_s += work.expected_s
        return ahead_s

    def waiting(self) -> list[Work]:
        """Return what waits, in any order."""
        return [work for _, _, work in self._heap if not work.gone]

    def _start_of(self, caller: str) -> float:
        return max(self._now, self._ends.get(caller, 0.0))


def is_refused(wait_s: float, work_s: float, longest_wait_s: float, left_s: float | None) -> bool:
    """Return whether a call is refused that would wait ``wait_s`` seconds and then take ``work_s``.

    A call that need not wait is never refused: how long it takes is known only when it is done.

    Args:
        wait_s: predicted wait.
        work_s: predicted time of the work itself.
        longest_wait_s: longest wait of calls, from the settings.
        left_s: time until the caller gives up; None if it does not.
    """
    if wait_s <= 0:
        return False
    return wait_s > PLANNED * longest_wait(longest_wait_s, work_s) or (left_s is not None and wait_s + work_s > left_s)


def longest_wait(longest_wait_s: float, work_s: float) -> float:
    """Return how long work may wait that takes ``work_s`` seconds."""
    return max(longest_wait_s, ROUNDS * work_s)


class Pauses:
    """After how long refused callers shall come again, so that they do not all come at once."""

    def __init__(self) -> None:
        self._pressure, self._at = 0.0, float("-inf")

    def next(self, now: float, wait_s: float, per_s: float, dice: float) -> float:
        """Count a refusal, and return the pause in seconds, `SHORTEST_PAUSE_S` to `LONGEST_PAUSE_S`.

        As many calls as can be answered come back in a second, after those that wait.

        Args:
            now: the time.
            wait_s: how long those take that wait already.
            per_s: how many calls can be answered per second, more than 0.
            dice: uniform in [0, 1). Pauses are spread around the mean, from a half to one and a half of it.
        """
        self._pressure = self._pressure * 2 ** (-(now - self._at) / PRESSURE_S) + 1
        self._at = now
        mean = wait_s + self._pressure / per_s
        return min(max(mean * (0.5 + dice), SHORTEST_PAUSE_S), LONGEST_PAUSE_S * (0.5 + dice / 2))
