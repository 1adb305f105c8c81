"""Turns to work: so many calls are worked on at a time, and the others wait for a time that is known beforehand."""

import asyncio
import functools
import random

from sameface.api.queueing import ROUNDS, Forecast, Line, Pauses, Work, is_refused, longest_wait
from sameface.errors import ServerBusy
from sameface.observation.stages import stage
from sameface.turn import set_turn

NEVER = float("inf")
SLOWER = 4.0
"""Calls that were taken wait up to so many times the longest wait, if the machine has suddenly become slower."""


class Lane:
    """Work that needs the same part of the machine. Times are seconds of the loop's clock."""

    def __init__(self, at_once: int, longest_wait_s: float) -> None:
        """At most ``at_once`` pieces of work are done at a time. A call waits at most ``longest_wait_s``."""
        self.at_once = at_once
        self.longest_wait_s = longest_wait_s
        self.forecast = Forecast()
        self._line = Line()
        self._doing: dict[Work, float] = {}
        """The work that is done, and since when."""
        self._turns: dict[Work, asyncio.Future[None]] = {}
        self._pauses = Pauses()
        self.refused = 0
        """Number of calls that were refused because they would wait too long, or had done so."""

    @property
    def waiting(self) -> int:
        """Number of calls that wait for their turn."""
        return self._line.length

    @property
    def working(self) -> int:
        """Number of calls that are worked on."""
        return len(self._doing)

    def wait_s(self, caller: str = "") -> float:
        """Return how long a new call of a caller would wait for its turn."""
        if len(self._doing) < self.at_once and not self._line.length:
            return 0.0
        return max(1e-6, self._rest_s() + self._line.ahead_s(caller) / self.at_once)

    def longest_expected_s(self) -> float:
        """Return how long a call would wait that had its turn after all that wait now.

        At least as long as the oldest of them has waited: work may take longer than is expected of it.
        """
        waiting = self._line.waiting()
        if not waiting and len(self._doing) < self.at_once:
            return 0.0
        now = asyncio.get_running_loop().time()
        oldest_s = max((now - work.came for work in waiting), default=0.0)
        return max(oldest_s, self._rest_s() + sum(work.expected_s for work in waiting) / self.at_once)

    def _rest_s(self) -> float:
        """Return the time until the next turn."""
        ends = NEVER if self._doing else 0.0
        for work, since in self._doing.items():
            # The next turn comes when the first of them ends, however long the others take.
            ends = min(ends, since + work.expected_s)
        return max(0.0, ends - asyncio.get_running_loop().time())

    def refusal(self, caller: str, kind: str, left_s: float | None) -> ServerBusy | None:
        """Return the error for a call that would wait too long; None if it may wait."""
        wait_s, work_s = self.wait_s(caller), self.forecast.seconds_within(left_s, kind, caller)
        if not is_refused(wait_s, work_s, self.longest_wait_s, left_s):
            return None
        return self._busy(wait_s)

    def turn(self, caller: str, kind: str, left_s: float | None = None, *, patient: bool = False) -> "_Turn":
        """Wait for a turn to work, and have it inside the block, or until `sameface.turn.give_turn_back` is called.

        Args:
            caller: whose share it takes.
            kind: names work that takes about as long.
            left_s: time until the caller gives up; None if it does not.
            patient: wait for as long as it takes.

        Raises:
            ServerBusy: it would wait too long, or has done so. The work is not begun.
        """
        return _Turn(self, (caller, kind, left_s, patient))

    def add(self, caller: str, kind: str, left_s: float | None, patient: bool) -> Work:
        """Put work in the line, see `turn`."""
        if not patient and (busy := self.refusal(caller, kind, left_s)) is not None:
            raise busy
        came, expected_s = asyncio.get_running_loop().time(), self.forecast.seconds(kind, caller)
        begin_by = gives_up = NEVER if left_s is None else came + left_s
        begin_by = NEVER if patient else min(begin_by, came + longest_wait(self.longest_wait_s, expected_s))
        work = Work(caller, kind, expected_s, begin_by, came, gives_up)
        self._line.add(work)
        return work

    async def begun(self, work: Work) -> None:
        """Wait until the work is begun."""
        loop = asyncio.get_running_loop()
        turn = self._turns[work] = loop.create_future()
        self._begin()
        if turn.done():
            turn.result()
            return
        expiry = None if work.begin_by == NEVER else loop.call_at(work.begin_by, self._expire, work)
        try:
            await turn
        finally:
            if expiry is not None:
                expiry.cancel()

    def end(self, work: Work, *, measured: bool = True) -> None:
        """Note that work has ended, or is waited for no longer. Begin what is next. It may be called again."""
        since = self._doing.pop(work, None)
        if since is not None:
            took_s = asyncio.get_running_loop().time() - since
            # Work whose caller has gone would have taken longer. It took that time from others all the same.
            if measured or took_s > work.expected_s:
                self.forecast.add(work.kind, took_s, work.caller)
                self._line.charge(work.caller, took_s - work.expected_s)
            self._begin()
        elif self._turns.pop(work, None) is not None:
            self._line.leave(work)

    def _begin(self) -> None:
        """Begin the work whose turn it is. What is too late, or whose caller is gone, is not begun."""
        now = asyncio.get_running_loop().time()
        while len(self._doing) < self.at_once and (work := self._line.next()) is not None:
            turn = self._turns.pop(work)
            if turn.done():
                continue
            if now > work.begin_by and self._is_late(work, now):
                turn.set_exception(self._busy(self.wait_s(work.caller)))
                continue
            self._doing[work] = now
            turn.set_result(None)

    def _expire(self, work: Work) -> None:
        if (turn := self._turns.get(work)) is None:
            return
        loop = asyncio.get_running_loop()
        if not turn.done() and not self._is_late(work, loop.time()):
            loop.call_at(work.begin_by, self._expire, work)
            return
        del self._turns[work]
        self._line.leave(work)
        if not turn.done():
            turn.set_exception(self._busy(self.wait_s(work.caller)))

    def _is_late(self, work: Work, now: float) -> bool:
        """Return whether work has waited too long, and let it wait on if work has become slower since it came."""
        begin_by = work.came + longest_wait(self.longest_wait_s, self.forecast.seconds(work.kind, work.caller))
        if self._doing:
            # Nothing has ended for so long. What was measured does not say that yet.
            since_s = now - max(self._doing.values())
            begin_by = max(begin_by, work.came + min(ROUNDS * since_s, SLOWER * self.longest_wait_s))
        work.begin_by = max(work.begin_by, min(begin_by, work.gives_up))
        return now >= work.begin_by - 1e-3

    def _busy(self, wait_s: float) -> ServerBusy:
        self.refused += 1
        per_s = self.at_once / self.forecast.usual_s
        now, dice = asyncio.get_running_loop().time(), random.random()  # noqa: S311  # spreads, guards nothing
        pause_s = self._pauses.next(now, wait_s, per_s, dice)
        return ServerBusy(
            "so many calls wait that this one would wait longer than the service allows, or than its deadline; wait as "
            "RetryInfo says and repeat the call",
            metadata={"in_flight": self.working + self.waiting, "limit": self.at_once},
            # In steps, so that few statuses have to be made.
            retry_after_s=round(pause_s * 20) / 20,
        )


class _Turn:
    """A turn of one call, see `Lane.turn`. Not a generator: each call has one, and that takes three times as long."""

    __slots__ = ("_lane", "_wanted", "_work")

    def __init__(self, lane: Lane, wanted: tuple[str, str, float | None, bool]) -> None:
        self._lane, self._wanted = lane, wanted

    async def __aenter__(self) -> None:
        lane = self._lane
        self._work = work = lane.add(*self._wanted)
        try:
            with stage("queue"):
                await lane.begun(work)
        except BaseException as error:
            lane.end(work, measured=not isinstance(error, asyncio.CancelledError))
            raise
        set_turn(functools.partial(lane.end, work))

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        left = kind is not None and issubclass(kind, asyncio.CancelledError)
        self._lane.end(self._work, measured=not left)
