"""How callers share a limit."""

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
