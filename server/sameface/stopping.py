"""What a service that stops waits for."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

SETTLE_S = 0.2


async def still_working() -> bool:
    """Return whether cancelled calls still wait for their threads."""
    calls = asyncio.all_tasks() - {asyncio.current_task()}
    for call in calls:
        call.cancel()
    return bool(calls and (await asyncio.wait(calls, timeout=SETTLE_S))[1])


async def unless_stopped(stopping: asyncio.Event, opening: Coroutine[Any, Any, Result]) -> Result | None:
    """Return the result of ``opening``. If a signal comes first, cancel it and return None."""
    task, stopped = asyncio.create_task(opening), asyncio.create_task(stopping.wait())
    await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait([task])
    return None
