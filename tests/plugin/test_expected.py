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

from sameface_qdrant import Candidate, Contract, Gallery, Operation, Outcome, Policy, Scope, ThresholdSource
from sameface_qdrant.calibration.expected import ExpectedAnswer, ExpectedAnswers, ExpectedShare
from sameface_qdrant.calibration.gallery import CalibrationOptions, GalleryCalibration, GalleryTemplates, measure
from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.calibration.margin import HIGHEST_MARGIN, measure_margin
from sameface_qdrant.metrics.comparisons import ComparisonSource, labelled_scores
from sameface_qdrant.metrics.cross_comparison import compare_gallery
from sameface_qdrant.policy import Threshold, decide_identification, decide_verification
from tests.plugin.simulated import people

Vectors = NDArray[np.float32]
CONTRACT = Contract("voices", version=1, sha256="b" * 64, dimension=24, preprocessing="none")
LOOSE = Policy(target_fmr=0.03, target_fpir=0.12)
VERIFY, IDENTIFY = Operation.VERIFICATION, Operation.IDENTIFICATION
CLAIM, GALLERY = Scope.CLAIM, Scope.GALLERY
RIGHT, WRONG = "right", "wrong"


def calibrated(templates: Vectors, policy: Policy = LOOSE, cohort: Cohort | None = None) -> GalleryCalibration:
    """Calibrate a gallery of templates [identities, each, dimension]."""
    count, each = templates.shape[:2]
    names = [f"p{number:04d}" for number in range(count) for _ in range(each)]
    read = GalleryTemplates(templates.reshape(count * each, -1), names, len(names))
    return measure(Gallery("staff", CONTRACT, policy), count, read, CalibrationOptions(cohort=cohort))


def verified(scores: dict[int, float], claim: int, found: ExpectedAnswers, scope: Scope) -> str:
    """Decide a claim as the store does, from the score of every identity."""
    others = [Candidate(str(one), score, "t") for one, score in scores.items() if one != claim]
    assert found.verify_threshold is not None
    return decide_verification(
        Candidate(str(claim), scores[claim], "t"),
        max(others, key=lambda one: one.score, default=None),
        scope=scope,
        threshold=Threshold(found.verify_threshold, ThresholdSource.GALLERY),
        margin=found.margin,
        policy_revision=1,
        gallery_size=len(scores),
    ).outcome


def identified(scores: dict[int, float], own: int | None, found: ExpectedAnswers) -> str:
    """Decide a search as the store does; a MATCH of another than ``own`` is `WRONG`."""
    ranked = sorted((Candidate(str(one), score, "t") for one, score in scores.items()), key=lambda one: -one.score)
    assert found.identify_threshold is not None
    decision = decide_identification(
        ranked,
        limit=2,
        threshold=Threshold(found.identify_threshold, ThresholdSource.GALLERY),
        margin=found.margin,
        policy_revision=1,
        gallery_size=len(scores),
    )
    if decision.outcome is Outcome.MATCH and own is not None and decision.candidates[0].identity != str(own):
        return WRONG
    return decision.outcome


Counts = dict[tuple[Operation, Scope, bool], Counter[str]]


def decided(
    mated: list[tuple[int, dict[int, float]]], claims: list[tuple[int, dict[int, float]]], found: ExpectedAnswers
) -> Counts:
    """Count the outcomes of every kind of call: of mated probes, and of claims by people who are not enrolled."""
    return {
        (VERIFY, CLAIM, True): Counter(verified(scores, own, found, CLAIM) for own, scores in mated),
        (VERIFY, GALLERY, True): Counter(verified(scores, own, found, GALLERY) for own, scores in mated),
        (IDENTIFY, GALLERY, True): Counter(identified(scores, own, found) for own, scores in mated),
        (VERIFY, CLAIM, False): Counter(verified(scores, claim, found, CLAIM) for claim, scores in claims),
        (VERIFY, GALLERY, False): Counter(verified(scores, claim, found, GALLERY) for claim, scores in claims),
    }


def shares(answer: ExpectedAnswer, counts: Counter[str]) -> list[tuple[float, float, float, float]]:
    """Return share, low, high and the share that was counted, for each outcome."""
    total = sum(counts.values())
    named: list[tuple[str, ExpectedShare | None]] = [
        (Outcome.MATCH, answer.match),
        (Outcome.AMBIGUOUS, answer.ambiguous),
        (Outcome.NO_MATCH, answer.no_match),
        (WRONG, answer.wrong_match),
    ]
    return [
        (one.share, one.interval.low, one.interval.high, counts[name] / total) for name, one in named if one is not None
    ]


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


def alike(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return rng.normal(size=(count, 24)), np.full(count, 0.35)


def uneven(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Some people vary far more than others."""
    return rng.normal(size=(count, 24)), rng.uniform(0.3, 1.1, count)


def look_alikes(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Families of about three people who are hard to tell apart, as digits are."""
    families = rng.normal(size=(count // 3, 24))
    return families[rng.integers(0, len(families), count)] + 0.3 * rng.normal(size=(count, 24)), np.full(count, 0.4)


def drawn(rng: np.random.Generator, centres: NDArray[np.float64], spread: NDArray[np.float64], each: int) -> Vectors:
    vectors = centres[:, None] + spread[:, None, None] * rng.normal(size=(len(centres), each, 24))
    units: Vectors = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)
    return units


def fused(probes: Vectors, templates: Vectors) -> list[dict[int, float]]:
    best = np.einsum("pd,nmd->pnm", probes, templates).max(axis=2)
    return [dict(enumerate(row.tolist())) for row in best]


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
    scores, leads = [one / 20 for one, _ in rows], [other / 100 for _, other in rows]
    names = [f"a{number}" for number in range(len(rows))]
    table = labelled_scores([*scores, -1.0], [*names, "x"], [*names, "y"], [*leads, math.nan])
    found = measure_margin(table, target, 0.4, 0.6)
    assert found is not None
    assert table.mated_probes is not None
    # As they are stored: a score minus a score.
    leads = [float(one) for one in table.mated_probes.leads]
    assert leads == pytest.approx([other / 100 for _, other in rows])

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


def test_a_sample_of_the_gallery_promises_no_more_than_the_whole_gallery_keeps() -> None:
    rng = np.random.default_rng(7)
    centres, spread = look_alikes(rng, 600)
    templates = drawn(rng, centres, spread, 3)
    names = [f"p{number:04d}" for number in range(400) for _ in range(3)]
    gallery = Gallery("staff", CONTRACT, Policy(target_fmr=0.03, target_fpir=0.3))
    vectors = templates[:400].reshape(1200, -1)
    chosen = np.sort(rng.choice(1200, 600, replace=False))
    sample = GalleryTemplates(vectors[chosen], [names[one] for one in chosen], 1200)
    found = measure(gallery, 400, sample, CalibrationOptions())
    assert found.margin is not None
    assert any("The gallery has 2 times as many templates" in one for one in found.caveats)
    templates, strangers_centres = templates[:400], centres[400:]
    probes = fused(drawn(rng, centres[:300], spread[:300], 1)[:, 0], templates)
    strangers = fused(drawn(rng, strangers_centres, spread[400:], 1)[:, 0], templates)
    every = decided(list(enumerate(probes)), list(enumerate(strangers)), found.expected)
    every[IDENTIFY, GALLERY, False] = Counter(identified(scores, None, found.expected) for scores in strangers)
    for (operation, scope, is_mated), counts in every.items():
        answer = found.expected.of(operation, scope, mated=is_mated)
        assert answer is not None
        for _, low, high, counted in shares(answer, counts):
            assert low <= counted <= high


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
