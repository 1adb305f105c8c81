"""Places for requests that are arriving.

A caller announces the size of a request and sends it as slowly as it likes, and gRPC keeps what has come. So only so
many requests arrive at a time, and the others wait: until its turn, gRPC lets 64 KiB of a request in.

A small request is complete when its turn comes, or a moment later. So every turn is short. A request that is not
complete then moves to one of the places for slow requests, or is refused if others need these more. Slow requests never
hold up the others.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sameface.api.admission import RETRY_AFTER_S, busy
from sameface.errors import ServerBusy, StreamIdle

TURN_S = 0.1
WAIT_S = 10.0
"""Seconds that a request waits for its turn."""
MOST_WAITING = 1024
KEEP_S = 5.0
"""A slow request keeps its place at least so long, unless its connection has two more than the one that needs it."""
QUICK = 4
"""One of so many places is for turns."""


@dataclass(eq=False, slots=True)
class _Arrival:
    connection: str
    granted: "asyncio.Future[None]"
    since: float = 0.0
    """When it got its place for slow requests, in seconds of the loop's clock."""
    limit: asyncio.Timeout | None = None
    gave_way: bool = False


@dataclass(slots=True)
class _Connection:
    """The requests of one connection, oldest first."""

    waiting: deque[_Arrival] = field(default_factory=deque)
    in_turn: list[_Arrival] = field(default_factory=list)
    slow: list[_Arrival] = field(default_factory=list)


class Arrivals:
    """Shares places among connections."""

    def __init__(self, places: int, arrive_s: float) -> None:
        """At most ``places`` requests (2 or more) arrive at a time, each within ``arrive_s`` seconds."""
        self._turns = max(1, places // QUICK)
        self._places = places - self._turns
        self._arrive_s = arrive_s
        self._connections: dict[str, _Connection] = {}
        self._waiting = self._in_turn = self._slow = 0

    @asynccontextmanager
    async def place(self, connection: str) -> AsyncIterator[None]:
        """Wait for a turn, and have a place while the request arrives.

        Raises:
            ServerBusy: there was no turn, or the request was slow and others needed its place.
            StreamIdle: the request did not arrive in time.
        """
        arrival = _Arrival(connection, asyncio.get_running_loop().create_future())
        if self._waiting >= MOST_WAITING:
            self._refuse_one()
        self._connections.setdefault(connection, _Connection()).waiting.append(arrival)
        self._waiting += 1
        try:
            self._serve()
            if not arrival.granted.done():
                await asyncio.wait([arrival.granted], timeout=WAIT_S)
            if not arrival.granted.done():
                raise ServerBusy(
                    f"the request had no turn to arrive within {WAIT_S:g} s; wait and repeat the call",
                    metadata={"in_flight": self._waiting, "limit": self._turns},
                    retry_after_s=RETRY_AFTER_S,
                )
            arrival.granted.result()
            async with asyncio.timeout(self._arrive_s) as arrival.limit:
                turn = asyncio.get_running_loop().call_later(TURN_S, self._end_turn, arrival)
                try:
                    yield
                finally:
                    turn.cancel()
        except TimeoutError:
            # A `TimeoutError` of the connection is not taken for ours.
            if arrival.limit is None or not arrival.limit.expired():
                raise
            if arrival.gave_way:
                raise ServerBusy(
                    "the request was slow to arrive, and others needed its place; wait and repeat the call",
                    metadata={"in_flight": self._slow, "limit": self._places},
                    retry_after_s=RETRY_AFTER_S,
                ) from None
            raise StreamIdle(
                f"the request did not arrive within {self._arrive_s:g} s; send it again",
                metadata={"limit": f"{self._arrive_s:g}"},
            ) from None
        finally:
            self._leave(arrival)
            self._serve()

    def _leave(self, arrival: _Arrival) -> None:
        requests = self._connections.get(arrival.connection)
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
            del self._connections[arrival.connection]

    def _serve(self) -> None:
        """Begin turns: first for the connection that has fewest requests arriving."""
        while self._waiting and self._in_turn < self._turns:
            name = min(
                (one for one, requests in self._connections.items() if requests.waiting),
                key=lambda one: len(self._connections[one].in_turn) + len(self._connections[one].slow),
            )
            # Behind the others, so that equals take turns.
            requests = self._connections[name] = self._connections.pop(name)
            arrival = requests.waiting.popleft()
            self._waiting -= 1
            requests.in_turn.append(arrival)
            self._in_turn += 1
            arrival.granted.set_result(None)

    def _end_turn(self, arrival: _Arrival) -> None:
        requests = self._connections[arrival.connection]
        if self._slow < self._places or self._make_room(len(requests.slow)):
            requests.in_turn.remove(arrival)
            self._in_turn -= 1
            requests.slow.append(arrival)
            self._slow += 1
            arrival.since = asyncio.get_running_loop().time()
            self._serve()
        else:
            _end(arrival)

    def _make_room(self, own: int) -> bool:
        """End the oldest slow request of the connection with most; return whether there was one to end.

        ``own`` is how many slow requests the connection has that needs the place.
        """
        most = max(len(requests.slow) for requests in self._connections.values())
        oldest = min(
            (requests.slow[0] for requests in self._connections.values() if len(requests.slow) == most),
            key=lambda arrival: arrival.since,
        )
        old = oldest.since + KEEP_S <= asyncio.get_running_loop().time()
        if most < own or not (most > own + 1 or old):
            return False
        self._leave(oldest)
        _end(oldest)
        return True

    def _refuse_one(self) -> None:
        """Refuse the latest request of the connection with most that wait."""
        requests = max(self._connections.values(), key=lambda requests: len(requests.waiting))
        requests.waiting.pop().granted.set_exception(busy("requests waiting", self._waiting, MOST_WAITING))
        self._waiting -= 1


def _end(arrival: _Arrival) -> None:
    if arrival.limit is not None and not arrival.limit.expired():
        arrival.gave_way = True
        arrival.limit.reschedule(asyncio.get_running_loop().time())
