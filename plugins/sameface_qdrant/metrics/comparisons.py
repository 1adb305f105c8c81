"""Scores whose truth is known: what a threshold is chosen from. Pure numpy.

Three sources: scores that the caller brings, a gallery's own templates compared with each other, or a cohort of people
who are not enrolled compared with the gallery (`sameface_qdrant.metrics.cross_comparison` makes the latter two).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.error_rates import Codes, Scores


class Source(StrEnum):
    """Where comparisons came from."""

    SCORES = "SCORES"
    """The caller's own."""
    GALLERY = "GALLERY"
    """The gallery's templates, each identity against the others."""
    COHORT = "COHORT"
    """People who are not enrolled, against the gallery."""


@dataclass(frozen=True, slots=True)
class Searches:
    """Searches of a gallery, one a row."""

    probes: Codes
    """Who was searched for."""
    nearest: Codes
    """Whose template was the best other one."""
    scores: Scores
    """Of somebody who is not enrolled: the best identity's score. Of an enrolled person: their own identity's."""
    leads: Scores
    """Over the next identity (enrolled: over the best other, negative where that is nearer); NaN without one."""
    size: int
    """How many identities each search looked at."""


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Mated and non-mated scores with the identities they are of. Identities are indices of ``names``."""

    source: Source
    names: tuple[str, ...]
    mated: Scores
    owners: Codes
    """Whose mated comparison it is, one for each of ``mated``."""
    non_mated: Scores
    first: Codes
    second: Codes
    """Between whom, one for each of ``non_mated``: the probe's identity, and the one it was compared with."""
    possible: int
    """How many non-mated comparisons there are; fewer scores mean that they are a sample."""
    strangers: Searches | None = None
    """People searched for who are not enrolled (for a gallery: each identity left out in turn); None for scores."""
    enrolled: Searches | None = None
    """Enrolled people with another template searched for; None where nobody has two."""


def labelled_scores(scores: ArrayLike, first: Sequence[str], second: Sequence[str]) -> Comparisons:
    """Return the comparisons of a table: one score and the labels of both sides a row; mated where these are equal.

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
    names, codes = np.unique(np.array([*first, *second], dtype=np.str_), return_inverse=True)
    ones, others = codes[: len(first)].astype(np.int64), codes[len(first) :].astype(np.int64)
    same = ones == others
    if same.all():
        raise NotEnoughData(
            f"none of the {values.size} scores is non-mated; give comparisons between different people",
            metadata={"identities": len(names), "comparisons": 0},
        )
    return Comparisons(
        Source.SCORES,
        tuple(map(str, names)),
        values[same],
        ones[same],
        values[~same],
        ones[~same],
        others[~same],
        possible=int((~same).sum()),
    )
