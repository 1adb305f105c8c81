"""Limits on the load: requests in work, their bytes, and open streams. Callers share them fairly.

A caller is named by its credentials. Where the service asks for none, each connection is a caller.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from sameface.access.rates import photos_in
from sameface.api.lanes import Lane
from sameface.api.shares import SampleBytes, Shares
from sameface.errors import ServerBusy

RETRY_AFTER_S = 1.0
SILENT_S = 10.0
"""Where streams are short, one on which no whole message came for so long gives way to a caller with fewer streams.
Between callers with as many it is `Limits.arrive_s`: a large photo takes long on a slow network."""
MOST_REMEMBERED = 4096
_OF_MIGRATIONS = {"CreateMigration", "PromoteMigration", "RollBackMigration", "CancelMigration", "FinishMigration"}
LONG = frozenset({"CalibrateGallery", "WhatIfGallery", "RekeyGallery", "DeleteGallery"} | _OF_MIGRATIONS)
"""Calls that may take seconds. They have turns of their own, so that short ones do not wait behind them."""
OTHERS_AT_ONCE = 4
"""Times as many calls without photos are worked on at a time: they mostly wait for the store."""
LIMITED = ("requests", "bytes of requests", "streams", "streams of this caller")
"""What calls are refused for, besides the wait for a turn."""
LOOKED_INTO = 8
"""Of so many requests that would be refused, one is received, to see what it is."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the load."""

    requests: int
    """Most requests and samples of streams that are worked on or wait for their turn."""
    request_bytes: int
    """Most bytes of all requests in work, and half as many of samples of streams. A single one is always admitted."""
    streams: int
    """Most open streams."""
    stream_idle_s: float
    """Seconds that may pass on a stream without a whole message."""
    streams_per_caller: int = 4
    """Most open streams of one caller. It is always fewer than ``streams``, unless that is 1."""
    calls_per_connection: int = 128
    """Most calls that are open on one connection. The client keeps further ones back."""
    arriving_bytes: int = 1 << 30
    """Most bytes of requests that are arriving. Each counts as one of the largest size."""
    arrive_s: float = 60.0
    """Seconds that a request may take to arrive."""
    unread_bytes: int = 64 << 20
    """Most bytes of answers that callers have not read yet."""
    unread_s: float = 30.0
    """Seconds that a caller may take to read an answer."""
    at_once: int = 8
    """Most requests with photos that are worked on at a time. Those without have turns of their own."""
    wait_s: float = 0.5
    """Longest wait for a turn. Work that takes long itself may wait longer, see `queueing.ROUNDS`."""


@dataclass(eq=False, slots=True)
class OpenStream:
    """One open stream."""

    silent_since: float | None = None
    """Since when it waits for a whole message, in seconds of the loop's clock; None if it does not."""
    gave_way: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when another stream got its place."""


@dataclass(slots=True)
class _Latest:
    """The latest request of a caller for one rpc."""

    kind: str
    photos: bool
    """Whether it has photos."""
    refused: int = 0
    """How many were refused since."""


class Admission:
    """Admits requests up to the limits, and gives them turns to work.

    Work with photos and work without have lanes of their own, so that a list does not wait behind photos.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.in_flight = 0
        """Number of admitted requests and streams that have not ended."""
        self.draining = asyncio.Event()
        """Set when the server stops. Streams then end."""
        self._working = Shares(limits.requests)
        self._bytes = Shares(limits.request_bytes)
        self._bytes_of_streams = Shares(limits.request_bytes // 2)
        # Work of streams waits for room, so it must not take all of it: unary calls are refused when there is none.
        self._samples_at_most = min(limits.requests, max(2, limits.requests // 4))
        self._samples = Shares(self._samples_at_most)
        self._freed = asyncio.Event()
        self._streams: dict[OpenStream, str] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        at_once = min(limits.at_once, limits.requests)
        self.photos, self.long = Lane(at_once, limits.wait_s), Lane(at_once, limits.wait_s)
        self.others = Lane(min(OTHERS_AT_ONCE * at_once, limits.requests), limits.wait_s)
        """Turns of work with photos, of calls that may take seconds without, and of all others."""
        self.refused: Counter[str] = Counter()
        """Number of refused calls by what was exhausted, see `LIMITED`. Lanes count what would wait too long."""
        self._latest: OrderedDict[tuple[str, str], _Latest] = OrderedDict()
        """Of each caller and rpc: its latest request. The one that came longest ago is first."""

    def refusal(self, caller: str, rpc: str = "", left_s: float | None = None) -> ServerBusy | None:
        """Return the error for a request, before it is received; None if it may be received.

        A request is expected to be as the caller's latest one for the same rpc. The first one is received, and of those
        that would be refused one of `LOOKED_INTO`: it may be another one.

        Args:
            caller: whose request it is.
            rpc: its name.
            left_s: time until the caller gives up, in seconds; None if it does not.
        """
        if self._working.refuse(caller):
            return self._busy("requests", self._working)
        if (latest := self._latest.get((caller, rpc))) is None:
            return None
        lane = self._lane(rpc, latest.photos)
        busy = lane.refusal(caller, latest.kind, left_s)
        latest.refused += busy is not None
        if latest.refused % LOOKED_INTO == LOOKED_INTO - 1:
            lane.refused -= busy is not None
            return None
        return busy

    def turn(self, caller: str, rpc: str, message: Any, left_s: float | None) -> AbstractAsyncContextManager[None]:
        """Wait for a turn to work on a request, and have it inside the block.

        Raises:
            ServerBusy: it would wait too long, or has done so.
        """
        kind, photos = kind_of(rpc, message)
        self._latest[caller, rpc] = _Latest(kind, photos)
        self._latest.move_to_end((caller, rpc))
        if len(self._latest) > MOST_REMEMBERED:
            self._latest.popitem(last=False)
        return self._lane(rpc, photos).turn(caller, kind, left_s)

    def _lane(self, rpc: str, photos: bool) -> Lane:
        if photos:
            return self.photos
        return self.long if rpc in LONG else self.others

    def request(self, size: int, caller: str = "") -> AbstractContextManager[None]:
        """Count one request of ``size`` bytes while it is in work.

        Raises:
            ServerBusy: too many requests or bytes are in work, or too many of them are this caller's.
        """
        return _InWork(self, caller, size)

    def take(self, caller: str, size: int) -> None:
        """Count a request as in work, see `request`."""
        if self._working.refuse(caller):
            raise self._busy("requests", self._working)
        if self._bytes.used and self._bytes.refuse(caller, size):
            raise self._busy("bytes of requests", self._bytes)
        self._bytes.take(caller, size)
        self._working.take(caller)
        self._begin()

    def give_back(self, caller: str, size: int) -> None:
        """Count a request as done."""
        self._working.give_back(caller)
        self._freed.set()
        self._end()
        self._bytes.give_back(caller, size)

    @contextmanager
    def stream(self, caller: str = "") -> Iterator[OpenStream]:
        """Count one stream while it is open. `sample` admits its samples one by one.

        Raises:
            ServerBusy: too many streams are open, and none of them gives way; or too many of this caller.
        """
        most = self.limits.streams
        own = min(self.limits.streams_per_caller, max(1, most - 1))
        if (count := sum(one == caller for one in self._streams.values())) >= own:
            self.refused["streams of this caller"] += 1
            raise busy("streams of this caller", count, own)
        if len(self._streams) >= most and not self._make_room_for_a_stream(count + 1):
            self.refused["streams"] += 1
            raise busy("streams", len(self._streams), most)
        stream = OpenStream()
        self._streams[stream] = caller
        self._begin()
        try:
            yield stream
        finally:
            self._end()
            self._streams.pop(stream, None)

    def _make_room_for_a_stream(self, wanted: int) -> bool:
        """End a stream for a caller that would have ``wanted`` of them; return whether there was one to end."""
        now, counts = asyncio.get_running_loop().time(), Counter(self._streams.values())
        silent = {
            stream: now - stream.silent_since
            for stream, caller in self._streams.items()
            if stream.silent_since is not None
            and now - stream.silent_since >= (SILENT_S if counts[caller] > wanted else self.limits.arrive_s)
        }
        if not silent:
            return False
        longest = max(silent, key=lambda stream: silent[stream])
        del self._streams[longest]
        longest.gave_way.set()
        return True

    @asynccontextmanager
    async def sample(self, caller: str = "", rpc: str = "", message: Any = None) -> AsyncIterator[None]:
        """Wait for a turn to work on one sample of a stream. A full server delays samples but refuses none."""
        while self._samples.refuse(caller) or self._working.refuse(caller):
            self._freed.clear()
            await self._freed.wait()
        kind, photos = kind_of(rpc, message)
        try:
            # The place of the sample is free before the others are woken.
            with self._working.held(caller), self._samples.held(caller):
                async with self._lane(rpc, photos).turn(caller, kind, patient=True):
                    yield
        finally:
            self._freed.set()

    @contextmanager
    def bytes_of_samples(self, caller: str = "") -> "Iterator[SampleBytes]":
        """Count the bytes of the samples that one stream holds. What is still counted at its end is free then."""
        samples = SampleBytes(self._bytes_of_streams, caller, self._freed)
        try:
            yield samples
        finally:
            samples.leave(samples.held)

    async def idle(self, settle_s: float) -> None:
        """Return once nothing was in flight for ``settle_s`` seconds: a received call may not have been counted yet."""
        while True:
            await self._idle.wait()
            await asyncio.sleep(settle_s)
            if self._idle.is_set():
                return

    def _busy(self, what: str, shares: Shares) -> ServerBusy:
        self.refused[what] += 1
        return busy(what, shares.used, shares.limit)

    @property
    def open_streams(self) -> int:
        """Number of open streams."""
        return len(self._streams)

    def _begin(self) -> None:
        self.in_flight += 1
        self._idle.clear()

    def _end(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()


class _InWork:
    """A request that counts as in work inside the block. Not a generator, which takes longer: each call has one."""

    __slots__ = ("_admission", "_caller", "_size")

    def __init__(self, admission: Admission, caller: str, size: int) -> None:
        self._admission, self._caller, self._size = admission, caller, size

    def __enter__(self) -> None:
        self._admission.take(self._caller, self._size)

    def __exit__(self, *_: object) -> None:
        self._admission.give_back(self._caller, self._size)


def kind_of(rpc: str, message: Any) -> tuple[str, bool]:
    """Return a name for requests that take about as long as this one, and whether it has photos."""
    photos, size = photos_in(message), 0 if message is None else message.ByteSize()
    # A photo four times as large takes longer to decode. Of small ones, the models take most.
    return f"{rpc} {photos} {max(0, size.bit_length() - 16) // 2}", photos > 0


def busy(what: str, count: int, limit: int) -> ServerBusy:
    """Return the error for a limit that is reached."""
    return ServerBusy(
        f"{count} {what} are in flight; at most {limit} are allowed; wait and repeat the call",
        metadata={"in_flight": count, "limit": limit},
        retry_after_s=RETRY_AFTER_S,
    )
