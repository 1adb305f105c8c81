"""The vectors of one gallery in one matrix, so that many new templates are compared with all of them at once.

One matrix product takes a twentieth of the time of as many searches, see docs/benchmarks.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.values.vectors import Vector

Matrix = NDArray[np.float32]
Rows = NDArray[np.int64]

SCORES_AT_ONCE = 1 << 22
"""Scores that are calculated before the best are chosen: 16 MiB."""
FEW_REMOVED = 1024
"""So many removed rows stay in a table, also in a small one."""


@dataclass(frozen=True, slots=True)
class Found:
    """The best row of each of n queries, among the first ``rows`` rows of a table."""

    scores: NDArray[np.float32]
    """Shape [n]; −inf where there is no row to compare with."""
    best: Rows
    """Shape [n]; the number of the row."""
    rows: int
    epoch: int
    """See `VectorTable.epoch`."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Unit vectors, each with an identity that it is not compared with."""

    vectors: Matrix
    """Shape [n, dimension]."""
    excluded: Sequence[str]
    """One identity for each; empty excludes none."""


@dataclass(frozen=True, slots=True)
class View:
    """What a table held at one moment. It may be read in another thread while the table changes."""

    vectors: Matrix
    present: NDArray[np.bool_]
    expires: NDArray[np.float64]
    own: Mapping[int, Rows]
    """Rows that a query is not compared with, by the number of the query."""
    first: int
    epoch: int

    def best(self, queries: Matrix, now: float) -> Found:
        """Return the best row in force of each query, from row ``first`` on; blocks, mostly without Python's lock."""
        number, rows = len(queries), len(self.vectors)
        scores, best = np.full(number, -np.inf, np.float32), np.full(number, -1, np.int64)
        step = max(1, SCORES_AT_ONCE // max(1, number))
        memory = np.empty(number * min(step, max(1, rows - self.first)), np.float32)
        every = np.arange(number)
        for begin in range(self.first, rows, step):
            end = min(begin + step, rows)
            block = memory[: number * (end - begin)].reshape(number, end - begin)
            np.matmul(queries, self.vectors[begin:end].T, out=block)
            left_out = ~(self.present[begin:end] & (self.expires[begin:end] > now))
            if left_out.any():
                block[:, left_out] = -np.inf
            for query, mine in self.own.items():
                block[query, mine[(mine >= begin) & (mine < end)] - begin] = -np.inf
            column = block.argmax(axis=1)
            value = block[every, column]
            better = value > scores
            scores[better], best[better] = value[better], column[better] + begin
        return Found(scores, best, rows, self.epoch)


@dataclass(slots=True)
class VectorTable:
    """Templates by row. A row never changes: a template that is written again gets another one."""

    dimension: int
    room: int = 0
    """How many templates are expected at first."""
    epoch: int = 0
    """Grows whenever rows get other numbers."""
    ids: list[str] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    schemas: list[Any] = field(default_factory=list)
    """The stored schema version of each template; neighbours share one object."""
    _vectors: Matrix = field(init=False)
    _present: NDArray[np.bool_] = field(init=False)
    _expires: NDArray[np.float64] = field(init=False)
    _row_of: dict[str, int] = field(default_factory=dict)
    _rows_of: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Tuples, because Python's garbage collector looks at each list again and again."""

    def __post_init__(self) -> None:
        self._allocate(self.room + FEW_REMOVED)

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, template: str) -> bool:
        return template in self._row_of

    @property
    def bytes(self) -> int:
        """Bytes of its vectors, with those for which it has room."""
        return self._vectors.nbytes

    def put(self, template: str, identity: str, vector: Vector, expires: float | None, schema: Any) -> None:
        """Add a template, or replace it."""
        if template in self._row_of:
            self.remove([template])
        row = len(self.ids)
        if row == len(self._vectors):
            self._allocate(row + max(FEW_REMOVED, row // 4))
        self._vectors[row] = vector
        self._present[row], self._expires[row] = True, np.inf if expires is None else expires
        self.ids.append(template)
        self.identities.append(identity)
        self.schemas.append(self.schemas[-1] if self.schemas and self.schemas[-1] == schema else schema)
        self._row_of[template] = row
        self._rows_of[identity] = (*self._rows_of.get(identity, ()), row)

    def remove(self, templates: Sequence[str]) -> None:
        """Remove those of the templates that are in the table."""
        for template in templates:
            row = self._row_of.pop(template, None)
            if row is None:
                continue
            self._present[row] = False
            # Also for the memory: what was erased is not kept.
            self._vectors[row] = 0.0
            identity = self.identities[row]
            self._rows_of[identity] = tuple(one for one in self._rows_of[identity] if one != row)
            if not self._rows_of[identity]:
                del self._rows_of[identity]
        if len(self.ids) - len(self) > max(FEW_REMOVED, len(self)):
            self._close_up()

    def templates_of(self, identity: str) -> list[str]:
        """Return the templates of an identity."""
        return [self.ids[row] for row in self._rows_of.get(identity, ())]

    def expired(self, now: float) -> list[str]:
        """Return the templates that have expired."""
        rows = len(self.ids)
        return [self.ids[row] for row in np.flatnonzero(self._present[:rows] & (self._expires[:rows] <= now))]

    def lost(self, found: Found, now: float) -> Rows:
        """Return the numbers of the queries whose best row was removed since, or has expired."""
        rows = found.best
        return np.flatnonzero((rows >= 0) & ~(self._present[rows] & (self._expires[rows] > now)))

    def view(self, excluded: Sequence[str], first: int = 0) -> View:
        """Return what `View.best` compares: the rows from ``first`` on, and for each query the identity left out."""
        rows = len(self.ids)
        own = {
            number: np.asarray(mine, np.int64)
            for number, identity in enumerate(excluded)
            if (mine := self._rows_of.get(identity))
        }
        return View(self._vectors[:rows], self._present[:rows], self._expires[:rows], own, first, self.epoch)

    def own(self, identity: str, vector: Vector, now: float, limit: int) -> list[tuple[float, int]]:
        """Return score and row of an identity's nearest templates in force, best first."""
        rows = [row for row in self._rows_of.get(identity, ()) if self._expires[row] > now]
        scores = self._vectors[rows] @ vector
        return sorted(zip(map(float, scores), rows, strict=True), reverse=True)[:limit]

    def _allocate(self, rows: int) -> None:
        old, used = getattr(self, "_vectors", None), len(self.ids)
        vectors = np.zeros((rows, self.dimension), np.float32)
        present, expires = np.zeros(rows, np.bool_), np.full(rows, np.inf)
        if old is not None:
            vectors[:used], present[:used], expires[:used] = old[:used], self._present[:used], self._expires[:used]
        self._vectors, self._present, self._expires = vectors, present, expires

    def _close_up(self) -> None:
        """Give the templates new rows without gaps."""
        kept = np.flatnonzero(self._present[: len(self.ids)])
        vectors, expires = self._vectors[kept], self._expires[kept]
        self.ids, self.identities, self.schemas = (
            [column[row] for row in kept] for column in (self.ids, self.identities, self.schemas)
        )
        self.epoch += 1
        self._vectors, self._expires, self._present = vectors, expires, np.ones(len(kept), np.bool_)
        self._row_of = {template: row for row, template in enumerate(self.ids)}
        self._rows_of = {}
        for row, identity in enumerate(self.identities):
            self._rows_of[identity] = (*self._rows_of.get(identity, ()), row)


def nothing_found(number: int, epoch: int) -> Found:
    """Return the result of so many queries that were compared with no row yet."""
    return Found(np.full(number, -np.inf, np.float32), np.full(number, -1, np.int64), 0, epoch)


def better(earlier: Found, new: Found) -> Found:
    """Return the best row of each query from what was found in the first rows of a table and in those after them."""
    scores, best = earlier.scores.copy(), earlier.best.copy()
    won = new.scores > scores
    scores[won], best[won] = new.scores[won], new.best[won]
    return Found(scores, best, new.rows, new.epoch)


def replaced(found: Found, queries: Rows, again: Found) -> Found:
    """Return what was found, with other results for some of the queries."""
    scores, best = found.scores.copy(), found.best.copy()
    scores[queries], best[queries] = again.scores, again.best
    return Found(scores, best, found.rows, found.epoch)
