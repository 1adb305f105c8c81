"""Shows what another threshold or margin would change, by deciding recorded decisions again. Pure numpy."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.comparisons import Comparisons, Searches
from sameface_qdrant.metrics.error_rates import Indices, Mask, Scores
from sameface_qdrant.metrics.intervals import ConfidenceInterval, rate_interval
from sameface_qdrant.values.columns import real_numbers, truth_values, whole_numbers
from sameface_qdrant.values.decision import Outcome, Scope
from sameface_qdrant.values.display import brief, counted

OUTCOMES = (Outcome.MATCH, Outcome.AMBIGUOUS, Outcome.NO_MATCH)
_MATCH, _AMBIGUOUS, _NO_MATCH = range(3)


@dataclass(frozen=True, slots=True)
class RecordedDecisions:
    """Decisions to decide again, one per row."""

    __repr__ = brief

    scores: Scores
    leads: Scores
    """NaN if there was no other identity."""
    mated: Mask | None = None
    """Whether probe and template were of the same person; None if it is not known."""
    first: Indices | None = None
    """The probe's identity."""
    second: Indices | None = None
    """The template's identity. Without identities, error rates have no interval."""


@dataclass(frozen=True, slots=True)
class DecisionSetting:
    """A threshold and a margin: a MATCH needs score ≥ ``threshold`` and lead ≥ ``margin``."""

    threshold: float
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """An error rate: FMR or FNMR of verifications, FPIR or FNIR (rank 1) of identifications."""

    errors: int
    trials: int
    interval: ConfidenceInterval | None

    @property
    def value(self) -> float:
        """Errors over trials, 0 to 1."""
        return self.errors / self.trials


@dataclass(frozen=True, slots=True)
class SettingOutcomes:
    """The outcomes under one setting. Only MATCH accepts; AMBIGUOUS does not."""

    __repr__ = brief

    setting: DecisionSetting
    counts: dict[Outcome, int]
    false_matches: ErrorRate | None
    """FMR or FPIR; None if no decision is labelled non-mated."""
    false_non_matches: ErrorRate | None
    """FNMR or FNIR; None if no decision is labelled mated."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The outcomes of the same decisions under two settings."""

    __repr__ = brief

    before: SettingOutcomes
    after: SettingOutcomes
    transitions: dict[tuple[Outcome, Outcome], int]
    """How many decisions have one outcome before and another one after; holds every pair of outcomes."""


def recorded_decisions(
    scores: ArrayLike,
    leads: ArrayLike | None = None,
    *,
    mated: ArrayLike | None = None,
    first: ArrayLike | None = None,
    second: ArrayLike | None = None,
) -> RecordedDecisions:
    """Check the columns of recorded decisions, [decisions] each.

    Args:
        scores: of the claim, or of the best identity.
        leads: over the next identity; NaN if there was none.
        mated: whether probe and template were of the same person. If it is missing and identities are given, equal
            identities are mated.
        first: the probe's identity as a number.
        second: the template's identity as a number.

    Raises:
        InvalidArgument: columns differ in length or hold something else, a score is not finite, or only one of
            ``first`` and ``second`` is given.
        NotEnoughData: there is no decision.
    """
    values = real_numbers(scores, "scores")
    if not values.size:
        raise NotEnoughData("no decisions were given; expected at least one", metadata={"comparisons": 0})
    if not np.isfinite(values).all():
        raise InvalidArgument("a score is not a finite number; leave such rows out", metadata={"field": "scores"})
    if (first is None) != (second is None):
        raise InvalidArgument("only one of first and second is given; give both or none", metadata={"field": "second"})
    found = RecordedDecisions(
        values,
        np.full(values.size, np.nan) if leads is None else real_numbers(leads, "leads"),
        None if mated is None else truth_values(mated, "mated"),
        None if first is None else whole_numbers(first, "first"),
        None if second is None else whole_numbers(second, "second"),
    )
    for name in ("leads", "mated", "first", "second"):
        column = getattr(found, name)
        if column is not None and column.size != values.size:
            raise InvalidArgument(
                f"{name} has {counted(column.size, 'value')} and scores has {values.size}; expected as many of each",
                metadata={"field": name},
            )
    if found.mated is None and found.first is not None:
        return dataclasses.replace(found, mated=found.first == found.second)
    return found


def verification_decisions(comparisons: Comparisons, scope: Scope = Scope.GALLERY) -> RecordedDecisions:
    """Return comparisons as verifications.

    With scope GALLERY each has its lead over the best other identity, where leads are known. With scope CLAIM there is
    no lead, so a margin changes nothing.
    """
    mated, owners, ahead = comparisons.mated, comparisons.owners, np.full(comparisons.mated.size, np.nan)
    strangers_ahead = comparisons.non_mated_leads
    if scope is Scope.CLAIM or strangers_ahead is None:
        strangers_ahead = np.full(comparisons.non_mated.size, np.nan)
    elif comparisons.mated_probes is not None:
        probes = comparisons.mated_probes
        mated, owners, ahead = probes.own, probes.identities, probes.leads
    return recorded_decisions(
        np.concatenate([mated, comparisons.non_mated]),
        np.concatenate([ahead, strangers_ahead]),
        first=np.concatenate([owners, comparisons.first]),
        second=np.concatenate([owners, comparisons.second]),
    )


def identification_decisions(comparisons: Comparisons) -> RecordedDecisions:
    """Return non-mated and mated searches as identifications.

    A mated search has the score and the lead of the probe's own identity. A lead that is negative, because another
    identity is ahead, is below every margin and is no MATCH.

    Raises:
        NotEnoughData: there is no search, because the comparisons are labelled scores.
    """
    if comparisons.non_mated_searches is None:
        raise NotEnoughData(
            "labelled scores contain no search; use a gallery's templates, a cohort, or decisions with their leads",
            metadata={"identities": len(comparisons.names), "comparisons": comparisons.non_mated.size},
        )
    parts: list[tuple[Searches, bool]] = [(comparisons.non_mated_searches, False)]
    if comparisons.mated_searches is not None:
        parts.append((comparisons.mated_searches, True))
    return recorded_decisions(
        np.concatenate([searches.scores for searches, _ in parts]),
        np.concatenate([searches.leads for searches, _ in parts]),
        mated=np.concatenate([np.full(searches.scores.size, mated) for searches, mated in parts]),
        first=np.concatenate([searches.probes for searches, _ in parts]),
        # Whether a mated search fails depends on its own identity, so it is resampled by that identity alone.
        second=np.concatenate([searches.probes if mated else searches.nearest for searches, mated in parts]),
    )


def what_if(
    decisions: RecordedDecisions, before: DecisionSetting, after: DecisionSetting, *, confidence: float = 0.95
) -> WhatIf:
    """Decide again under two settings; return outcomes and error rates of both, and which outcomes changed.

    The outcomes are those of `sameface_qdrant.policy`: NO_MATCH below the threshold; otherwise AMBIGUOUS if there is a
    lead and it is less than the margin; otherwise MATCH.
    """
    outcomes_before, outcomes_after = _outcomes(decisions, before), _outcomes(decisions, after)
    counts = np.bincount(3 * outcomes_before + outcomes_after, minlength=9).reshape(3, 3)
    return WhatIf(
        _setting_outcomes(decisions, before, outcomes_before, confidence),
        _setting_outcomes(decisions, after, outcomes_after, confidence),
        {(one, other): int(counts[i, j]) for i, one in enumerate(OUTCOMES) for j, other in enumerate(OUTCOMES)},
    )


def _outcomes(decisions: RecordedDecisions, setting: DecisionSetting) -> NDArray[np.int64]:
    # A comparison with NaN is False: without another identity no lead is too short.
    lead_too_short = decisions.leads < setting.margin
    return np.where(
        decisions.scores < setting.threshold, _NO_MATCH, np.where(lead_too_short, _AMBIGUOUS, _MATCH)
    ).astype(np.int64)


def _setting_outcomes(
    decisions: RecordedDecisions, setting: DecisionSetting, outcomes: NDArray[np.int64], confidence: float
) -> SettingOutcomes:
    counts = np.bincount(outcomes, minlength=3)
    matched: Mask = outcomes == _MATCH
    mated = decisions.mated
    return SettingOutcomes(
        setting,
        {outcome: int(counts[index]) for index, outcome in enumerate(OUTCOMES)},
        None if mated is None else _rate(decisions, matched, ~mated, confidence),
        None if mated is None else _rate(decisions, ~matched, mated, confidence),
    )


def _rate(decisions: RecordedDecisions, errors: Mask, chosen: Mask, confidence: float) -> ErrorRate | None:
    if not chosen.any():
        return None
    interval = None
    if decisions.first is not None and decisions.second is not None:
        interval = rate_interval(
            errors[chosen], decisions.first[chosen], decisions.second[chosen], confidence=confidence
        )
    return ErrorRate(int(errors[chosen].sum()), int(chosen.sum()), interval)
