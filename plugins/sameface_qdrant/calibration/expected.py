"""What the calls of a gallery will answer: shares of MATCH, AMBIGUOUS and NO_MATCH, with intervals. Pure.

`sameface_qdrant.calibration.measured_answers` measures them.
"""

import dataclasses
from dataclasses import dataclass

from sameface_qdrant.metrics.intervals import ConfidenceInterval
from sameface_qdrant.values.decision import Operation, Scope
from sameface_qdrant.values.display import brief

PREDICTED_PROBES = 200
"""Every interval is for another sample of this many probes of different people, or more."""


@dataclass(frozen=True, slots=True)
class ExpectedShare:
    """A share of answers, 0 to 1."""

    __repr__ = brief

    share: float
    """As measured."""
    interval: ConfidenceInterval
    """For another sample of probes."""


@dataclass(frozen=True, slots=True)
class ExpectedAnswer:
    """How often one kind of call gives each outcome."""

    __repr__ = brief

    operation: Operation
    scope: Scope
    mated: bool
    """Claims: whether the probe is of the claimed identity. Searches: whether its person is enrolled. A person who is
    not mated is not enrolled."""
    match: ExpectedShare
    """MATCH; for mated searches, MATCH of the right identity."""
    ambiguous: ExpectedShare
    no_match: ExpectedShare
    wrong_match: ExpectedShare | None
    """MATCH of another identity; only for mated searches."""
    probes: int
    """How many calls it was measured on."""
    identities: int
    """How many people these were of."""
    fewer_templates: bool = False
    """Whether probes were compared with fewer templates of their own identity than it has in use."""


@dataclass(frozen=True, slots=True)
class ExpectedAnswers:
    """What the calls of a gallery will answer under thresholds and a margin."""

    __repr__ = brief

    verify_threshold: float | None
    """None if no threshold is known; then nothing is expected of claims."""
    identify_threshold: float | None
    """None if no threshold is known; then nothing is expected of searches."""
    margin: float
    answers: tuple[ExpectedAnswer, ...]
    """One for each kind of call that the comparisons can measure."""
    probes: int
    """Intervals are for another sample of this many probes of different people, or more."""
    confidence: float

    def of(self, operation: Operation, scope: Scope, *, mated: bool) -> ExpectedAnswer | None:
        """Return what is expected of one kind of call; None if it could not be measured."""
        for one in self.answers:
            if (one.operation, one.scope, one.mated) == (operation, scope, mated):
                return one
        return None


def of_larger_identities(answer: ExpectedAnswer, growth: float) -> ExpectedAnswer:
    """Widen the intervals of non-mated claims for identities with up to ``growth`` times as many templates.

    The chance that a probe reaches the threshold of an identity grows at most as its templates do (Boole's inequality).
    """
    if answer.mated or answer.operation is Operation.IDENTIFICATION:
        return answer
    more = (growth - 1.0) * (answer.match.interval.high + answer.ambiguous.interval.high)
    has_leads = answer.scope is Scope.GALLERY
    return dataclasses.replace(
        answer,
        match=_widened(answer.match, 0.0, more),
        ambiguous=_widened(answer.ambiguous, 0.0, more) if has_leads else answer.ambiguous,
        no_match=_widened(answer.no_match, more, 0.0),
    )


def _widened(share: ExpectedShare, down: float, up: float) -> ExpectedShare:
    low, high = share.interval.low - down, share.interval.high + up
    return ExpectedShare(share.share, ConfidenceInterval(max(0.0, low), min(1.0, high)))


def in_larger_gallery(answer: ExpectedAnswer, growth: float) -> ExpectedAnswer:
    """Widen the intervals of an answer for a gallery with ``growth`` times as many templates as were compared.

    Each of them may be nearer than the claim, or too close behind. The chance that any of them is grows at most as
    their number does (Boole's inequality).
    """
    is_search = answer.operation is Operation.IDENTIFICATION
    disturbed = [answer.ambiguous, *([] if answer.wrong_match is None else [answer.wrong_match])]
    if is_search and not answer.mated:
        disturbed.append(answer.match)
    more = (growth - 1.0) * sum(one.interval.high for one in disturbed)
    return dataclasses.replace(
        answer,
        match=_widened(answer.match, more, more if is_search and not answer.mated else 0.0),
        ambiguous=_widened(answer.ambiguous, 0.0, more),
        no_match=_widened(answer.no_match, more if is_search else 0.0, 0.0),
        wrong_match=None if answer.wrong_match is None else _widened(answer.wrong_match, 0.0, more),
    )
