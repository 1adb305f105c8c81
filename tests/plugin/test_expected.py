"""A calibration says what calls will answer, and they answer so: on the same probes exactly, on other ones in the
promised intervals."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sameface_qdrant import Gallery, Policy
from sameface_qdrant.calibration.gallery import measure
from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.calibration.margin import HIGHEST_MARGIN, measure_margin
from sameface_qdrant.calibration.requests import CalibrationOptions, GalleryTemplates
from sameface_qdrant.metrics.comparisons import ComparisonSource, labelled_scores
from sameface_qdrant.metrics.cross_comparison import compare_gallery
from tests.plugin.deciding import (
    CLAIM,
    CONTRACT,
    GALLERY,
    IDENTIFY,
    LOOSE,
    VERIFY,
    Counts,
    alike,
    calibrated,
    decided,
    drawn,
    fused,
    identified,
    look_alikes,
    shares,
    uneven,
)
from tests.plugin.simulated import people


@settings(max_examples=12, deadline=None)
@given(held=st.lists(st.integers(1, 3), min_size=3, max_size=7), seed=st.integers(0, 10**6))
def test_the_shares_are_those_of_deciding_every_template_that_is_left_out(held: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    owners = [number for number, count in enumerate(held) for _ in range(count)]
    vectors = rng.normal(size=(len(owners), 24)) + rng.normal(size=(len(held), 24))[owners]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    policy = Policy(target_fmr=0.3, target_fpir=0.3, target_ambiguous=0.2)
    read = GalleryTemplates(vectors, [f"p{one}" for one in owners], len(owners))
    measured = measure(Gallery("staff", CONTRACT, policy), len(held), read, CalibrationOptions())
    found = measured.expected
    mated, claims = [], []
    for probe, own in enumerate(owners):
        scores: dict[int, float] = {}
        for other, owner in enumerate(owners):
            if other != probe:
                cosine = float(vectors[probe].astype(np.float64) @ vectors[other])
                scores[owner] = max(scores.get(owner, -1.0), cosine)
        if own in scores:
            mated.append((own, scores))
        strangers = {one: score for one, score in scores.items() if one != own}
        claims += [(one, strangers) for one in strangers]
    every: Counts = decided(mated, claims, found) if mated else {}
    for kind, counts in every.items():
        answer = found.of(kind[0], kind[1], mated=kind[2])
        assert answer is not None
        assert answer.probes == sum(counts.values())
        for share, low, high, counted in shares(answer, counts):
            # A score that lies at the threshold within rounding may fall on either side.
            assert share == pytest.approx(counted, abs=1.01 / answer.probes)
            assert low <= share <= high
    if not mated:
        assert not any(one.mated for one in found.answers)


@pytest.mark.parametrize("population", [alike, uneven, look_alikes])
@pytest.mark.parametrize("each", [2, 4])
def test_probes_of_other_draws_are_answered_within_the_promised_intervals(
    population: Callable[[np.random.Generator, int], tuple[NDArray[np.float64], NDArray[np.float64]]], each: int
) -> None:
    inside: list[bool] = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        centres, spread = population(rng, 250)
        templates = drawn(rng, centres[:50], spread[:50], each)
        found = calibrated(templates).expected
        probes = drawn(rng, centres[:50], spread[:50], 4).reshape(200, -1)
        strangers = fused(drawn(rng, centres[50:], spread[50:], 1)[:, 0], templates)
        mated = list(zip((one // 4 for one in range(200)), fused(probes, templates), strict=True))
        every = decided(mated, list(zip(map(int, rng.integers(0, 50, 200)), strangers, strict=True)), found)
        every[IDENTIFY, GALLERY, False] = Counter(identified(scores, None, found) for scores in strangers)
        for (operation, scope, is_mated), counts in every.items():
            answer = found.of(operation, scope, mated=is_mated)
            assert answer is not None
            inside += [low - 1e-9 <= counted <= high + 1e-9 for _, low, high, counted in shares(answer, counts)]
    # Each is promised with 95 %. The outcomes of one seed depend on each other.
    assert len(inside) == 3 * 19
    assert np.mean(inside) >= 0.93


def test_intervals_are_not_so_wide_that_they_promise_nothing() -> None:
    rng = np.random.default_rng(1)
    centres, spread = uneven(rng, 150)
    found = calibrated(drawn(rng, centres, spread, 5)).expected
    assert max(one.match.interval.high - one.match.interval.low for one in found.answers) < 0.22


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 20), st.integers(-3, 12)), min_size=1, max_size=25),
    target=st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]),
)
def test_the_margin_is_the_largest_that_keeps_the_target(rows: list[tuple[int, int]], target: float) -> None:
    # No lead is a margin with four decimals: the last bit of a difference would decide.
    scores, leads = [one / 20 for one, _ in rows], [other / 100 + 0.00003 for _, other in rows]
    names = [f"a{number}" for number in range(len(rows))]
    table = labelled_scores([*scores, -1.0], [*names, "x"], [*names, "y"], [*leads, math.nan])
    found = measure_margin(table, target, 0.4, 0.6)
    assert found is not None
    assert table.mated_probes is not None
    # As they are stored: a score minus a score.
    leads = [float(one) for one in table.mated_probes.leads]
    assert leads == pytest.approx([other / 100 + 0.00003 for _, other in rows])

    def share(margin: float) -> float:
        return max(
            sum(s >= threshold and lead < margin for s, lead in zip(scores, leads, strict=True)) / len(rows)
            for threshold in (0.4, 0.6)
        )

    assert found.ambiguous == share(found.margin)
    if share(0.0) > target + 1e-12:
        assert (found.margin, found.is_attained) == (0.0, False)
    else:
        assert found.is_attained
        # Margins have four decimals.
        assert found.margin == HIGHEST_MARGIN or share(found.margin + 1.5e-4) > target


def test_one_template_each_needs_a_cohort_with_two_samples() -> None:
    vectors, _ = people(np.random.default_rng(1), 60, 3, dimension=24)
    templates = vectors.reshape(60, 3, 24)[:, :1]
    alone = calibrated(templates)
    assert alone.margin is None
    assert alone.expected.margin == LOOSE.runner_up_margin
    assert [one.mated for one in alone.expected.answers] == [False, False, False]
    assert any("Bring a cohort with two samples of each person" in one for one in alone.caveats)

    two, names = people(np.random.default_rng(2), 40, 2, dimension=24, prefix="c")
    helped = calibrated(templates, cohort=Cohort(two, tuple(names)))
    assert helped.comparisons.source is ComparisonSource.COHORT
    answer = helped.expected.of(VERIFY, GALLERY, mated=True)
    assert helped.margin is not None
    assert answer is not None
    # Each of the 80 samples is compared with the other one of its person, as if that were enrolled.
    assert (answer.probes, answer.identities, answer.fewer_templates) == (80, 40, False)
    own = np.einsum("pd,pd->p", two, two.reshape(40, 2, 24)[:, ::-1].reshape(80, 24))
    lead = own - (two @ templates[:, 0].T).max(axis=1)
    verify = helped.calibration.verify.threshold
    assert answer.match.share == pytest.approx(float(np.mean((own >= verify) & (lead >= helped.margin.margin))))


def test_scores_without_leads_leave_the_margin_alone_and_say_so() -> None:
    rng = np.random.default_rng(3)
    names, others = [f"a{number}" for number in range(400)], [f"b{number}" for number in range(400)]
    scores = [*rng.normal(0.7, 0.1, 400).clip(-1, 1), *rng.normal(0.0, 0.1, 400)]
    gallery = Gallery("staff", CONTRACT, LOOSE)
    plain = measure(gallery, 400, labelled_scores(scores, names + names, names + others), CalibrationOptions())
    assert plain.margin is None
    assert {(one.scope, one.mated) for one in plain.expected.answers} == {(CLAIM, True), (CLAIM, False)}
    assert any("Bring a lead for each score" in one for one in plain.caveats)

    leads = [*np.linspace(-0.01, 0.99, 400), *rng.normal(-0.2, 0.1, 400)]
    told = measure(gallery, 400, labelled_scores(scores, names + names, names + others, leads), CalibrationOptions())
    assert told.margin is not None
    assert 0.0 < told.margin.margin < HIGHEST_MARGIN
    assert told.expected.of(VERIFY, GALLERY, mated=True) is not None
    assert not any("lead" in one for one in told.caveats)


def test_few_people_are_not_certain() -> None:
    rng = np.random.default_rng(4)
    for count in (2, 3):
        vectors, names = people(rng, count, 6, dimension=24, spread=1.5)
        found = calibrated(vectors.reshape(count, 6, 24), Policy(target_fmr=0.4, target_fpir=0.4))
        verify = found.calibration.verify
        # All replicates of two people are alike.
        assert count == 3 or found.calibration.evidence.effective_comparisons == 1
        assert verify.interval.high - verify.interval.low > 0.2
        assert any(f"Only {count} identities were compared" in one for one in found.caveats)
        assert compare_gallery(vectors, names).non_mated.size == count * 6 * (count - 1)
