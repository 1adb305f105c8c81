"""Templates compared with each other, or with a cohort of people who are not enrolled. Pure numpy.

What is sampled is drawn by a seed, and `Comparisons.possible` says that it is a sample.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.comparisons import Comparisons, Searches, Source
from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics import Codes, Scores

Vectors = NDArray[np.float32]

MAX_COMPARISONS = 1_000_000
MAX_SEARCHES = 2_000
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

    Mated: every pair of templates of one identity. Non-mated: every pair of templates of two, or a uniform sample of
    ``max_comparisons`` of them. Searches: one template of each identity (of ``max_searches`` of them) against
    all the others.

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
    left, right = _mated_pairs(codes, held)
    possible = int((codes.size**2 - (held**2).sum()) // 2)
    one, other = _non_mated_pairs(codes, possible, max_comparisons, rng)
    strangers, enrolled = _leave_one_out(vectors, codes, held, max_searches, rng)
    return Comparisons(
        Source.GALLERY,
        names,
        _cosines(vectors, vectors, left, right),
        codes[left],
        _cosines(vectors, vectors, one, other),
        codes[one],
        codes[other],
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
    possible = len(cohort) * len(vectors)
    chosen = np.arange(possible)
    if possible > max_comparisons:
        chosen = np.unique(rng.integers(0, possible, max_comparisons))
    one, other = np.divmod(chosen, len(vectors))
    held, strange_held = np.bincount(codes), np.bincount(strange_codes)
    left, right = _mated_pairs(codes, held)
    strange_left, strange_right = _mated_pairs(strange_codes, strange_held)
    probes = _one_of_each(strange_codes, strange_held, max_searches, rng)
    best = _best_two(cohort[probes], vectors, codes)
    _, enrolled = _leave_one_out(vectors, codes, held, max_searches, rng)
    return Comparisons(
        Source.COHORT,
        names + strange_names,
        np.concatenate(
            [_cosines(vectors, vectors, left, right), _cosines(cohort, cohort, strange_left, strange_right)]
        ),
        np.concatenate([codes[left], len(names) + strange_codes[strange_left]]),
        _cosines(cohort, vectors, one, other),
        len(names) + strange_codes[one],
        codes[other],
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


def _mated_pairs(codes: Codes, held: Codes) -> tuple[Codes, Codes]:
    """Return every pair of positions of one identity; codes are sorted, ``held`` counts them."""
    starts = np.concatenate([[0], np.cumsum(held)[:-1]])
    pairs = [
        (start + one, start + other)
        for start, count in zip(starts, held, strict=True)
        if count > 1
        for one, other in [np.triu_indices(int(count), 1)]
    ]
    if not pairs:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate([one for one, _ in pairs]), np.concatenate([other for _, other in pairs])


def _non_mated_pairs(codes: Codes, possible: int, most: int, rng: np.random.Generator) -> tuple[Codes, Codes]:
    """Return every pair of positions of two identities, or ``most`` of them at random, none twice."""
    if possible <= most:
        one, other = np.triu_indices(codes.size, 1)
        crossed = codes[one] != codes[other]
        return one[crossed], other[crossed]
    chosen = np.empty(0, np.int64)
    while chosen.size < most:
        one, other = rng.integers(0, codes.size, (2, 2 * most))
        crossed = (codes[one] != codes[other]) & (one < other)
        chosen = np.union1d(chosen, one[crossed] * codes.size + other[crossed])
    chosen = rng.permutation(chosen)[:most]
    one, other = np.divmod(chosen, codes.size)
    return one, other


def _cosines(left: Vectors, right: Vectors, one: Codes, other: Codes) -> Scores:
    scores = np.empty(one.size, np.float64)
    for start in range(0, one.size, 65_536):
        part = slice(start, start + 65_536)
        scores[part] = np.einsum("ij,ij->i", left[one[part]], right[other[part]])
    return np.clip(scores, -1.0, 1.0)


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
    scores = np.clip(probes @ vectors.T, -1.0, 1.0).astype(np.float64)
    if own is not None:
        scores[np.arange(own.size), own] = -np.inf
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    best: Scores = np.maximum.reduceat(scores, starts, axis=1)
    return best


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
