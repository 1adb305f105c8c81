"""Notices that a name leads to another collection of the same layout, which holds other embeddings.

Qdrant gives a collection no identity of its own. So some points are remembered as witnesses. A collection in which not
one of them is as it was is taken for another one.
"""

import time
from collections.abc import Mapping
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

    async def remember(self) -> None:
        """Take the first points as witnesses, as they are now."""
        async for page in self._collection.pages(with_vectors=True, size=WITNESSES):
            self._remembered = {point.id: point.vector for point in page if point.vector is not None}
            break
        self._looked = time.monotonic()

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
        same = sum(_same(found.get(point), before) for point, before in self._remembered.items())
        if not same and len(self._remembered) >= FEWEST:
            raise replaced(
                self._collection.target,
                f"has the same layout, and none of {len(self._remembered)} points that were read before is as it was",
            )
        if same < len(self._remembered):
            await self.remember()  # the others of this collection were changed since
        self._looked = time.monotonic()


def _same(now: Any, before: Any) -> bool:
    if now is None or len(now) != len(before):
        return False
    return bool(np.allclose(np.asarray(now, np.float64), before, rtol=_SAME, atol=_SAME, equal_nan=True))
