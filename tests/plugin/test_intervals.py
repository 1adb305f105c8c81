"""Intervals of error rates are those of scipy and of all possible resamples, and cover simulated rates."""

import itertools
from statistics import NormalDist

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sameface_qdrant.metrics import intervals
from sameface_qdrant.metrics.intervals import ConfidenceInterval, IdentityBootstrap, rate_interval


@given(trials=st.integers(1, 10_000), data=st.data(), confidence=st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilsons_interval_is_scipys(trials: int, data: st.DataObject, confidence: float) -> None:
    errors = data.draw(st.integers(0, trials))
    ours = intervals.wilson_interval(errors, trials, confidence)
    theirs = scipy.stats.binomtest(errors, trials).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@given(trials=st.integers(1, 10**7), confidence=st.floats(0.5, 0.999))
def test_the_rule_of_three_is_the_rate_at_which_no_error_would_be_that_unlikely(trials: int, confidence: float) -> None:
    rate = intervals.rule_of_three(trials, confidence)
    assert (1 - rate) ** trials == pytest.approx(1 - confidence, rel=1e-6)
    assert intervals.trials_to_support(rate * (1 + 1e-6), confidence) <= trials
    assert intervals.trials_to_support(rate * (1 - 1e-6), confidence) >= trials


def test_three_over_n_is_close_to_it() -> None:
    assert intervals.rule_of_three(1000) == pytest.approx(3 / 1000, rel=0.01)


def test_the_bootstrap_draws_what_drawing_people_in_every_way_gives() -> None:
    # Three people, all comparisons; 0-1 is an error, and so is one of two comparisons within 2.
    first, second = np.array([0, 0, 1, 2, 2]), np.array([1, 2, 2, 2, 2])
    errors = np.array([True, False, False, True, False])
    every = []
    for drawn in itertools.product(range(3), repeat=3):
        counted = accepted = 0
        for one, other, error in zip(first, second, errors, strict=True):
            # One for each way to draw both people, or for each time that the one person was drawn.
            times = sum(
                1
                for i, j in itertools.product(range(3), repeat=2)
                if drawn[i] == one and drawn[j] == other and (one != other or i == j)
            )
            counted += times
            accepted += times * error
        if counted:
            every.append(accepted / counted)
    rates = IdentityBootstrap(first, second, replicates=20_000, seed=3).rates(errors)
    for rate in sorted(set(every)):
        expected = every.count(rate) / len(every)
        assert np.isclose(rates, rate, atol=1e-6).mean() == pytest.approx(expected, abs=0.02)


def test_the_same_seed_gives_the_same_interval() -> None:
    first, second = np.triu_indices(30, 1)
    errors = np.random.default_rng(5).random(first.size) < 0.1
    assert rate_interval(errors, first, second, seed=4) == rate_interval(errors, first, second, seed=4)
    assert rate_interval(errors, first, second, seed=4) != rate_interval(errors, first, second, seed=5)


def test_disjoint_pairs_have_wilsons_interval_and_pairs_that_share_people_a_wider_one() -> None:
    errors = np.arange(200) < 20
    disjoint = rate_interval(errors, np.arange(200), np.arange(200) + 1000)
    assert disjoint == intervals.wilson_interval(20, 200)
    # Ten people are each in twenty comparisons. All errors are of one person.
    shared = rate_interval(errors, np.arange(200) // 20, np.arange(200) + 1000)
    assert shared.high - shared.low > 2 * (disjoint.high - disjoint.low)


def test_no_error_supports_no_less_than_the_people_allow() -> None:
    first, second = np.triu_indices(20, 1)
    nothing = np.zeros(first.size, np.bool_)
    # 190 comparisons, but at most ten that share no person.
    assert rate_interval(nothing, first, second) == ConfidenceInterval(0.0, intervals.rule_of_three(10))
    assert rate_interval(~nothing, first, second) == ConfidenceInterval(1.0 - intervals.rule_of_three(10), 1.0)


@pytest.mark.parametrize(("spread", "threshold"), [(0.3, 2.0), (0.6, 3.0)])
def test_the_bootstrap_covers_the_truth_where_wilson_does_not(spread: float, threshold: float) -> None:
    """Some people are more similar to others: score = trait of one + trait of the other + chance."""
    truth = 1 - NormalDist(0, (1 + 2 * spread**2) ** 0.5).cdf(threshold)
    rng = np.random.default_rng(11)
    first, second = np.triu_indices(80, 1)
    covered = covered_by_wilson = 0
    for seed in range(150):
        traits = spread * rng.normal(size=80)
        errors = traits[first] + traits[second] + rng.normal(size=first.size) >= threshold
        interval = rate_interval(errors, first, second, replicates=200, seed=seed)
        covered += interval.low <= truth <= interval.high
        wilson = intervals.wilson_interval(int(errors.sum()), errors.size)
        covered_by_wilson += wilson.low <= truth <= wilson.high
    # Binomial chance around 95 % of 150. Wilson assumes that 3,160 comparisons of 80 people are independent.
    assert covered >= 135
    assert covered_by_wilson < 120


@pytest.mark.parametrize("bad", [(1, 0), (3, 2), (-1, 5)])
def test_counts_that_cannot_be_are_refused(bad: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="errors"):
        intervals.wilson_interval(*bad)
    with pytest.raises(ValueError, match="confidence"):
        intervals.rule_of_three(10, 1.0)
    with pytest.raises(ValueError, match="trials"):
        intervals.rule_of_three(0)


@pytest.mark.parametrize("trials", [5.0, 80.0, 2_000.0])
@pytest.mark.parametrize("rate", [0.0, 0.001, 0.1, 0.5, 0.97, 1.0])
def test_a_prediction_interval_is_scipys_beta_binomial_and_holds_the_rate(rate: float, trials: float) -> None:
    found = intervals.prediction_interval(rate, trials, 60)
    predicted = scipy.stats.betabinom(60, rate * trials + 0.5, (1 - rate) * trials + 0.5)
    known = intervals.wilson_interval(rate * trials, trials)
    assert found.low == pytest.approx(min(known.low, predicted.ppf(0.025) / 60))
    assert found.high == pytest.approx(max(known.high, predicted.ppf(0.975) / 60))
    assert found.low <= rate <= found.high


def test_a_rate_that_resampling_does_not_vary_is_not_certain() -> None:
    errors = np.array([True, False] * 10)
    first, second = np.zeros(20, np.int64), np.ones(20, np.int64)
    found = intervals.rate_interval(errors, first, second)
    assert found == intervals.wilson_interval(0.5, 1)
