"""Skilled forgeries beside verification over every pair: how many are accepted at its thresholds. Pure numpy.

Each forgery is compared with every genuine sample of the identity that it imitates. These are non-mated comparisons of
a kind of their own (ISO/IEC 19795-1: active impostor attempts). They are in no FMR over every pair, which is that of
chance (zero-effort) impostors. `forgeries` measures the same with several templates enrolled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sameface.evaluation.cross_comparison import CrossComparison
from sameface.evaluation.resampling import Counts, Estimate, estimate
from sameface.evaluation.samples import Samples
from sameface_qdrant.metrics.error_rates import Indices, Rates, Scores, Weights, eer, fmr

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class ForgeryComparison:
    """The score of each forgery with each genuine sample of the identity that it imitates."""

    forgeries: int
    """Forgeries with an embedding whose identity has a genuine sample."""
    scores: Scores
    """[comparisons]"""
    owners: Indices
    """The imitated identity of each, as an index of ``CrossComparison.identities``."""
    samples: Indices
    """[comparisons, 2] The positions of the forgery and of the genuine sample, each in its own list."""

    @property
    def weights(self) -> Weights:
        """Weights of the comparisons; with them every identity counts the same."""
        return 1.0 / np.bincount(self.owners)[self.owners]


@dataclass(frozen=True, slots=True)
class SkilledForgeries:
    """How many skilled forgeries are accepted. Every identity counts the same."""

    comparison: ForgeryComparison
    identities: int
    """How many are imitated."""
    fmr: tuple[Estimate, ...]
    """At each threshold."""
    eer: Estimate
    """Of mated comparisons and forgeries, at a threshold of its own."""
    eer_resampled: Rates
    """In every resample; NaN where it has no such comparison."""


def compare_forgeries(samples: Samples, comparison: CrossComparison) -> ForgeryComparison | None:
    """Compare the forgeries of ``samples`` with whom they imitate; None if there is no such comparison."""
    forged = samples.forgeries
    if forged is None:
        return None
    numbers = {name: place for place, name in enumerate(comparison.identities)}
    genuine = comparison.sample_owners[: comparison.embedded]
    imitated = np.array([numbers.get(name, -1) for name in forged.identity], np.int64)
    scores, owners, pairs = [], [], []
    counted = 0
    for owner in np.unique(imitated[imitated >= 0]):
        references = np.flatnonzero(genuine == owner)
        probes = np.flatnonzero(imitated == owner)
        if not references.size:
            continue
        counted += probes.size
        for start in range(0, probes.size, _BLOCK):
            block = probes[start : start + _BLOCK]
            cosines = np.clip(forged.vectors[block] @ samples.vectors[references].T, -1.0, 1.0)
            scores.append(cosines.astype(np.float64).ravel())
            owners.append(np.full(cosines.size, owner))
            pairs.append(np.stack([np.repeat(block, references.size), np.tile(references, block.size)], axis=1))
    if not scores:
        return None
    return ForgeryComparison(
        counted, np.concatenate(scores), np.concatenate(owners).astype(np.int64), np.concatenate(pairs)
    )


def best_forgeries(samples: Samples, found: ForgeryComparison, most: int = 12) -> list[tuple[str, str, float]]:
    """Return the forgeries with the highest scores, one for each identity, the highest first.

    Returns:
        The names of the forgery and of the genuine sample, and their score.
    """
    if samples.forgeries is None:
        return []
    order = np.argsort(-found.scores, kind="stable")
    _, first = np.unique(found.owners[order], return_index=True)
    return [
        (
            samples.forgeries.sample[found.samples[row, 0]],
            samples.sample[found.samples[row, 1]],
            float(found.scores[row]),
        )
        for row in order[np.sort(first)][:most]
    ]


def measure_skilled(
    found: ForgeryComparison,
    comparison: CrossComparison,
    thresholds: Sequence[float],
    resampled_thresholds: Scores,
    resample_counts: Counts,
    confidence: float = 0.95,
) -> SkilledForgeries:
    """Measure skilled forgeries at the thresholds of an evaluation.

    Args:
        found: the scores of the forgeries.
        comparison: the scores of genuine samples.
        thresholds: for the target FMRs.
        resampled_thresholds: those of every resample, [resamples, targets].
        resample_counts: how often each identity is in each resample, [resamples, identities].
        confidence: of the intervals, in (0, 1).
    """
    imitated = int(np.unique(found.owners).size)
    weights, mated_weights = found.weights, comparison.identity_weights
    rates = np.full(resampled_thresholds.shape, np.nan)
    eers = np.full(len(resample_counts), np.nan)
    for row, counts in enumerate(resample_counts):
        own = weights * counts[found.owners]
        if not own.any():
            continue
        for place, threshold in enumerate(resampled_thresholds[row]):
            if np.isfinite(threshold):
                rates[row, place] = fmr(found.scores, threshold, own)
        of_mated = mated_weights * counts[comparison.owners]
        if of_mated.any():
            eers[row] = eer(comparison.mated, found.scores, of_mated, own)
    return SkilledForgeries(
        found,
        imitated,
        tuple(
            estimate(fmr(found.scores, threshold, weights), rates[:, place], imitated, confidence)
            for place, threshold in enumerate(thresholds)
        ),
        estimate(eer(comparison.mated, found.scores, mated_weights, weights), eers, imitated, confidence),
        eers,
    )
