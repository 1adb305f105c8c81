"""Does a series grow? Slopes of measured series, with intervals that hold although neighbouring values are alike.

Memory at one moment is nearly that of a second before, so the usual interval of a slope would be much too narrow. Two
things widen it. Values are first joined to medians of batches. Then the number of batches is replaced by the number of
independent ones that would tell as much, estimated from the correlation of neighbouring residuals, both in the error of
the slope and in the degrees of freedom (Santer and others 2000, Journal of Geophysical Research 105, pages 7337-7356).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

BATCHES = 30
LEAST_BATCHES = 8
LEAST_INDEPENDENT = 3.0
"""With fewer independent values than a line needs, and one more, an interval says nothing."""
HOUR_S = 3600.0
Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Slope:
    """How fast a series grows."""

    per_hour: float
    """Least squares."""
    low: float
    high: float
    """The interval, per hour; infinite where the series is too short to tell."""
    first: float
    last: float
    """Medians of the first and of the last batch."""
    range: float
    """Largest median of a batch less the smallest."""

    @property
    def flat(self) -> bool:
        """Whether the interval contains 0."""
        return self.low <= 0 <= self.high

    @property
    def visible(self) -> float:
        """The least growth per hour that would have been seen: half the width of the interval."""
        return (self.high - self.low) / 2


def batch_medians(at_s: Values, values: Values, batches: int = BATCHES) -> tuple[Values, Values]:
    """Return times and medians of so many batches, equal in time; a batch without values is left out.

    Args:
        at_s: float [N], seconds, ascending.
        values: float [N], finite.
        batches: how many.
    """
    edges = np.linspace(at_s[0], at_s[-1], batches + 1)
    of_batch = np.clip(np.searchsorted(edges, at_s, side="right") - 1, 0, batches - 1)
    found = [of_batch == number for number in range(batches) if np.any(of_batch == number)]
    times = [float(np.mean(at_s[one])) for one in found]
    return np.asarray(times), np.asarray([float(np.median(values[one])) for one in found])


def slope_of(at_s: Values, values: Values, confidence: float = 0.95, batches: int = BATCHES) -> Slope:
    """Return the slope of a series and its interval.

    Args:
        at_s: float [N], seconds, ascending.
        values: float [N], finite.
        confidence: of the interval, between 0 and 1.
        batches: into how many the series is divided.

    Raises:
        ValueError: there are fewer than eight batches with values; measure longer, or more often.
    """
    times, medians = batch_medians(at_s, values, batches)
    count = len(times)
    if count < LEAST_BATCHES:
        raise ValueError(f"{count} batches have values, a slope needs {LEAST_BATCHES}; measure longer or more often")
    centred = times - times.mean()
    spread = float(centred @ centred)
    slope = float(centred @ medians) / spread
    residuals = medians - medians.mean() - slope * centred
    squares = float(residuals @ residuals)
    if squares <= 1e-18 * max(1.0, float(medians @ medians)):  # a line, but for rounding
        half = 0.0
    else:
        independent = count * _share_independent(residuals, squares)
        if independent < LEAST_INDEPENDENT:
            half = math.inf
        else:
            error = math.sqrt(squares / (independent - 2) / spread)
            half = float(student.ppf((1 + confidence) / 2, independent - 2)) * error
    if slope and abs(slope) * (times[-1] - times[0]) <= 1e-12 * float(np.abs(medians).max()):
        slope = 0.0
    low, high = (bound * HOUR_S for bound in (slope - half, slope + half))
    return Slope(slope * HOUR_S, low, high, float(medians[0]), float(medians[-1]), float(np.ptp(medians)))


def _share_independent(residuals: Values, squares: float) -> float:
    """Return n_eff ÷ n: (1 - r) ÷ (1 + r) of the lag-1 correlation r, at most 1.

    The correlation of residuals of a fitted line comes out too small, by about (2 + 4 r) ÷ n; that is put back.
    """
    count = len(residuals)
    measured = float(residuals[1:] @ residuals[:-1]) / squares
    correlation = min(0.999, max(0.0, (count * measured + 2) / (count - 4)))
    return (1 - correlation) / (1 + correlation)
