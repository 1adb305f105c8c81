"""How callers share a limit."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

KEPT = 8
"""The last eighth of a limit is for callers that hold less than their share."""


class Shares:
    """How much of a limit is in use, and by whom."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._held: Counter[str] = Counter()

    def refuse(self, caller: str, amount: int = 1) -> bool:
        """Return whether a caller may not have so much more.

        One caller alone may use all but the last eighth. That part is for callers that hold nothing, or less than an
        equal share for each caller and one newcomer. A limit below 4 has no such part.
        """
        kept = max(1, self.limit // KEPT) if self.limit >= 4 else 0
        if self.used + amount <= self.limit - kept:
            return False
        held = self._held[caller]
        callers = len(self._held) + (held == 0)
        return self.used + amount > self.limit or (held > 0 and held + amount > self.limit // (callers + 1))

    def take(self, caller: str, amount: int = 1) -> None:
        """Count an amount as used by a caller."""
        self.used += amount
        self._held[caller] += amount

    def give_back(self, caller: str, amount: int = 1) -> None:
        """Count it as free again."""
        self.used -= amount
        self._held[caller] -= amount
        if self._held[caller] <= 0:
            del self._held[caller]

    @contextmanager
    def held(self, caller: str, amount: int = 1) -> Iterator[None]:
        """Count an amount as used by a caller, inside the block."""
        self.take(caller, amount)
        try:
            yield
        finally:
            self.give_back(caller, amount)


class SampleBytes:
    """The bytes of the samples that one stream holds, of those that all streams may hold together."""

    def __init__(self, shares: Shares, caller: str, freed: asyncio.Event) -> None:
        self.held = 0
        self._shares, self._caller, self._freed = shares, caller, freed

    async def enter(self, size: int) -> None:
        """Wait until there is room for one more sample. A single one is always admitted."""
        while self._shares.used and self._shares.refuse(self._caller, size):
            self._freed.clear()
            await self._freed.wait()
        self._shares.take(self._caller, size)
        self.held += size

    def leave(self, size: int) -> None:
        """Count the bytes of a sample as free again, unless the stream has ended."""
        size = min(size, self.held)
        self.held -= size
        self._shares.give_back(self._caller, size)
        self._freed.set()
