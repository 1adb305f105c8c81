"""Enrolments that are made at the same time are written together.

An enrolment is acknowledged once it is durable. That takes 2 to 100 ms, however many writes share it: a wait for the
disk, and on Qdrant Edge sometimes a flush, during which Python stands still. If each photo waited alone, a folder of
photos would wait for the disk most of the time. So an enrolment that is ready waits for others that are being
made. Nothing else changes: each is answered once it is durable. A caller that enrols one photo after another does not
wait.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

SHARE = 4.0
"""Between two writes passes so many times what the first one took, while further enrolments are being made."""
LONGEST_S = 1.0
"""The longest time that an enrolment waits for others."""
MOST = 64
"""So many are written at once without a wait. The store makes one batch of so many."""
PAUSE_S = 0.002
"""Where several were written together, the next one may come as soon as this after a turn to work is given on."""


class Gathering:
    """The enrolments of one service. All methods run in its event loop."""

    def __init__(self) -> None:
        self._made = 0
        """How many are being made: their photos are worked on."""
        self._ready: dict[asyncio.Future[None], float] = {}
        """What waits to be written, and since when, by the loop's clock."""
        self._writing = 0
        self._several = False
        """Whether the latest write had more than one enrolment."""
        self._all_made = 0.0
        """When the latest one was made while no other was being made."""
        self._write_s = 0.0
        """How long the latest write took."""
        self._began = self._ended = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def enrolment(self) -> Iterator["Making"]:
        """Make an enrolment inside the block."""
        making = Making(self)
        self._made += 1
        try:
            yield making
        finally:
            making.end()

    def made(self, ready: asyncio.Future[None] | None = None) -> None:
        """Note that an enrolment is made, and is ready to be written, or that it was given up."""
        self._made -= 1
        if ready is not None:
            self._ready[ready] = asyncio.get_running_loop().time()
        if not self._made:
            self._all_made = asyncio.get_running_loop().time()
        self._look()

    @asynccontextmanager
    async def written(self, turn: asyncio.Future[None]) -> AsyncIterator[None]:
        """Wait until it is the turn of an enrolment to be written, and write it inside the block."""
        try:
            await turn
        except asyncio.CancelledError:
            if self._ready.pop(turn, None) is None:
                self._end()
            raise
        try:
            yield
        finally:
            self._end()

    def _look(self) -> None:
        """Begin to write what is ready, if it is time; otherwise look again then."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._ready:
            return
        loop = asyncio.get_running_loop()
        due = self._due()
        if due > loop.time():
            self._timer = loop.call_at(due, self._look)
        else:
            self._begin()

    def _due(self) -> float:
        """Return when to write what is ready, if nothing happens before."""
        longest = next(iter(self._ready.values())) + LONGEST_S
        if len(self._ready) >= MOST:
            return 0.0
        if self._writing:
            return longest  # it is looked again when that write has ended
        if not self._made:
            return min(longest, self._all_made + PAUSE_S * self._several)
        return min(longest, self._ended + SHARE * self._write_s)

    def _begin(self) -> None:
        if not self._writing:
            self._began = asyncio.get_running_loop().time()
        self._several = len(self._ready) > 1
        self._writing += len(self._ready)
        turns, self._ready = list(self._ready), {}
        for turn in turns:
            if turn.done():  # its caller is gone, and finds that it is not ready any more
                continue
            turn.set_result(None)

    def _end(self) -> None:
        self._writing -= 1
        if not self._writing:
            self._ended = asyncio.get_running_loop().time()
            self._write_s = self._ended - self._began
            self._look()


class Making:
    """One enrolment that is being made."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._ended = False

    @asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """End the making, and write inside the block, together with others."""
        turn = asyncio.get_running_loop().create_future()
        self.end(turn)
        async with self._gathering.written(turn):
            yield

    def end(self, ready: asyncio.Future[None] | None = None) -> None:
        """Note once that it is made, and is ready to be written, or that it was given up."""
        if not self._ended:
            self._ended = True
            self._gathering.made(ready)
