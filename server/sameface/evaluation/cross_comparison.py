"""The scores of every pair of samples: all mated ones, and the highest of the non-mated ones. Pure numpy.

Only the highest non-mated scores decide at a low FMR, and there are few of them: what is kept is enough for every rate
up to the share that is kept, exactly. The lower ones are counted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.samples import Samples, Vectors
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.error_rates import Indices, Scores

Positions = NDArray[np.int32]

NO_SCORE = -2.0
"""The score of a comparison with a sample that has no embedding: below every cosine, so that it never matches."""
LEAST_KEPT = 100_000
HISTOGRAM_BINS = 80
_FINE = 500
"""Bins of the search for the highest scores, for each bin of the histogram."""
_BLOCK = 512


class TailTooShort(Exception):
    """A rate reaches further down than the non-mated scores that were kept."""


@dataclass(frozen=True, slots=True)
class CrossComparison:
    """Every pair of samples once, without order. Identities are indices of ``identities``.

    Samples are positions: first those with an embedding, in their order, then those that could not be acquired.
    """

    identities: tuple[str, ...]
    owner_of: Indices
    """Whose each sample is, [embedded + failed]."""
    embedded: int
    mated: Scores
    """[mated comparisons]; `NO_SCORE` where one side could not be acquired."""
    mated_samples: Positions
    """[mated comparisons, 2]"""
    owners: Indices
    """Whose mated comparison it is."""
    tail: Scores
    """The highest non-mated scores, descending. Samples that could not be acquired have no non-mated comparisons."""
    tail_samples: Positions
    """[tail, 2]"""
    non_mated: int
    """How many non-mated comparisons there are, kept or not."""
    histogram: tuple[Indices, Indices]
    """Mated and non-mated scores in 80 equal bins from −1 to 1."""

    @property
    def is_complete(self) -> bool:
        """Whether every non-mated score was kept."""
        return self.tail.size == self.non_mated

    @property
    def held(self) -> Indices:
        """How many embedded samples each identity has."""
        return np.bincount(self.owner_of[: self.embedded], minlength=len(self.identities))

    @property
    def by_identity(self) -> Scores:
        """Weights of the mated comparisons with which every identity counts the same."""
        counts = np.bincount(self.owners, minlength=len(self.identities))
        return 1.0 / counts[self.owners]

    def weighted_tail(self) -> tuple[Scores, Scores]:
        """Return scores and weights that stand for all non-mated comparisons: those not kept are one score below."""
        if self.is_complete:
            return self.tail, np.ones(self.tail.size)
        return np.append(self.tail, NO_SCORE), np.append(
            np.ones(self.tail.size), float(self.non_mated - self.tail.size)
        )


def compare_all_samples(samples: Samples, share: float = 0.05) -> CrossComparison:
    """Compare every two samples, and keep at least the highest ``share`` (0..1) of the non-mated scores.

    Ties of the lowest kept score are kept too. Memory grows with what is kept; time with the square of the samples.

    Raises:
        NotEnoughData: there is no mated or no non-mated comparison.
    """
    failed = samples.not_acquired
    whose = [*samples.identity, *(one.identity for one in failed)]
    names, owner_of = np.unique(np.array(whose, dtype=np.str_), return_inverse=True)
    owner_of = owner_of.astype(np.int64)
    embedded = len(samples.identity)
    held = np.bincount(owner_of[:embedded], minlength=len(names))
    non_mated = (embedded**2 - int((held.astype(np.int64) ** 2).sum())) // 2
    mated, mated_samples = _mated(samples.vectors, owner_of)
    if not non_mated or not mated.size:
        raise NotEnoughData(
            f"{embedded} samples of {len(names)} identities give {mated.size} mated and {non_mated} non-mated "
            "comparisons; expected some of both: two identities or more, one of them with two samples",
            metadata={"identities": len(names), "comparisons": int(mated.size + non_mated)},
        )
    tail, tail_samples, fine = _highest(samples.vectors, owner_of[:embedded], max(LEAST_KEPT, share * non_mated))
    mated_fine = np.bincount(_fine_bins(mated[mated > NO_SCORE]), minlength=HISTOGRAM_BINS * _FINE)
    return CrossComparison(
        identities=tuple(map(str, names)),
        owner_of=owner_of,
        embedded=embedded,
        mated=mated,
        mated_samples=mated_samples,
        owners=owner_of[mated_samples[:, 0]],
        tail=tail,
        tail_samples=tail_samples,
        non_mated=non_mated,
        histogram=(_coarse(mated_fine), _coarse(fine)),
    )


def _mated(vectors: Vectors, owner_of: Indices) -> tuple[Scores, Positions]:
    order = np.argsort(owner_of, kind="stable")
    ends = np.flatnonzero(np.diff(owner_of[order])) + 1
    pairs = []
    for group in np.split(order, ends):
        first, second = np.triu_indices(group.size, 1)
        pairs.append(np.stack([group[first], group[second]], axis=1))
    samples = np.concatenate(pairs)
    scores = np.full(len(samples), NO_SCORE)
    there = np.all(samples < len(vectors), axis=1)
    for start in range(0, len(samples), 1 << 16):
        block = np.flatnonzero(there[start : start + (1 << 16)]) + start
        first, second = vectors[samples[block, 0]], vectors[samples[block, 1]]
        scores[block] = np.clip(np.einsum("ij,ij->i", first, second), -1.0, 1.0)
    return scores, samples.astype(np.int32)


def _highest(vectors: Vectors, owner_of: Indices, least: float) -> tuple[Scores, Positions, Indices]:
    """Return the highest non-mated scores, descending, between whom, and how many scores are in each fine bin."""
    fine = np.zeros(HISTOGRAM_BINS * _FINE, np.int64)
    starts = range(0, len(vectors), _BLOCK)
    for start in starts:
        scores, compared = _block(vectors, owner_of, start)
        fine += np.bincount(_fine_bins(scores[compared]), minlength=fine.size)
    above = np.cumsum(fine[::-1])[::-1]
    # The highest bin above which enough scores lie.
    lowest = int(np.flatnonzero(above >= min(least, above[0]))[-1])
    kept, first, second = [], [], []
    for start in starts:
        scores, compared = _block(vectors, owner_of, start)
        rows, columns = np.nonzero(compared & (_fine_bins(scores) >= lowest))
        kept.append(scores[rows, columns])
        first.append((rows + start).astype(np.int32))
        second.append((columns + start).astype(np.int32))
    tail = np.concatenate(kept).astype(np.float64)
    order = np.argsort(-tail, kind="stable")
    return tail[order], np.stack([np.concatenate(first), np.concatenate(second)], axis=1)[order], fine


def _block(vectors: Vectors, owner_of: Indices, start: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the scores of a block of rows with the columns from ``start`` on, and which are non-mated pairs."""
    rows = vectors[start : start + _BLOCK]
    scores = np.clip(rows @ vectors[start:].T, -1.0, 1.0)
    behind = np.arange(scores.shape[1]) > np.arange(scores.shape[0])[:, None]
    return scores, behind & (owner_of[start : start + _BLOCK, None] != owner_of[None, start:])


def _fine_bins(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    bins = HISTOGRAM_BINS * _FINE
    return np.minimum(((scores + 1.0) * (bins / 2)).astype(np.int64), bins - 1)


def _coarse(fine: Indices) -> Indices:
    coarse: Indices = fine.reshape(HISTOGRAM_BINS, _FINE).sum(axis=1)
    return coarse
