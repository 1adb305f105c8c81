"""Slopes and their intervals, on series whose slope is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from tests.soak.slopes import HOUR_S, Values, batch_medians, slope_of

AT_S: Values = np.arange(0.0, 900.0, 2.0)


def correlated(rng: np.random.Generator, correlation: float) -> Values:
    """A series around 0 in which each value is like the one before (AR(1)), as memory is."""
    first = rng.normal() / np.sqrt(1 - correlation**2)
    shocks = np.concatenate([[first], rng.normal(size=len(AT_S) - 1)])
    return np.asarray(lfilter([1.0], [1.0, -correlation], shocks))


@pytest.mark.parametrize("correlation", [0.0, 0.9, 0.97])
def test_intervals_contain_the_true_slope_as_often_as_they_say(correlation: float) -> None:
    rng, per_hour = np.random.default_rng(7), 40.0
    found = [slope_of(AT_S, correlated(rng, correlation) + AT_S * per_hour / HOUR_S) for _ in range(200)]
    hits = sum(one.low <= per_hour <= one.high for one in found)
    assert hits >= 180  # 95 % of 200, less three standard errors


def test_an_interval_that_ignores_the_correlation_would_often_miss_the_slope() -> None:
    """The reason for the method: the usual interval of least squares is much too narrow."""
    rng, hits = np.random.default_rng(7), 0
    for _ in range(100):
        (slope, _), covariance = np.polyfit(AT_S, correlated(rng, 0.97), 1, cov=True)
        hits += abs(slope) <= 1.96 * np.sqrt(covariance[0, 0])
    assert hits < 60


def test_a_leak_in_noise_is_seen() -> None:
    rng = np.random.default_rng(3)
    found = slope_of(AT_S, 300 + correlated(rng, 0.5) + AT_S * 60 / HOUR_S, confidence=0.998)
    assert found.low > 0
    assert not found.flat
    assert abs(found.per_hour - 60) <= found.visible


@settings(max_examples=15)
@given(st.floats(-1e3, 1e3), st.floats(0.01, 1e3))
def test_a_line_has_its_own_slope_and_no_width(per_hour: float, level: float) -> None:
    found = slope_of(AT_S, level + AT_S * per_hour / HOUR_S)
    assert found.per_hour == pytest.approx(per_hour, rel=1e-6, abs=1e-6)
    assert found.visible <= 1e-6 * max(1.0, abs(per_hour))


@pytest.mark.parametrize("level", [0.0, 17.0, 0.1, 123456.7])
def test_what_never_changes_is_flat(level: float) -> None:
    found = slope_of(AT_S, np.full(len(AT_S), level))
    assert (found.low, found.per_hour, found.high) == (0, 0, 0)
    assert found.flat


def test_a_walk_that_could_go_anywhere_tells_nothing() -> None:
    found = slope_of(AT_S, np.cumsum(np.random.default_rng(5).normal(size=len(AT_S))))
    assert found.visible == np.inf or found.visible > 1000


@settings(max_examples=15)
@given(st.integers(8, 40), st.integers(0, 2**32 - 1))
def test_medians_of_batches_are_those_of_a_loop(batches: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    at_s = np.sort(rng.uniform(0, 100, 90))
    values = rng.normal(size=90)
    width = (at_s[-1] - at_s[0]) / batches
    expected: dict[int, list[float]] = {}
    for when, value in zip(at_s, values, strict=True):
        expected.setdefault(min(batches - 1, int((when - at_s[0]) / width)), []).append(value)
    times, medians = batch_medians(at_s, values, batches)
    assert medians.tolist() == [pytest.approx(np.median(expected[number])) for number in sorted(expected)]
    assert np.all(np.diff(times) > 0)


def test_one_peak_does_not_move_a_slope() -> None:
    values = np.full(len(AT_S), 50.0)
    values[-3] = 900.0
    assert slope_of(AT_S, values).per_hour == 0


def test_too_few_readings_are_refused() -> None:
    with pytest.raises(ValueError, match="5 batches have values, a slope needs 8; measure longer or more often"):
        slope_of(np.arange(5.0), np.ones(5))
