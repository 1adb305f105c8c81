"""Work beside the event loop: blocking calls in threads, and reads that share a round trip."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar, overload

Result = TypeVar("Result")
One = TypeVar("One")
Two = TypeVar("Two")
Three = TypeVar("Three")
Four = TypeVar("Four")
Reading = Coroutine[Any, Any, One]


async def in_thread(
    threads: Executor, call: Callable[..., Result], *args: Any, stop: Callable[[], None] | None = None
) -> Result:
    """Run ``call`` in one of ``threads`` and return its result.

    A cancelled caller waits until the call has ended. So a lock or an admission of the caller covers all of the work. A
    call that has not begun is dropped. ``stop`` is called on cancellation, to end the call early.
    """
    loop = asyncio.get_running_loop()
    future, woken = threads.submit(call, *args), loop.create_future()
    # Not `asyncio.wrap_future` and `shield`: together they make three futures more, and copy the result through them.
    future.add_done_callback(partial(_wake, loop, woken))
    try:
        await woken
    except asyncio.CancelledError:
        future.cancel()
        if stop is not None:
            stop()
        await ended(asyncio.wrap_future(future))
        raise
    if future.cancelled():  # its pool was shut down
        raise asyncio.CancelledError
    return future.result()


def _wake(loop: asyncio.AbstractEventLoop, waiting: "asyncio.Future[None]", _: object) -> None:
    with suppress(RuntimeError):  # the loop was closed meanwhile
        loop.call_soon_threadsafe(_answered, waiting)


def _answered(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


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


class Reader(Protocol):
    """What reads: an engine, or something that reads from one."""

    @property
    def exclusive(self) -> bool:
        """Whether this process is the only one that uses the engine."""
        ...


@overload
async def together(reader: Reader, one: Reading[One], two: Reading[Two], /) -> tuple[One, Two]: ...
@overload
async def together(
    reader: Reader, one: Reading[One], two: Reading[Two], three: Reading[Three], /
) -> tuple[One, Two, Three]: ...
@overload
async def together(
    reader: Reader, one: Reading[One], two: Reading[Two], three: Reading[Three], four: Reading[Four], /
) -> tuple[One, Two, Three, Four]: ...
@overload
async def together(reader: Reader, /, *reads: Reading[One]) -> tuple[One, ...]: ...


async def together(reader: Reader, /, *reads: Reading[Any]) -> tuple[Any, ...]:
    """Return the result of each read.

    On a shared engine each read is a round trip, so they run at once. On an exclusive engine a task costs as much as a
    read, so they run one after another. Raises the first error in the order of the arguments, once all
    have ended.
    """
    if not reader.exclusive:
        results = await asyncio.gather(*reads, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return tuple(results)
    try:
        return tuple([await read for read in reads])
    finally:
        for read in reads:
            read.close()  # for reads that have not begun


async def in_order(
    items: AsyncGenerator[One], work: Callable[[One], Coroutine[Any, Any, Result]], at_once: int
) -> AsyncGenerator[Result]:
    """Yield the result of ``work`` for each item, in their order, while up to ``at_once`` of them run.

    An item is asked for once there is room for it, and a result does not wait for the next item. Raises the first error
    in the order of the items. Whatever was begun has ended when this generator ends; close ``items`` after that.
    """
    running: deque[asyncio.Future[Result]] = deque()
    coming: asyncio.Future[list[One]] | None = None
    more = True
    failed: Exception | None = None
    try:
        while more or running:
            if more and coming is None and len(running) < at_once:
                coming = asyncio.ensure_future(_next_of(items))
            waited = [*([coming] if coming is not None else ()), *([running[0]] if running else ())]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if coming is not None and coming.done():
                found = list[One]()
                try:
                    found = coming.result()
                except Exception as error:
                    failed = error  # raised after the results of the items before it
                coming, more = None, bool(found)
                running.extend(asyncio.ensure_future(work(item)) for item in found)
            elif running[0].done():
                yield running.popleft().result()
        if failed is not None:
            raise failed
    finally:
        if coming is not None:
            coming.cancel()
            await ended(coming)
        for one in running:
            await ended(one)


async def _next_of(items: AsyncGenerator[One]) -> list[One]:
    """Return the next item, or nothing after the last one."""
    try:
        return [await anext(items)]
    except StopAsyncIteration:
        return []


async def nothing(value: One) -> One:
    """Return a value in place of a read that is not needed."""
    return value
