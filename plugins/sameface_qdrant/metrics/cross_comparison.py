"""Compares a gallery's templates with each other, or with a cohort of people who are not enrolled. Pure numpy.

A comparison here is a claim: one probe against one identity, by the best of its templates (maximum fusion). Scores of
single pairs of templates would show too few false matches, because several templates are several chances.

If there are too many comparisons, it makes a seeded sample of them. `Comparisons.possible_comparisons` counts all.
"""

from collections.abc import Sequence

import numpy as np

from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.comparisons import Comparisons, ComparisonSource, Searches, Vectors
from sameface_qdrant.metrics.error_rates import Indices, Scores

MAX_COMPARISONS = 1_000_000
MAX_SEARCHES = 1_000
MAX_PROBES = 2_000
"""Each probe is compared with the whole gallery, so the number of probes limits the work. More are sampled."""
_BLOCK = 256


def compare_gallery(
    vectors: Vectors,
    identities: Sequence[str],
    *,
    max_comparisons: int = MAX_COMPARISONS,
    max_searches: int = MAX_SEARCHES,
    seed: int = 0,
) -> Comparisons:
    """Compare a gallery's templates with each other.

    Each template is a probe. Mated comparisons: the probe against the other templates of its identity, if there are
    any. Non-mated comparisons: the probe against every other identity. Searches: one template of each identity against
    all other templates.

    Args:
        vectors: unit L2 norm, float32 [templates, dimension].
        identities: the identity of each template, [templates].
        max_comparisons: most non-mated comparisons; more are sampled.
        max_searches: most searches, mated and non-mated each; more are sampled.
        seed: of the sampling.

    Raises:
        NotEnoughData: there are fewer than two identities.
    """
    names, owners, vectors = _grouped(vectors, identities)
    if len(names) < 2:
        raise NotEnoughData(
            f"the templates are of {len(names)} identities; expected at least 2, for a non-mated comparison",
            metadata={"identities": len(names), "comparisons": 0},
        )
    rng = np.random.default_rng(seed)
    counts = np.bincount(owners)
    mated, mated_owners = _mated(vectors, owners, counts)
    possible = owners.size * (counts.size - 1)
    probes, claimed = _sample_pairs(owners.size, counts.size - 1, max_comparisons, rng)
    # The pairs count all identities without the probe's own.
    claimed += claimed >= owners[probes]
    non_mated_searches, mated_searches = _leave_one_out(vectors, owners, counts, max_searches, rng)
    return Comparisons(
        ComparisonSource.GALLERY,
        names,
        mated,
        mated_owners,
        _claim_scores(vectors, probes, vectors, owners, claimed),
        owners[probes],
        claimed,
        possible,
        non_mated_searches,
        mated_searches,
    )


def compare_cohort(
    cohort: Vectors,
    cohort_identities: Sequence[str],
    vectors: Vectors,
    identities: Sequence[str],
    *,
    max_comparisons: int = MAX_COMPARISONS,
    max_searches: int = MAX_SEARCHES,
    seed: int = 0,
) -> Comparisons:
    """Compare people who are not enrolled with a gallery.

    Non-mated comparisons and searches: the cohort against the gallery. Mated comparisons: within the cohort, and within
    the gallery. The arguments are those of `compare_gallery`; both sets of vectors are of unit norm.

    Raises:
        NotEnoughData: the cohort or the gallery is empty.
        InvalidArgument: an identity is in both.
    """
    names, owners, vectors = _grouped(vectors, identities)
    cohort_names, cohort_owners, cohort = _grouped(cohort, cohort_identities)
    if not names or not cohort_names:
        raise NotEnoughData(
            f"the cohort has {len(cohort_names)} identities and the gallery {len(names)}; expected at least 1 in each",
            metadata={"identities": len(names), "comparisons": 0},
        )
    if both := sorted(set(names) & set(cohort_names)):
        raise InvalidArgument(
            f"{len(both)} identities are in the cohort and in the gallery, for instance {both[0][:64]!r}; a cohort "
            "holds people who are not enrolled",
            metadata={"field": "cohort"},
        )
    rng = np.random.default_rng(seed)
    counts, cohort_counts = np.bincount(owners), np.bincount(cohort_owners)
    mated, mated_owners = _mated(vectors, owners, counts)
    cohort_mated, cohort_mated_owners = _mated(cohort, cohort_owners, cohort_counts)
    possible = len(cohort) * counts.size
    probes, claimed = _sample_pairs(len(cohort), counts.size, max_comparisons, rng)
    searched = _one_template_each(cohort_owners, cohort_counts, max_searches, rng)
    candidates = _best_candidates(cohort[searched], vectors, owners)
    _, mated_searches = _leave_one_out(vectors, owners, counts, max_searches, rng)
    return Comparisons(
        ComparisonSource.COHORT,
        names + cohort_names,
        np.concatenate([mated, cohort_mated]),
        np.concatenate([mated_owners, len(names) + cohort_mated_owners]),
        _claim_scores(cohort, probes, vectors, owners, claimed),
        len(names) + cohort_owners[probes],
        claimed,
        possible,
        Searches(len(names) + cohort_owners[searched], *candidates, gallery_size=len(names)),
        mated_searches,
    )


def _grouped(vectors: Vectors, identities: Sequence[str]) -> tuple[tuple[str, ...], Indices, Vectors]:
    """Return the names, and owners (indices of names) and vectors, sorted by owner."""
    values = np.asarray(vectors, dtype=np.float32)
    if values.ndim != 2 or len(values) != len(identities):
        raise InvalidArgument(
            f"the vectors have shape {list(values.shape)} and there are {len(identities)} identities; expected "
            "[templates, dimension] and one identity for each",
            metadata={"field": "vectors"},
        )
    names, owners = np.unique(np.asarray(identities, dtype=np.str_), return_inverse=True)
    order = np.argsort(owners, kind="stable")
    return tuple(map(str, names)), owners[order].astype(np.int64), values[order]


def _mated(vectors: Vectors, owners: Indices, counts: Indices) -> tuple[Scores, Indices]:
    """Return each template's best score with the others of its identity, and the identities."""
    scores = []
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    for start, count in zip(starts, counts, strict=True):
        if count > 1:
            own = vectors[start : start + count]
            cosines = np.clip(own @ own.T, -1.0, 1.0).astype(np.float64)
            np.fill_diagonal(cosines, -np.inf)
            scores.append(cosines.max(axis=1))
    return np.concatenate([np.empty(0), *scores]), owners[counts[owners] > 1]


def _sample_pairs(probes: int, identities: int, most: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Return every pair of a probe and an identity, or ``most`` different ones at random; sorted by probe."""
    chosen = np.arange(probes) if probes <= MAX_PROBES else np.sort(rng.choice(probes, MAX_PROBES, replace=False))
    possible = chosen.size * identities
    if possible <= most:
        pairs = np.arange(possible)
    else:
        pairs = np.empty(0, np.int64)
        while pairs.size < most:
            pairs = np.union1d(pairs, rng.integers(0, possible, 2 * most))
        pairs = np.sort(rng.permutation(pairs)[:most])
    probe, identity = np.divmod(pairs, identities)
    return chosen[probe], identity


def _claim_scores(probes: Vectors, rows: Indices, vectors: Vectors, owners: Indices, claimed: Indices) -> Scores:
    """Return the score of each claim: of the probe in ``rows`` (ascending) with the identity that it claims."""
    scores = np.empty(rows.size)
    for start in range(0, len(probes), _BLOCK):
        low, high = np.searchsorted(rows, [start, start + _BLOCK])
        if low < high:
            fused = _identity_scores(probes[start : start + _BLOCK], vectors, owners)
            scores[low:high] = fused[rows[low:high] - start, claimed[low:high]]
    return scores


def _one_template_each(owners: Indices, counts: Indices, most: int, rng: np.random.Generator) -> Indices:
    """Return the position of one random template of each identity, for at most ``most`` random identities."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    drawn: Indices = (starts + np.floor(rng.random(counts.size) * counts).astype(np.int64)).astype(np.int64)
    if drawn.size > most:
        drawn = np.sort(rng.choice(drawn, most, replace=False))
    return drawn


def _identity_scores(probes: Vectors, vectors: Vectors, owners: Indices, own: Indices | None = None) -> Scores:
    """Return every probe's score with every identity (maximum fusion), [probes, identities].

    ``own`` is each probe's position among ``vectors``; a probe is not compared with itself.
    """
    # Probes are the columns, so that the maximum over an identity's rows runs along memory.
    scores = vectors @ probes.T
    if own is not None:
        scores[own, np.arange(own.size)] = -np.inf
    starts = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))
    best: Scores = np.maximum.reduceat(scores, starts, axis=0).T.astype(np.float64)
    return np.where(np.isfinite(best), np.clip(best, -1.0, 1.0), best)


def _best_candidates(probes: Vectors, vectors: Vectors, owners: Indices) -> tuple[Indices, Scores, Scores]:
    """Return the best candidate of each probe, its score, and its lead over the second one."""
    blocks = [
        _best_of(_identity_scores(probes[start : start + _BLOCK], vectors, owners))
        for start in range(0, len(probes), _BLOCK)
    ]
    nearest, scores, leads = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return nearest, scores, leads


def _best_of(scores: Scores) -> tuple[Indices, Scores, Scores]:
    rows = np.arange(len(scores))
    nearest = scores.argmax(axis=1)
    best = scores[rows, nearest]
    others = scores.copy()
    others[rows, nearest] = -np.inf
    second = others.max(axis=1)
    return nearest, best, np.where(np.isfinite(second), best - second, np.nan)


def _leave_one_out(
    vectors: Vectors, owners: Indices, counts: Indices, most: int, rng: np.random.Generator
) -> tuple[Searches, Searches | None]:
    """Search with one template of each identity: without the identity (non-mated), and with it (mated)."""
    probes = _one_template_each(owners, counts, most, rng)
    blocks = []
    for start in range(0, probes.size, _BLOCK):
        block = probes[start : start + _BLOCK]
        scores = _identity_scores(vectors[block], vectors, owners, block)
        rows = np.arange(block.size)
        own = scores[rows, owners[block]].copy()
        scores[rows, owners[block]] = -np.inf
        blocks.append((own, *_best_of(scores)))
    own, nearest, scores, leads = (np.concatenate(columns) for columns in zip(*blocks, strict=True))
    identities = owners[probes]
    non_mated = Searches(identities, nearest, scores, leads, gallery_size=counts.size - 1)
    has_other = np.isfinite(own)
    if not has_other.any():
        return non_mated, None
    own, others = own[has_other], scores[has_other]
    own_leads = np.where(np.isfinite(others), own - others, np.nan)
    return non_mated, Searches(identities[has_other], nearest[has_other], own, own_leads, gallery_size=counts.size)
