"""Services that a run starts and kills: processes, or tasks of this process on the twin."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from typing import Any, Protocol

from sameface_qdrant import Store
from tests.qdrant.service import Task, serve

OnEvent = Callable[[str, dict[str, Any]], None]


class Handle(Protocol):
    """A service that runs."""

    def order(self, order: dict[str, Any]) -> None:
        """Tell it to do something."""

    async def kill(self) -> None:
        """End it at once; every event that it told is noted first."""

    async def wait(self) -> None:
        """Return when it has ended."""


Spawn = Callable[[Task, OnEvent], Awaitable[Handle]]


class ServiceProcess:
    """A service in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, on_event: OnEvent) -> None:
        self._process = process
        self._reading = asyncio.create_task(self._read(name, on_event))

    @classmethod
    async def spawn(cls, task: Task, on_event: OnEvent) -> "ServiceProcess":
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.qdrant.service", stdin=pipe, stdout=pipe, limit=1 << 20
        )
        started = cls(process, task.name, on_event)
        started.order(asdict(task))
        return started

    def order(self, order: dict[str, Any]) -> None:
        """See `Handle`."""
        if self._process.stdin is not None and self._process.returncode is None:
            self._process.stdin.write((json.dumps(order) + "\n").encode())

    async def kill(self) -> None:
        """See `Handle`."""
        if self._process.returncode is None:
            self._process.kill()
        await self.wait()

    async def wait(self) -> None:
        """See `Handle`."""
        await self._process.wait()
        await self._reading

    async def _read(self, name: str, on_event: OnEvent) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if line.endswith(b"\n"):  # one that was cut off is no acknowledgement
                on_event(name, json.loads(line))


class ServiceTask:
    """A service in this process, on a store that is already open."""

    def __init__(self, task: Task, store: Store, on_event: OnEvent, cut_off: Callable[[], None]) -> None:
        """``cut_off`` ends what the store still does after its calls are cancelled."""
        self._cut_off = cut_off
        self._orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._alive = True

        def tell(event: dict[str, Any]) -> None:
            if self._alive:
                on_event(task.name, event)

        async def orders() -> AsyncIterator[dict[str, Any]]:
            while True:
                yield await self._orders.get()

        self._running = asyncio.create_task(serve(task, store, orders(), tell))

    def order(self, order: dict[str, Any]) -> None:
        """See `Handle`."""
        self._orders.put_nowait(order)

    async def kill(self) -> None:
        """See `Handle`."""
        self._alive = False
        self._cut_off()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def wait(self) -> None:
        """See `Handle`."""
        await self._running
