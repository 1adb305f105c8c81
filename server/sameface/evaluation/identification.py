"""Open-set identification (ISO/IEC 19795-1, 1:N): who is found, and how often a stranger is. Pure numpy.

Protocol. In each of the splits, half of the identities with two samples or more, drawn at random, are enrolled with one
random sample each; their other samples are mated probes. All samples of the other half, and of identities with a single
sample, are non-mated probes. A probe's candidate is the identity with the highest score. Every identity counts the same
within its kind of probe, however many samples it has. Rates are averaged over the splits at each threshold, and the
threshold for a target FPIR is found on that average.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.cross_comparison import NO_SCORE
from sameface.evaluation.resampling import Estimate, draw_identities, estimate
from sameface.evaluation.samples import Samples
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.error_rates import Indices, Scores, fnir, fpir, threshold_at_fmr

TARGETS = (1e-2, 1e-3)
SPLITS = 20
REPLICATES = 1000

Compare = Callable[[Indices, Indices], NDArray[np.floating]]
"""Scores of samples (positions) with other samples, [probes, references]."""


@dataclass(frozen=True, slots=True)
class SplitSearches:
    """Every search of every split, one a row. Identities are indices of ``identities``."""

    identities: tuple[str, ...]
    gallery_size: int
    """Identities enrolled in each split."""
    splits: int
    mated: Scores
    """The score of the probe's own identity; `NO_SCORE` where one side could not be acquired."""
    is_rank_one: NDArray[np.bool_]
    """Whether no other identity scores as high."""
    mated_owners: Indices
    mated_weights: Scores
    """Every identity counts 1 in each split."""
    non_mated: Scores
    """The highest score of a probe whose identity is not enrolled."""
    non_mated_owners: Indices
    non_mated_weights: Scores


@dataclass(frozen=True, slots=True)
class IdentificationPoint:
    """What a target FPIR costs."""

    target: float
    threshold: float
    fpir: float
    fnir: Estimate
    """FNIR(N, 1, T): not found at rank 1, or below the threshold."""


@dataclass(frozen=True, slots=True)
class Identification:
    """Identification figures of one set of samples."""

    searches: SplitSearches
    points: tuple[IdentificationPoint, ...]
    resampled: Scores
    """FNIR in every resample of the identities, [resamples, targets]."""
    rank_one: Estimate
    """Share of mated probes whose own identity is first, whatever the score."""


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

    A sample that could not be acquired is a mated probe that is never found; where it is drawn to enrol, none of its
    identity's probes is. As a non-mated probe it is left out.

    Raises:
        NotEnoughData: fewer than two identities have two samples.
    """
    searches = search_samples(samples, splits=splits, seed=seed)
    drawn = draw_identities(len(searches.identities), replicates, seed)
    return measure_searches(searches, targets, drawn, confidence)


def search_samples(samples: Samples, *, splits: int = SPLITS, seed: int = 0) -> SplitSearches:
    """Carry out the searches of every split by cosine.

    What is drawn depends on names alone: two models on the same samples see the same splits.

    Raises:
        NotEnoughData: fewer than two identities have two samples.
    """
    rows = {name: row for row, name in enumerate(samples.sample)}
    owner = dict(zip(samples.sample, samples.identity, strict=True))
    owner.update({one.sample: one.identity for one in samples.not_acquired})
    names = sorted(owner)
    row_of = np.array([rows.get(name, -1) for name in names])

    def cosines(probes: Indices, references: Indices) -> NDArray[np.floating]:
        scores = samples.vectors[row_of[probes]] @ samples.vectors[row_of[references]].T
        clipped: NDArray[np.floating] = np.clip(scores, -1.0, 1.0)
        return clipped

    return search([owner[name] for name in names], cosines, there=row_of >= 0, splits=splits, seed=seed)


def search(
    owners: Sequence[str],
    compare: Compare,
    *,
    there: NDArray[np.bool_] | None = None,
    splits: int = SPLITS,
    seed: int = 0,
) -> SplitSearches:
    """Carry out the searches of every split.

    Args:
        owners: whose each sample is.
        compare: the scores of any samples with any others.
        there: which samples could be acquired; all unless given.
        splits: how often identities are parted anew.
        seed: of what is drawn.

    Raises:
        NotEnoughData: fewer than two identities have two samples, or none of the non-mated probes could be acquired.
    """
    names, codes = np.unique(np.asarray(owners, dtype=np.str_), return_inverse=True)
    there = np.ones(codes.size, np.bool_) if there is None else there
    several = np.flatnonzero(np.bincount(codes) > 1)
    if several.size < 2:
        raise NotEnoughData(
            f"{several.size} identities have two samples or more; expected at least 2: one to enrol, one to leave out",
            metadata={"identities": int(several.size), "comparisons": 0},
        )
    rng = np.random.default_rng(seed)
    gallery_size = several.size // 2
    parts = [
        _split(codes, there, compare, np.sort(rng.permutation(several)[:gallery_size]), rng) for _ in range(splits)
    ]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if not columns[4].size:
        raise NotEnoughData(
            f"{codes.size - int(there.sum())} of {codes.size} samples could not be acquired, among them all of "
            "those who are not enrolled; expected some to search for",
            metadata={"identities": len(names), "comparisons": 0},
        )
    return SplitSearches(tuple(map(str, names)), int(gallery_size), splits, *columns)


def measure_searches(
    searches: SplitSearches, targets: Sequence[float], drawn: Indices, confidence: float = 0.95
) -> Identification:
    """Return the figures of searches; ``drawn`` are resamples of the identities, [resamples, identities].

    Resampling weighs the probes; galleries stay as they were drawn, since one with fewer people has a lower FPIR.
    """
    people = int(np.unique(searches.mated_owners).size)
    mated_weights, non_mated_weights = searches.mated_weights, searches.non_mated_weights
    resampled = _resampled(searches, targets, drawn)
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
    found = np.where(searches.is_rank_one, mated_weights, 0.0)
    per_person = np.stack(
        [np.bincount(searches.mated_owners, one, len(searches.identities)) for one in (found, mated_weights)]
    )
    hits, all_of_them = drawn @ per_person[0], drawn @ per_person[1]
    rank_one = np.divide(hits, all_of_them, out=np.full(len(drawn), np.nan), where=all_of_them > 0)
    everyone = 1.0 - fnir(searches.mated, ranks, NO_SCORE, weights=mated_weights)
    return Identification(searches, tuple(points), resampled, estimate(everyone, rank_one, people, confidence))


def _split(
    codes: Indices, there: NDArray[np.bool_], compare: Compare, enrolled: Indices, rng: np.random.Generator
) -> tuple[Scores, NDArray[np.bool_], Indices, Scores, Scores, Indices, Scores]:
    references = np.array([rng.choice(np.flatnonzero(codes == one)) for one in enrolled])
    is_enrolled = np.isin(codes, enrolled)
    mated = np.setdiff1d(np.flatnonzero(is_enrolled), references)
    non_mated = np.flatnonzero(~is_enrolled & there)
    gallery = references[there[references]]
    own, first = np.full(mated.size, NO_SCORE), np.zeros(mated.size, np.bool_)
    probes = np.flatnonzero(there[mated])
    best = np.full(non_mated.size, NO_SCORE)
    if gallery.size:
        scores = np.asarray(compare(mated[probes], gallery), dtype=np.float64)
        is_own = codes[mated[probes]][:, None] == codes[gallery][None, :]
        findable = is_own.any(axis=1)
        of_own = np.where(is_own, scores, -np.inf).max(axis=1)
        # A tie with another identity is no rank 1.
        others = np.where(is_own, -np.inf, scores).max(axis=1)
        own[probes[findable]] = of_own[findable]
        first[probes[findable]] = (of_own > others)[findable]
        best = np.asarray(compare(non_mated, gallery), dtype=np.float64).max(axis=1)
    return (
        own,
        first,
        codes[mated],
        1.0 / np.bincount(codes[mated])[codes[mated]],
        best,
        codes[non_mated],
        1.0 / np.bincount(codes[non_mated])[codes[non_mated]],
    )


def _resampled(searches: SplitSearches, targets: Sequence[float], drawn: Indices) -> Scores:
    """Return FNIR in every resample, [resamples, targets]."""
    down = np.argsort(-searches.non_mated, kind="stable")
    strangers, stranger_weights = searches.non_mated_owners[down], searches.non_mated_weights[down]
    # Equal scores are accepted together.
    ends = np.append(np.flatnonzero(np.diff(searches.non_mated[down])), down.size - 1)
    distinct = searches.non_mated[down][ends]
    # A probe behind another identity is missed at every threshold.
    scores = np.where(searches.is_rank_one, searches.mated, -np.inf)
    up = np.argsort(scores, kind="stable")
    ordered, owners, weights = scores[up], searches.mated_owners[up], searches.mated_weights[up]
    rates = np.full((len(drawn), len(targets)), np.nan)
    for row, times in enumerate(drawn.astype(np.float64)):
        accepted = np.append(0.0, np.cumsum(times[strangers] * stranger_weights)[ends])
        missed = np.append(0.0, np.cumsum(times[owners] * weights))
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
