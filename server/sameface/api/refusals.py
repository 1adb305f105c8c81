"""Ends refused calls with little work."""

import asyncio
from collections import Counter
from functools import lru_cache
from typing import Any, TypeAlias

import grpc
from google.rpc import status_pb2

from sameface.access.rates import Bucket
from sameface.api.connections import came_over_http
from sameface.api.status import retry_info, rich_status, status_of
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

DETAILS_KEY = "grpc-status-details-bin"
MOST_KEPT = 256
"""So many parts of statuses are kept: some 200 KB. How full the server is and after how long to come again changes with
each refusal, so whole statuses would hardly ever be the same."""

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


async def end_call(context: Context, failure: SamefaceError) -> None:
    """End a unary call with an error, once its handler returns None.

    Over HTTP it raises instead: gRPC would send an empty answer first, and that would be the body of the error.
    """
    if came_over_http(context):
        await context.abort_with_status(rich_status(failure))
    end_with(context, failure)


def end_with(context: Context, failure: SamefaceError) -> None:
    """Set the error with which a unary call ends, once its handler returns None.

    ``context.abort_with_status`` does the same with an exception, which takes twice the processor time.
    """
    if isinstance(failure, ServerBusy):
        message, details = _busy_part(failure.message, *failure.metadata.items())
        # The parts of a serialized message may simply follow each other.
        content = details if failure.retry_after_s is None else details + _retry_part(failure.retry_after_s)
        context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
        context.set_details(message)
        context.set_trailing_metadata(((DETAILS_KEY, content),))
        return
    status = rich_status(failure)
    context.set_code(status.code)
    context.set_details(status.details)
    context.set_trailing_metadata(status.trailing_metadata)


@lru_cache(MOST_KEPT)
def _busy_part(message: str, *metadata: tuple[str, str]) -> tuple[str, bytes]:
    """Return the message of a status, and the serialized status without its RetryInfo."""
    status = status_of(ServerBusy(message, metadata=dict(metadata)))
    return status.message, status.SerializeToString()


@lru_cache(MOST_KEPT)
def _retry_part(seconds: float) -> bytes:
    """Return what a serialized status has more with a RetryInfo."""
    part: bytes = status_pb2.Status(details=[retry_info(seconds)]).SerializeToString()
    return part
