"""Measures what calls will answer: shares of MATCH, AMBIGUOUS and NO_MATCH, with intervals. Pure numpy.

The shares are those of the comparisons that a calibration measures on, decided as `sameface_qdrant.policy` decides. The
intervals are prediction intervals: they are for another sample of probes of people like these.

A mated probe is compared with the templates of its identity that are left, and in use there is one more. So the truth
lies between two limits. If a share q of probes is below the threshold with k templates, then with m of them it is
between q and q^(m/k), where the probe's scores with the templates are independent of each other for each probe and
identity (Lyapunov's inequality of moments). The intervals contain both limits.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sameface_qdrant.calibration.expected import (
    PREDICTED_PROBES,
    ExpectedAnswer,
    ExpectedAnswers,
    ExpectedShare,
    in_larger_gallery,
    of_larger_identities,
)
from sameface_qdrant.calibration.thresholds import different_searches
from sameface_qdrant.metrics.comparisons import Comparisons, MatedProbes
from sameface_qdrant.metrics.error_rates import Indices, Mask, Scores
from sameface_qdrant.metrics.intervals import (
    ConfidenceInterval,
    IdentityBootstrap,
    effective_sample_size,
    prediction_interval,
)
from sameface_qdrant.values.decision import Operation, Scope


def expected_answers(
    comparisons: Comparisons,
    *,
    verify: float | None,
    identify: float | None,
    margin: float,
    effective_comparisons: float,
    growth: float = 1.0,
    growth_within: float = 1.0,
    confidence: float = 0.95,
    replicates: int = 400,
    seed: int = 0,
) -> ExpectedAnswers:
    """Return what calls will answer under thresholds and a margin.

    Args:
        comparisons: without leads, only claims with scope CLAIM can be measured.
        verify: the verification threshold; None leaves claims out.
        identify: the identification threshold; None leaves searches out.
        margin: the runner-up margin.
        effective_comparisons: how many independent comparisons the non-mated ones are worth.
        growth: how many times more templates the gallery has than were compared; 1 if all were.
        growth_within: how many times more templates an identity has than were compared with it, at most; 1 if none has.
        confidence: of the intervals, in (0, 1).
        replicates: of the bootstrap over people.
        seed: of the bootstrap.
    """
    answers: list[ExpectedAnswer] = []
    mated = comparisons.mated_probes or _without_leads(comparisons)
    if mated is not None:
        mated = dataclasses.replace(mated, template_ratios=mated.template_ratios * growth_within)
        has_leads, calls = comparisons.mated_probes is not None, _mated_calls(mated, confidence, replicates, seed)
        answers += _mated_answers(mated, has_leads, verify, identify, margin, calls)
    if verify is not None:
        reached = comparisons.non_mated >= verify
        people = comparisons.first
        claims = _non_mated_calls(Operation.VERIFICATION, Scope.CLAIM, people, effective_comparisons, confidence)
        answers.append(claims.answer(reached, ~reached))
        if comparisons.non_mated_leads is not None:
            match = reached & ~(comparisons.non_mated_leads < margin)
            answers.append(dataclasses.replace(claims, scope=Scope.GALLERY).answer(match, ~reached))
    searches = comparisons.non_mated_searches
    if identify is not None and searches is not None:
        reached = searches.scores >= identify
        match = reached & ~(searches.leads < margin)
        different = different_searches(searches)
        strangers = _non_mated_calls(Operation.IDENTIFICATION, Scope.GALLERY, searches.probes, different, confidence)
        answers.append(strangers.answer(match, ~reached))
    if growth_within > 1.0:
        answers = [of_larger_identities(one, growth_within) for one in answers]
    if growth > 1.0:
        answers = [in_larger_gallery(one, growth) if one.scope is Scope.GALLERY else one for one in answers]
    return ExpectedAnswers(verify, identify, margin, tuple(answers), PREDICTED_PROBES, confidence)


_Limits = tuple[float, float]
"""The lowest and the highest share that calls in use may have."""


@dataclass(frozen=True, slots=True)
class _Calls:
    """Calls of one kind that were measured, and what gives their intervals."""

    operation: Operation
    scope: Scope
    mated: bool
    probes: int
    identities: int
    trials: Callable[[Mask], float]
    """How many independent trials the share of chosen calls was measured on."""
    in_use: Callable[[Mask], _Limits]
    """The limits of the share of calls that miss their identity."""
    fewer_templates: bool
    confidence: float

    def answer(self, match: Mask, none: Mask, wrong: Mask | None = None) -> ExpectedAnswer:
        """Return the shares of calls with the outcomes MATCH and NO_MATCH, and of those that match a wrong identity."""
        missed, below = self.in_use(~match), self.in_use(none)
        other = (0.0, 0.0) if wrong is None else self.in_use(wrong)
        ambiguous = ~(match | none) if wrong is None else ~(match | none | wrong)
        between = max(0.0, missed[0] - below[1] - other[1]), max(0.0, missed[1] - below[0] - other[0])
        chosen = 0.0 if self.scope is Scope.CLAIM and self.mated else 1.0
        return ExpectedAnswer(
            self.operation,
            self.scope,
            self.mated,
            self._share(match, (1.0 - missed[1], 1.0 - missed[0]), -chosen if self.mated else chosen),
            ExpectedShare(0.0, ConfidenceInterval(0.0, 0.0))
            if self.scope is Scope.CLAIM
            else self._share(ambiguous, between, chosen),
            self._share(none, below, 0.0 if self.mated else -chosen),
            None if wrong is None else self._share(wrong, other, 0.0),
            self.probes,
            self.identities,
            self.fewer_templates,
        )

    def _share(self, calls: Mask, limits: _Limits, chosen: float) -> ExpectedShare:
        """Return the share of chosen calls, with the interval for other probes.

        A threshold or a margin equals a score or a lead that was measured. So the measured share is too favourable: in
        another sample, one more call in as many trials is expected on the other side (order statistics).

        Args:
            calls: the calls that are chosen.
            limits: of the share in use.
            chosen: 1 if that one call increases the share, -1 if it decreases it, 0 if the share does not depend on it.
        """
        trials = self.trials(calls)
        low, high = limits[0] + min(0.0, chosen / trials), limits[1] + max(0.0, chosen / trials)
        return ExpectedShare(
            float(calls.mean()),
            ConfidenceInterval(
                prediction_interval(max(0.0, low), trials, PREDICTED_PROBES, self.confidence).low,
                prediction_interval(min(1.0, high), trials, PREDICTED_PROBES, self.confidence).high,
            ),
        )


def _mated_answers(
    mated: MatedProbes,
    has_leads: bool,
    verify: float | None,
    identify: float | None,
    margin: float,
    calls: Callable[[Operation, Scope], _Calls],
) -> list[ExpectedAnswer]:
    answers = []
    leads_enough = ~(mated.leads < margin)
    if verify is not None:
        reached = mated.own >= verify
        answers.append(calls(Operation.VERIFICATION, Scope.CLAIM).answer(reached, ~reached))
        if has_leads:
            answers.append(calls(Operation.VERIFICATION, Scope.GALLERY).answer(reached & leads_enough, ~reached))
    if identify is not None and has_leads and mated.second_other is not None:
        right = (mated.own >= identify) & leads_enough
        none = np.maximum(mated.own, mated.best_other) < identify
        ahead = mated.best_other - np.maximum(mated.own, mated.second_other)
        wrong = (mated.best_other >= identify) & (mated.best_other > mated.own) & (ahead >= margin)
        answers.append(calls(Operation.IDENTIFICATION, Scope.GALLERY).answer(right, none, wrong))
    return answers


def _mated_calls(
    mated: MatedProbes, confidence: float, replicates: int, seed: int
) -> Callable[[Operation, Scope], _Calls]:
    bootstrap = IdentityBootstrap(mated.identities, mated.identities, replicates, seed)
    people = int(np.unique(mated.identities).size)

    def trials(chosen: Mask) -> float:
        return effective_sample_size(float(chosen.mean()), bootstrap.rates(chosen), people, chosen.size)

    def in_use(missed: Mask) -> _Limits:
        """Return the limits of a share of missed probes once each identity has all of its templates."""
        share = float(missed.mean())
        if share <= 0.0:
            return 0.0, 0.0
        powers: Scores = share**mated.template_ratios
        return float(np.minimum(share, powers).mean()), float(np.maximum(share, powers).mean())

    fewer = bool((mated.template_ratios > 1).any())
    return lambda operation, scope: _Calls(
        operation, scope, True, mated.own.size, people, trials, in_use, fewer, confidence
    )


def _non_mated_calls(operation: Operation, scope: Scope, people: Indices, trials: float, confidence: float) -> _Calls:
    def as_measured(calls: Mask) -> _Limits:
        share = float(calls.mean())
        return share, share

    identities = int(np.unique(people).size)
    return _Calls(
        operation, scope, False, people.size, identities, lambda calls: trials, as_measured, False, confidence
    )


def _without_leads(comparisons: Comparisons) -> MatedProbes | None:
    """Return labelled scores without leads as probes, to measure scope CLAIM alone."""
    if not comparisons.mated.size:
        return None
    none = np.full(comparisons.mated.size, -np.inf)
    return MatedProbes(comparisons.owners, comparisons.mated, none, None, None, np.ones(1))
