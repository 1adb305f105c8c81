"""Rates over all pairs, in the samples and in every resample, compared with plain loops."""

import itertools
import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sameface.evaluation import cross_comparison, resampling
from sameface.evaluation.cross_comparison import NO_SCORE, CrossComparison, TailTooShort, compare_all_samples
from sameface.evaluation.operating_points import measure_operating_points
from sameface.evaluation.resampling import draw_identities, resample
from sameface.evaluation.samples import Samples
from sameface.evaluation.verification import sampled_det_curve, verify
from sameface_qdrant.errors import NotEnoughData
from tests.evaluation.conftest import made

Counted = dict[str, int]


def spelt_out(samples: Samples, counted: Counted) -> tuple[list[tuple[float, float]], list[float]]:
    """Return mated scores with weights (every identity 1) and non-mated scores, repeated as `counted` says."""
    everyone = [
        *zip(samples.identity, samples.vectors.astype(float), strict=True),
        *((one.identity, None) for one in samples.not_acquired),
    ]
    mated: dict[str, list[float]] = {}
    non_mated = []
    for (one, first), (other, second) in itertools.combinations(everyone, 2):
        failed = first is None or second is None
        score = -9.0 if failed else float(first @ second)
        if one == other:
            mated.setdefault(one, []).append(score)
        elif not failed:
            non_mated += [score] * (counted[one] * counted[other])
    weighted = [
        (score, 1 / len(scores)) for name, scores in mated.items() for score in scores for _ in range(counted[name])
    ]
    return weighted, non_mated


def lowest_threshold(non_mated: list[float], target: float, possible: list[float]) -> float:
    """Return the least of `possible` thresholds (just above a score, or the lowest score) that keeps the target."""
    return min(t for t in possible if sum(score >= t for score in non_mated) <= target * len(non_mated) + 1e-9)


def equal_error_rate(mated: list[tuple[float, float]], non_mated: list[float]) -> float:
    """Return (FMR + FNMR) / 2 where they are nearest, at the lowest such threshold."""
    rates = [
        (
            sum(score >= threshold for score in non_mated) / len(non_mated),
            sum(weight for score, weight in mated if score < threshold) / sum(weight for _, weight in mated),
        )
        for threshold in sorted({*non_mated, *(score for score, _ in mated)})
    ]
    fmr, fnmr = min(rates, key=lambda pair: round(abs(pair[0] - pair[1]), 12))
    return (fmr + fnmr) / 2


def once(samples: Samples) -> Counted:
    return dict.fromkeys([*samples.identity, *(one.identity for one in samples.failures)], 1)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    sizes=st.lists(st.integers(1, 4), min_size=3, max_size=7),
    failures=st.integers(0, 2),
    blocks=st.sampled_from([(1024, 64, 1024), (3, 2, 5), (1, 1, 1)]),
)
def test_every_resample_is_what_repeating_its_people_gives(
    seed: int, sizes: list[int], failures: int, blocks: tuple[int, int, int]
) -> None:
    names = [f"p{number}" for number, size in enumerate(sizes) for _ in range(size)]
    samples = made([*names, "p0"], seed=seed, noise=1.5, failed=[f"p{number}" for number in range(failures)])
    comparison = compare_all_samples(samples)
    resample_counts = draw_identities(len(comparison.identities), 5, seed)
    targets = (0.5, 0.1, 0.01)
    with pytest.MonkeyPatch.context() as patch:
        for name, size in zip(("_GROUPS", "_RESAMPLES", "_PAIRS"), blocks, strict=True):
            patch.setattr(resampling, name, size)
        found = resample(comparison, targets, resample_counts)
    every_score = sorted({float(score) for score in comparison.tail})
    possible = [every_score[0], *(math.nextafter(score, math.inf) for score in every_score)]
    for row, times in enumerate(resample_counts):
        mated, non_mated = spelt_out(samples, dict(zip(comparison.identities, map(int, times), strict=True)))
        if not mated or not non_mated:
            assert np.isnan(found.fnmr[row]).all()
            continue
        for place, target in enumerate(targets):
            threshold = lowest_threshold(non_mated, target, possible)
            assert found.thresholds[row, place] == threshold
            eer = equal_error_rate([(score, 1.0) for score, _ in mated], non_mated)
            assert found.eer[row] == pytest.approx(eer)
            assert found.eer_by_identity[row] == pytest.approx(equal_error_rate(mated, non_mated))
            missed = [(weight, score < threshold) for score, weight in mated]
            assert found.fnmr[row, place] == pytest.approx(sum(miss for _, miss in missed) / len(missed))
            assert found.fnmr_by_identity[row, place] == pytest.approx(
                sum(weight for weight, miss in missed if miss) / sum(weight for weight, _ in missed)
            )


def test_the_whole_set_is_the_resample_that_draws_everybody_once(people: Samples) -> None:
    found = verify(people, (0.1, 0.01), replicates=100)
    again = resample(found.comparison, (0.1, 0.01), np.ones((1, len(found.comparison.identities)), np.int64))
    for place, point in enumerate(found.points):
        assert again.thresholds[0, place] == point.threshold
        assert again.fnmr[0, place] == pytest.approx(point.fnmr.value)
        assert again.fnmr_by_identity[0, place] == pytest.approx(point.fnmr_by_identity.value)
    assert again.eer[0] == pytest.approx(found.eer.value)
    assert again.eer_by_identity[0] == pytest.approx(found.eer_by_identity.value)


def test_points_are_what_counting_gives(people: Samples) -> None:
    found = verify(people, (0.05,), replicates=100)
    mated, non_mated = spelt_out(people, once(people))
    point = found.points[0]
    assert found.comparison.non_mated == len(non_mated)
    assert point.false_matches == sum(score >= point.threshold for score in non_mated) <= 0.05 * len(non_mated)
    assert point.fnmr.value == pytest.approx(sum(score < point.threshold for score, _ in mated) / len(mated))
    weights = sum(weight for _, weight in mated)
    missed = sum(weight for score, weight in mated if score < point.threshold)
    assert point.fnmr_by_identity.value == pytest.approx(missed / weights)
    assert point.fnmr.interval.low <= point.fnmr.value <= point.fnmr.interval.high


def test_the_equal_error_rate_is_scikit_learns(people: Samples) -> None:
    found = verify(people, replicates=100)
    mated, non_mated = spelt_out(people, once(people))
    labels, scores = [1] * len(mated) + [0] * len(non_mated), [score for score, _ in mated] + non_mated
    for ours, weights in ((found.eer.value, None), (found.eer_by_identity.value, [weight for _, weight in mated])):
        by_score = None if weights is None else [*weights, *([1.0] * len(non_mated))]
        fpr, tpr, _ = sklearn.metrics.roc_curve(labels, scores, sample_weight=by_score, drop_intermediate=False)
        nearest = np.argmin(np.abs(fpr - (1 - tpr)))
        assert ours == pytest.approx((fpr[nearest] + 1 - tpr[nearest]) / 2, abs=1e-3)


def test_a_photo_without_a_face_never_matches(people: Samples) -> None:
    comparison = compare_all_samples(people)
    failed = comparison.mated[comparison.mated == NO_SCORE]
    # p03 has four photos and p04 five, and one each that failed.
    assert failed.size == 4 + 5
    assert (comparison.tail_samples < len(people.sample)).all()


def test_the_tail_is_the_highest_scores(people: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    _, non_mated = spelt_out(people, once(people))
    monkeypatch.setattr(cross_comparison, "LEAST_KEPT", 1)
    monkeypatch.setattr(cross_comparison, "_BLOCK", 7)
    comparison = compare_all_samples(people, share=0.2)
    highest = sorted(non_mated, reverse=True)
    assert 0.2 * len(non_mated) <= comparison.tail.size < 0.25 * len(non_mated)
    np.testing.assert_allclose(comparison.tail, highest[: comparison.tail.size], atol=1e-6)
    for (one, other), score in zip(comparison.tail_samples[:50], comparison.tail[:50], strict=True):
        assert people.identity[one] != people.identity[other]
        assert float(people.vectors[one] @ people.vectors[other]) == pytest.approx(score, abs=1e-6)
    mated, non_mated_counts = comparison.histogram
    assert (mated.sum(), non_mated_counts.sum()) == (np.count_nonzero(comparison.mated > NO_SCORE), len(non_mated))


def test_few_kept_scores_give_the_same_figures_or_none(people: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = verify(people, (0.05, 0.01), replicates=100, seed=3)
    monkeypatch.setattr(cross_comparison, "LEAST_KEPT", 1)
    with pytest.raises(TailTooShort):
        resample(compare_all_samples(people, 0.01), (0.05,), whole.resample_counts)
    kept = verify(people, (0.05, 0.01), replicates=100, seed=3)
    assert kept.comparison.tail.size < whole.comparison.tail.size == whole.comparison.non_mated
    assert kept.points == whole.points
    assert kept.eer_by_identity.value == pytest.approx(whole.eer_by_identity.value)
    np.testing.assert_allclose(kept.resampled.eer, whole.resampled.eer)


@pytest.mark.parametrize("kept", [1, 10**6])
def test_the_curve_goes_through_the_points(people: Samples, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(cross_comparison, "LEAST_KEPT", kept)
    found = verify(people, (0.05,), replicates=100)
    curve = sampled_det_curve(found.comparison, points=2000)
    # Between two neighbouring scores nothing changes.
    place = int(np.searchsorted(curve.thresholds, found.points[0].threshold))
    assert curve.fmr[place] == pytest.approx(found.points[0].fmr)
    assert curve.fnmr[place] == pytest.approx(found.points[0].fnmr_by_identity.value)
    assert curve.thresholds[0] >= found.comparison.tail[-1]
    assert (np.diff(curve.fmr) <= 0).all()
    assert (np.diff(curve.fnmr) >= 0).all()


def test_no_error_is_not_proof_of_none() -> None:
    found = verify(made([f"p{number}" for number in range(10) for _ in range(3)], noise=0.0), (0.01,), replicates=100)
    assert found.points[0].fnmr.value == 0.0
    # Ten people without an error: less than 26 % with 95 % confidence.
    assert found.points[0].fnmr.interval.high == pytest.approx(1 - 0.05**0.1)


@pytest.mark.parametrize("identities", [["a", "a"], ["a", "b", "c"]])
def test_one_kind_of_comparison_is_not_enough(identities: list[str]) -> None:
    with pytest.raises(NotEnoughData, match="expected some of both"):
        verify(made(identities))


def test_an_interval_covers_the_rate_of_other_people() -> None:
    """Of a population whose FNMR at FMR 5 % is known from many people, samples of fifty cover it nearly always."""
    names = [f"p{number:04}" for number in range(1600) for _ in range(2)]
    everybody = made(names, noise=0.5)

    def part(people: NDArray[np.int64]) -> Samples:
        rows = np.sort(np.concatenate([2 * people, 2 * people + 1]))
        samples = tuple(everybody.sample[row] for row in rows)
        return Samples(everybody.vectors[rows], tuple(names[row] for row in rows), samples)

    truth = measure_operating_points(compare_all_samples(part(np.arange(1000)), 0.2), (0.05,))[0].fnmr
    assert 0.02 < truth < 0.5
    rng = np.random.default_rng(2)
    covered = 0
    for seed in range(40):
        chosen = 1000 + rng.choice(600, 50, replace=False)
        interval = verify(part(chosen), (0.05,), replicates=100, seed=seed).points[0].fnmr_by_identity.interval
        covered += interval.low <= truth <= interval.high
    assert covered >= 34


def test_a_cross_of_one_identity_counts_each_pair_once() -> None:
    comparison: CrossComparison = compare_all_samples(made(["a", "b", "a", "a"]))
    assert {tuple(sorted(map(int, pair))) for pair in comparison.mated_samples} == {(0, 2), (0, 3), (2, 3)}
    assert comparison.identity_weights.tolist() == [1 / 3] * 3
