"""One service's view of a shared server: a test steers when its calls are made, and which fail."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from qdrant_client import AsyncQdrantClient

from sameface_qdrant import EngineDescription
from sameface_qdrant.engines.server.engine import ServerEngine
from sameface_qdrant.errors import StoreUnavailable
from sameface_qdrant.store.payloads import META


class SteeredEngine(ServerEngine):
    """Keeps points in a client's memory, which other services may share."""

    def __init__(self, client: AsyncQdrantClient, pause: Callable[[], int] = lambda: 0) -> None:
        super().__init__(client, EngineDescription("memory", "", ":memory:"))
        self.exclusive = False
        self.before_write: Callable[[], Awaitable[Any]] | None = None
        self.after_write: Callable[[], Awaitable[Any]] | None = None
        self.failing: set[str] = set()
        """Methods that get no answer."""
        self._pause = pause

    async def _run(self, awaited: Any) -> Any:
        for _ in range(self._pause()):
            await asyncio.sleep(0)
        return await super()._run(awaited)

    def _fail(self, method: str) -> None:
        if method in self.failing:
            raise StoreUnavailable("no answer in time")

    async def upsert(self, collection: str, *arguments: Any, **options: Any) -> None:
        if collection != META and self.before_write is not None:
            now, self.before_write = self.before_write, None
            await now()
        await super().upsert(collection, *arguments, **options)
        if collection != META and self.after_write is not None:
            now, self.after_write = self.after_write, None
            await now()

    async def get(self, *arguments: Any, **options: Any) -> Any:
        self._fail("get")
        return await super().get(*arguments, **options)

    async def nearest(self, *arguments: Any, **options: Any) -> Any:
        self._fail("nearest")
        return await super().nearest(*arguments, **options)

    async def nearest_each(self, *arguments: Any, **options: Any) -> Any:
        self._fail("nearest")
        return await super().nearest_each(*arguments, **options)

    async def set_payload(self, *arguments: Any, **options: Any) -> None:
        self._fail("set_payload")
        await super().set_payload(*arguments, **options)

    async def delete(self, *arguments: Any, **options: Any) -> None:
        self._fail("delete")
        await super().delete(*arguments, **options)
