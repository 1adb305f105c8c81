"""Comparisons and searches give what loops over every pair give."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.comparisons import Comparisons, ComparisonSource, labelled_scores
from sameface_qdrant.metrics.cross_comparison import compare_cohort, compare_gallery
from tests.plugin.simulated import people


def rows(compared: Comparisons) -> list[tuple[str, str, float]]:
    """Every non-mated comparison: the probe's identity, the other one, the score."""
    return sorted(
        (compared.names[one], compared.names[other], round(float(score), 5))
        for one, other, score in zip(compared.first, compared.second, compared.non_mated, strict=True)
    )


@settings(max_examples=25, deadline=None)
@given(held=st.lists(st.integers(1, 4), min_size=2, max_size=8), seed=st.integers(0, 10**6))
def test_templates_are_compared_as_loops_would(held: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"p{number}" for number, count in enumerate(held) for _ in range(count)]
    vectors = rng.normal(size=(len(names), 5))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    order = rng.permutation(len(names))
    vectors, names = vectors[order], [names[position] for position in order]
    compared = compare_gallery(vectors, names, seed=seed)
    pairs = list(itertools.combinations(range(len(names)), 2))
    cosine = {(i, j): float(vectors[i].astype(np.float64) @ vectors[j]) for i, j in pairs}
    best = {
        (i, name): max(cosine[min(i, j), max(i, j)] for j, other in enumerate(names) if other == name and j != i)
        for i in range(len(names))
        for name in set(names)
        if name != names[i] or names.count(name) > 1
    }
    mated = sorted((name, score) for (i, name), score in best.items() if name == names[i])
    found = sorted((compared.names[owner], float(s)) for owner, s in zip(compared.owners, compared.mated, strict=True))
    assert [name for name, _ in found] == [name for name, _ in mated]
    assert [score for _, score in found] == pytest.approx([score for _, score in mated], abs=1e-5)
    expected = sorted((names[i], name, score) for (i, name), score in best.items() if name != names[i])
    listed = sorted(
        (compared.names[one], compared.names[other], float(score))
        for one, other, score in zip(compared.first, compared.second, compared.non_mated, strict=True)
    )
    assert [row[:2] for row in listed] == [row[:2] for row in expected]
    assert [row[2] for row in listed] == pytest.approx([row[2] for row in expected], abs=1e-5)
    assert compared.possible_comparisons == len(expected)

    assert compared.non_mated_searches is not None
    assert compared.non_mated_searches.probes.tolist() == list(range(len(held)))
    for probe, nearest, score, lead in zip(
        compared.non_mated_searches.probes,
        compared.non_mated_searches.nearest,
        compared.non_mated_searches.scores,
        compared.non_mated_searches.leads,
        strict=True,
    ):
        # One template of the probe's identity must have these best scores with the other identities.
        fits = False
        for i, name in enumerate(names):
            if name != compared.names[probe]:
                continue
            near: dict[str, float] = {}
            for j, other in enumerate(names):
                if other != name:
                    near[other] = max(near.get(other, -2.0), cosine[min(i, j), max(i, j)])
            ranked = sorted(near.items(), key=lambda item: -item[1])
            fits |= (
                compared.names[nearest] == ranked[0][0]
                and score == pytest.approx(ranked[0][1], abs=1e-5)
                and (np.isnan(lead) if len(ranked) == 1 else lead == pytest.approx(score - ranked[1][1], abs=1e-5))
            )
        assert fits
    searched = (
        set()
        if compared.mated_searches is None
        else {compared.names[probe] for probe in compared.mated_searches.probes}
    )
    assert searched == {f"p{number}" for number, count in enumerate(held) if count > 1}


def test_an_enrolled_person_is_searched_with_a_template_that_is_left_out() -> None:
    turned = np.deg2rad([0.0, 30.0, 90.0])
    vectors = np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)
    compared = compare_gallery(vectors, ["ada", "ada", "bob"])
    assert compared.mated_searches is not None
    (own,), (lead,) = compared.mated_searches.scores, compared.mated_searches.leads
    assert own == pytest.approx(np.cos(np.deg2rad(30)), abs=1e-6)
    # Bob is 90 or 60 degrees away, depending on which of ada's templates was drawn.
    assert any(lead == pytest.approx(own - np.cos(np.deg2rad(angle)), abs=1e-6) for angle in (90, 60))


def test_a_sample_is_drawn_by_its_seed_without_repeating_itself_and_says_so() -> None:
    vectors, names = people(np.random.default_rng(2), 60, 2)
    every = compare_gallery(vectors, names)
    sample = compare_gallery(vectors, names, max_comparisons=500, max_searches=20, seed=1)
    assert sample.non_mated.size == 500 < sample.possible_comparisons == every.non_mated.size
    assert len(set(rows(sample))) == 500
    assert set(rows(sample)) <= set(rows(every))
    assert sample.non_mated_searches is not None
    assert sample.non_mated_searches.scores.size == 20
    assert rows(compare_gallery(vectors, names, max_comparisons=500, seed=1)) == rows(sample)
    assert rows(compare_gallery(vectors, names, max_comparisons=500, seed=2)) != rows(sample)
    # The sample is fair: its mean is that of all comparisons, within chance.
    assert sample.non_mated.mean() == pytest.approx(every.non_mated.mean(), abs=0.03)


def test_a_cohort_is_compared_with_the_gallery_alone() -> None:
    rng = np.random.default_rng(3)
    gallery, names = people(rng, 4, 2)
    cohort, cohort_names = people(rng, 3, 2, prefix="cohort")
    compared = compare_cohort(cohort, cohort_names, gallery, names)
    assert compared.source is ComparisonSource.COHORT
    assert compared.non_mated.size == 6 * 4
    fused = (cohort @ gallery.T).reshape(6, 4, 2).max(axis=2)
    assert compared.non_mated.sum() == pytest.approx(float(fused.sum()), abs=1e-4)
    assert {compared.names[code][:6] for code in compared.first} == {"cohort"}
    assert {compared.names[code][:1] for code in compared.second} == {"p"}
    assert compared.mated.size == 8 + 6
    assert compared.non_mated_searches is not None
    assert (compared.non_mated_searches.gallery_size, compared.non_mated_searches.scores.size) == (4, 3)
    best = {cohort_names[i]: max(float(cohort[i] @ one) for one in gallery) for i in range(6)}
    assert all(
        score <= max(best.values()) + 1e-5 and compared.names[probe].startswith("cohort")
        for probe, score in zip(compared.non_mated_searches.probes, compared.non_mated_searches.scores, strict=True)
    )
    with pytest.raises(InvalidArgument, match="not enrolled"):
        compare_cohort(cohort, ["p0000"] * 6, gallery, names)
    with pytest.raises(NotEnoughData):
        compare_cohort(cohort, cohort_names, gallery[:0], [])


def test_labelled_scores_are_mated_where_both_labels_are_the_same() -> None:
    compared = labelled_scores([0.9, 0.1, 0.2], ["a", "a", "b"], ["a", "b", "c"])
    assert (compared.mated.tolist(), compared.non_mated.tolist()) == ([0.9], [0.1, 0.2])
    assert [compared.names[code] for code in compared.second] == ["b", "c"]
    assert compared.non_mated_searches is None


def test_what_cannot_be_compared_is_refused() -> None:
    vectors, names = people(np.random.default_rng(1), 1, 3)
    with pytest.raises(NotEnoughData, match="1 identity"):
        compare_gallery(vectors, names)
    with pytest.raises(InvalidArgument, match="one identity for each"):
        compare_gallery(vectors, names[:2])
    with pytest.raises(NotEnoughData, match="no non-mated score"):
        labelled_scores([0.5], ["a"], ["a"])
    with pytest.raises(InvalidArgument, match="finite"):
        labelled_scores([float("nan")], ["a"], ["b"])
    with pytest.raises(InvalidArgument, match="as many"):
        labelled_scores([0.5], ["a"], ["b", "c"])
