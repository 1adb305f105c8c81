"""Runs blocking work in threads, so that the event loop stays free."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")


async def in_thread(
    threads: Executor, call: Callable[..., Result], *args: Any, stop: Callable[[], None] | None = None
) -> Result:
    """Run ``call`` in one of ``threads`` and return its result.

    A cancelled caller waits until the call has ended. So a lock or an admission of the caller covers all of the work. A
    call that has not begun is dropped. ``stop`` is called on cancellation, to end the call early.
    """
    future = threads.submit(call, *args)
    waiting = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        future.cancel()
        if stop is not None:
            stop()
        await ended(waiting)
        raise


async def to_end(work: Awaitable[Result]) -> Result:
    """Await ``work`` to its end. A cancelled caller also waits, and is cancelled after that."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await ended(running)
        raise


async def ended(work: asyncio.Future[Any]) -> None:
    """Wait until ``work`` has ended, with a result or an error, even if the waiting task is cancelled again."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # asyncio logs an exception that nobody retrieves
