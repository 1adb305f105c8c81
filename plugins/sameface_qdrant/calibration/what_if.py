"""What changes at another threshold or margin: recorded decisions, decided again. Pure numpy."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.comparisons import Comparisons, Searches
from sameface_qdrant.metrics.error_rates import Codes, Hits, Scores
from sameface_qdrant.metrics.intervals import Interval, rate_interval
from sameface_qdrant.values.decision import Outcome

OUTCOMES = (Outcome.MATCH, Outcome.AMBIGUOUS, Outcome.NO_MATCH)
_MATCH, _AMBIGUOUS, _NO_MATCH = range(3)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Decisions that were made, or comparisons that could be decided; one a row."""

    scores: Scores
    leads: Scores
    """NaN where there was no other identity to lead."""
    mated: Hits | None = None
    """Whether the probe was of the person it was taken for; None where nobody knows."""
    first: Codes | None = None
    second: Codes | None = None
    """Of whom both sides were; without them errors have no interval, for it is not known what depends on what."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where decisions fall: score ≥ ``threshold`` and lead ≥ ``margin``."""

    threshold: float
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class Rate:
    """An error rate; for verification FMR or FNMR, for identification FPIR or FNIR (rank 1)."""

    errors: int
    trials: int
    interval: Interval | None

    @property
    def value(self) -> float:
        """Errors over trials."""
        return self.errors / self.trials


@dataclass(frozen=True, slots=True)
class Side:
    """What a setting leads to. Only a MATCH counts as accepted: AMBIGUOUS accepts nobody."""

    setting: Setting
    counts: dict[Outcome, int]
    false_matches: Rate | None
    """Among non-mated; None where none is labelled so."""
    false_non_matches: Rate | None
    """Among mated."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Two settings over the same decisions."""

    before: Side
    after: Side
    transitions: dict[tuple[Outcome, Outcome], int]
    """How many decisions went from one outcome to another; every pair of outcomes is there."""


def recorded(
    scores: ArrayLike,
    leads: ArrayLike | None = None,
    *,
    mated: ArrayLike | None = None,
    first: ArrayLike | None = None,
    second: ArrayLike | None = None,
) -> Recorded:
    """Return decisions as columns, checked. Where identities are given and ``mated`` is not, equal ones are mated.

    Raises:
        InvalidArgument: columns differ in length, a score is not finite, or one side's identities are missing.
        NotEnoughData: there is no decision.
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    if not values.size:
        raise NotEnoughData("no decisions were given; at least one is needed", metadata={"comparisons": 0})
    if not np.isfinite(values).all():
        raise InvalidArgument("a score is not a finite number; leave such rows out", metadata={"field": "scores"})
    if (first is None) != (second is None):
        raise InvalidArgument("only one side's identities are given; give both or none", metadata={"field": "second"})
    found = Recorded(
        values,
        np.full(values.size, np.nan) if leads is None else np.asarray(leads, dtype=np.float64).ravel(),
        None if mated is None else np.asarray(mated, dtype=np.bool_).ravel(),
        None if first is None else np.asarray(first, dtype=np.int64).ravel(),
        None if second is None else np.asarray(second, dtype=np.int64).ravel(),
    )
    for name in ("leads", "mated", "first", "second"):
        column = getattr(found, name)
        if column is not None and column.size != values.size:
            raise InvalidArgument(
                f"{name} has {column.size} values for {values.size} scores; expected as many", metadata={"field": name}
            )
    if found.mated is None and found.first is not None:
        return dataclasses.replace(found, mated=found.first == found.second)
    return found


def verifications(comparisons: Comparisons) -> Recorded:
    """Return comparisons as claims with scope CLAIM: there is no lead, so a margin changes nothing."""
    return recorded(
        np.concatenate([comparisons.mated, comparisons.non_mated]),
        first=np.concatenate([comparisons.owners, comparisons.first]),
        second=np.concatenate([comparisons.owners, comparisons.second]),
    )


def identifications(comparisons: Comparisons) -> Recorded:
    """Return searches for strangers (non-mated) and for enrolled people (mated).

    An enrolled person counts as found where their own identity is the one that matches: a negative lead never does.

    Raises:
        NotEnoughData: bare scores hold no search.
    """
    if comparisons.strangers is None:
        raise NotEnoughData(
            "scores alone hold no search; use a gallery's templates or a cohort, or give decisions with their leads",
            metadata={"identities": len(comparisons.names), "comparisons": comparisons.non_mated.size},
        )
    parts: list[tuple[Searches, bool]] = [(comparisons.strangers, False)]
    if comparisons.enrolled is not None:
        parts.append((comparisons.enrolled, True))
    return recorded(
        np.concatenate([searches.scores for searches, _ in parts]),
        np.concatenate([searches.leads for searches, _ in parts]),
        mated=np.concatenate([np.full(searches.scores.size, mated) for searches, mated in parts]),
        first=np.concatenate([searches.probes for searches, _ in parts]),
        # A search for an enrolled person is a matter of that person alone, however near the others are.
        second=np.concatenate([searches.probes if mated else searches.nearest for searches, mated in parts]),
    )


def what_if(decisions: Recorded, before: Setting, after: Setting, *, confidence: float = 0.95) -> WhatIf:
    """Return the outcomes under both settings, what moved where, and the errors before and after.

    The outcomes are those of `sameface_qdrant.policy`: below the threshold NO_MATCH; else AMBIGUOUS where there is a
    lead and it is less than the margin; else MATCH.
    """
    old, new = _outcomes(decisions, before), _outcomes(decisions, after)
    moved = np.bincount(3 * old + new, minlength=9).reshape(3, 3)
    return WhatIf(
        _side(decisions, before, old, confidence),
        _side(decisions, after, new, confidence),
        {(one, other): int(moved[i, j]) for i, one in enumerate(OUTCOMES) for j, other in enumerate(OUTCOMES)},
    )


def _outcomes(decisions: Recorded, setting: Setting) -> NDArray[np.int64]:
    short = decisions.leads < setting.margin  # never of NaN
    return np.where(decisions.scores < setting.threshold, _NO_MATCH, np.where(short, _AMBIGUOUS, _MATCH)).astype(
        np.int64
    )


def _side(decisions: Recorded, setting: Setting, outcomes: NDArray[np.int64], confidence: float) -> Side:
    counted = np.bincount(outcomes, minlength=3)
    matched: Hits = outcomes == _MATCH
    mated = decisions.mated
    return Side(
        setting,
        {outcome: int(counted[index]) for index, outcome in enumerate(OUTCOMES)},
        None if mated is None else _rate(decisions, matched, ~mated, confidence),
        None if mated is None else _rate(decisions, ~matched, mated, confidence),
    )


def _rate(decisions: Recorded, errors: Hits, chosen: Hits, confidence: float) -> Rate | None:
    if not chosen.any():
        return None
    interval = None
    if decisions.first is not None and decisions.second is not None:
        interval = rate_interval(
            errors[chosen], decisions.first[chosen], decisions.second[chosen], confidence=confidence
        )
    return Rate(int(errors[chosen].sum()), int(chosen.sum()), interval)
