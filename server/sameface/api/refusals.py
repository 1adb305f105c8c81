"""Ends refused calls with little work."""

import asyncio
from collections import Counter
from functools import lru_cache
from typing import Any, TypeAlias

import grpc

from sameface.access.rates import Bucket
from sameface.api.status import rich_status
from sameface.errors import ServerBusy
from sameface_qdrant.errors import SamefaceError

AT_ONCE_PER_S = 150.0
"""So many calls are refused at once per second. Beyond that, callers repeat at once what was refused. Refusals are then
held for `HELD_S` until they come slower: otherwise they would take the processor from the calls that are worked on."""
HELD_S = 2.0
MOST_HELD, MOST_HELD_OF_ONE = 1024, 64
"""Refusals that are held at a time: of all connections, and of one. A connection has 128 calls, and a proxy's has those
of many callers. So half of them stay, even where one caller has as many in work as it may.
"""
LEAST_LEFT = 4.0
"""A refusal is held for at most one of so many parts of the time until its caller gives up."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Refusals:
    """Holds refusals that come too fast. Create it in the loop that serves."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._at_once = Bucket(AT_ONCE_PER_S, self._clock(), burst_s=1.0)
        self._holding = False
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """Number of refusals that are held."""
        return self._held.total()

    async def pace(self, connection: str, left_s: float | None) -> None:
        """Return at once, or after a while if too many calls are refused."""
        now = self._clock()
        wait_s = self._at_once.wait_s(now)
        self._holding = wait_s > 0 or (self._holding and self._at_once.wait_s(now, 0.9 * AT_ONCE_PER_S) > 0)
        if wait_s < 1.0:
            self._at_once.take(now)  # also for those that are held: they tell how fast refusals come
        if not self._holding:
            return
        if self._held[connection] >= MOST_HELD_OF_ONE or self.held >= MOST_HELD:
            return
        self._held[connection] += 1
        try:
            await asyncio.sleep(HELD_S if left_s is None else max(0.0, min(HELD_S, left_s / LEAST_LEFT)))
        finally:
            self._held[connection] -= 1
            if not self._held[connection]:
                del self._held[connection]


def end_with(context: Context, failure: SamefaceError) -> None:
    """End a unary call with an error, once its handler returns None.

    ``context.abort_with_status`` does the same with an exception, which takes twice the processor time.
    """
    status = _busy_status(_Busy(failure)) if isinstance(failure, ServerBusy) else rich_status(failure)
    context.set_code(status.code)
    context.set_details(status.details)
    context.set_trailing_metadata(status.trailing_metadata)


class _Busy:
    """An error as the key of its status."""

    __slots__ = ("error", "key")

    def __init__(self, error: ServerBusy) -> None:
        self.error = error
        self.key = (error.message, tuple(error.metadata.items()), error.retry_after_s)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Busy) and self.key == other.key


@lru_cache(maxsize=4096)
def _busy_status(busy: _Busy) -> grpc.Status:
    return rich_status(busy.error)
