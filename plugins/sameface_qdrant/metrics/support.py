"""Which error rates a number of trials supports. Pure.

A rate is supported if enough independent trials were made to exclude a higher one: after n trials without an error, the
upper confidence limit is 1 − (1 − confidence)^(1/n) (rule of three, `intervals.rule_of_three`). A threshold "for" a
lower rate than that stands on no evidence. Everything that prints a rate at a target asks this module.
"""

from dataclasses import dataclass

from sameface_qdrant.metrics.intervals import rule_of_three, trials_to_support

ERRORS_TO_RESAMPLE = 30
"""This many errors are enough to measure the variance of a rate (rule of 30: Doddington et al. 2000, Speech
Communication 31, p. 225)."""


def supported_rate(trials: float, *, at_best: float = 0.0, confidence: float = 0.95) -> float:
    """Return the lowest rate that the trials support, 0 to 1.

    Args:
        trials: number of effectively independent trials; with 0 or fewer no rate below 1 is supported.
        at_best: the rate at the highest possible threshold. No threshold above 1 exists for a cosine, so scores of 1
            are accepted by every threshold.
        confidence: in (0, 1).

    >>> round(supported_rate(300), 4), supported_rate(300, at_best=0.02), supported_rate(0)
    (0.0099, 0.02, 1.0)
    """
    return max(rule_of_three(trials, confidence), at_best) if trials > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Support:
    """How low a rate some trials support."""

    trials: float
    """How many independent trials would give the same certainty."""
    lowest: float
    """The lowest supported rate, 0 to 1."""
    confidence: float = 0.95

    def holds(self, target: float) -> bool:
        """Return whether a target rate is supported."""
        return self.lowest <= target

    def needed(self, target: float) -> int:
        """Return how many independent trials a target rate in (0, 1) needs."""
        return trials_to_support(target, self.confidence)


def support(trials: float, *, at_best: float = 0.0, confidence: float = 0.95) -> Support:
    """Return what the trials support; arguments as for `supported_rate`.

    >>> support(100).holds(0.03), support(100).holds(0.01), support(100).needed(0.01)
    (True, False, 299)
    """
    return Support(trials, supported_rate(trials, at_best=at_best, confidence=confidence), confidence)
