"""Thresholds are those of counting, say which rates they do not support, and hold on other people."""

import dataclasses

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface_qdrant.calibration.caveats import caveats, unsupported_targets
from sameface_qdrant.calibration.thresholds import Calibration, Method, calibrate
from sameface_qdrant.metrics.comparisons import Comparisons, labelled_scores
from sameface_qdrant.metrics.cross_comparison import compare_cohort, compare_gallery
from tests.plugin.simulated import people


def table(scores: list[float], mated: list[bool]) -> Comparisons:
    """Labelled scores of people. No person is in two comparisons."""
    first = [f"a{number}" for number in range(len(scores))]
    second = [one if same else f"b{number}" for number, (one, same) in enumerate(zip(first, mated, strict=True))]
    return labelled_scores(scores, first, second)


def measured(comparisons: Comparisons, fmr: float, fpir: float, size: int) -> Calibration:
    return calibrate(comparisons, target_fmr=fmr, target_fpir=fpir, gallery_size=size, replicates=100)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), target=st.floats(0.02, 0.5).map(lambda rate: round(rate, 6)))
def test_a_supported_threshold_is_the_one_of_scikit_learns_curve(seed: int, target: float) -> None:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.beta(8, 3, 60), rng.beta(3, 8, 300)]).round(3)
    labels = np.arange(360) < 60
    found = measured(table(scores.tolist(), labels.tolist()), target, 0.5, 1).verify
    fpr, tpr, thresholds = sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert found.supported == pytest.approx(1 - 0.05 ** (1 / 300))
    assert found.is_supported
    # The lowest score that meets the target, or the step to it from the score below.
    kept = fpr <= target
    assert found.threshold <= thresholds[kept].min() + 1e-4
    assert found.rate == pytest.approx(fpr[kept].max())
    assert found.fnmr is not None
    assert found.fnmr <= 1 - tpr[kept].max() + 1e-12
    rejected = scores[~labels & (scores < found.threshold)]
    assert np.mean(scores[~labels] >= rejected.max()) > target


def test_a_target_beyond_the_comparisons_is_not_extrapolated() -> None:
    rng = np.random.default_rng(4)
    comparisons = table(rng.beta(3, 8, 1000).tolist(), [False] * 1000)
    found = measured(comparisons, 1e-5, 0.3, 10)
    assert not found.verify.is_supported
    assert found.verify.supported == pytest.approx(3 / 1000, rel=0.01)
    assert 0 < found.verify.rate <= found.verify.supported
    assert found.verify.threshold <= float(comparisons.non_mated.max()) + 1e-4
    assert found.verify.fnmr is None
    text = " ".join(caveats(found))
    assert "The target FMR of 1e-05 is not supported: the lowest supported FMR is 0.003" in text
    assert "299,572 independent comparisons; these are equivalent to about 1,000" in text
    assert "FNMR, the runner-up margin and the answers to mated probes are not known" in text
    assert len(unsupported_targets(found)) == 1
    assert not unsupported_targets(found, verify=False)


def test_comparisons_of_few_people_count_for_less_than_their_number() -> None:
    vectors, names = people(np.random.default_rng(5), 60, 3)
    found = measured(compare_gallery(vectors, names), 1e-3, 0.1, 60)
    assert found.evidence.comparisons == 180 * 59
    assert 30 <= found.evidence.effective_comparisons < found.evidence.comparisons / 2
    assert "because people recur in them" in caveats(found)[0]
    assert any("enrolment refuses look-alikes" in sentence for sentence in caveats(found))


def test_identification_is_read_from_searches_where_there_are_enough() -> None:
    vectors, names = people(np.random.default_rng(6), 400, 1)
    comparisons = compare_gallery(vectors, names)
    found = measured(comparisons, 1e-2, 0.05, 400).identify
    assert (found.method, found.is_supported) == (Method.SEARCHES, True)
    # Counted by hand: each person's best score against all others.
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -1)
    assert np.mean(scores.max(axis=1) >= found.threshold) == pytest.approx(found.rate, abs=1e-9)
    assert found.rate <= 0.05
    assert found.other_threshold is not None
    assert measured(comparisons, 1e-2, 1e-4, 400).identify.supported == pytest.approx(3 / 400, rel=0.4)


def test_identification_uses_the_gallery_size_without_searches() -> None:
    rng = np.random.default_rng(7)
    comparisons = table(rng.beta(3, 8, 20_000).tolist(), [False] * 20_000)
    found = measured(comparisons, 1e-2, 0.1, 50).identify
    assert (found.method, found.is_supported) == (Method.GALLERY_SIZE, True)
    single = float(np.mean(comparisons.non_mated >= found.threshold))
    assert found.rate == pytest.approx(1 - (1 - single) ** 50)
    assert found.rate <= 0.1
    assert "no complete search" in found.reason
    # Ten times the people need a higher threshold for the same rate, and more comparisons than there are.
    larger = measured(comparisons, 1e-2, 0.1, 5000).identify
    assert larger.threshold > found.threshold
    assert not larger.is_supported


def test_searches_of_a_part_of_the_gallery_are_not_used_for_all_of_it() -> None:
    vectors, names = people(np.random.default_rng(8), 100, 1)
    found = measured(compare_gallery(vectors, names), 0.1, 0.2, 10_000).identify
    assert found.method is Method.GALLERY_SIZE
    assert "searches looked at 99 identities, the gallery has 10,000" in found.reason


def test_a_larger_gallery_needs_a_higher_threshold() -> None:
    vectors, names = people(np.random.default_rng(9), 800, 1)
    small = measured(compare_gallery(vectors[:100], names[:100]), 1e-2, 0.1, 100).identify
    large = measured(compare_gallery(vectors, names), 1e-2, 0.1, 800).identify
    assert large.threshold > small.threshold


def test_thresholds_hold_on_people_who_were_not_there_when_they_were_chosen() -> None:
    """Halves of simulated people: the mean rate on the other half is the target, within chance."""
    rates, fpirs, covered = [], [], 0
    for seed in range(12):
        rng = np.random.default_rng(100 + seed)
        vectors, names = people(rng, 600, 1)
        chosen = measured(compare_gallery(vectors[:300], names[:300]), 3e-3, 0.1, 300)
        judged = compare_gallery(vectors[300:], names[300:])
        rate = float(np.mean(judged.non_mated >= chosen.verify.threshold))
        rates.append(rate)
        covered += chosen.verify.interval.low <= rate <= chosen.verify.interval.high
        assert judged.non_mated_searches is not None
        fpirs.append(float(np.mean(judged.non_mated_searches.scores >= chosen.identify.threshold)))
    assert np.mean(rates) == pytest.approx(3e-3, rel=0.15)
    assert np.mean(fpirs) == pytest.approx(0.1, rel=0.3)
    assert covered >= 10


def test_a_cohort_gives_the_fpir_of_people_who_are_not_enrolled() -> None:
    rng = np.random.default_rng(10)
    gallery, names = people(rng, 50, 2)
    cohort, cohort_names = people(rng, 900, 1, prefix="s")
    found = measured(compare_cohort(cohort[:450], cohort_names[:450], gallery, names), 1e-2, 0.05, 50)
    assert found.identify.is_supported
    later = (cohort[450:] @ gallery.T).max(axis=1) >= found.identify.threshold
    assert found.identify.interval.low <= later.mean() <= found.identify.interval.high
    assert not any("look-alikes" in sentence for sentence in caveats(found))


def test_the_same_comparisons_give_the_same_numbers() -> None:
    vectors, names = people(np.random.default_rng(12), 40, 2)
    one, other = (measured(compare_gallery(vectors, names), 1e-3, 0.1, 40) for _ in range(2))
    assert one == other
    assert dataclasses.replace(one, gallery_size=41) != other


def test_scores_of_one_limit_the_supported_rate() -> None:
    comparisons = table([1.0] * 5 + [0.1] * 995, [False] * 1000)
    found = measured(comparisons, 4e-3, 0.3, 10).verify
    assert (found.threshold, found.rate, found.supported) == (0.1001, 0.005, 0.005)
    assert not found.is_supported
