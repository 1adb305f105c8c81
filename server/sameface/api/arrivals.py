"""Places for requests that are arriving.

A caller announces the size of a request and sends it as slowly as it likes, and gRPC keeps what has come. So only so
many requests arrive at a time, each connection has a few of them, and others wait: until its turn, gRPC lets 64 KiB of
a request in. Where places are short, requests that take long give way to connections that have fewer.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sameface.api.admission import RETRY_AFTER_S, busy
from sameface.errors import ServerBusy, StreamIdle

WAIT_S = 10.0
"""Seconds that a request waits for a place."""
MOST_WAITING = 1024
PER_CONNECTION = 4
"""One connection may have a fourth of the places."""
PATIENT = 5
"""A connection that has no more places than another keeps them so many times longer."""


@dataclass(eq=False, slots=True)
class _Arrival:
    granted: "asyncio.Future[None]"
    since: float = 0.0
    """When it got its place, in seconds of the loop's clock."""
    limit: asyncio.Timeout | None = None
    gave_way: bool = False


@dataclass(slots=True)
class _Connection:
    """The requests of one connection, oldest first."""

    arriving: list[_Arrival] = field(default_factory=list)
    waiting: deque[_Arrival] = field(default_factory=deque)


class Arrivals:
    """Shares places among connections."""

    def __init__(self, places: int, arrive_s: float, keep_s: float = 1.0) -> None:
        """``places`` requests arrive at a time, each within ``arrive_s`` seconds.

        A place is kept for ``keep_s`` seconds at least, and `PATIENT` times as long by a connection that has no more
        places than the one that waits would have.
        """
        self._places = places
        self._per_connection = max(1, places // PER_CONNECTION)
        self._arrive_s, self._keep_s = arrive_s, keep_s
        self._connections: dict[str, _Connection] = {}
        self._arriving = self._waiting = 0
        self._again: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def place(self, connection: str) -> AsyncIterator[None]:
        """Wait for a place, and have it while the request arrives.

        Raises:
            ServerBusy: there was no place, or the request took long and another one needed its place.
            StreamIdle: the request did not arrive in time.
        """
        arrival = _Arrival(asyncio.get_running_loop().create_future())
        if self._waiting >= MOST_WAITING:
            self._refuse_one()
        self._connections.setdefault(connection, _Connection()).waiting.append(arrival)
        self._waiting += 1
        try:
            self._serve()
            if not arrival.granted.done():
                await asyncio.wait([arrival.granted], timeout=WAIT_S)
            if not arrival.granted.done():
                raise busy("requests arriving", self._arriving, self._places)
            arrival.granted.result()
            async with asyncio.timeout(self._arrive_s) as arrival.limit:
                yield
        except TimeoutError:
            # A `TimeoutError` of the connection is not taken for ours.
            if arrival.limit is None or not arrival.limit.expired():
                raise
            if arrival.gave_way:
                raise ServerBusy(
                    "the request took long to arrive, and another one needed its place; wait and repeat the call",
                    metadata={"in_flight": self._arriving, "limit": self._places},
                    retry_after_s=RETRY_AFTER_S,
                ) from None
            raise StreamIdle(
                f"the request did not arrive within {self._arrive_s:g} s; send it again",
                metadata={"limit": f"{self._arrive_s:g}"},
            ) from None
        finally:
            self._leave(connection, arrival)

    def _leave(self, connection: str, arrival: _Arrival) -> None:
        requests = self._connections.get(connection, _Connection())
        if arrival in requests.arriving:
            requests.arriving.remove(arrival)
            self._arriving -= 1
        elif arrival in requests.waiting:
            requests.waiting.remove(arrival)
            self._waiting -= 1
        if not requests.arriving and not requests.waiting:
            self._connections.pop(connection, None)
        if self._waiting:
            self._serve()

    def _serve(self) -> None:
        """Give free places to those that wait: first to the connection that has fewest."""
        while True:
            name, fewest = "", self._per_connection
            for one, requests in self._connections.items():
                if requests.waiting and len(requests.arriving) < fewest:
                    name, fewest = one, len(requests.arriving)
            if not name:
                return
            if self._arriving >= self._places:
                self._make_room(fewest)
                return
            # Behind the others, so that connections with as many take turns.
            requests = self._connections[name] = self._connections.pop(name)
            arrival = requests.waiting.popleft()
            self._waiting -= 1
            requests.arriving.append(arrival)
            self._arriving += 1
            arrival.since = asyncio.get_running_loop().time()
            arrival.granted.set_result(None)

    def _make_room(self, fewest: int) -> None:
        """Take a place from the connection that has most, for one that has ``fewest``; or look again later."""
        most = max(len(requests.arriving) for requests in self._connections.values())
        richest = [requests.arriving for requests in self._connections.values() if len(requests.arriving) == most]
        oldest = min((arriving[0] for arriving in richest), key=lambda arrival: arrival.since)
        loop = asyncio.get_running_loop()
        due = oldest.since + self._keep_s * (1 if most > fewest + 1 else PATIENT)
        if due > loop.time() or oldest.limit is None:
            if self._again is None:
                self._again = loop.call_at(max(due, loop.time() + self._keep_s / PATIENT), self._look_again)
        elif most > fewest and not oldest.limit.expired():
            oldest.gave_way = True
            oldest.limit.reschedule(loop.time())

    def _look_again(self) -> None:
        self._again = None
        self._serve()

    def _refuse_one(self) -> None:
        """Refuse the latest request of the connection with most that wait."""
        requests = max(self._connections.values(), key=lambda requests: len(requests.waiting))
        refused = requests.waiting.pop()
        self._waiting -= 1
        refused.granted.set_exception(busy("requests waiting", self._waiting, MOST_WAITING))
