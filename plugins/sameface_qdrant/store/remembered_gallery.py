"""One gallery whose vectors are in memory: what guards find in it, partly ahead of the next batch."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.concurrency import to_end
from sameface_qdrant.engines.base import Hit, Point
from sameface_qdrant.store.guard_searches import Asked, Search
from sameface_qdrant.store.payloads import TEMPLATE
from sameface_qdrant.store.vector_table import Found, Queries, VectorTable, better, nothing_found, replaced
from sameface_qdrant.values.schema import SCHEMA_FIELD
from sameface_qdrant.values.vectors import Vector

BATCHES_AHEAD = 2
KNOWN_FIELDS = frozenset({"identity", "kind", SCHEMA_FIELD})
"""Payload fields of a neighbour that a table has. For others the neighbour is read."""


@dataclass(slots=True)
class RememberedGallery:
    """The templates of one gallery."""

    table: VectorTable
    used: float
    """When guards last asked, in monotonic seconds."""
    _ahead: list[tuple[dict[tuple[str, bytes], int], Found]] = field(default_factory=list)
    """What was found ahead of the next batches: the number of each query, and the result."""

    async def look_ahead(self, queries: Queries, now: float) -> None:
        """Compare with what is in the table now. `best` goes on from there."""
        found = await _compare(self.table, queries, 0, now)
        numbers = {key: number for number, key in enumerate(_keys(queries))}
        self._ahead = [*self._ahead[1 - BATCHES_AHEAD :], (numbers, found)]

    async def best(self, queries: Queries, now: float) -> Found:
        """Return the best row of each query, from what was found ahead and the rows that were added since.

        If the rows got other numbers meanwhile, the result has an earlier epoch than the table.
        """
        table = self.table
        earlier, unknown = self._found_ahead(queries)
        best = better(earlier, await _compare(table, queries, earlier.rows, now))
        while best.epoch == table.epoch and (again := np.union1d(unknown, table.lost(best, now))).size:
            some = Queries(queries.vectors[again], [queries.excluded[number] for number in again])
            best = replaced(best, again, await _compare(table, some, 0, now))
            unknown = unknown[:0]
        return best

    def _found_ahead(self, queries: Queries) -> tuple[Found, NDArray[np.int64]]:
        """Return what was found ahead, and the numbers of the queries that nothing was found for."""
        keys = _keys(queries)
        for numbers, found in self._ahead:
            if found.epoch == self.table.epoch and keys[0] in numbers:
                chosen = np.array([numbers.get(key, -1) for key in keys], np.int64)
                mine = Found(found.scores[chosen], found.best[chosen], found.rows, found.epoch)
                return mine, np.flatnonzero(chosen < 0)
        return nothing_found(len(keys), self.table.epoch), np.empty(0, np.int64)


def queries_of(searches: Sequence[Search], asked: Asked) -> Queries:
    """Return the searches of guards as one matrix."""
    return Queries(np.stack([vector for vector, _ in searches]).astype(np.float32, copy=False), asked.identities)


def hit_of(table: VectorTable, score: float, row: int) -> Hit:
    """Return a row as a neighbour with the payload fields `KNOWN_FIELDS`."""
    payload = {"identity": table.identities[row], "kind": TEMPLATE}
    if table.schemas[row] is not None:  # early releases wrote none
        payload[SCHEMA_FIELD] = table.schemas[row]
    return Hit(table.ids[row], max(-1.0, min(1.0, score)), payload)


def add(table: VectorTable, point: Point, vector: Vector) -> None:
    """Add the template of a stored point to a table."""
    payload = point.payload
    table.put(point.id, payload["identity"], vector, payload.get("expires"), payload.get(SCHEMA_FIELD))


async def _compare(table: VectorTable, queries: Queries, first: int, now: float) -> Found:
    view = table.view(queries.excluded, first)
    return await to_end(asyncio.to_thread(view.best, queries.vectors, now))


def _keys(queries: Queries) -> list[tuple[str, bytes]]:
    return [(identity, vector.tobytes()) for identity, vector in zip(queries.excluded, queries.vectors, strict=True)]
