"""Open-set searches, compared with a plain search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.evaluation.cross_comparison import NO_SCORE
from sameface.evaluation.identification import SplitSearches, identify, measure_searches, search, search_samples
from sameface.evaluation.samples import Failure, Samples
from sameface_qdrant.errors import NotEnoughData
from tests.evaluation.conftest import made


def test_a_split_enrols_half_of_those_with_two_and_searches_for_everybody_else() -> None:
    owners = ["a", "a", "a", "b", "b", "c", "c", "d", "d", "d", "e"]
    asked: list[tuple[list[int], list[int]]] = []

    def compare(probes: np.ndarray, references: np.ndarray) -> np.ndarray:
        asked.append((probes.tolist(), references.tolist()))
        return np.zeros((probes.size, references.size))

    found = search(owners, compare, splits=8, seed=1)
    assert (found.gallery_size, found.splits) == (2, 8)
    seen = set()
    for (mated, gallery), (non_mated, again) in zip(asked[::2], asked[1::2], strict=True):
        assert gallery == again
        enrolled = {owners[one] for one in gallery}
        seen |= enrolled
        assert len(enrolled) == 2
        assert "e" not in enrolled
        assert sorted(mated) == [one for one, name in enumerate(owners) if name in enrolled and one not in gallery]
        assert sorted(non_mated) == [one for one, name in enumerate(owners) if name not in enrolled]
    assert seen == {"a", "b", "c", "d"}
    # Every identity counts 1 in each split.
    assert found.mated_weights.sum() == pytest.approx(2 * 8)
    assert found.non_mated_weights.sum() == pytest.approx(3 * 8)


def spelt_out(searches: SplitSearches, times: np.ndarray, target: float) -> float | None:
    """Return FNIR by trying every threshold, people counted as often as they were drawn."""
    non_mated = [
        (score, weight * times[owner])
        for score, owner, weight in zip(
            searches.non_mated, searches.non_mated_owners, searches.non_mated_weights, strict=True
        )
    ]
    probes = [
        (score if first else -9.0, weight * times[owner])
        for score, first, owner, weight in zip(
            searches.mated, searches.is_rank_one, searches.mated_owners, searches.mated_weights, strict=True
        )
    ]
    every, all_probes = sum(weight for _, weight in non_mated), sum(weight for _, weight in probes)
    if not every or not all_probes:
        return None
    scores = sorted({score for score, _ in non_mated})
    possible = [scores[0], *(np.nextafter(score, 2.0) for score in scores)]
    threshold = min(
        t for t in possible if sum(weight for score, weight in non_mated if score >= t) <= target * every + 1e-8
    )
    return float(sum(weight for score, weight in probes if score < threshold) / all_probes)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), sizes=st.lists(st.integers(1, 4), min_size=4, max_size=9))
def test_rates_are_what_trying_every_threshold_gives(seed: int, sizes: list[int]) -> None:
    names = [f"p{number}" for number, size in enumerate([2, 2, *sizes]) for _ in range(size)]
    searches = search_samples(made(names, seed=seed, noise=1.2, failed=["p0", "p3"]), splits=3, seed=seed)
    people = len(searches.identities)
    resample_counts = np.random.default_rng(seed).multinomial(people, [1 / people] * people, size=4)
    found = measure_searches(searches, (0.3, 0.05), np.concatenate([np.ones((1, people), np.int64), resample_counts]))
    for place, point in enumerate(found.points):
        everybody = spelt_out(searches, np.ones(people), point.target)
        assert point.fnir.value == pytest.approx(everybody)
        assert found.resampled[0, place] == pytest.approx(everybody)
        for row, times in enumerate(resample_counts, start=1):
            expected = spelt_out(searches, times, point.target)
            if expected is None:
                assert np.isnan(found.resampled[row, place])
            else:
                assert found.resampled[row, place] == pytest.approx(expected)


def test_rank_one_is_the_share_of_probes_nearest_to_their_own(people: Samples) -> None:
    found = identify(people, splits=4, replicates=100)
    searches = found.searches
    right = sum(w for w, first in zip(searches.mated_weights, searches.is_rank_one, strict=True) if first)
    assert found.rank_one.value == pytest.approx(right / searches.mated_weights.sum())
    assert found.rank_one.interval.low <= found.rank_one.value <= found.rank_one.interval.high
    assert 0.2 < found.rank_one.value < 1.0


def test_a_probe_nearer_to_another_identity_is_missed_at_any_threshold() -> None:
    scores = np.array([[1.0, 0.6, 0.2, 0.9], [0.6, 1.0, 0.2, 0.9], [0.2, 0.2, 1.0, 0.3], [0.9, 0.9, 0.3, 1.0]])
    found = search(["a", "a", "b", "b"], lambda p, r: scores[np.ix_(p, r)], splits=6, seed=0)
    # One of two identities is enrolled, so no other can be nearer, and there can be no tie.
    assert found.is_rank_one.all()
    both = search(["a", "a", "b", "b", "c", "c", "d", "d"], lambda p, r: np.ones((p.size, r.size)), splits=3)
    assert not both.is_rank_one.any()


def test_whose_photo_to_enrol_has_no_face_is_never_found() -> None:
    samples = made(["a", "b", "b", "c", "c"], failed=["a"])
    found = search_samples(samples, splits=40, seed=2)
    assert (found.mated == NO_SCORE).any()
    assert not found.is_rank_one[found.mated == NO_SCORE].any()
    # Both of its photos are probes. The one without a face is missed; for the other one no reference was acquired.
    a = found.mated_owners == found.identities.index("a")
    assert (found.mated[a] == NO_SCORE).all()


def test_splits_depend_on_names_alone(people: Samples) -> None:
    order = np.random.default_rng(0).permutation(len(people.sample))
    shuffled = Samples(
        people.vectors[order],
        tuple(people.identity[one] for one in order),
        tuple(people.sample[one] for one in order),
        people.failures,
    )
    assert identify(shuffled, splits=3, replicates=100).points == identify(people, splits=3, replicates=100).points


def test_nobody_to_search_for_is_said() -> None:
    lost = [Failure(f"{place}.jpg", f"p{place // 2}", "FACE_NOT_FOUND") for place in range(6)]
    with pytest.raises(NotEnoughData, match="6 of 6 samples could not be acquired"):
        identify(Samples(np.empty((0, 0), np.float32), (), (), tuple(lost)))


def test_two_people_with_two_photos_are_needed() -> None:
    with pytest.raises(NotEnoughData, match="expected at least 2"):
        identify(made(["a", "a", "b"]))
