"""Lambs are found if there are some, and only then. Error rates are measured on other impostors."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sameface_qdrant.calibration.thresholds import calibrate
from sameface_qdrant.metrics.comparisons import Comparisons, labelled_scores
from sameface_qdrant.metrics.cross_comparison import compare_cohort, compare_gallery
from sameface_qdrant.metrics.menagerie import (
    IdentityThresholds,
    binomial_tail,
    holm_correction,
    propose_identity_thresholds,
)
from tests.plugin.simulated import people


def gallery(lambs: int, seed: int = 0) -> Comparisons:
    """Three hundred people. The first few have many people near them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(300, 1, 64))
    middle = rng.normal(size=64)
    centres += 0.2 * middle
    centres[:lambs] += middle
    vectors = centres + 0.5 * rng.normal(size=(300, 2, 64))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    names = [f"p{number:03}" for number in range(300) for _ in range(2)]
    return compare_gallery(vectors.reshape(-1, 64).astype(np.float32), names)


def proposed(comparisons: Comparisons, seed: int = 0) -> tuple[IdentityThresholds, float]:
    found = calibrate(comparisons, target_fmr=1e-3, target_fpir=0.1, gallery_size=300, replicates=50)
    return propose_identity_thresholds(comparisons, found.verify.threshold, 1e-3, seed=seed), found.verify.threshold


def test_lambs_are_found_and_their_thresholds_lower_the_fmr_of_other_impostors() -> None:
    found, threshold = proposed(gallery(lambs=10))
    names = {lamb.identity for lamb in found.lambs}
    assert len(names & {f"p{number:03}" for number in range(10)}) >= 8
    assert all(lamb.threshold > threshold and lamb.p_value <= 0.05 for lamb in found.lambs)
    assert [lamb.p_value for lamb in found.lambs] == sorted(lamb.p_value for lamb in found.lambs)
    assert found.after.fmr < 0.7 * found.before.fmr
    assert found.before.fnmr is not None
    assert found.after.fnmr is not None
    assert found.raised is not None
    assert found.raised.fnmr is not None
    assert found.raised.fnmr <= found.after.fnmr


def test_a_gallery_without_lambs_hardly_ever_has_one_found() -> None:
    first, second = np.triu_indices(150, 1)
    found = 0
    for seed in range(20):
        scores = 0.1 * np.random.default_rng(seed).normal(size=first.size)
        comparisons = labelled_scores(scores, [f"p{one}" for one in first], [f"p{other}" for other in second])
        found += bool(propose_identity_thresholds(comparisons, 0.3, 1e-3, seed=seed).lambs)
    # At most one gallery in twenty by chance; one test for each identity alone would find some in every gallery.
    assert found <= 3


def test_the_measuring_half_took_no_part_in_choosing() -> None:
    comparisons = gallery(lambs=10)
    found, threshold = proposed(comparisons)
    chooses = np.random.default_rng(0).permutation(300) < 150
    # Higher scores in the measuring half change neither lambs nor thresholds.
    measures = ~chooses[comparisons.first] & ~chooses[comparisons.second]
    raised = np.where(measures, 1.0, comparisons.non_mated)
    changed = propose_identity_thresholds(
        Comparisons(
            comparisons.source,
            comparisons.names,
            comparisons.mated,
            comparisons.owners,
            raised,
            comparisons.first,
            comparisons.second,
            comparisons.possible_comparisons,
        ),
        threshold,
        1e-3,
    )
    assert changed.lambs == found.lambs
    assert changed.after.fmr > found.after.fmr


def test_only_the_gallery_has_lambs_where_a_cohort_is_compared() -> None:
    rng = np.random.default_rng(4)
    enrolled, names = people(rng, 20, 2)
    cohort, cohort_names = people(rng, 200, 1, prefix="s")
    cohort[:60] = enrolled[0] + 0.05 * rng.normal(size=(60, 32))
    cohort /= np.linalg.norm(cohort, axis=1, keepdims=True)
    found = propose_identity_thresholds(compare_cohort(cohort, cohort_names, enrolled, names), 0.5, 1e-2)
    assert [lamb.identity for lamb in found.lambs] == ["p0000"]


@given(trials=st.integers(1, 400), data=st.data(), rate=st.floats(1e-6, 1 - 1e-6))
def test_the_binomial_tail_is_scipys(trials: int, data: st.DataObject, rate: float) -> None:
    successes = data.draw(st.integers(0, trials))
    expected = scipy.stats.binom.sf(successes - 1, trials, rate)
    assert binomial_tail(successes, trials, rate) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_rejects_what_stepping_down_by_hand_rejects(p_values: list[float]) -> None:
    corrected = holm_correction(np.array(p_values))
    for level in (0.01, 0.05, 0.5):
        rejected: set[int] = set()
        for step, position in enumerate(np.argsort(p_values, kind="stable")):
            if p_values[position] * (len(p_values) - step) > level:
                break
            rejected.add(int(position))
        assert set(np.flatnonzero(corrected <= level).tolist()) == rejected
