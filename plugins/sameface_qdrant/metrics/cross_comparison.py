"""Compares a gallery's templates with each other, or with a cohort of people who are not enrolled. Pure numpy.

A comparison here is a claim: one probe against one identity, by the best of its templates (maximum fusion). Scores of
single pairs of templates would show too few false matches, because several templates are several chances.

If there are too many comparisons, it makes a seeded sample of them. `Comparisons.possible_comparisons` counts all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.comparisons import Comparisons, ComparisonSource, MatedProbes, Searches, Vectors
from sameface_qdrant.metrics.error_rates import Indices, Scores
from sameface_qdrant.metrics.identity_scores import (
    BLOCK,
    ComparedProbes,
    best_of,
    compare_probes,
    grouped,
    identity_scores,
    leads_over,
)
from sameface_qdrant.values.display import counted

MAX_COMPARISONS = 1_000_000
MAX_SEARCHES = 1_000
MAX_PROBES = 2_000
"""Each probe is compared with the whole gallery, so the number of probes limits the work. More are sampled."""


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
    names, owners, vectors = grouped(vectors, identities)
    if len(names) < 2:
        raise NotEnoughData(
            f"the templates are of {counted(len(names), 'identity', 'identities')}; expected at least 2, for a "
            "non-mated comparison",
            metadata={"identities": len(names), "comparisons": 0},
        )
    rng = np.random.default_rng(seed)
    counts = np.bincount(owners)
    own = _own_scores(vectors, owners, counts)
    chosen, rows, claimed = _sample_pairs(owners.size, counts.size - 1, max_comparisons, rng)
    probes = chosen[rows]
    # The pairs count all identities without the probe's own.
    claimed += claimed >= owners[probes]
    compared = compare_probes(vectors[chosen], vectors, owners, owners[chosen], rows, claimed)
    non_mated_searches, mated_searches = _leave_one_out(vectors, owners, counts, max_searches, rng)
    has_two = counts[owners] > 1
    return Comparisons(
        ComparisonSource.GALLERY,
        names,
        own[has_two],
        owners[has_two],
        compared.claims,
        owners[probes],
        claimed,
        owners.size * (counts.size - 1),
        non_mated_searches,
        mated_searches,
        compared.claim_leads,
        _mated_probes([_Enrolled(owners[chosen], own[chosen], compared, counts[owners[chosen]] - 1)], counts),
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
    names, owners, vectors = grouped(vectors, identities)
    cohort_names, cohort_owners, cohort = grouped(cohort, cohort_identities)
    if not names or not cohort_names:
        raise NotEnoughData(
            f"the cohort has {counted(len(cohort_names), 'identity', 'identities')} and the gallery {len(names)}; "
            "expected at least 1 in each",
            metadata={"identities": len(names), "comparisons": 0},
        )
    if both := sorted(set(names) & set(cohort_names)):
        raise InvalidArgument(
            f"{counted(len(both), 'identity is', 'identities are')} in the cohort and in the gallery, for instance "
            f"{both[0][:64]!r}; a cohort holds people who are not enrolled",
            metadata={"field": "cohort"},
        )
    rng = np.random.default_rng(seed)
    counts, cohort_counts = np.bincount(owners), np.bincount(cohort_owners)
    own, cohort_own = _own_scores(vectors, owners, counts), _own_scores(cohort, cohort_owners, cohort_counts)
    chosen, rows, claimed = _sample_pairs(len(cohort), counts.size, max_comparisons, rng)
    probes = chosen[rows]
    compared = compare_probes(cohort[chosen], vectors, owners, None, rows, claimed)
    searched = _one_template_each(cohort_owners, cohort_counts, max_searches, rng)
    candidates = _best_candidates(cohort[searched], vectors, owners)
    _, mated_searches = _leave_one_out(vectors, owners, counts, max_searches, rng)
    has_two, cohort_has_two = counts[owners] > 1, cohort_counts[cohort_owners] > 1
    left_out = _sample(np.flatnonzero(has_two), MAX_PROBES, rng)
    none = np.empty(0, np.int64)
    within = compare_probes(vectors[left_out], vectors, owners, owners[left_out], none, none) if left_out.size else None
    # A person of the cohort is compared as if all samples but one were enrolled beside the gallery.
    as_if_enrolled = _Enrolled(
        len(names) + cohort_owners[chosen], cohort_own[chosen], compared, cohort_counts[cohort_owners[chosen]] - 1
    )
    enrolled = (
        [] if within is None else [_Enrolled(owners[left_out], own[left_out], within, counts[owners[left_out]] - 1)]
    )
    return Comparisons(
        ComparisonSource.COHORT,
        names + cohort_names,
        np.concatenate([own[has_two], cohort_own[cohort_has_two]]),
        np.concatenate([owners[has_two], len(names) + cohort_owners[cohort_has_two]]),
        compared.claims,
        len(names) + cohort_owners[probes],
        claimed,
        len(cohort) * counts.size,
        Searches(len(names) + cohort_owners[searched], *candidates, gallery_size=len(names)),
        mated_searches,
        compared.claim_leads,
        _mated_probes([as_if_enrolled, *enrolled], counts),
    )


@dataclass(frozen=True, slots=True)
class _Enrolled:
    """Probes of one source, whether or not their identity has another template."""

    identities: Indices
    own: Scores
    """-inf if the identity has no other template."""
    compared: ComparedProbes
    templates: Indices
    """How many templates ``own`` is the best of."""


def _mated_probes(sources: Sequence[_Enrolled], counts: Indices) -> MatedProbes | None:
    """Return the probes that can be mated; ``counts`` are the templates in use of the gallery's identities."""
    has_own = np.concatenate([one.templates for one in sources]) > 0
    if not has_own.any():
        return None
    identities, own, best, second, nearest, templates = (
        np.concatenate(columns)[has_own]
        for columns in zip(
            *(
                (one.identities, one.own, one.compared.best, one.compared.second, one.compared.nearest, one.templates)
                for one in sources
            ),
            strict=True,
        )
    )
    # An identity with several templates took part itself, with one fewer. The others are like the average probe.
    took_part = np.isin(np.arange(counts.size), identities)
    ratios = np.where(took_part, counts / np.maximum(1, counts - 1), counts / templates.mean())
    return MatedProbes(identities, own, best, second, nearest, ratios)


def _own_scores(vectors: Vectors, owners: Indices, counts: Indices) -> Scores:
    """Return each template's best score with the others of its identity; -inf if there is no other."""
    scores = np.full(owners.size, -np.inf)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    for start, count in zip(starts[counts > 1], counts[counts > 1], strict=True):
        own = vectors[start : start + count]
        cosines = np.clip(own @ own.T, -1.0, 1.0).astype(np.float64)
        np.fill_diagonal(cosines, -np.inf)
        scores[start : start + count] = cosines.max(axis=1)
    return scores


def _sample_pairs(
    probes: int, identities: int, most: int, rng: np.random.Generator
) -> tuple[Indices, Indices, Indices]:
    """Return chosen probes, and pairs of a row of these and an identity: all of them, or ``most`` at random.

    Probes and rows are ascending. No pair is repeated.
    """
    chosen = _sample(np.arange(probes), MAX_PROBES, rng)
    possible = chosen.size * identities
    if possible <= most:
        pairs = np.arange(possible)
    else:
        pairs = np.empty(0, np.int64)
        while pairs.size < most:
            pairs = np.union1d(pairs, rng.integers(0, possible, 2 * most))
        pairs = np.sort(rng.permutation(pairs)[:most])
    rows, claimed = np.divmod(pairs, identities)
    return chosen, rows, claimed


def _sample(positions: Indices, most: int, rng: np.random.Generator) -> Indices:
    """Return all positions, or ``most`` of them at random, ascending."""
    return positions if positions.size <= most else np.sort(rng.choice(positions, most, replace=False))


def _one_template_each(owners: Indices, counts: Indices, most: int, rng: np.random.Generator) -> Indices:
    """Return the position of one random template of each identity, for at most ``most`` random identities."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    drawn: Indices = (starts + np.floor(rng.random(counts.size) * counts).astype(np.int64)).astype(np.int64)
    return _sample(drawn, most, rng)


def _best_candidates(probes: Vectors, vectors: Vectors, owners: Indices) -> tuple[Indices, Scores, Scores]:
    """Return the best candidate of each probe, its score, and its lead over the second one."""
    blocks = [
        best_of(identity_scores(probes[start : start + BLOCK], vectors, owners))
        for start in range(0, len(probes), BLOCK)
    ]
    nearest, scores, second = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return nearest, scores, leads_over(scores, second)


def _leave_one_out(
    vectors: Vectors, owners: Indices, counts: Indices, most: int, rng: np.random.Generator
) -> tuple[Searches, Searches | None]:
    """Search with one template of each identity: without the identity (non-mated), and with it (mated)."""
    probes = _one_template_each(owners, counts, most, rng)
    blocks = []
    for start in range(0, probes.size, BLOCK):
        block = probes[start : start + BLOCK]
        scores = identity_scores(vectors[block], vectors, owners, block)
        rows = np.arange(block.size)
        own = scores[rows, owners[block]].copy()
        scores[rows, owners[block]] = -np.inf
        blocks.append((own, *best_of(scores)))
    own, nearest, scores, second = (np.concatenate(columns) for columns in zip(*blocks, strict=True))
    identities = owners[probes]
    non_mated = Searches(identities, nearest, scores, leads_over(scores, second), gallery_size=counts.size - 1)
    has_other = np.isfinite(own)
    if not has_other.any():
        return non_mated, None
    own, own_leads = own[has_other], leads_over(own, scores)[has_other]
    return non_mated, Searches(identities[has_other], nearest[has_other], own, own_leads, gallery_size=counts.size)
