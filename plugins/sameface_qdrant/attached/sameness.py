"""Notices that a name leads to another collection of the same layout, which holds other embeddings.

Qdrant gives a collection no identity of its own. So some points are remembered as witnesses. A collection in which not
one of them is as it was is taken for another one.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from sameface_qdrant.attached.layout import replaced
from sameface_qdrant.attached.target import Id

if TYPE_CHECKING:
    from sameface_qdrant.attached.queries import AttachedCollection

WITNESSES, FEWEST = 16, 4
"""How many points are remembered, and from how many on their loss counts. Fewer may well have been replaced."""
EVERY_S = 5.0
"""Decisions look for the witnesses after so many seconds."""
_SAME = 1e-3
"""The largest difference of a number that half precision leaves in a unit vector."""


class Witnesses:
    """Points of the collection as they were."""

    def __init__(self, collection: "AttachedCollection") -> None:
        self._collection = collection
        self._remembered: Mapping[Id, Any] = {}
        self._looked = -EVERY_S
        self._removals = 0
        """How many removals have begun or ended here."""

    async def remember(self) -> None:
        """Take the first points as witnesses, as they are now."""
        before = self._removals
        async for page in self._collection.pages(with_vectors=True, size=WITNESSES):
            found = {point.id: point.vector for point in page if point.vector is not None}
            # During a removal the page may hold what is removed. Without witnesses the next check takes new ones.
            self._remembered = found if before == self._removals else {}
            break
        self._looked = time.monotonic()

    @contextmanager
    def without(self, points: Iterable[Id]) -> Iterator[None]:
        """Take points that are removed here as witnesses no more. Enter it before their removal."""
        self._removals += 1
        gone = set(points)
        self._remembered = {point: vector for point, vector in self._remembered.items() if point not in gone}
        try:
            yield
        finally:
            self._removals += 1

    async def refill(self) -> None:
        """Take new witnesses if too few are left for `check`."""
        if len(self._remembered) < FEWEST:
            await self.remember()

    async def check_soon(self) -> None:
        """Look for the witnesses, unless that was done a short time ago. Raises as `check`."""
        if time.monotonic() - self._looked >= EVERY_S:
            await self.check()

    async def check(self) -> None:
        """Look for the witnesses.

        Raises:
            ContractMismatch: there were enough, and none of them is as it was.
        """
        if not self._remembered:
            await self.remember()
            return
        found = await self._collection.vectors(list(self._remembered))
        # A removal may have taken witnesses away meanwhile, so only those that are left are looked for.
        same = sum(_same(found.get(point), before) for point, before in self._remembered.items())
        if not same and len(self._remembered) >= FEWEST:
            raise replaced(
                self._collection.target,
                f"has the same layout, and none of {len(self._remembered)} points that were read before is as it was",
            )
        if same < max(FEWEST, len(self._remembered)):
            await self.remember()  # the others of this collection were changed since, or there were too few
        self._looked = time.monotonic()


def _same(now: Any, before: Any) -> bool:
    if now is None or len(now) != len(before):
        return False
    return bool(np.allclose(np.asarray(now, np.float64), before, rtol=_SAME, atol=_SAME, equal_nan=True))
