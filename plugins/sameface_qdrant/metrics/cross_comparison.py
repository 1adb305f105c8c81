"""Templates compared with each other, or with a cohort of people who are not enrolled. Pure numpy.

A comparison is what decides a claim: a probe against an identity by the best of its templates (maximum fusion). Pairs
of single templates would err less often than claims do, for several templates are several chances.

What is sampled is drawn by a seed, and `Comparisons.possible` says that it is a sample.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.comparisons import Comparisons, Searches, Source
from sameface_qdrant.metrics.error_rates import Codes, Scores

Vectors = NDArray[np.float32]

MAX_COMPARISONS = 1_000_000
MAX_SEARCHES = 1_000
MAX_PROBES = 2_000
"""Every probe is compared with the whole gallery, so their number bounds the work; more are drawn from."""
_BLOCK = 256


def compare_templates(
    vectors: Vectors,
    identities: Sequence[str],
    *,
    max_comparisons: int = MAX_COMPARISONS,
    max_searches: int = MAX_SEARCHES,
    seed: int = 0,
) -> Comparisons:
    """Compare a gallery's templates with each other.

    Each template is a probe. Mated: against the others of its identity, where there are some. Non-mated: against every
    other identity, or a uniform sample of ``max_comparisons`` of these. Searches: one template of each identity (of
    ``max_searches`` of them) against all the others.

    Args:
        vectors: unit L2 norm, float32 [templates, dimension].
        identities: whose template each is.
        max_comparisons: most non-mated scores.
        max_searches: most searches of each kind.
        seed: of what is drawn.

    Raises:
        NotEnoughData: fewer than two identities.
    """
    names, codes, vectors = _sorted(vectors, identities)
    if len(names) < 2:
        raise NotEnoughData(
            f"the templates are of {len(names)} identities; at least 2 are needed for a non-mated comparison",
            metadata={"identities": len(names), "comparisons": 0},
        )
    rng = np.random.default_rng(seed)
    held = np.bincount(codes)
    mated, owners = _mated(vectors, codes, held)
    possible = codes.size * (held.size - 1)
    probes, claimed = _sampled(codes.size, held.size - 1, max_comparisons, rng)
    # Of the identities, all but the probe's own.
    claimed += claimed >= codes[probes]
    strangers, enrolled = _leave_one_out(vectors, codes, held, max_searches, rng)
    return Comparisons(
        Source.GALLERY,
        names,
        mated,
        owners,
        _claims(vectors, probes, vectors, codes, claimed),
        codes[probes],
        claimed,
        possible,
        strangers,
        enrolled,
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
    """Compare people who are not enrolled with a gallery. Mated comparisons come from within both.

    Arguments as for `compare_templates`; both sides are of unit norm.

    Raises:
        NotEnoughData: one side is empty.
        InvalidArgument: an identity is in both.
    """
    names, codes, vectors = _sorted(vectors, identities)
    strange_names, strange_codes, cohort = _sorted(cohort, cohort_identities)
    if not names or not strange_names:
        raise NotEnoughData(
            f"{len(strange_names)} identities of the cohort and {len(names)} of the gallery give no comparison",
            metadata={"identities": len(names), "comparisons": 0},
        )
    if both := sorted(set(names) & set(strange_names)):
        raise InvalidArgument(
            f"{len(both)} identities are in the cohort and in the gallery, for instance {both[0][:64]!r}; a cohort "
            "holds people who are not enrolled",
            metadata={"field": "cohort"},
        )
    rng = np.random.default_rng(seed)
    held, strange_held = np.bincount(codes), np.bincount(strange_codes)
    mated, owners = _mated(vectors, codes, held)
    strange_mated, strange_owners = _mated(cohort, strange_codes, strange_held)
    possible = len(cohort) * held.size
    ones, claimed = _sampled(len(cohort), held.size, max_comparisons, rng)
    probes = _one_of_each(strange_codes, strange_held, max_searches, rng)
    best = _best_two(cohort[probes], vectors, codes)
    _, enrolled = _leave_one_out(vectors, codes, held, max_searches, rng)
    return Comparisons(
        Source.COHORT,
        names + strange_names,
        np.concatenate([mated, strange_mated]),
        np.concatenate([owners, len(names) + strange_owners]),
        _claims(cohort, ones, vectors, codes, claimed),
        len(names) + strange_codes[ones],
        claimed,
        possible,
        Searches(len(names) + strange_codes[probes], *best, size=len(names)),
        enrolled,
    )


def _sorted(vectors: Vectors, identities: Sequence[str]) -> tuple[tuple[str, ...], Codes, Vectors]:
    """Return names, codes and vectors with the templates of one identity beside each other."""
    values = np.asarray(vectors, dtype=np.float32)
    if values.ndim != 2 or len(values) != len(identities):
        raise InvalidArgument(
            f"the vectors have shape {list(values.shape)} and there are {len(identities)} identities; expected "
            "[templates, dimension] and one identity for each",
            metadata={"field": "vectors"},
        )
    names, codes = np.unique(np.asarray(identities, dtype=np.str_), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    return tuple(map(str, names)), codes[order].astype(np.int64), values[order]


def _mated(vectors: Vectors, codes: Codes, held: Codes) -> tuple[Scores, Codes]:
    """Return each template's best score with the others of its identity, and whose it is."""
    scores = []
    starts = np.concatenate([[0], np.cumsum(held)[:-1]])
    for start, count in zip(starts, held, strict=True):
        if count > 1:
            own = vectors[start : start + count]
            cosines = np.clip(own @ own.T, -1.0, 1.0).astype(np.float64)
            np.fill_diagonal(cosines, -np.inf)
            scores.append(cosines.max(axis=1))
    return np.concatenate([np.empty(0), *scores]), codes[held[codes] > 1]


def _sampled(rows: int, columns: int, most: int, rng: np.random.Generator) -> tuple[Codes, Codes]:
    """Return every cell of a table, or ``most`` of them at random, none twice; in the order of the rows."""
    chosen = np.arange(rows) if rows <= MAX_PROBES else np.sort(rng.choice(rows, MAX_PROBES, replace=False))
    rows = chosen.size
    if rows * columns <= most:
        cells = np.arange(rows * columns)
    else:
        cells = np.empty(0, np.int64)
        while cells.size < most:
            cells = np.union1d(cells, rng.integers(0, rows * columns, 2 * most))
        cells = np.sort(rng.permutation(cells)[:most])
    row, column = np.divmod(cells, columns)
    return chosen[row], column


def _claims(probes: Vectors, rows: Codes, vectors: Vectors, codes: Codes, claimed: Codes) -> Scores:
    """Return the score of each probe (by its position, ascending) with the identity that it claims."""
    scores = np.empty(rows.size)
    for start in range(0, len(probes), _BLOCK):
        low, high = np.searchsorted(rows, [start, start + _BLOCK])
        if low < high:
            fused = _by_identity(probes[start : start + _BLOCK], vectors, codes)
            scores[low:high] = fused[rows[low:high] - start, claimed[low:high]]
    return scores


def _one_of_each(codes: Codes, held: Codes, most: int, rng: np.random.Generator) -> Codes:
    """Return the position of one random template of each identity, of ``most`` of these at random."""
    starts = np.concatenate([[0], np.cumsum(held)[:-1]])
    drawn: Codes = (starts + np.floor(rng.random(held.size) * held).astype(np.int64)).astype(np.int64)
    if drawn.size > most:
        drawn = np.sort(rng.choice(drawn, most, replace=False))
    return drawn


def _by_identity(probes: Vectors, vectors: Vectors, codes: Codes, own: Codes | None = None) -> Scores:
    """Return every probe's score with every identity (maximum fusion), [probes, identities].

    ``own`` is the position of each probe among ``vectors``, which is not compared with itself.
    """
    # Probes lie side by side, so that the maximum over an identity's rows runs along memory.
    scores = vectors @ probes.T
    if own is not None:
        scores[own, np.arange(own.size)] = -np.inf
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    best: Scores = np.maximum.reduceat(scores, starts, axis=0).T.astype(np.float64)
    return np.where(np.isfinite(best), np.clip(best, -1.0, 1.0), best)


def _best_two(probes: Vectors, vectors: Vectors, codes: Codes) -> tuple[Codes, Scores, Scores]:
    """Return the nearest identity of each probe, its score, and its lead over the next one."""
    blocks = [
        _nearest(_by_identity(probes[start : start + _BLOCK], vectors, codes))
        for start in range(0, len(probes), _BLOCK)
    ]
    nearest, scores, leads = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return nearest, scores, leads


def _nearest(scores: Scores) -> tuple[Codes, Scores, Scores]:
    rows = np.arange(len(scores))
    nearest = scores.argmax(axis=1)
    best = scores[rows, nearest]
    others = scores.copy()
    others[rows, nearest] = -np.inf
    second = others.max(axis=1)
    return nearest, best, np.where(np.isfinite(second), best - second, np.nan)


def _leave_one_out(
    vectors: Vectors, codes: Codes, held: Codes, most: int, rng: np.random.Generator
) -> tuple[Searches, Searches | None]:
    """Search for one template of each identity: once as if its identity were not enrolled, once as it is."""
    probes = _one_of_each(codes, held, most, rng)
    parts = []
    for start in range(0, probes.size, _BLOCK):
        block = probes[start : start + _BLOCK]
        scores = _by_identity(vectors[block], vectors, codes, block)
        rows = np.arange(block.size)
        own = scores[rows, codes[block]].copy()
        scores[rows, codes[block]] = -np.inf
        parts.append((own, *_nearest(scores)))
    own, nearest, scores, leads = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    owners = codes[probes]
    strangers = Searches(owners, nearest, scores, leads, size=held.size - 1)
    again = np.isfinite(own)
    if not again.any():
        return strangers, None
    ahead = np.where(np.isfinite(scores[again]), own[again] - scores[again], np.nan)
    return strangers, Searches(owners[again], nearest[again], own[again], ahead, size=held.size)
