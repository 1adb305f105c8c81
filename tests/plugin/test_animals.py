"""Doves, chameleons, phantoms and worms: grouped by plain loops, found if there are some, and drawn where they are."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sameface_qdrant.calibration.zoo_plot import write_zoo_png, zoo_figure
from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.animals import Animal, group_identities, group_means
from sameface_qdrant.metrics.comparisons import labelled_scores
from sameface_qdrant.metrics.menagerie import holm_correction

NAMES = [f"p{number:02}" for number in range(40)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), digits=st.sampled_from([1, 6]))
def test_groups_are_those_of_plain_loops(seed: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 15, (2, 120))
    scores = rng.normal(size=120).round(digits)
    names = [f"p{number:02}" for number in range(15)]
    comparisons = labelled_scores(scores, [names[one] for one in first], [names[one] for one in second])
    rows = list(zip(scores, first, second, strict=True))
    means = {}
    for who in range(15):
        mated = [score for score, one, other in rows if one == other == who]
        non_mated = [score for score, one, other in rows if one != other and who in (one, other)]
        if mated and non_mated:
            means[names[who]] = (float(np.mean(mated)), float(np.mean(non_mated)))
    if len(means) < 8:
        with pytest.raises(NotEnoughData, match="expected at least 8"):
            group_identities(comparisons)
        return
    found = group_identities(comparisons)
    measured = {one.name: (one.mated, one.non_mated) for one in found.identities}
    assert measured.keys() == means.keys()
    for name, pair in measured.items():
        assert pair == pytest.approx(means[name])
    # From here on as measured, because rounding must not decide at the border of a quarter.
    means = measured
    assert found.left_out == len(comparisons.names) - len(means)
    corners = {}
    for animal, is_high, is_loud in (
        (Animal.DOVE, True, False),
        (Animal.CHAMELEON, True, True),
        (Animal.PHANTOM, False, False),
        (Animal.WORM, False, True),
    ):
        sides = []
        for place, wants_high in enumerate((is_high, is_loud)):
            values = [pair[place] for pair in means.values()]
            low, high = np.quantile(values, 0.25), np.quantile(values, 0.75)
            sides.append(
                {name for name, pair in means.items() if (pair[place] >= high if wants_high else pair[place] <= low)}
            )
        expected = sides[0] & sides[1]
        assert {one.name for one in found.of(animal)} == expected
        corners[animal] = scipy.stats.hypergeom.sf(len(expected) - 1, len(means), len(sides[0]), len(sides[1]))
    corrected = holm_correction(np.array(list(corners.values())))
    assert [found.p_values[animal] for animal in corners] == pytest.approx(corrected)


def test_worms_are_found_if_identities_are_worms_and_hardly_ever_by_chance() -> None:
    rng = np.random.default_rng(0)
    hard = np.where(np.arange(40) < 8, 1.0, 0.0)
    found = group_means(
        NAMES, 0.7 - 0.3 * hard + 0.05 * rng.normal(size=40), 0.1 + 0.3 * hard + 0.05 * rng.normal(size=40)
    )
    assert {one.name for one in found.of(Animal.WORM)} >= set(NAMES[:8])
    assert found.p_values[Animal.WORM] < 0.001
    assert found.p_values[Animal.CHAMELEON] == 1.0
    independent = [group_means(NAMES, *rng.normal(size=(2, 40))) for _ in range(200)]
    assert sum(min(one.p_values.values()) <= 0.05 for one in independent) <= 20


def test_what_cannot_be_grouped_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="40 names, 40 mated and 39 non-mated"):
        group_means(NAMES, np.zeros(40), np.zeros(39))
    with pytest.raises(NotEnoughData, match="7 of 40"):
        group_means(NAMES, np.where(np.arange(40) < 7, 0.5, np.nan), np.zeros(40))


def test_every_identity_is_drawn_at_its_means(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    found = group_means(NAMES, rng.normal(size=40), rng.normal(size=40))
    (axes,) = zoo_figure(found).axes
    drawn = {tuple(point) for points in axes.collections for point in np.asarray(points.get_offsets()).tolist()}
    assert drawn == {(one.mated, one.non_mated) for one in found.identities}
    told = " ".join(text.get_text() for text in axes.texts)
    for animal in Animal:
        assert f"{animal.value}s: {len(found.of(animal))}" in told
    assert not any(name in told for name in NAMES)
    write_zoo_png(tmp_path / "zoo.png", found)
    with Image.open(tmp_path / "zoo.png") as image:
        assert image.size == (768, 600)
