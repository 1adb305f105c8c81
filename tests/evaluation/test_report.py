"""The report page: it needs no other file, and shows names as text."""

import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sklearn.decomposition
from PIL import Image

from sameface.evaluation.cross_comparison import compare_all_samples
from sameface.evaluation.menagerie import animals_of, mean_scores
from sameface.evaluation.pictures import principal_components, worst_pairs
from sameface.evaluation.records import conditions
from sameface.evaluation.report import Page, verification_pictures, worst_photo_pairs, write_report
from sameface.evaluation.samples import Samples
from sameface.evaluation.tables import conditions_table, verification_tables
from sameface.evaluation.verification import verify
from tests.evaluation.conftest import made


def test_the_map_is_scikit_learns_principal_components(people: Samples) -> None:
    places, share = principal_components(people.vectors)
    theirs = sklearn.decomposition.PCA(2).fit(people.vectors)
    np.testing.assert_allclose(np.abs(places), np.abs(theirs.transform(people.vectors)), atol=1e-5)
    assert share == pytest.approx(theirs.explained_variance_ratio_.sum(), abs=1e-6)


def test_the_worst_pairs_are_the_extremes_once_for_each_identity(people: Samples) -> None:
    high, low = worst_pairs(verify(people, replicates=100).comparison, most=8)
    scores = people.vectors @ people.vectors.T
    names = np.array(people.identity)
    first, second = np.triu_indices(len(names), 1)
    same = names[first] == names[second]
    assert high[0][2] == scores[first, second][~same].max()
    assert low[0][2] == scores[first, second][same].min()
    for one, other, score in [*high, *low]:
        assert score == scores[one, other]
    assert len({frozenset((names[one], names[other])) for one, other, _ in high}) == 8
    assert len({names[one] for one, _, _ in low}) == 8
    assert all(names[one] == names[other] for one, other, _ in low)
    assert [score for *_, score in high] == sorted((score for *_, score in high), reverse=True)


def test_a_page_needs_nothing_else_and_shows_names_as_text(people: Samples, tmp_path: Path) -> None:
    for number, name in enumerate(people.sample):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20 + number, 30), (number, 0, 0)).save(tmp_path / name)
    found = verify(people, replicates=100)
    high, low = worst_photo_pairs(found, people, tmp_path)
    # Names that matplotlib would leave out or take for a formula.
    people = replace(people, model="_$x_{$<script>alert(1)</script>", identity=("_$y^{$", *people.identity[1:]))
    around = conditions("<b>people</b>", people)
    page = Page(
        "Verification on <b>people</b>",
        "A & B",
        [*verification_tables(found), conditions_table(around)],
        verification_pictures(found, people),
        high,
        low,
    )
    write_report(tmp_path / "report.html", page)
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert "&lt;b&gt;people&lt;/b&gt;" in text
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", text)
    # DET curve, histograms and menagerie.
    assert text.count("<svg") == 3
    assert len(high) == len(low) == 12
    assert text.count('class="pair"') == 24
    shown = html.unescape(text)
    assert f"{high[0].score:.3f}" in shown
    assert high[0].first in shown
    assert "2 (p03/failed0.jpg, p04/failed1.jpg)" in shown


def test_photos_that_are_not_at_hand_are_not_shown(people: Samples, tmp_path: Path) -> None:
    assert worst_photo_pairs(verify(people, replicates=100), people, tmp_path) == ([], [])


def test_mean_scores_of_identities_are_those_of_every_pair(people: Samples) -> None:
    comparison = compare_all_samples(people)
    mated, non_mated = mean_scores(people, comparison)
    for place, name in enumerate(comparison.identities):
        own = [row for row, who in enumerate(people.identity) if who == name]
        others = [row for row, who in enumerate(people.identity) if who != name]
        pairs = [float(people.vectors[a] @ people.vectors[b]) for a in own for b in own if a < b]
        assert non_mated[place] == pytest.approx(
            float((people.vectors[own] @ people.vectors[others].T).mean()), abs=1e-6
        )
        assert np.isnan(mated[place]) if not pairs else mated[place] == pytest.approx(np.mean(pairs), abs=1e-6)
    found = animals_of(people, comparison)
    assert found is not None
    assert found.left_out == int(np.isnan(mated).sum())
    assert animals_of(made(["a", "a", "b"]), compare_all_samples(made(["a", "a", "b"]))) is None
