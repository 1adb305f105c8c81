"""Orders the writes of one process, and lets each run to its end even if its caller gives up."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from sameface_qdrant.concurrency import Reader, to_end

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

STORE = ("", "")
"""The key of writes that concern no single identity."""


class Gate(Protocol):
    """Where writes to a gallery wait before they take a lock."""

    def is_closed(self, gallery: str) -> bool:
        """Return whether a gallery may not be written at the moment."""
        ...

    async def wait(self, gallery: str) -> None:
        """Wait until it may be written; raise StoreUnavailable if that takes too long."""
        ...


class WriteLock:
    """The locks of all writes to a store.

    If this process is the only writer, there is one lock, and writes run one after another. If other services write
    too, each identity has a lock, and each gallery one that its writes share: conditional writes decide between
    services, and the locks only spare the writes of one process to lose against each other.

    They are held while records are read and changed. They are not held while a change is made durable, so that several
    changes share a flush.
    """

    def __init__(self, engine: Reader) -> None:
        self._exclusive = engine.exclusive
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._users: dict[tuple[str, str], int] = {}
        self._writing: dict[str, int] = {}
        """How many writes to identities of a gallery hold their locks."""
        self._written = asyncio.Condition()
        self._running: set[asyncio.Task[Any]] = set()
        self.gate: Gate | None = None

    @asynccontextmanager
    async def of(self, gallery: str, *identities: str) -> AsyncIterator[None]:
        """Hold the locks of identities; with an empty identity that of the whole gallery.

        Raises:
            StoreUnavailable: the gallery may not be written for a while, see `Gate`.
        """
        while True:
            if self.gate is not None:
                await self.gate.wait(gallery)
            async with AsyncExitStack() as held:
                await self._hold(held, gallery, identities)
                if self.gate is None or not self.gate.is_closed(gallery):
                    yield
                    return

    async def _hold(self, held: AsyncExitStack, gallery: str, identities: Sequence[str]) -> None:
        if self._exclusive:
            await held.enter_async_context(self._one(STORE))
        elif "" in identities:
            await held.enter_async_context(self._one((gallery, "")))
            async with self._written:
                await self._written.wait_for(lambda: not self._writing.get(gallery))
        else:
            async with self._one((gallery, "")):
                self._writing[gallery] = self._writing.get(gallery, 0) + 1
            held.push_async_callback(self._end, gallery)
            # In order, so that two writers never wait for each other.
            for identity in sorted(set(identities), key=str):
                await held.enter_async_context(self._one((gallery, identity)))

    async def _end(self, gallery: str) -> None:
        async with self._written:
            self._writing[gallery] -= 1
            if not self._writing[gallery]:
                del self._writing[gallery]
                self._written.notify_all()

    @asynccontextmanager
    async def of_store(self) -> AsyncIterator[None]:
        """Hold the lock of writes that concern no single identity."""
        async with self._one(STORE):
            yield

    @asynccontextmanager
    async def _one(self, key: tuple[str, str]) -> AsyncIterator[None]:
        self._users[key] = self._users.get(key, 0) + 1
        try:
            async with self._locks.setdefault(key, asyncio.Lock()):
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]

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
