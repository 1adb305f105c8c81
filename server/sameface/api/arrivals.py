"""Places for requests that are arriving.

A caller announces the size of a request and sends it as slowly as it likes, and gRPC keeps what has come. So only so
many requests arrive at a time, and the others wait: until its turn, gRPC lets 64 KiB of a request in.

A small request is complete when its turn comes, or a moment later. So every turn is short. A request that is not
complete then moves to one of the places for slow requests, or is refused if others need these more. Slow requests never
hold up the others.

Places are shared among callers, as `sameface.api.admission` names them. Where many callers hold one slow request each,
the one gives way whose requests have lately had places longest without arriving. So a caller who sends nothing and asks
again and again falls behind one who has only begun to send.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType

from sameface.api.admission import RETRY_AFTER_S, busy
from sameface.errors import ServerBusy, StreamIdle

TURN_S = 0.1
STEPS, LONGEST = 3, 4
"""A turn passes in so many steps, each at least one round of the event loop. So it lasts longer where the loop is held
up, because reading a message takes some rounds: up to so many times as long."""
WAIT_S = 10.0
"""Seconds that a request waits for its turn."""
MOST_WAITING = 1024
KEEP_S = 3.0
"""A slow request gives way if its caller has two more than the newcomer, or has had places in vain so much longer."""
REMEMBER_S = 60.0
"""It is remembered so long for how many seconds a caller has had places in vain."""
MOST_REMEMBERED = 4096
QUICK = 4
"""One of so many places is for turns, unless the user says how many."""


@dataclass(eq=False, slots=True)
class _Arrival:
    caller: str
    granted: "asyncio.Future[None]"
    since: float = 0.0
    """When its turn began, in seconds of the loop's clock."""
    limit: asyncio.Timeout | None = None
    turn: asyncio.TimerHandle | None = None
    """Ends its turn."""
    gave_way: bool = False


@dataclass(slots=True)
class _Caller:
    """The requests of one caller, oldest first."""

    waiting: deque[_Arrival] = field(default_factory=deque)
    in_turn: list[_Arrival] = field(default_factory=list)
    slow: list[_Arrival] = field(default_factory=list)


class _InVain:
    """For how many seconds each caller has lately had places for requests that did not arrive."""

    def __init__(self) -> None:
        self._seconds: dict[str, tuple[float, float]] = {}
        """The seconds, and when they were added to last; the earliest first."""

    def seconds(self, caller: str) -> float:
        seconds, last = self._seconds.get(caller, (0.0, 0.0))
        return seconds if last + REMEMBER_S > asyncio.get_running_loop().time() else 0.0

    def add(self, caller: str, seconds: float) -> None:
        before = self.seconds(caller)
        self._seconds.pop(caller, None)
        self._seconds[caller] = before + seconds, asyncio.get_running_loop().time()
        if len(self._seconds) > MOST_REMEMBERED:
            del self._seconds[next(iter(self._seconds))]


class Arrivals:
    """Shares places among callers."""

    def __init__(self, places: int, arrive_s: float, *, turns: int | None = None, turn_s: float | None = None) -> None:
        """At most ``places`` requests (2 or more) arrive at a time, each within ``arrive_s`` seconds.

        ``turns`` of the places (1 to ``places`` - 1) are for turns of ``turn_s`` seconds, the others for slow requests.
        """
        self._turns = max(1, places // QUICK) if turns is None else turns
        self._turn_s = TURN_S if turn_s is None else turn_s
        self._places = places - self._turns
        self._arrive_s = arrive_s
        self._callers: dict[str, _Caller] = {}
        self._in_vain = _InVain()
        self._waiting = self._in_turn = self._slow = 0

    def place(self, caller: str) -> "_Place":
        """Wait for a turn, and have a place inside the block, while the request arrives.

        Raises:
            ServerBusy: there was no turn, or the request was slow and others needed its place.
            StreamIdle: the request did not arrive in time.
        """
        return _Place(self, caller)

    def enter(self, arrival: _Arrival) -> None:
        """Let a request wait for its turn, or have it at once."""
        if self._waiting >= MOST_WAITING:
            self._refuse_one()
        if (requests := self._callers.get(arrival.caller)) is None:
            requests = self._callers[arrival.caller] = _Caller()
        requests.waiting.append(arrival)
        self._waiting += 1
        self._serve()

    async def granted(self, arrival: _Arrival) -> None:
        """Wait for the turn of a request."""
        if not arrival.granted.done():
            await asyncio.wait([arrival.granted], timeout=WAIT_S)
        if not arrival.granted.done():
            raise ServerBusy(
                f"the request had no turn to arrive within {WAIT_S:g} s; wait and repeat the call",
                metadata={"in_flight": self._waiting, "limit": self._turns},
                retry_after_s=RETRY_AFTER_S,
            )
        arrival.granted.result()
        arrival.limit = asyncio.timeout(self._arrive_s)
        await arrival.limit.__aenter__()
        self._pass(arrival, STEPS)

    def _pass(self, arrival: _Arrival, steps: int) -> None:
        """Let the steps of a turn pass, then end it."""
        loop = asyncio.get_running_loop()
        if steps and loop.time() < arrival.since + LONGEST * self._turn_s:
            arrival.turn = loop.call_later(self._turn_s / STEPS, self._pass, arrival, steps - 1)
        else:
            self._end_turn(arrival)

    def late(self, arrival: _Arrival) -> ServerBusy | StreamIdle:
        """Return the error for a request that has had its place for too long."""
        if arrival.gave_way:
            return ServerBusy(
                "the request was slow to arrive, and others needed its place; wait and repeat the call",
                metadata={"in_flight": self._slow, "limit": self._places},
                retry_after_s=RETRY_AFTER_S,
            )
        return StreamIdle(
            f"the request did not arrive within {self._arrive_s:g} s; send it again",
            metadata={"limit": f"{self._arrive_s:g}"},
        )

    def leave(self, arrival: _Arrival, *, arrived: bool) -> None:
        """Give the place of a request to others."""
        if arrival.turn is not None:
            arrival.turn.cancel()
        if arrival.since and not arrived:
            self._in_vain.add(arrival.caller, asyncio.get_running_loop().time() - arrival.since)
        self._leave(arrival)
        self._serve()

    def _leave(self, arrival: _Arrival) -> None:
        requests = self._callers.get(arrival.caller)
        if requests is None:
            return
        if arrival in requests.in_turn:
            requests.in_turn.remove(arrival)
            self._in_turn -= 1
        elif arrival in requests.slow:
            requests.slow.remove(arrival)
            self._slow -= 1
        elif arrival in requests.waiting:
            requests.waiting.remove(arrival)
            self._waiting -= 1
        if not requests.waiting and not requests.in_turn and not requests.slow:
            del self._callers[arrival.caller]

    def _serve(self) -> None:
        """Begin turns: first for the caller that has fewest requests arriving."""
        while self._waiting and self._in_turn < self._turns:
            waiting = [one for one, requests in self._callers.items() if requests.waiting]
            name = waiting[0] if len(waiting) == 1 else min(waiting, key=self._arriving)
            # Behind the others, so that equals take turns.
            requests = self._callers[name] = self._callers.pop(name)
            arrival = requests.waiting.popleft()
            self._waiting -= 1
            requests.in_turn.append(arrival)
            self._in_turn += 1
            arrival.since = asyncio.get_running_loop().time()
            arrival.granted.set_result(None)

    def _arriving(self, caller: str) -> int:
        requests = self._callers[caller]
        return len(requests.in_turn) + len(requests.slow)

    def _end_turn(self, arrival: _Arrival) -> None:
        requests = self._callers.get(arrival.caller)
        if requests is None or arrival not in requests.in_turn:
            return
        if self._slow < self._places or self._make_room(arrival.caller):
            requests.in_turn.remove(arrival)
            self._in_turn -= 1
            requests.slow.append(arrival)
            self._slow += 1
            self._serve()
        else:
            _end(arrival)

    def _make_room(self, newcomer: str) -> bool:
        """End one slow request of a caller with most; return whether there was one to end.

        Among the callers with most, it is the one that has had places in vain longest, the present one included. It
        gives way if it has two more than the newcomer, or has had places in vain for `KEEP_S` seconds longer. So an
        honest request keeps its place at least so long, and longer where others have had more. A hostile caller gains
        nothing by asking again: each time adds to what it has had. One that opens new connections does gain, where a
        connection is a caller; so a proxy must limit these.
        """
        now, own = asyncio.get_running_loop().time(), len(self._callers[newcomer].slow)
        most = max(len(requests.slow) for requests in self._callers.values())
        spent = {
            name: self._in_vain.seconds(name) + now - requests.slow[0].since
            for name, requests in self._callers.items()
            if len(requests.slow) == most
        }
        longest = max(spent, key=lambda name: spent[name])
        longer = spent[longest] >= self._in_vain.seconds(newcomer) + KEEP_S
        if most < own or not (most > own + 1 or longer):
            return False
        oldest = self._callers[longest].slow[0]
        self._leave(oldest)
        _end(oldest)
        return True

    def _refuse_one(self) -> None:
        """Refuse the latest request of the caller with most that wait."""
        requests = max(self._callers.values(), key=lambda requests: len(requests.waiting))
        requests.waiting.pop().granted.set_exception(busy("requests waiting", self._waiting, MOST_WAITING))
        self._waiting -= 1


class _Place:
    """The place of one request, see `Arrivals.place`. Not a generator, which takes longer: each call has one."""

    __slots__ = ("_arrival", "_arrivals")

    def __init__(self, arrivals: Arrivals, caller: str) -> None:
        self._arrivals, self._arrival = arrivals, _Arrival(caller, asyncio.get_running_loop().create_future())

    async def __aenter__(self) -> None:
        try:
            self._arrivals.enter(self._arrival)
            await self._arrivals.granted(self._arrival)
        except BaseException:
            self._arrivals.leave(self._arrival, arrived=False)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        limit = self._arrival.limit
        assert limit is not None
        try:
            # It makes a `TimeoutError` of its own cancellation, and leaves one of the connection alone.
            await limit.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self._arrivals.late(self._arrival) from None
        finally:
            self._arrivals.leave(self._arrival, arrived=kind is None)


def _end(arrival: _Arrival) -> None:
    if arrival.limit is not None and not arrival.limit.expired():
        arrival.gave_way = True
        arrival.limit.reschedule(asyncio.get_running_loop().time())
