"""Open-set identification (1:N, ISO/IEC 19795-1): FNIR at low FPIRs and rank-1 rate. Pure numpy.

Protocol: in each split, half of the identities with at least two samples are drawn at random and enrolled with one
random sample each. Their other samples are the probes of mated searches. All samples of the other half, and of
identities with one sample, are the probes of non-mated searches. A probe's best candidate is the identity with the
highest score. Within the mated and within the non-mated searches, every identity counts the same. The rates at each
threshold are means over the splits, and the threshold for a target FPIR is chosen on these means.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.cross_comparison import NO_SCORE
from sameface.evaluation.resampling import Counts, Estimate, draw_identities, estimate
from sameface.evaluation.samples import Compare, Samples
from sameface.evaluation.support import fpir_support
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.comparisons import Vectors
from sameface_qdrant.metrics.error_rates import Indices, Mask, Rates, Scores, Weights, fnir, fpir, threshold_at_fmr
from sameface_qdrant.metrics.support import Support

TARGETS = (1e-2, 1e-3)
SPLITS = 20
REPLICATES = 1000


@dataclass(frozen=True, slots=True)
class SplitSearches:
    """The searches of all splits, one a row. Identities are indices of ``identities``."""

    identities: tuple[str, ...]
    gallery_size: int
    """Identities enrolled in each split."""
    splits: int
    mated: Scores
    """Mated searches: the score of the probe's own identity; `NO_SCORE` where probe or reference was not acquired."""
    is_rank_one: Mask
    """Mated searches: whether the probe's own identity has rank 1, which it does not have in a tie."""
    mated_owners: Indices
    mated_weights: Weights
    """With these weights every identity counts 1 in each split."""
    non_mated: Scores
    """Non-mated searches: the highest score."""
    non_mated_owners: Indices
    non_mated_weights: Weights


@dataclass(frozen=True, slots=True)
class IdentificationPoint:
    """The FNIR at a target FPIR."""

    target: float
    threshold: float
    fpir: float
    fnir: Estimate
    """FNIR(N, 1, T): the share of mated searches without rank 1 or below the threshold."""


@dataclass(frozen=True, slots=True)
class Identification:
    """Identification figures of one set of samples."""

    searches: SplitSearches
    points: tuple[IdentificationPoint, ...]
    resampled: Rates
    """FNIR in every resample of the identities, [resamples, targets]."""
    rank_one: Estimate
    """Share of mated searches in which the probe's own identity has rank 1, at any score."""
    rank_one_resampled: Rates
    """That share in every resample, [resamples]; NaN where there is none."""
    support: Support
    """Which target FPIRs the non-mated searches support."""


def identify(
    samples: Samples,
    targets: Sequence[float] = TARGETS,
    *,
    splits: int = SPLITS,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Identification:
    """Measure identification over ``samples`` by cosine.

    A sample that could not be acquired is never found in a mated search. If it is drawn to enrol, none of the
    identity's probes is found. It makes no non-mated search.

    Args:
        samples: labelled embeddings.
        targets: target FPIRs.
        splits: how many times identities are split at random.
        replicates: of the bootstrap over identities.
        seed: of splits and bootstrap.
        confidence: of the intervals, in (0, 1).

    Raises:
        NotEnoughData: fewer than two identities have two samples.
    """
    searches = search_samples(samples, splits=splits, seed=seed)
    resample_counts = draw_identities(len(searches.identities), replicates, seed)
    return measure_searches(searches, targets, resample_counts, confidence)


def search_samples(
    samples: Samples, *, splits: int = SPLITS, seed: int = 0, templates: Vectors | None = None
) -> SplitSearches:
    """Make the searches of every split by cosine.

    The splits depend only on the names of the samples: two models on the same samples have the same splits. With
    ``templates``, float32 [samples, dimension], these are enrolled, and the vectors of ``samples`` are the probes.

    Raises:
        NotEnoughData: fewer than two identities have two samples.
    """
    rows = {name: row for row, name in enumerate(samples.sample)}
    owner = dict(zip(samples.sample, samples.identity, strict=True))
    owner.update({one.sample: one.identity for one in samples.not_acquired})
    names = sorted(owner)
    row_of = np.array([rows.get(name, -1) for name in names])

    enrolled = samples.vectors if templates is None else templates

    def cosines(probes: Indices, references: Indices) -> NDArray[np.floating]:
        scores = samples.vectors[row_of[probes]] @ enrolled[row_of[references]].T
        clipped: NDArray[np.floating] = np.clip(scores, -1.0, 1.0)
        return clipped

    return search([owner[name] for name in names], cosines, acquired=row_of >= 0, splits=splits, seed=seed)


def search(
    owners: Sequence[str],
    compare: Compare,
    *,
    acquired: Mask | None = None,
    splits: int = SPLITS,
    seed: int = 0,
) -> SplitSearches:
    """Make the searches of every split.

    Args:
        owners: the identity of each sample.
        compare: returns the scores of samples with other samples.
        acquired: which samples could be acquired; None means all.
        splits: how many times identities are split at random.
        seed: of the splits.

    Raises:
        NotEnoughData: fewer than two identities have two samples, or none of the non-mated probes could be acquired.
    """
    names, codes = np.unique(np.asarray(owners, dtype=np.str_), return_inverse=True)
    acquired = np.ones(codes.size, np.bool_) if acquired is None else acquired
    several = np.flatnonzero(np.bincount(codes) > 1)
    if several.size < 2:
        raise NotEnoughData(
            f"{several.size} identities have two samples or more; expected at least 2: one to enrol and one for "
            "non-mated searches",
            metadata={"identities": int(several.size), "comparisons": 0},
        )
    rng = np.random.default_rng(seed)
    gallery_size = several.size // 2
    parts = [
        _split(codes, acquired, compare, np.sort(rng.permutation(several)[:gallery_size]), rng) for _ in range(splits)
    ]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if not columns[4].size:
        raise NotEnoughData(
            f"{codes.size - int(acquired.sum())} of {codes.size} samples could not be acquired, among them every "
            "sample of identities that are not enrolled; expected some for non-mated searches",
            metadata={"identities": len(names), "comparisons": 0},
        )
    return SplitSearches(tuple(map(str, names)), int(gallery_size), splits, *columns)


def measure_searches(
    searches: SplitSearches, targets: Sequence[float], resample_counts: Counts, confidence: float = 0.95
) -> Identification:
    """Measure identification from searches.

    Resampling weighs the probes only. The galleries stay the same, because a smaller gallery has a lower FPIR.

    Args:
        searches: of all splits.
        targets: target FPIRs.
        resample_counts: how often each identity is in each resample, [resamples, identities].
        confidence: of the intervals, in (0, 1).
    """
    people = int(np.unique(searches.mated_owners).size)
    mated_weights, non_mated_weights = searches.mated_weights, searches.non_mated_weights
    resampled = _resampled(searches, targets, resample_counts)
    ranks = np.where(searches.is_rank_one, 1, 2)
    points = []
    for place, target in enumerate(targets):
        threshold = threshold_at_fmr(searches.non_mated, target, non_mated_weights)
        points.append(
            IdentificationPoint(
                target,
                threshold,
                fpir(searches.non_mated, threshold, non_mated_weights),
                estimate(
                    fnir(searches.mated, ranks, threshold, weights=mated_weights),
                    resampled[:, place],
                    people,
                    confidence,
                ),
            )
        )
    rank_one_weights = np.where(searches.is_rank_one, mated_weights, 0.0)
    found, total = (
        resample_counts @ np.bincount(searches.mated_owners, weights, len(searches.identities))
        for weights in (rank_one_weights, mated_weights)
    )
    rank_one_resampled = np.divide(found, total, out=np.full(len(resample_counts), np.nan), where=total > 0)
    rank_one = 1.0 - fnir(searches.mated, ranks, NO_SCORE, weights=mated_weights)
    searched_for = int(np.unique(searches.non_mated_owners).size)
    return Identification(
        searches,
        tuple(points),
        resampled,
        estimate(rank_one, rank_one_resampled, people, confidence),
        rank_one_resampled,
        fpir_support(searches.non_mated, searched_for, non_mated_weights, confidence),
    )


def _split(
    codes: Indices, acquired: Mask, compare: Compare, enrolled: Indices, rng: np.random.Generator
) -> tuple[Scores, Mask, Indices, Weights, Scores, Indices, Weights]:
    """Return the searches of one split, as the columns of `SplitSearches` from ``mated`` on."""
    references = np.array([rng.choice(np.flatnonzero(codes == one)) for one in enrolled])
    is_enrolled = np.isin(codes, enrolled)
    mated = np.setdiff1d(np.flatnonzero(is_enrolled), references)
    non_mated = np.flatnonzero(~is_enrolled & acquired)
    gallery = references[acquired[references]]
    own, is_rank_one = np.full(mated.size, NO_SCORE), np.zeros(mated.size, np.bool_)
    probes = np.flatnonzero(acquired[mated])
    best = np.full(non_mated.size, NO_SCORE)
    if gallery.size:
        scores = np.asarray(compare(mated[probes], gallery), dtype=np.float64)
        is_own = codes[mated[probes]][:, None] == codes[gallery][None, :]
        has_reference = is_own.any(axis=1)
        own_scores = np.where(is_own, scores, -np.inf).max(axis=1)
        # A tie with another identity is not rank 1.
        others = np.where(is_own, -np.inf, scores).max(axis=1)
        own[probes[has_reference]] = own_scores[has_reference]
        is_rank_one[probes[has_reference]] = (own_scores > others)[has_reference]
        best = np.asarray(compare(non_mated, gallery), dtype=np.float64).max(axis=1)
    return (
        own,
        is_rank_one,
        codes[mated],
        1.0 / np.bincount(codes[mated])[codes[mated]],
        best,
        codes[non_mated],
        1.0 / np.bincount(codes[non_mated])[codes[non_mated]],
    )


def _resampled(searches: SplitSearches, targets: Sequence[float], resample_counts: Counts) -> Rates:
    """Return FNIR in every resample, [resamples, targets]."""
    down = np.argsort(-searches.non_mated, kind="stable")
    non_mated_owners, non_mated_weights = searches.non_mated_owners[down], searches.non_mated_weights[down]
    # A threshold accepts equal scores together.
    ends = np.append(np.flatnonzero(np.diff(searches.non_mated[down])), down.size - 1)
    distinct = searches.non_mated[down][ends]
    # Without rank 1 a search fails at every threshold.
    scores = np.where(searches.is_rank_one, searches.mated, -np.inf)
    up = np.argsort(scores, kind="stable")
    ordered, owners, weights = scores[up], searches.mated_owners[up], searches.mated_weights[up]
    rates = np.full((len(resample_counts), len(targets)), np.nan)
    for row, counts in enumerate(resample_counts.astype(np.float64)):
        accepted = np.append(0.0, np.cumsum(counts[non_mated_owners] * non_mated_weights)[ends])
        missed = np.append(0.0, np.cumsum(counts[owners] * weights))
        if not accepted[-1] or not missed[-1]:
            continue
        kept = np.searchsorted(accepted, np.asarray(targets) * accepted[-1] + 1e-9, side="right") - 1
        thresholds = np.where(
            kept < distinct.size,
            np.nextafter(distinct[np.minimum(kept, distinct.size - 1)], np.inf),
            distinct[-1],
        )
        rates[row] = missed[np.searchsorted(ordered, thresholds, side="left")] / missed[-1]
    return rates
