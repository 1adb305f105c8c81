"""Counts the identities and the templates of an attached collection."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.attached.target import Counts, Id, identity_of
from sameface_qdrant.values.vectors import is_usable

if TYPE_CHECKING:
    from sameface_qdrant.attached.passed_over import PassedOver
    from sameface_qdrant.attached.queries import AttachedCollection

READ_UP_TO = 10_000
"""So many points are checked for broken embeddings without being asked."""


class Census:
    """The last count, and the points with broken embeddings that it knows."""

    def __init__(self, collection: "AttachedCollection", passed_over: "PassedOver") -> None:
        self._collection = collection
        self._passed_over = passed_over
        self._unusable: dict[Id, Id] | None = None
        """The identity of each point whose embedding is broken, by the point's id; None if they were not read."""
        self.counts = Counts(0, 0, 0)

    async def take(self, embeddings: bool | None) -> Counts:
        """Count again. ``embeddings`` says whether to read all of them; None reads them if there are few."""
        await self._collection.check_unchanged()
        without_identity = await self._collection.count_without_identity()
        indexed = await self._collection.counts_by_index()
        if indexed is None:
            points, ignored = await self._collection.points_by_identity()
            present = Counter({identity: len(found) for identity, found in points.items()})
        else:
            present = Counter({value: count for value, count in indexed.items() if identity_of(value) is not None})
            ignored = 0
        if embeddings or (embeddings is None and present.total() <= READ_UP_TO):
            self._unusable = await self._broken()
            self._passed_over.replace(self._unusable)
        return self._counted(present, without_identity + ignored)

    async def update(self, removed: list[Id] | None = None) -> Counts:
        """Count again after a write of this process, without reading embeddings."""
        for point in removed or ():
            (self._unusable or {}).pop(point, None)
        return await self.take(embeddings=False)

    async def _broken(self) -> dict[Id, Id]:
        broken: dict[Id, Id] = {}
        async for page in self._collection.pages(with_vectors=True):
            usable = is_usable(stacked([point.vector for point in page], self._collection.dimension))
            for point, fits in zip(page, usable, strict=True):
                if point.identity is not None and not fits:
                    broken[point.id] = point.identity
        return broken

    def _counted(self, present: Mapping[Id, int], ignored: int) -> Counts:
        left = Counter(present)
        left.subtract(Counter((self._unusable or {}).values()))
        comparable = [count for count in left.values() if count > 0]
        unusable = None if self._unusable is None else len(self._unusable)
        self.counts = Counts(len(comparable), sum(comparable), ignored, unusable)
        return self.counts


def stacked(vectors: Sequence[Any], dimension: int) -> NDArray[np.float64]:
    """Return embeddings as they were read, float64 [embeddings, dimension]. A missing one, None, is NaN."""
    missing = [np.nan] * dimension
    rows = [missing if vector is None else vector for vector in vectors]
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), dimension)
