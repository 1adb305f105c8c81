"""Scores many embeddings with every identity of an attached collection: exact, page by page."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.attached.counting import stacked
from sameface_qdrant.attached.layout import unit_rows
from sameface_qdrant.attached.target import Id, IdentityScores
from sameface_qdrant.values.vectors import Vector, is_usable

if TYPE_CHECKING:
    from sameface_qdrant.attached.queries import AttachedCollection

COMPARED = 250_000
"""Scores that are made and sorted at once, about: 1 MB of float32. It bounds the memory."""
Scores = NDArray[np.float32]
Columns = NDArray[np.int64]


async def score_many(
    collection: "AttachedCollection", probes: Sequence[Vector], limit: int | None, *, expected: int
) -> IdentityScores:
    """See `sameface_qdrant.Attached.score_many`. ``expected`` is about how many identities there are."""
    vectors = np.asarray(probes, np.float32).reshape(len(probes), collection.dimension)
    numbers: dict[Id, int] = {}
    best = _All(len(probes), expected) if limit is None else _Nearest(len(probes), limit)
    unusable = 0
    async for page in collection.pages(with_vectors=True):
        named = [point for point in page if point.identity is not None]
        found = stacked([point.vector for point in named], collection.dimension)
        usable = is_usable(found)
        unusable += int(np.count_nonzero(~usable))
        owners = [
            numbers.setdefault(point.identity, len(numbers))
            for point, fits in zip(named, usable, strict=True)
            if fits and point.identity is not None
        ]
        if owners:
            templates = unit_rows(collection.target, collection.distance, found[usable])
            await asyncio.to_thread(_compare, vectors, templates, np.asarray(owners), best)
    columns, scores = best.result(len(numbers))
    return IdentityScores(tuple(numbers), scores, columns, unusable)


def _compare(probes: Scores, templates: Scores, owners: Columns, best: "_All | _Nearest") -> None:
    """Compare probes with the templates of a page, and keep the best score of each identity."""
    order = np.argsort(owners, kind="stable")
    owners, templates = owners[order], templates[order]
    starts = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))
    step = max(1, COMPARED // (len(templates) + best.kept))
    for first in range(0, len(probes), step):
        rows = slice(first, min(first + step, len(probes)))
        # Probes are the columns, so that the maximum over an identity's rows runs along memory.
        cosines = np.maximum.reduceat(templates @ probes[rows].T, starts, axis=0).T
        best.add(rows, owners[starts], np.clip(cosines, -1.0, 1.0))


class _All:
    """The score of every probe with every identity."""

    kept = 0
    """How many scores of a probe are sorted beside those of a page."""

    def __init__(self, probes: int, expected: int) -> None:
        self._scores = np.full((probes, expected), -np.inf, np.float32)

    def add(self, rows: slice, owners: Columns, scores: Scores) -> None:
        """Take scores of some rows with some identities, [rows, owners]."""
        needed = int(owners.max()) + 1
        if needed > self._scores.shape[1]:
            grown = np.full((len(self._scores), max(needed, 2 * self._scores.shape[1])), -np.inf, np.float32)
            grown[:, : self._scores.shape[1]] = self._scores
            self._scores = grown
        self._scores[rows, owners] = np.maximum(self._scores[rows, owners], scores)

    def result(self, identities: int) -> tuple[Columns, Scores]:
        """Return the numbers of the identities, and the scores, both [probes, identities]."""
        scores = np.ascontiguousarray(self._scores[:, :identities])
        return np.broadcast_to(np.arange(identities), scores.shape), scores


class _Nearest:
    """The best identities of every probe. An identity that was dropped comes back with a better template."""

    def __init__(self, probes: int, limit: int) -> None:
        self._scores = np.full((probes, limit), -np.inf, np.float32)
        self._owners = np.full((probes, limit), -1, np.int64)
        self.kept = limit

    def add(self, rows: slice, owners: Columns, scores: Scores) -> None:
        """Take scores of some rows with some identities, [rows, owners]."""
        kept, kept_scores = self._owners[rows], self._scores[rows].copy()
        place = np.searchsorted(owners, kept)
        again = (place < owners.size) & (owners[np.minimum(place, owners.size - 1)] == kept)
        # An identity that is in both counts once, with its better score.
        row, column = np.nonzero(again)
        scores = scores.copy()
        scores[row, place[row, column]] = np.maximum(scores[row, place[row, column]], kept_scores[row, column])
        kept_scores[row, column] = -np.inf
        every = np.concatenate([kept_scores, scores], axis=1)
        names = np.concatenate([np.where(again, -1, kept), np.broadcast_to(owners, scores.shape)], axis=1)
        limit = kept.shape[1]
        chosen = np.argpartition(-every, limit - 1, axis=1)[:, :limit]
        chosen = np.take_along_axis(chosen, np.argsort(-np.take_along_axis(every, chosen, 1), axis=1), 1)
        self._scores[rows] = np.take_along_axis(every, chosen, 1)
        self._owners[rows] = np.take_along_axis(names, chosen, 1)

    def result(self, identities: int) -> tuple[Columns, Scores]:
        """Return the numbers of the identities and their scores, best first, both [probes, limit or fewer]."""
        width = min(identities, self._scores.shape[1])
        return self._owners[:, :width], self._scores[:, :width]
