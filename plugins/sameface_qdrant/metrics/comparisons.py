"""Comparisons with scores and labels, from which thresholds are chosen. Pure numpy.

`Comparisons` are labelled scores with identities, from one of three sources: scores that the caller brings, a gallery's
own templates, or a cohort of people who are not enrolled. `sameface_qdrant.metrics.cross_comparison` makes the last
two. `ComparisonScores` are the scores alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.error_rates import Indices, Scores
from sameface_qdrant.values.columns import check_least, labels, real_numbers
from sameface_qdrant.values.display import brief, counted
from sameface_qdrant.values.frames import table_of

if TYPE_CHECKING:
    import pandas

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
    """Searches of a gallery, one per row: all mated or all non-mated. Identities are indices."""

    __repr__ = brief

    probes: Indices
    """The identity of each probe."""
    nearest: Indices
    """The identity with the highest score, other than the probe's own."""
    scores: Scores
    """Non-mated: the highest score. Mated: the score of the probe's own identity."""
    leads: Scores
    """``scores`` minus the score of the best other identity. Mated: negative if another identity is ahead. NaN if there
    is no other identity."""
    gallery_size: int
    """How many identities each search compared the probe with."""


@dataclass(frozen=True, slots=True)
class MatedProbes:
    """Probes of enrolled people, one per row, each compared with every identity of the gallery.

    A probe is one of the person's own samples, left out of the gallery. So its own identity has one template fewer here
    than in use; ``template_ratios`` says how that differs.
    """

    __repr__ = brief

    identities: Indices
    """[probes] The identity of each."""
    own: Scores
    """[probes] The score of the probe's own identity."""
    best_other: Scores
    """[probes] The best score of all other identities; -inf if there is none."""
    second_other: Scores | None
    """[probes] The second best score of the others; -inf if there is none. None if it is not known."""
    nearest_other: Indices | None
    """[probes] The identity with ``best_other``. None if it is not known."""
    template_ratios: Scores
    """[identities in use, or 1] Templates of an identity in use, divided by the templates that ``own`` is the best
    of."""

    @property
    def leads(self) -> Scores:
        """``own`` minus ``best_other``; NaN if there is no other identity."""
        return np.where(np.isfinite(self.best_other), self.own - self.best_other, np.nan)


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Mated and non-mated scores with the identities that were compared. Identities are indices of ``names``."""

    __repr__ = brief

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
    """How many non-mated comparisons there are; greater than the number of scores if these are a sample."""
    non_mated_searches: Searches | None = None
    """Searches for people who are not enrolled. For a gallery, each search leaves out the probe's identity. None for
    labelled scores."""
    mated_searches: Searches | None = None
    """Searches for enrolled people with another of their templates; None if no identity has two."""
    non_mated_leads: Scores | None = None
    """The score of each non-mated comparison minus that of the best other identity, without the probe's own. NaN if
    there is no other identity. None if leads are not known."""
    mated_probes: MatedProbes | None = None
    """Enrolled people's probes with their leads. None if leads are not known, or if nobody has two samples."""

    def to_frame(self) -> "pandas.DataFrame":
        """Return a table with the columns ``score``, ``mated``, ``first`` and ``second``: the identities compared.

        Raises:
            ImportError: pandas is not installed.
        """
        names = np.asarray(self.names)
        return table_of(
            {
                "score": np.concatenate([self.mated, self.non_mated]),
                "mated": np.arange(self.mated.size + self.non_mated.size) < self.mated.size,
                "first": names[np.concatenate([self.owners, self.first])],
                "second": names[np.concatenate([self.owners, self.second])],
            }
        )


@dataclass(frozen=True, slots=True)
class ComparisonScores:
    """Cosine scores of templates with identities. The identity's best template counts (maximum fusion)."""

    __repr__ = brief

    mated: NDArray[np.float64]
    """[comparisons] A template with the other templates of its identity."""
    non_mated: NDArray[np.float64]
    """[comparisons] A template with another identity."""
    identities: int
    """How many identities took part."""
    templates: int
    """How many templates took part."""
    complete: bool
    """False if a limit left out templates or comparisons; the scores are then those of a seeded sample."""

    def to_frame(self) -> "pandas.DataFrame":
        """Return a table with the columns ``score`` and ``mated``.

        Raises:
            ImportError: pandas is not installed.
        """
        mated = np.arange(self.mated.size + self.non_mated.size) < self.mated.size
        return table_of({"score": np.concatenate([self.mated, self.non_mated]), "mated": mated})


def labelled_scores(
    scores: ArrayLike, first: Sequence[str], second: Sequence[str], leads: ArrayLike | None = None
) -> Comparisons:
    """Return the comparisons of a table with one score and two labels per row. Equal labels make a mated comparison.

    Args:
        scores: cosines of claims, [comparisons].
        first: the person of each probe.
        second: the identity that each probe claims.
        leads: the score minus that of the best other identity, [comparisons]; NaN if there was no other. With them a
            runner-up margin can be measured.

    Raises:
        InvalidArgument: the columns differ in length, a score is not a finite number, a label is missing, or a lead is
            infinite or no number.
        NotEnoughData: no row is non-mated.
    """
    values = real_numbers(scores, "scores")
    first, second = labels(first, "first"), labels(second, "second")
    if not values.size == len(first) == len(second):
        raise InvalidArgument(
            f"there are {counted(values.size, 'score')}, {len(first)} first and {len(second)} second labels; expected "
            "as many of each",
            metadata={"field": "scores"},
        )
    if not np.isfinite(values).all():
        raise InvalidArgument("a score is not a finite number; leave such rows out", metadata={"field": "scores"})
    ahead = None if leads is None else _leads(leads, values.size)
    names, identities = np.unique(np.array([*first, *second], dtype=np.str_), return_inverse=True)
    one, other = identities[: len(first)].astype(np.int64), identities[len(first) :].astype(np.int64)
    is_mated = one == other
    if is_mated.all():
        raise NotEnoughData(
            f"no non-mated score is among {counted(values.size, 'score')}; add comparisons of different people",
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
        non_mated_leads=None if ahead is None else ahead[~is_mated],
        mated_probes=None
        if ahead is None or not is_mated.any()
        else _labelled_probes(values[is_mated], ahead[is_mated], one[is_mated]),
    )


def _leads(values: ArrayLike, expected: int) -> Scores:
    leads = real_numbers(values, "leads")
    if leads.size != expected:
        raise InvalidArgument(
            f"there are {counted(leads.size, 'lead')} for {counted(expected, 'score')}; expected as many of each",
            metadata={"field": "leads"},
        )
    if np.isinf(leads).any():
        raise InvalidArgument(
            "a lead is infinite; expected a number, or NaN where there was no other identity",
            metadata={"field": "leads"},
        )
    return leads


def _labelled_probes(scores: Scores, leads: Scores, identities: Indices) -> MatedProbes:
    best_other = np.where(np.isnan(leads), -np.inf, scores - leads)
    return MatedProbes(identities, scores, best_other, None, None, np.ones(1))


def sample_templates(
    templates: Mapping[Identity, Sequence[Item]], *, max_templates: int, per_identity: int, seed: int
) -> list[tuple[Identity, Item]]:
    """Draw identities at random, each with all of its templates, as long as these fit.

    With fewer templates an identity would be reached by impostors less often than in use. So only an identity with more
    than ``per_identity`` templates, or more than half of ``max_templates``, takes part with a random part of them. The
    same seed draws the same sample, if templates and their order are the same.

    Args:
        templates: of each identity.
        max_templates: most templates in all, 2 or more.
        per_identity: most templates of each identity, 1 or more.
        seed: 0 or more.

    Raises:
        InvalidArgument: a limit or the seed is out of range.
    """
    check_least(max_templates, 2, "max_templates")
    check_least(per_identity, 1, "templates_per_identity")
    check_least(seed, 0, "seed")
    rng = np.random.default_rng(seed)
    identities = list(templates)
    most = min(per_identity, max_templates // 2)
    chosen: list[tuple[Identity, Item]] = []
    for position in rng.permutation(len(identities)):
        identity, items = identities[position], templates[identities[position]]
        if len(chosen) + min(most, len(items)) > max_templates:
            break
        drawn = sorted(rng.permutation(len(items))[:most])
        chosen += [(identity, items[index]) for index in drawn]
    return chosen
