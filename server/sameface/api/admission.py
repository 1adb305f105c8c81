"""Limits on the load: requests in flight, their bytes, and open streams."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from sameface.errors import ServerBusy

RETRY_AFTER_S = 1.0
RECEIVED_AHEAD = 2
"""The server receives this many times as many requests at once as it works on, because senders may be slow."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of admission."""

    requests: int
    """Most requests and samples of streams in work at a time."""
    request_bytes: int
    """Most bytes of all requests in flight. A single request is always admitted."""
    streams: int
    """Most open streams."""
    stream_idle_s: float
    """Seconds that a client may send nothing on a stream."""


class Admission:
    """Admits requests up to the limits. Refuses the others at once, so that no hidden queue builds up."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.in_flight = 0
        """Number of admitted requests and streams that have not ended."""
        self.draining = asyncio.Event()
        """Set when the server stops. Streams then end."""
        self._working = 0
        self._freed = asyncio.Event()
        self._receiving = 0
        self._bytes = 0
        self._streams = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Count one request while it is received. gRPC's flow control leaves a refused request with the client.

        Raises:
            ServerBusy: too many requests are being received or are in work.
        """
        if self._working >= self.limits.requests:
            raise _busy("requests", self._working, self.limits.requests)
        limit = RECEIVED_AHEAD * self.limits.requests
        if self._receiving >= limit:
            raise _busy("requests", self._receiving, limit)
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1

    @contextmanager
    def request(self, size: int) -> Iterator[None]:
        """Count one request of ``size`` bytes while it is in work.

        Raises:
            ServerBusy: too many requests or bytes are in work.
        """
        if self._working >= self.limits.requests:
            raise _busy("requests", self._working, self.limits.requests)
        if self._bytes and self._bytes + size > self.limits.request_bytes:
            raise _busy("bytes of requests", self._bytes, self.limits.request_bytes)
        self._bytes += size
        try:
            with self._counted(), self._worked_on():
                yield
        finally:
            self._bytes -= size

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count one stream while it is open. `sample` admits its samples one by one.

        Raises:
            ServerBusy: too many streams are open.
        """
        if self._streams >= self.limits.streams:
            raise _busy("streams", self._streams, self.limits.streams)
        self._streams += 1
        try:
            with self._counted():
                yield
        finally:
            self._streams -= 1

    @asynccontextmanager
    async def sample(self) -> AsyncIterator[None]:
        """Wait until there is room for one sample of a stream. A full server delays samples but refuses none."""
        while self._working >= self.limits.requests:
            self._freed.clear()
            await self._freed.wait()
        with self._worked_on():
            yield

    async def idle(self, settle_s: float) -> None:
        """Return once nothing was in flight for ``settle_s`` seconds: a received call may not have been counted yet."""
        while True:
            await self._idle.wait()
            await asyncio.sleep(settle_s)
            if self._idle.is_set():
                return

    @contextmanager
    def _worked_on(self) -> Iterator[None]:
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self._freed.set()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()


def _busy(what: str, count: int, limit: int) -> ServerBusy:
    return ServerBusy(
        f"{count} {what} are in flight; at most {limit} are allowed; wait and repeat the call",
        metadata={"in_flight": count, "limit": limit},
        retry_after_s=RETRY_AFTER_S,
    )
