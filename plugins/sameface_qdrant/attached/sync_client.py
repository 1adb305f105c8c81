"""A synchronous `QdrantClient`, called as if it were an `AsyncQdrantClient`."""

import asyncio
from typing import Any

from qdrant_client import QdrantClient
from qdrant_client.local.qdrant_local import QdrantLocal


class AwaitedClient:
    """Its methods are coroutines that call those of the client: of a server in a thread, in memory at once."""

    def __init__(self, client: QdrantClient) -> None:
        self._sync = client
        self._client = client._client  # what `sameface_qdrant.attached.queries.is_local` looks at
        # A local client is not safe for several threads, and answers from memory.
        self._in_thread = not isinstance(client._client, QdrantLocal)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._sync, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self._in_thread:
                return await asyncio.to_thread(method, *args, **kwargs)
            return method(*args, **kwargs)

        return call
