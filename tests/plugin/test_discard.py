"""Error-versus-discard curves, against a brute-force count."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface_qdrant.metrics.discard import discard_curve, ideal_curve, pairwise_quality

comparisons = st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 4)), min_size=1, max_size=30)
THRESHOLD = 0.3


def split(rows: list[tuple[float, int]]) -> tuple[list[float], list[int]]:
    return [score for score, _ in rows], [quality for _, quality in rows]


def counted(scores: list[float], qualities: list[int], discard: int) -> float:
    """FNMR after `discard` comparisons, the mean over every choice of the lowest ones."""
    lowest = sorted(qualities)[discard - 1] if discard else -1
    gone = {place for place, quality in enumerate(qualities) if quality < lowest}
    tied = [place for place, quality in enumerate(qualities) if quality == lowest]
    rates = []
    for chosen in combinations(tied, discard - len(gone)) if discard else [()]:
        left = set(range(len(scores))) - gone - set(chosen)
        rates.append(sum(scores[place] < THRESHOLD for place in left) / len(left))
    return float(np.mean(rates))


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 3)), min_size=2, max_size=9), st.data())
def test_a_part_of_a_tie_counts_with_its_mean_over_every_choice(
    rows: list[tuple[float, int]], data: st.DataObject
) -> None:
    scores, qualities = split(rows)
    discard = data.draw(st.integers(0, len(rows) - 1))
    curve = discard_curve(scores, qualities, THRESHOLD)
    assert curve.fnmr(discard / len(rows)) == pytest.approx(counted(scores, qualities, discard), abs=1e-9)


@given(comparisons, st.floats(0.01, 0.95))
def test_the_area_is_that_of_the_summed_curve(rows: list[tuple[float, int]], limit: float) -> None:
    curve = discard_curve(*split(rows), THRESHOLD)
    middles = (np.arange(2000) + 0.5) * limit / 2000
    summed = float(np.mean([curve.fnmr(float(each)) for each in middles]))
    assert curve.partial_area(limit) == pytest.approx(summed, abs=2e-3)


@given(comparisons, st.floats(0.0, 0.9))
def test_a_constant_quality_gives_a_flat_curve(rows: list[tuple[float, int]], share: float) -> None:
    scores, _ = split(rows)
    curve = discard_curve(scores, [7] * len(scores), THRESHOLD)
    errors = float(np.mean([score < THRESHOLD for score in scores]))
    assert curve.fnmr(share) == pytest.approx(errors, abs=1e-9)
    assert curve.partial_area(0.2) == pytest.approx(errors, abs=1e-9)


@given(comparisons)
def test_no_quality_is_better_than_the_ideal_one_which_removes_every_error(rows: list[tuple[float, int]]) -> None:
    scores, qualities = split(rows)
    ideal = ideal_curve(np.array(scores), THRESHOLD)
    curve = discard_curve(scores, qualities, THRESHOLD)
    errors = float(np.mean([score < THRESHOLD for score in scores]))
    if errors < 1:
        assert ideal.fnmr(errors) == pytest.approx(0.0, abs=1e-9)
    for limit in (0.05, 0.2, 0.6):
        assert ideal.partial_area(limit) <= curve.partial_area(limit) + 1e-9


@given(comparisons, st.data())
def test_weights_count_like_repetitions(rows: list[tuple[float, int]], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)).filter(any))
    repeated = [row for row, weight in zip(rows, weights, strict=True) for _ in range(weight)]
    weighted = discard_curve(*split(rows), THRESHOLD, weights)
    for share in (0.0, 0.1, 0.33, 0.8):
        assert weighted.fnmr(share) == pytest.approx(discard_curve(*split(repeated), THRESHOLD).fnmr(share), abs=1e-9)


@given(comparisons)
def test_only_the_order_of_the_qualities_counts(rows: list[tuple[float, int]]) -> None:
    scores, qualities = split(rows)
    one, other = (discard_curve(scores, each, THRESHOLD) for each in (qualities, np.exp(qualities) - 5))
    assert one.discarded.tolist() == other.discarded.tolist()
    assert one.errors.tolist() == other.errors.tolist()


def test_the_worse_sample_decides() -> None:
    assert pairwise_quality([80, 30, 50], [50, 90, 50]).tolist() == [50, 30, 50]


@pytest.mark.parametrize(
    ("scores", "qualities", "weights"),
    [
        ([], [], None),
        ([0.1], [1, 2], None),
        ([np.nan], [1], None),
        ([0.1], [np.inf], None),
        ([0.1, 0.2], [1, 2], [1]),
        ([0.1, 0.2], [1, 2], [0, 0]),
        ([0.1, 0.2], [1, 2], [1, -1]),
    ],
)
def test_what_cannot_be_measured_is_refused(
    scores: list[float], qualities: list[float], weights: list[float] | None
) -> None:
    with pytest.raises(ValueError, match=r"expected|not a finite number"):
        discard_curve(scores, qualities, THRESHOLD, weights)


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    curve = discard_curve([0.1, 0.9], [1, 2], THRESHOLD)
    with pytest.raises(ValueError, match="share"):
        curve.fnmr(share)
    with pytest.raises(ValueError, match="share"):
        curve.partial_area(share)
    with pytest.raises(ValueError, match="limit is 0"):
        curve.partial_area(0.0)
