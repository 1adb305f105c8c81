"""Two models on the same samples: paired differences."""

from dataclasses import replace

import numpy as np
import pytest

from sameface.evaluation.dataset import Pair
from sameface.evaluation.identification import identify
from sameface.evaluation.model_comparison import Verdict, compare_models
from sameface.evaluation.samples import FACE_NOT_FOUND, Failure, Samples
from sameface.evaluation.verification import verify
from sameface_qdrant.errors import InvalidArgument
from tests.evaluation.conftest import far_apart

NAMES = [f"p{number:02}" for number in range(50) for _ in range(3)]


@pytest.fixture(scope="module")
def worse() -> Samples:
    return far_apart(NAMES, noise=1.3)


@pytest.fixture(scope="module")
def better() -> Samples:
    return far_apart(NAMES, noise=0.6)


def pairs(samples: Samples) -> list[Pair]:
    mated = [Pair(samples.sample[place], samples.sample[place + 1], True, 0) for place in range(0, 150, 3)]
    return mated + [Pair(samples.sample[place], samples.sample[place - 3], False, 0) for place in range(0, 150, 3)]


def test_a_model_is_no_better_than_itself(worse: Samples) -> None:
    for one in compare_models(worse, worse, pairs(worse), replicates=100).endpoints:
        assert (one.difference.value, one.difference.interval.low, one.difference.interval.high) == (0, 0, 0)
        assert one.verdict is Verdict.NO_DIFFERENCE


def test_less_noise_is_better_and_the_other_way_round_worse(worse: Samples, better: Samples) -> None:
    found = compare_models(worse, better, pairs(worse), replicates=200)
    assert [one.name for one in found.endpoints] == [
        "FNMR at FMR 1e-4",
        "FNMR at FMR 1e-5",
        "FNIR at FPIR 1e-2",
        "accuracy over pairs",
    ]
    assert all(one.verdict is Verdict.BETTER for one in found.endpoints)
    turned = compare_models(better, worse, pairs(worse), replicates=200)
    for one, other in zip(found.endpoints, turned.endpoints, strict=True):
        assert other.verdict is Verdict.WORSE
        assert other.difference.value == pytest.approx(-one.difference.value)
        assert other.difference.interval.low == pytest.approx(-one.difference.interval.high)


def test_an_fmr_that_the_samples_support_can_be_chosen(worse: Samples, better: Samples) -> None:
    (chosen, *_) = compare_models(worse, better, fmrs=(0.05,), replicates=100, seed=5).endpoints
    (rare, *_) = compare_models(worse, better, replicates=100, seed=5).endpoints
    assert (chosen.name, chosen.is_supported, rare.is_supported) == ("FNMR at FMR 5e-2", True, False)
    alone = verify(better, (0.05,), replicates=100, seed=5).points[0]
    assert chosen.second.value == alone.fnmr_by_identity.value


def test_values_are_those_of_each_model_alone(worse: Samples, better: Samples) -> None:
    found = compare_models(worse, better, replicates=100, seed=5)
    for place, samples in enumerate((worse, better)):
        alone = verify(samples, (1e-4, 1e-5), replicates=100, seed=5)
        for endpoint, point in zip(found.endpoints, alone.points, strict=False):
            assert (endpoint.first, endpoint.second)[place] == point.fnmr_by_identity
        searched = identify(samples, (1e-2,), replicates=100, seed=5)
        assert (found.endpoints[2].first, found.endpoints[2].second)[place] == searched.points[0].fnir


def test_a_paired_difference_is_known_better_than_the_models_are(better: Samples) -> None:
    rng = np.random.default_rng(0)
    shaken = better.vectors + 0.01 * rng.normal(size=better.vectors.shape)
    similar = replace(better, vectors=(shaken / np.linalg.norm(shaken, axis=1, keepdims=True)).astype(np.float32))
    one = compare_models(better, similar, replicates=200).endpoints[2]
    width = one.difference.interval.high - one.difference.interval.low
    assert width < 0.7 * (one.first.interval.high - one.first.interval.low)


def test_the_order_of_the_samples_does_not_matter(worse: Samples, better: Samples) -> None:
    order = np.random.default_rng(0).permutation(len(NAMES))
    shuffled = Samples(
        better.vectors[order], tuple(NAMES[one] for one in order), tuple(better.sample[one] for one in order)
    )
    straight, other = (compare_models(worse, one, pairs(worse), replicates=100) for one in (better, shuffled))
    for one, same in zip(straight.endpoints, other.endpoints, strict=True):
        assert one.difference.value == pytest.approx(same.difference.value)
        assert one.difference.interval.low == pytest.approx(same.difference.interval.low)


def test_failing_to_find_faces_is_an_error_of_the_model_that_does(better: Samples) -> None:
    lost = range(0, 60, 3)
    kept = [place for place in range(len(NAMES)) if place not in lost]
    blind = Samples(
        better.vectors[kept],
        tuple(NAMES[place] for place in kept),
        tuple(better.sample[place] for place in kept),
        tuple(Failure(better.sample[place], NAMES[place], FACE_NOT_FOUND) for place in lost),
    )
    found = compare_models(better, blind, replicates=100)
    assert [one.verdict for one in found.endpoints] == [Verdict.WORSE] * 3


def test_other_samples_are_refused(worse: Samples) -> None:
    with pytest.raises(InvalidArgument, match="only in the first"):
        compare_models(worse, far_apart(NAMES[:-1]))
    with pytest.raises(InvalidArgument, match="only in the second"):
        compare_models(far_apart(NAMES[:-1]), worse)
    with pytest.raises(InvalidArgument, match="is of 'p00' in the first and of 'q' in the second"):
        compare_models(worse, replace(worse, identity=("q", *worse.identity[1:])))
    unreadable = replace(
        far_apart(NAMES[:-1]), failures=(Failure(worse.sample[-1], worse.identity[-1], "IMAGE_UNDECODABLE"),)
    )
    with pytest.raises(InvalidArgument, match="could be read for only one"):
        compare_models(worse, unreadable)
