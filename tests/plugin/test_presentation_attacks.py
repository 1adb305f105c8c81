"""Error rates of presentation attack detection are those of plain counting, and no species hides behind another."""

import doctest

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface_qdrant.metrics import presentation_attacks as pad

# Few values, so that ties are common.
SCORES = st.lists(st.integers(0, 10).map(lambda value: value / 10), min_size=1, max_size=30)
SPECIES = st.dictionaries(st.sampled_from(["print", "replay", "mask"]), SCORES, min_size=1)
THRESHOLDS = st.integers(-1, 11).map(lambda value: value / 10)
TARGETS = st.sampled_from([0.0, 1 / 100, 1 / 20, 1 / 10, 0.3, 0.9])

fewer = settings(max_examples=40)


@fewer
@given(scores=SCORES, threshold=THRESHOLDS)
def test_rates_are_what_the_formulas_of_the_standard_give(scores: list[float], threshold: float) -> None:
    called_attack = [1 if score < threshold else 0 for score in scores]
    assert pad.apcer(scores, threshold) == pytest.approx(1 - sum(called_attack) / len(scores))
    assert pad.bpcer(scores, threshold) == pytest.approx(sum(called_attack) / len(scores))
    attacks, genuine = pad.apcer_rate(scores, threshold), pad.bpcer_rate(scores, threshold)
    expected = scipy.stats.binomtest(sum(called_attack), len(scores)).proportion_ci(method="wilson")
    assert (genuine.interval.low, genuine.interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert (attacks.interval.low, attacks.interval.high) == pytest.approx((1 - expected.high, 1 - expected.low))
    assert attacks.value + genuine.value == pytest.approx(1)


@fewer
@given(species=SPECIES, threshold=THRESHOLDS)
def test_the_worst_species_is_told(species: dict[str, list[float]], threshold: float) -> None:
    rates = [sum(score >= threshold for score in scores) / len(scores) for scores in species.values()]
    assert pad.worst_apcer(species, threshold) == max(rates)


@fewer
@given(bona_fide=SCORES, species=SPECIES, target=TARGETS)
def test_bpcer_at_an_apcer_is_the_least_that_keeps_every_species_under_it(
    bona_fide: list[float], species: dict[str, list[float]], target: float
) -> None:
    threshold = pad.threshold_at_apcer(species, target)
    assert pad.worst_apcer(species, threshold) <= target + 1e-9
    # By brute force over all thresholds that matter: no lower one would do.
    every = sorted({*bona_fide, *np.concatenate(list(species.values())).tolist()})
    candidates = [0.0, *every, *(float(np.nextafter(score, 2)) for score in every)]
    enough = [one for one in candidates if pad.worst_apcer(species, one) <= target + 1e-12]
    assert pad.bpcer_at_apcer(bona_fide, species, target) == min(pad.bpcer(bona_fide, one) for one in enough)


@fewer
@given(bona_fide=SCORES, species=SPECIES)
def test_the_curve_has_the_rates_of_every_threshold(bona_fide: list[float], species: dict[str, list[float]]) -> None:
    curve = pad.pad_curve(bona_fide, species)
    assert (np.diff(curve.thresholds) > 0).all()
    for threshold, attack, genuine in zip(curve.thresholds, curve.apcer, curve.bpcer, strict=True):
        assert attack == pytest.approx(pad.worst_apcer(species, threshold))
        assert genuine == pytest.approx(pad.bpcer(bona_fide, threshold))
    assert (np.diff(curve.apcer) <= 0).all()
    assert (np.diff(curve.bpcer) >= 0).all()


def test_the_examples_of_the_documentation_run() -> None:
    examples = doctest.testmod(pad)
    assert (examples.attempted, examples.failed) == (4, 0)


def test_an_average_over_species_would_hide_the_one_that_passes() -> None:
    species = {"print": [0.1] * 99, "mask": [0.9]}
    assert pad.worst_apcer(species, 0.5) == 1.0
    assert pad.apcer(np.concatenate(list(species.values())), 0.5) == 0.01


def test_presentations_without_a_response_have_rates_of_their_own() -> None:
    assert (pad.apnrr(1, 4), pad.bpnrr(0, 3)) == (0.25, 0.0)


def test_saturated_attacks_need_a_threshold_above_one() -> None:
    assert pad.threshold_at_apcer({"mask": [1.0, 1.0]}, 0.1) > 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: pad.apcer([], 0.5),
        lambda: pad.bpcer([float("nan")], 0.5),
        lambda: pad.worst_apcer({}, 0.5),
        lambda: pad.threshold_at_apcer({"print": [0.5]}, 1.5),
        lambda: pad.pad_curve([], {"print": [0.5]}),
        lambda: pad.pad_curve([0.5], {"print": [float("inf")]}),
        lambda: pad.pad_curve([0.5], {}),
        lambda: pad.apnrr(2, 1),
        lambda: pad.pad_rate(0, 0),
    ],
)
def test_what_has_no_rate_is_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=r"expected|finite"):
        call()
