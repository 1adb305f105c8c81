"""How much is worked on at once: requests, the bytes they hold, and streams."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from sameface.errors import ServerBusy

RETRY_AFTER_S = 1.0
RECEIVED_AHEAD = 2
"""As many requests are received at a time as are worked on, times this: senders may be slow."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is admitted at most."""

    requests: int
    """Requests and samples of streams that are worked on at a time."""
    request_bytes: int
    """Bytes of the requests in flight together; one request alone is always admitted."""
    streams: int
    """Open streams."""
    stream_idle_s: float
    """How long a stream may send nothing."""


class Admission:
    """Admits requests up to the limits; refuses the others at once, so that no queue builds up out of sight."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.in_flight = 0
        """Requests and streams that have been admitted and have not ended."""
        self.draining = asyncio.Event()
        """Set once the server stops: streams end."""
        self._working = 0
        self._freed = asyncio.Event()
        self._receiving = 0
        self._bytes = 0
        self._streams = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Count one request while it is received; what is refused here is left with the client by flow control.

        Raises:
            ServerBusy: too many are being received, or worked on already.
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
        """Count one request of ``size`` bytes while it is worked on.

        Raises:
            ServerBusy: there are too many, or they hold too much.
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
        """Count one stream while it is open; its samples are admitted one by one.

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
        """Wait until there is room for one sample of a stream; a stream is slowed down, never refused."""
        while self._working >= self.limits.requests:
            self._freed.clear()
            await self._freed.wait()
        with self._worked_on():
            yield

    async def idle(self, settle_s: float) -> None:
        """Return once nothing has been in flight for a while; a call that is received may not have begun yet."""
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
        f"{count} {what} are in flight, at most {limit} are allowed",
        metadata={"in_flight": count, "limit": limit},
        retry_after_s=RETRY_AFTER_S,
    )
