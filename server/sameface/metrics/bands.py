"""Bands of scores, by which drift is noticed: what the model card promises, and in which band a score is.

The card has thresholds t1 < t2 < …, each with the share of mated comparisons below it (FNMR). Of claims that reach t1,
nearly all are mated. So the share of each band from one threshold to the next is known, however many strangers try:
(FNMR(t2) − FNMR(t1)) / (1 − FNMR(t1)), and so on. Photos that become worse move claims from the last band into the
others before many fail.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from sameface.inference.cards import ModelCard

BELOW = "below"
MOST_BANDS = 8
"""A card may have more operating points. The most lenient ones are used then."""


@dataclass(frozen=True, slots=True)
class Bands:
    """The bands of one model version."""

    thresholds: tuple[float, ...]
    """Lower bounds, ascending."""
    expected: tuple[float, ...]
    """Share of each among claims that reach the lowest one, by the model card. They add up to 1."""
    fmr: float
    """False match rate at the lowest one."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the bands are called, as values of a label."""
        return tuple(f"{threshold:g}" for threshold in self.thresholds)

    def name_of(self, score: float) -> str:
        """Return the band of a score."""
        position = bisect_right(self.thresholds, score)
        return self.names[position - 1] if position else BELOW

    def expected_above(self, others: int) -> float:
        """Return the probability that one of so many other identities reaches the lowest threshold.

        1 − (1 − FMR)^N, for identities with one template each that do not depend on each other.
        """
        return float(1.0 - (1.0 - self.fmr) ** max(0, others))


def bands_of(card: ModelCard) -> Bands | None:
    """Return the bands of a model card; None without operating points, or if they promise nothing."""
    by_threshold = {point.threshold: point for point in card.operating_points}
    points = [by_threshold[threshold] for threshold in sorted(by_threshold)][:MOST_BANDS]
    if not points or points[0].fnmr >= 1.0:
        return None
    return Bands(
        tuple(point.threshold for point in points),
        tuple(_shares([point.fnmr for point in points])),
        points[0].fmr,
    )


def _shares(fnmr: Sequence[float]) -> Sequence[float]:
    """Return the share of each band among mated comparisons that reach the first threshold."""
    reached = 1.0 - fnmr[0]
    ends = [*fnmr[1:], 1.0]
    return [max(0.0, end - begin) / reached for begin, end in zip(fnmr, ends, strict=True)]
