"""What-if against the decisions that the policy itself makes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface_qdrant import Candidate, Outcome, ThresholdSource
from sameface_qdrant.calibration.what_if import (
    OUTCOMES,
    DecisionSetting,
    identification_decisions,
    recorded_decisions,
    verification_decisions,
    what_if,
)
from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.comparisons import labelled_scores
from sameface_qdrant.metrics.cross_comparison import compare_gallery
from sameface_qdrant.metrics.intervals import wilson_interval
from sameface_qdrant.policy import Threshold, decide_identification
from tests.plugin.simulated import people

numbers = st.integers(-10, 10).map(lambda value: value / 10)
rows = st.lists(st.tuples(numbers, st.none() | numbers.map(abs), st.booleans()), min_size=1, max_size=30)
settings = st.builds(DecisionSetting, numbers, numbers.map(abs))


def decided(score: float, lead: float | None, setting: DecisionSetting) -> Outcome:
    others = [] if lead is None else [Candidate("other", score - lead, "t")]
    return decide_identification(
        [Candidate("best", score, "t"), *others],
        limit=2,
        threshold=Threshold(setting.threshold, ThresholdSource.REQUEST),
        margin=setting.margin,
        policy_revision=1,
        gallery_size=2,
    ).outcome


@given(rows=rows, before=settings, after=settings)
def test_every_outcome_is_the_policys_own(
    rows: list[tuple[float, float | None, bool]], before: DecisionSetting, after: DecisionSetting
) -> None:
    # A lead is the difference of two scores: what rounding does to it is no question here.
    rows = [row for row in rows if all(row[1] is None or abs(row[1] - s.margin) > 1e-9 for s in (before, after))]
    if not rows:
        return
    found = what_if(
        recorded_decisions(
            [score for score, _, _ in rows],
            [math.nan if lead is None else lead for _, lead, _ in rows],
            mated=[mated for _, _, mated in rows],
        ),
        before,
        after,
    )
    moved = [(decided(score, lead, before), decided(score, lead, after)) for score, lead, _ in rows]
    assert found.transitions == {(a, b): moved.count((a, b)) for a in OUTCOMES for b in OUTCOMES}
    for index, side in enumerate((found.before, found.after)):
        assert side.counts == {one: [pair[index] for pair in moved].count(one) for one in OUTCOMES}
        labelled = [(pair[index] is Outcome.MATCH, mated) for pair, (_, _, mated) in zip(moved, rows, strict=True)]
        false_matches = [match for match, mated in labelled if not mated]
        missed = [not match for match, mated in labelled if mated]
        for rate, errors in ((side.false_matches, false_matches), (side.false_non_matches, missed)):
            assert (rate is None) == (not errors)
            if rate is not None:
                assert (rate.errors, rate.trials) == (sum(errors), len(errors))
                assert rate.interval is None


def test_decisions_without_labels_are_counted_alone() -> None:
    found = what_if(
        recorded_decisions([0.4, 0.6, 0.8], [0.2, 0.01, 0.3]), DecisionSetting(0.5, 0.0), DecisionSetting(0.5, 0.05)
    )
    assert found.transitions[Outcome.MATCH, Outcome.AMBIGUOUS] == 1
    assert (found.before.false_matches, found.after.false_non_matches) == (None, None)


def test_a_higher_threshold_never_accepts_more() -> None:
    vectors, names = people(np.random.default_rng(1), 50, 2)
    chosen = verification_decisions(compare_gallery(vectors, names))
    found = what_if(chosen, DecisionSetting(0.3), DecisionSetting(0.6))
    for one, other in found.transitions:
        if other is Outcome.MATCH and one is not Outcome.MATCH:
            assert found.transitions[one, other] == 0
    before, after = found.before.false_matches, found.after.false_matches
    assert before is not None
    assert after is not None
    assert before.value > after.value
    assert before.interval is not None
    assert before.interval.low <= before.value <= before.interval.high


def test_rates_of_disjoint_pairs_have_wilsons_interval() -> None:
    table = labelled_scores([0.9, 0.2, 0.7, 0.1], ["a", "b", "c", "d"], ["a", "b", "e", "f"])
    side = what_if(verification_decisions(table), DecisionSetting(0.5), DecisionSetting(0.5)).before
    assert side.false_matches is not None
    assert side.false_matches.interval == wilson_interval(1, 2)


def test_searches_are_mated_and_non_mated() -> None:
    vectors, names = people(np.random.default_rng(2), 80, 2)
    searched = identification_decisions(compare_gallery(vectors, names))
    assert searched.mated is not None
    assert (searched.mated.sum(), (~searched.mated).sum()) == (80, 80)
    side = what_if(searched, DecisionSetting(-1.0, 0.0), DecisionSetting(-1.0, 0.0)).before
    # With the lowest threshold every non-mated search matches, and a mated one where its own identity is ahead.
    assert side.false_matches is not None
    assert side.false_matches.value == 1.0
    assert side.false_non_matches is not None
    assert side.false_non_matches.errors == int((searched.leads[searched.mated] < 0).sum())
    with pytest.raises(NotEnoughData, match="no search"):
        identification_decisions(labelled_scores([0.5], ["a"], ["b"]))


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(NotEnoughData):
        recorded_decisions([])
    with pytest.raises(InvalidArgument, match="finite"):
        recorded_decisions([math.inf])
    with pytest.raises(InvalidArgument, match="leads has 1"):
        recorded_decisions([0.1, 0.2], [0.1])
    with pytest.raises(InvalidArgument, match="both or none"):
        recorded_decisions([0.1], first=[1])
