"""Points that cannot be compared. A search that knows their ids leaves them out, and is not repeated for them."""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sameface_qdrant.attached.counting import stacked
from sameface_qdrant.attached.target import Id
from sameface_qdrant.values.vectors import is_usable

if TYPE_CHECKING:
    from sameface_qdrant.attached.queries import AttachedCollection

MOST = 10_000
"""So many points are remembered: each search names them all."""
EVERY_S = 30.0
"""After so many seconds the next call reads them again, because another program may have mended one."""
_BATCH = 256


class PassedOver:
    """The ids of points whose embedding is broken, or that name no identity."""

    def __init__(self, collection: "AttachedCollection") -> None:
        self._collection = collection
        self._ids: dict[Id, None] = {}
        self._read = time.monotonic()

    @property
    def ids(self) -> Sequence[Id]:
        """The ids, at most 10,000."""
        return list(self._ids)

    def add(self, ids: Iterable[Id]) -> None:
        """Remember points that were read just now."""
        if not self._ids:
            self._read = time.monotonic()
        for one in ids:
            if len(self._ids) < MOST:
                self._ids[one] = None

    def replace(self, ids: Iterable[Id]) -> None:
        """Remember these points and no others."""
        self._ids = {}
        self.add(ids)

    async def read_soon(self) -> None:
        """Read the points again if that is some time ago, and forget those whose embedding can be compared now.

        A point without an identity is forgotten as well: the next search that finds it remembers it again.
        """
        if not self._ids or time.monotonic() - self._read < EVERY_S:
            return
        self._read = time.monotonic()
        for start in range(0, len(every := list(self._ids)), _BATCH):
            batch = every[start : start + _BATCH]
            found = await self._collection.vectors(batch)
            usable = is_usable(stacked([found.get(one) for one in batch], self._collection.dimension))
            for one, fits in zip(batch, usable, strict=True):
                if fits or one not in found:
                    self._ids.pop(one, None)
