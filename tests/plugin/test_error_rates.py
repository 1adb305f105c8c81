"""Error rates are those of scikit-learn and of plain counting."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from sameface_qdrant.metrics import error_rates

# Few values, so that ties are common.
scores = st.lists(st.integers(-10, 10).map(lambda value: value / 10), min_size=1, max_size=40)
thresholds = st.integers(-11, 11).map(lambda value: value / 10)


@given(mated=scores, non_mated=scores, threshold=thresholds)
def test_rates_are_what_counting_gives(mated: list[float], non_mated: list[float], threshold: float) -> None:
    assert error_rates.fmr(non_mated, threshold) == sum(s >= threshold for s in non_mated) / len(non_mated)
    assert error_rates.fnmr(mated, threshold) == sum(s < threshold for s in mated) / len(mated)


@given(mated=scores, non_mated=scores)
def test_the_det_curve_is_scikit_learns_roc(mated: list[float], non_mated: list[float]) -> None:
    curve = error_rates.det_curve(mated, non_mated)
    labels = [1] * len(mated) + [0] * len(non_mated)
    fpr, tpr, thresholds = sklearn.metrics.roc_curve(labels, mated + non_mated, drop_intermediate=False)
    by_threshold = {
        threshold: (fp, 1 - tp)
        for threshold, fp, tp in zip(thresholds, fpr, tpr, strict=True)
        if np.isfinite(threshold)
    }
    assert sorted(by_threshold) == pytest.approx(curve.thresholds.tolist())
    for threshold, fmr, fnmr in zip(curve.thresholds, curve.fmr, curve.fnmr, strict=True):
        assert (fmr, fnmr) == pytest.approx(by_threshold[threshold], abs=1e-12)


@given(non_mated=scores, target=st.floats(0, 1))
def test_the_threshold_for_a_target_is_the_lowest_that_keeps_it(non_mated: list[float], target: float) -> None:
    threshold = error_rates.threshold_at_fmr(non_mated, target)
    assert error_rates.fmr(non_mated, threshold) <= target + 1e-9
    below = [score for score in non_mated if score < threshold]
    if below:
        assert error_rates.fmr(non_mated, max(below)) > target - 1e-9


@given(non_mated=scores, weights=st.data(), threshold=thresholds)
def test_weights_count_as_repetitions(non_mated: list[float], weights: st.DataObject, threshold: float) -> None:
    times = weights.draw(st.lists(st.integers(1, 4), min_size=len(non_mated), max_size=len(non_mated)))
    repeated = np.repeat(non_mated, times)
    assert error_rates.fmr(non_mated, threshold, times) == pytest.approx(error_rates.fmr(repeated, threshold))


def test_the_equal_error_rate_of_a_worked_example() -> None:
    # At 0.5: one of four non-mated scores is accepted and one of four mated scores is refused.
    assert error_rates.eer([0.4, 0.6, 0.7, 0.8], [0.1, 0.2, 0.3, 0.5]) == 0.25


@given(mated=scores, non_mated=scores, weights=st.data())
def test_equal_error_rates_with_weights_count_as_repetitions(
    mated: list[float], non_mated: list[float], weights: st.DataObject
) -> None:
    ours, theirs = (
        weights.draw(st.lists(st.integers(1, 3), min_size=len(side), max_size=len(side))) for side in (mated, non_mated)
    )
    again = np.repeat(mated, ours), np.repeat(non_mated, theirs)
    assert error_rates.eer(mated, non_mated, ours, theirs) == pytest.approx(error_rates.eer(*again))
    threshold = error_rates.eer_threshold(mated, non_mated, ours, theirs)
    rates = error_rates.fmr(non_mated, threshold, theirs), error_rates.fnmr(mated, threshold, ours)
    assert sum(rates) / 2 == pytest.approx(error_rates.eer(mated, non_mated, ours, theirs))
    assert all(
        abs(rates[0] - rates[1]) <= abs(error_rates.fmr(again[1], other) - error_rates.fnmr(again[0], other)) + 1e-9
        for other in {*mated, *non_mated}
    )


def test_open_set_rates_with_weights_count_as_repetitions() -> None:
    searches, ranks, weights = [0.9, 0.8, 0.4, 0.7], [1, 2, 1, 1], [1, 2, 3, 1]
    repeated = error_rates.fnir(np.repeat(searches, weights), np.repeat(ranks, weights), 0.5)
    assert error_rates.fnir(searches, ranks, 0.5, weights=weights) == pytest.approx(repeated)
    assert error_rates.fpir(searches, 0.75, weights) == pytest.approx(
        error_rates.fpir(np.repeat(searches, weights), 0.75)
    )


def test_open_set_rates_of_a_worked_example() -> None:
    assert error_rates.fpir([0.2, 0.5, 0.7, 0.4], threshold=0.5) == 0.5
    # The second one has rank 2, the third one is below the threshold.
    assert error_rates.fnir([0.9, 0.8, 0.4, 0.7], [1, 2, 1, 1], threshold=0.5) == 0.5
    assert error_rates.fnir([0.9, 0.8, 0.4, 0.7], [1, 2, 1, 1], threshold=0.5, rank=2) == 0.25
    assert error_rates.fte(3, 12) == error_rates.fta(3, 12) == 0.25


@pytest.mark.parametrize("bad", [[], [float("nan")], [float("inf")]])
def test_scores_that_cannot_be_counted_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="scores"):
        error_rates.fmr(bad, 0.5)


def test_rates_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="target"):
        error_rates.threshold_at_fmr([0.1], 1.5)
    with pytest.raises(ValueError, match="weights"):
        error_rates.fmr([0.1, 0.2], 0.5, [1.0])
    with pytest.raises(ValueError, match="failed"):
        error_rates.fte(3, 2)
    with pytest.raises(ValueError, match="failed"):
        error_rates.fta(0, 0)
