"""Compares every sample with every other one: all mated scores, and the highest non-mated scores. Pure numpy.

An FMR depends only on the non-mated scores at or above the threshold. So only the highest share of them is kept, and
every FMR up to that share is exact. The lower scores are counted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.samples import Samples
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.comparisons import Vectors
from sameface_qdrant.metrics.error_rates import Indices, Scores, Weights

Positions = NDArray[np.int32]

NO_SCORE = -2.0
"""Stands for the score of a comparison with a sample that could not be acquired: below every cosine, never a match."""
LEAST_KEPT = 100_000
HISTOGRAM_BINS = 80
_FINE = 500
"""Fine bins in each bin of the histogram; the highest scores are found by fine bins."""
_BLOCK = 512


class TailTooShort(Exception):
    """A rate depends on non-mated scores that were not kept."""


@dataclass(frozen=True, slots=True)
class CrossComparison:
    """The scores of every pair of samples, each pair once. Identities are indices of ``identities``.

    Samples are numbered: first those with an embedding in their order, then those that could not be acquired.
    """

    identities: tuple[str, ...]
    sample_owners: Indices
    """The identity of each sample, [samples]."""
    embedded: int
    """How many samples have an embedding."""
    mated: Scores
    """[mated comparisons]; `NO_SCORE` where one side could not be acquired."""
    mated_samples: Positions
    """[mated comparisons, 2]"""
    owners: Indices
    """The identity of each mated comparison, [mated comparisons]."""
    tail: Scores
    """The highest non-mated scores, descending. Samples that could not be acquired are in no non-mated comparison."""
    tail_samples: Positions
    """[tail, 2]"""
    non_mated: int
    """How many non-mated comparisons there are, kept or not."""
    histogram: tuple[NDArray[np.int64], NDArray[np.int64]]
    """Counts of mated and of non-mated scores in 80 equal bins from −1 to 1."""

    @property
    def is_complete(self) -> bool:
        """Whether every non-mated score was kept."""
        return self.tail.size == self.non_mated

    @property
    def samples_per_identity(self) -> NDArray[np.int64]:
        """How many samples with an embedding each identity has, [identities]."""
        return np.bincount(self.sample_owners[: self.embedded], minlength=len(self.identities))

    @property
    def identity_weights(self) -> Weights:
        """Weights of the mated comparisons; with them every identity counts the same."""
        counts = np.bincount(self.owners, minlength=len(self.identities))
        return 1.0 / counts[self.owners]

    def weighted_tail(self) -> tuple[Scores, Weights]:
        """Return scores and weights of all non-mated comparisons; those not kept are one score with their number."""
        if self.is_complete:
            return self.tail, np.ones(self.tail.size)
        return np.append(self.tail, NO_SCORE), np.append(
            np.ones(self.tail.size), float(self.non_mated - self.tail.size)
        )


def compare_all_samples(samples: Samples, share: float = 0.05, templates: Vectors | None = None) -> CrossComparison:
    """Compare every sample with every other one; keep at least the highest ``share`` (0 to 1) of the non-mated scores.

    With ``templates``, float32 [samples, dimension], the sample that comes first in each pair is the template, and that
    is its vector. The vectors of ``samples`` are the probes then.

    Scores equal to the lowest kept one are kept too. Memory grows with the number of scores kept, time with the square
    of the number of samples.

    Raises:
        NotEnoughData: there is no mated or no non-mated comparison.
    """
    identities = [*samples.identity, *(failure.identity for failure in samples.not_acquired)]
    names, sample_owners = np.unique(np.array(identities, dtype=np.str_), return_inverse=True)
    sample_owners = sample_owners.astype(np.int64)
    embedded = len(samples.identity)
    counts = np.bincount(sample_owners[:embedded], minlength=len(names))
    non_mated = (embedded**2 - int((counts.astype(np.int64) ** 2).sum())) // 2
    first = samples.vectors if templates is None else templates
    mated, mated_samples = _mated(first, samples.vectors, sample_owners)
    if not non_mated or not mated.size:
        raise NotEnoughData(
            f"{embedded} samples of {len(names)} identities give {mated.size} mated and {non_mated} non-mated "
            "comparisons; expected some of both: at least two identities, and one of them with at least two samples",
            metadata={"identities": len(names), "comparisons": int(mated.size + non_mated)},
        )
    tail, tail_samples, fine = _highest(
        first, samples.vectors, sample_owners[:embedded], max(LEAST_KEPT, share * non_mated)
    )
    mated_fine = np.bincount(_fine_bins(mated[mated > NO_SCORE]), minlength=HISTOGRAM_BINS * _FINE)
    return CrossComparison(
        identities=tuple(map(str, names)),
        sample_owners=sample_owners,
        embedded=embedded,
        mated=mated,
        mated_samples=mated_samples,
        owners=sample_owners[mated_samples[:, 0]],
        tail=tail,
        tail_samples=tail_samples,
        non_mated=non_mated,
        histogram=(_coarse(mated_fine), _coarse(fine)),
    )


def _mated(templates: Vectors, probes: Vectors, sample_owners: Indices) -> tuple[Scores, Positions]:
    """Return the mated scores, and the pairs of samples that they are of."""
    order = np.argsort(sample_owners, kind="stable")
    ends = np.flatnonzero(np.diff(sample_owners[order])) + 1
    pairs = []
    for group in np.split(order, ends):
        first, second = np.triu_indices(group.size, 1)
        pairs.append(np.stack([group[first], group[second]], axis=1))
    samples = np.concatenate(pairs)
    scores = np.full(len(samples), NO_SCORE)
    acquired = np.all(samples < len(probes), axis=1)
    for start in range(0, len(samples), 1 << 16):
        block = np.flatnonzero(acquired[start : start + (1 << 16)]) + start
        first, second = templates[samples[block, 0]], probes[samples[block, 1]]
        scores[block] = np.clip(np.einsum("ij,ij->i", first, second), -1.0, 1.0)
    return scores, samples.astype(np.int32)


def _highest(
    templates: Vectors, probes: Vectors, sample_owners: Indices, least: float
) -> tuple[Scores, Positions, Indices]:
    """Return the highest non-mated scores, descending; their pairs of samples; and the count of each fine bin."""
    fine = np.zeros(HISTOGRAM_BINS * _FINE, np.int64)
    starts = range(0, len(probes), _BLOCK)
    for start in starts:
        scores, is_non_mated = _block(templates, probes, sample_owners, start)
        fine += np.bincount(_fine_bins(scores[is_non_mated]), minlength=fine.size)
    above = np.cumsum(fine[::-1])[::-1]
    # The highest bin from which on there are enough scores.
    lowest = int(np.flatnonzero(above >= min(least, above[0]))[-1])
    kept, first, second = [], [], []
    for start in starts:
        scores, is_non_mated = _block(templates, probes, sample_owners, start)
        rows, columns = np.nonzero(is_non_mated & (_fine_bins(scores) >= lowest))
        kept.append(scores[rows, columns])
        first.append((rows + start).astype(np.int32))
        second.append((columns + start).astype(np.int32))
    tail = np.concatenate(kept).astype(np.float64)
    order = np.argsort(-tail, kind="stable")
    return tail[order], np.stack([np.concatenate(first), np.concatenate(second)], axis=1)[order], fine


def _block(
    templates: Vectors, probes: Vectors, sample_owners: Indices, start: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the scores of a block of samples with all from ``start`` on, and which are new non-mated pairs."""
    rows = templates[start : start + _BLOCK]
    scores = np.clip(rows @ probes[start:].T, -1.0, 1.0)
    is_later = np.arange(scores.shape[1]) > np.arange(scores.shape[0])[:, None]
    return scores, is_later & (sample_owners[start : start + _BLOCK, None] != sample_owners[None, start:])


def _fine_bins(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    bins = HISTOGRAM_BINS * _FINE
    return np.minimum(((scores + 1.0) * (bins / 2)).astype(np.int64), bins - 1)


def _coarse(fine: NDArray[np.int64]) -> NDArray[np.int64]:
    coarse: NDArray[np.int64] = fine.reshape(HISTOGRAM_BINS, _FINE).sum(axis=1)
    return coarse
