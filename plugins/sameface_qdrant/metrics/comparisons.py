"""Comparisons with their scores and labels: what a threshold is chosen from. Pure numpy.

`Comparisons` are labelled scores with identities, from one of three sources: scores that the caller brings, a gallery's
own templates, or a cohort of people who are not enrolled. `sameface_qdrant.metrics.cross_comparison` makes the latter
two. `ComparisonScores` are the scores alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.error_rates import Indices, Scores

Vectors = NDArray[np.float32]
"""Embeddings, [embeddings, dimension]."""
Identity = TypeVar("Identity")
Item = TypeVar("Item")


class ComparisonSource(StrEnum):
    """Where comparisons came from."""

    SCORES = "SCORES"
    """The caller's own scores."""
    GALLERY = "GALLERY"
    """The gallery's templates, each compared with every identity."""
    COHORT = "COHORT"
    """People who are not enrolled, compared with the gallery."""


@dataclass(frozen=True, slots=True)
class Searches:
    """Searches of a gallery, one a row: either all mated, or all non-mated. Identities are indices."""

    probes: Indices
    """The identity of each probe."""
    nearest: Indices
    """The identity with the highest score, other than the probe's own."""
    scores: Scores
    """Non-mated: the highest score. Mated: the score of the probe's own identity."""
    leads: Scores
    """How far ``scores`` is ahead of the next identity. Mated: of the best other one, negative where that one is
    ahead. NaN where there is no other identity."""
    gallery_size: int
    """How many identities each search compared the probe with."""


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Mated and non-mated scores with the identities that were compared. Identities are indices of ``names``."""

    source: ComparisonSource
    names: tuple[str, ...]
    mated: Scores
    owners: Indices
    """The identity of each mated comparison."""
    non_mated: Scores
    first: Indices
    """The probe's identity in each non-mated comparison."""
    second: Indices
    """The identity that the probe was compared with."""
    possible_comparisons: int
    """How many non-mated comparisons there are; greater than the number of scores where these are a sample."""
    non_mated_searches: Searches | None = None
    """Searches for people who are not enrolled; for a gallery, each identity is left out in turn. None for scores."""
    mated_searches: Searches | None = None
    """Searches for enrolled people with another of their templates; None where no identity has two."""


@dataclass(frozen=True, slots=True)
class ComparisonScores:
    """Scores (cosines) of templates with identities: that of the identity's best template (maximum fusion)."""

    mated: NDArray[np.float64]
    """[comparisons] A template with the other templates of its identity."""
    non_mated: NDArray[np.float64]
    """[comparisons] A template with another identity."""
    identities: int
    """How many identities took part."""
    templates: int
    """How many templates took part."""
    complete: bool
    """False where a limit left templates or comparisons out; the scores are then those of a seeded sample."""


def labelled_scores(scores: ArrayLike, first: Sequence[str], second: Sequence[str]) -> Comparisons:
    """Return the comparisons of a table with one score and two labels a row; equal labels are a mated comparison.

    Raises:
        InvalidArgument: the columns differ in length, or a score is not a finite number.
        NotEnoughData: no row is non-mated.
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    if not values.size == len(first) == len(second):
        raise InvalidArgument(
            f"there are {values.size} scores, {len(first)} first and {len(second)} second labels; expected as many of "
            "each",
            metadata={"field": "scores"},
        )
    if not np.isfinite(values).all():
        raise InvalidArgument("a score is not a finite number; leave such rows out", metadata={"field": "scores"})
    names, identities = np.unique(np.array([*first, *second], dtype=np.str_), return_inverse=True)
    one, other = identities[: len(first)].astype(np.int64), identities[len(first) :].astype(np.int64)
    is_mated = one == other
    if is_mated.all():
        raise NotEnoughData(
            f"none of the {values.size} scores is non-mated; add comparisons of different people",
            metadata={"identities": len(names), "comparisons": 0},
        )
    return Comparisons(
        ComparisonSource.SCORES,
        tuple(map(str, names)),
        values[is_mated],
        one[is_mated],
        values[~is_mated],
        one[~is_mated],
        other[~is_mated],
        possible_comparisons=int((~is_mated).sum()),
    )


def sample_templates(
    templates: Mapping[Identity, Sequence[Item]], *, max_templates: int, per_identity: int, seed: int
) -> list[tuple[Identity, Item]]:
    """Draw templates at random: at most ``per_identity`` of each identity, and at most ``max_templates`` in all.

    Where not all fit, fewer of each are drawn, two at least, so that as many identities as possible take part. The
    same seed draws the same from the same templates in the same order.
    """
    rng = np.random.default_rng(seed)
    identities = list(templates)
    if sum(min(per_identity, len(items)) for items in templates.values()) > max_templates:
        per_identity = min(per_identity, max(2, max_templates // len(identities)))
    chosen: list[tuple[Identity, Item]] = []
    for position in rng.permutation(len(identities)):
        identity, items = identities[position], templates[identities[position]]
        room = min(per_identity, max_templates - len(chosen))
        if room <= 0:
            break
        drawn = sorted(rng.permutation(len(items))[:room])
        chosen += [(identity, items[index]) for index in drawn]
    return chosen
