"""Scores of probes with identities: an identity's score is that of its best template (maximum fusion). Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.comparisons import Vectors
from sameface_qdrant.metrics.error_rates import Indices, Scores
from sameface_qdrant.values.display import counted

BLOCK = 256
"""So many probes are compared at once; it bounds the memory."""


def grouped(vectors: Vectors, identities: Sequence[str]) -> tuple[tuple[str, ...], Indices, Vectors]:
    """Return the names, and owners (indices of names) and vectors, sorted by owner."""
    values = np.asarray(vectors, dtype=np.float32)
    if values.ndim != 2 or len(values) != len(identities):
        raise InvalidArgument(
            f"the vectors have shape {list(values.shape)}, for {counted(len(identities), 'identity', 'identities')}; "
            "expected [templates, dimension] and one identity for each",
            metadata={"field": "vectors"},
        )
    names, owners = np.unique(np.asarray(identities, dtype=np.str_), return_inverse=True)
    order = np.argsort(owners, kind="stable")
    return tuple(map(str, names)), owners[order].astype(np.int64), values[order]


def identity_scores(probes: Vectors, vectors: Vectors, owners: Indices, own: Indices | None = None) -> Scores:
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


def best_of(scores: Scores) -> tuple[Indices, Scores, Scores]:
    """Return the best identity of each probe, its score, and the second best score (-inf if there is none)."""
    rows = np.arange(len(scores))
    nearest = scores.argmax(axis=1)
    best = scores[rows, nearest]
    others = scores.copy()
    others[rows, nearest] = -np.inf
    return nearest, best, others.max(axis=1)


def leads_over(scores: Scores, others: Scores) -> Scores:
    """Return by how much scores are ahead of others; NaN where the other is -inf, because there is none."""
    # Not by `np.where`, which subtracts first: −inf minus −inf is invalid.
    leads = np.full(scores.shape, np.nan)
    np.subtract(scores, others, out=leads, where=np.isfinite(others))
    return leads


@dataclass(frozen=True, slots=True)
class ComparedProbes:
    """Probes compared with every identity but their own, and the claims that they make."""

    nearest: Indices
    """[probes] The identity with the best score."""
    best: Scores
    """[probes] The best score; -inf if there is no other identity."""
    second: Scores
    """[probes] The second best score; -inf if there is none."""
    claims: Scores
    """[claims] The score with the claimed identity."""
    claim_leads: Scores
    """[claims] That score minus the best one of all other identities; NaN if there is none."""


def compare_probes(
    probes: Vectors, vectors: Vectors, owners: Indices, own: Indices | None, rows: Indices, claimed: Indices
) -> ComparedProbes:
    """Compare probes with the identities of a gallery.

    Args:
        probes: unit L2 norm, float32 [probes, dimension].
        vectors: the gallery's templates, sorted by identity, float32 [templates, dimension].
        owners: the identity of each template, ascending from 0.
        own: each probe's identity, which it is not compared with; None if no probe is enrolled.
        rows: the probe of each claim, ascending, [claims].
        claimed: the identity that is claimed, not the probe's own.
    """
    ranked = []
    scores, leads = np.empty(rows.size), np.empty(rows.size)
    for start in range(0, len(probes), BLOCK):
        fused = identity_scores(probes[start : start + BLOCK], vectors, owners)
        if own is not None:
            fused[np.arange(len(fused)), own[start : start + BLOCK]] = -np.inf
        nearest, best, second = best_of(fused)
        ranked.append((nearest, best, second))
        low, high = np.searchsorted(rows, [start, start + BLOCK])
        row, claim = rows[low:high] - start, claimed[low:high]
        scores[low:high] = fused[row, claim]
        rivals = np.where(claim == nearest[row], second[row], best[row])
        leads[low:high] = leads_over(scores[low:high], rivals)
    nearest, best, second = (np.concatenate(parts) for parts in zip(*ranked, strict=True))
    return ComparedProbes(nearest, best, second, scores, leads)
