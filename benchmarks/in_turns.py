"""Measures contenders in turns within one run, so that a noisy machine slows all of them, and compares by ratios."""

import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.load import Load

Turn = Callable[[float], Awaitable[Load]]
"""Works for so many seconds, and returns what it has done."""
WARM_UP_S = 0.3
REPLICATES = 2000
Loads = dict[str, list[dict[str, Any]]]
"""Per contender one summary for each round, see `summary`."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio: median over the rounds, and a 95 % interval by bootstrap over the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 2 if abs(self.median) < 10 else 1
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


async def in_turns(
    contenders: Mapping[str, Turn], rounds: int, seconds: float, progress: Callable[[str], None]
) -> Loads:
    """Let every contender work once in each round, each time in another order. An uncounted short round comes first."""
    found: Loads = {name: [] for name in contenders}
    for number in range(-1, rounds):
        for name in random.Random(number).sample(list(contenders), len(contenders)):
            progress(f"round {max(0, number) + 1} of {rounds}: {name}")
            load = await contenders[name](seconds if number >= 0 else min(WARM_UP_S, seconds))
            if number >= 0:
                found[name].append(summary(load))
    return found


def summary(load: Load) -> dict[str, Any]:
    """Return the figures of one turn as plain values; processor milliseconds are those of one call."""
    middle, p95, p99 = (percentile(load.latencies_ms, share) for share in (0.5, 0.95, 0.99))
    return {
        "calls": load.calls,
        "per_s": round(load.per_s, 2),
        "median_ms": round(middle, 3),
        "p95_ms": round(p95, 3),
        "p99_ms": round(p99, 3),
        "cpu_ms": {role: round(ms, 3) for role, ms in load.cpu_ms().items()},
    }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Compare two contenders round by round: medians of ``above[i] / below[i]``."""
    return _over_rounds(np.asarray(above) / np.asarray(below))


def difference(one: Sequence[float], other: Sequence[float]) -> Ratio:
    """Compare two contenders round by round: medians of ``one[i] - other[i]``."""
    return _over_rounds(np.asarray(one) - np.asarray(other))


def _over_rounds(each: "np.ndarray[Any, np.dtype[np.float64]]") -> Ratio:
    drawn = np.random.default_rng(1).choice(each, size=(REPLICATES, len(each)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return Ratio(float(np.median(each)), float(low), float(high))


def of(loads: Loads, name: str, figure: str) -> list[float]:
    """Return one figure of a contender, by round."""
    return [one[figure] for one in loads[name]]


def middle(loads: Loads, name: str, figure: str) -> float:
    """Return the median of a figure of a contender over the rounds."""
    return float(np.median(of(loads, name, figure)))
