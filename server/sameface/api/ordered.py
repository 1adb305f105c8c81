"""Works on several items of a stream at a time, with the answers in the order of the items."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


async def ordered(
    items: AsyncIterator[Item], work: Callable[[Item], Awaitable[Answer]], most: int
) -> AsyncGenerator[Answer]:
    """Yield the answer of ``work`` to each item, in the order of the items, with at most ``most`` in work at a time.

    At most one further item is read ahead. An answer is yielded as soon as all earlier ones were, without waiting for
    further items. Nothing is read until the consumer asks for the next answer. If ``items`` raises an exception, it is
    raised here after the answers to all earlier items.
    """
    failed: Exception | None = None
    working: deque[asyncio.Future[Answer]] = deque()
    reading: asyncio.Future[Item] | None = asyncio.ensure_future(anext(items))
    try:
        while reading is not None or working:
            waited: list[asyncio.Future[Item] | asyncio.Future[Answer]] = []
            if working:
                waited.append(working[0])
            if reading is not None and len(working) < most:
                waited.append(reading)
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if working and working[0].done():
                yield working.popleft().result()
            elif reading is not None and reading.done():
                try:
                    item = reading.result()
                except StopAsyncIteration:
                    reading = None
                except Exception as error:
                    reading, failed = None, error
                else:
                    working.append(asyncio.ensure_future(work(item)))
                    reading = asyncio.ensure_future(anext(items))
        if failed is not None:
            raise failed
    finally:
        unfinished: list[asyncio.Future[Any]] = [*working, *([reading] if reading else [])]
        for future in unfinished:
            future.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
