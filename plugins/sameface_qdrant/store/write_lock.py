"""Writes take turns, and none is cut in half by a caller that gives up."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from sameface_qdrant.threads import to_end

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Writes:
    """Shared by everything that writes to one store."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        """Held while records are read and changed; not while a change is made durable, so that flushes are shared."""
        self._running: set[asyncio.Task[Any]] = set()

    async def finish(self, write: Coroutine[Any, Any, Result]) -> Result:
        """Run a write to its end. A caller that is cancelled waits for it too, and is cancelled then."""
        task = asyncio.create_task(write)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await to_end(task)

    async def settle(self) -> None:
        """Wait until no write is running."""
        while self._running:
            await asyncio.wait(self._running)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, for nobody may be waiting for it any more


class _Writer(Protocol):
    _writes: Writes


Owner = TypeVar("Owner", bound=_Writer)


def uncut(
    method: Callable[Concatenate[Owner, Arguments], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Owner, Arguments], Coroutine[Any, Any, Result]]:
    """Make a method of a writer run to its end, see `Writes.finish`."""

    @functools.wraps(method)
    async def run(self: Owner, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return await self._writes.finish(method(self, *args, **kwargs))

    return cast(Callable[Concatenate[Owner, Arguments], Coroutine[Any, Any, Result]], run)
