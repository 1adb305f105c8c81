"""Runs the writes of one process one after another, each to its end, even if its caller gives up."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from sameface_qdrant.concurrency import to_end

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class WriteLock:
    """The lock of all writes to a store. Use it as ``async with``.

    It is held while records are read and changed. It is not held while a change is made durable, so that several
    changes share a flush.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *raised: object) -> None:
        self._lock.release()

    async def run_to_completion(self, write: Coroutine[Any, Any, Result]) -> Result:
        """Run a write to its end. A cancelled caller also waits, and is cancelled after that."""
        task = asyncio.create_task(write)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await to_end(task)

    async def drain(self) -> None:
        """Wait until no write is running."""
        while self._running:
            await asyncio.wait(self._running)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # asyncio logs an exception that nobody retrieves


class _Writer(Protocol):
    _write_lock: WriteLock


Owner = TypeVar("Owner", bound=_Writer)


def runs_to_completion(
    method: Callable[Concatenate[Owner, Arguments], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Owner, Arguments], Coroutine[Any, Any, Result]]:
    """Make a method of a writer run to its end, see `WriteLock.run_to_completion`."""

    @functools.wraps(method)
    async def run(self: Owner, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return await self._write_lock.run_to_completion(method(self, *args, **kwargs))

    return cast(Callable[Concatenate[Owner, Arguments], Coroutine[Any, Any, Result]], run)
