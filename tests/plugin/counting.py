"""An engine that counts round trips.

It keeps points in memory, but reports that other processes may write too, as the engine of a shared server does. So the
store reads and writes as it does with a server. Every request takes one round trip; requests at the same time share
one.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from qdrant_client import AsyncQdrantClient

from sameface_qdrant import EngineDescription
from sameface_qdrant.engines.server.engine import ServerEngine

Result = TypeVar("Result")

_TURNS = 50
"""Turns of the event loop until an answer: many more than the steps between two requests take."""


class CountingEngine(ServerEngine):
    """Knows which requests followed each other."""

    def __init__(self) -> None:
        super().__init__(AsyncQdrantClient(":memory:"), EngineDescription("memory", "counting", ":memory:"))
        self.exclusive = False
        self._rounds: list[list[str]] = []
        self._answered = 0

    async def rounds_of(self, operation: Awaitable[Result]) -> tuple[Result, list[list[str]]]:
        """Return an operation's result, and the names of its requests: one list for each round trip, in order."""
        self._rounds, self._answered = [], 0
        return await operation, self._rounds

    async def _run(self, awaited: Awaitable[Result]) -> Result:
        this = self._answered
        if this == len(self._rounds):
            self._rounds.append([])
        self._rounds[this].append(getattr(awaited, "__name__", "request"))
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        try:
            return await super()._run(awaited)
        finally:
            self._answered = max(self._answered, this + 1)
