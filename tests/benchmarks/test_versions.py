"""The table of versions: paired differences, the rule of the default, and what is written into cards and the page."""

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.versions.command import (
    DOCUMENTS,
    FIGURES,
    filled,
    forget_other_weights,
    networks_of,
    refreshed,
    with_points,
    write_evaluations,
)
from benchmarks.versions.embed import versions_of
from benchmarks.versions.maps import map_tables, maps_table, shipped_maps
from benchmarks.versions.measure import FMRS, measure_versions
from benchmarks.versions.rule import default_version
from benchmarks.versions.tables import COMPARED, licence_text, versions_tables
from sameface.evaluation.dataset import Pair
from sameface.evaluation.model_comparison import compare_models
from sameface.evaluation.model_figures import further_figures, measure_model
from sameface.evaluation.samples import Samples, write_embeddings
from sameface.inference.card_figures import Evaluation
from sameface.inference.cards import ModelCard, read_all_cards, read_card
from sameface.inference.defaults import read_default
from sameface.models.seal import write_card
from sameface.settings import model_repository_source
from tests.evaluation.conftest import far_apart

NAMES = [f"p{number:02}" for number in range(40) for _ in range(3)]
NOISES = {1: 1.1, 2: 0.9, 4: 0.6}
REPOSITORY = model_repository_source()


def pairs(samples: Samples) -> list[Pair]:
    mated = [Pair(samples.sample[place], samples.sample[place + 1], True, 0) for place in range(0, 120, 3)]
    return mated + [Pair(samples.sample[place], samples.sample[place - 3], False, 0) for place in range(0, 120, 3)]


@pytest.fixture(scope="module")
def samples() -> Mapping[int, Samples]:
    return {number: far_apart(NAMES, noise=noise) for number, noise in NOISES.items()}


@pytest.fixture(scope="module")
def versions(samples: Mapping[int, Samples]) -> dict[int, dict[str, Any]]:
    return measure_versions(samples, pairs(samples[1]), "made up", lambda _: None, replicates=100)


def test_differences_are_those_of_comparing_the_two_alone(
    samples: Mapping[int, Samples], versions: Mapping[int, dict[str, Any]]
) -> None:
    assert {number: set(found["against"]) for number, found in versions.items()} == {1: {"2"}, 2: {"1"}, 4: {"1", "2"}}
    compared = compare_models(samples[2], samples[4], pairs(samples[1]), fmrs=FMRS, replicates=100)
    for endpoint in compared.endpoints:
        one = versions[4]["against"]["2"][endpoint.name]
        assert one["value"] == pytest.approx(endpoint.difference.value, abs=1e-6)
        assert one["low"] == pytest.approx(endpoint.difference.interval.low, abs=1e-6)
        assert one["high"] == pytest.approx(endpoint.difference.interval.high, abs=1e-6)
        assert one["verdict"] == endpoint.verdict
        assert versions[4]["figures"][endpoint.name]["value"] == pytest.approx(endpoint.second.value, abs=1e-6)
    assert set(COMPARED) == {"rank 1", *(one.name for one in compared.endpoints)} - {"FNMR at FMR 1e-2"}


def test_rank_one_in_a_resample_is_what_counting_its_searches_gives(samples: Mapping[int, Samples]) -> None:
    model = measure_model(samples[1], fmrs=FMRS, replicates=100)
    (rank_one,) = (one for one in further_figures(model) if one.name == "rank 1")
    searches = model.identification.searches
    for row in (0, 99):
        counts = model.verification.resample_counts[row]
        found = total = 0.0
        for owner, weight, is_first in zip(
            searches.mated_owners, searches.mated_weights, searches.is_rank_one, strict=True
        ):
            total += counts[owner] * weight
            found += counts[owner] * weight * is_first
        assert rank_one.resampled[row] == pytest.approx(found / total)
    assert not rank_one.lower_is_better


def card(version: int, restriction: str, fnir: float, fnmr: float) -> ModelCard:
    def rate(value: float) -> dict[str, float]:
        return {"value": value, "low": 0.0, "high": 1.0}

    base = read_card(REPOSITORY / "face_embedder" / "1" / "card.json")
    found = Evaluation.model_validate(
        {
            "measured_on": "made up",
            "identities": 40,
            "samples": 120,
            "fnmr": [{"fmr": fmr, "fnmr": rate(0.5), "fnmr_by_identity": rate(fnmr)} for fmr in FMRS],
            "fpir": 0.01,
            "fnir": rate(fnir),
            "rank_one": rate(0.9),
        }
    )
    licence = base.licence.model_copy(update={"restriction": restriction})
    return base.model_copy(update={"version": version, "licence": licence, "evaluation": found})


def test_a_restricted_version_is_never_the_default_however_good_it_is() -> None:
    cards = [card(1, "", 0.05, 0.05), card(2, "research only", 0.0, 0.0), card(3, "", 0.03, 0.04)]
    assert default_version(cards) == 3
    assert default_version(cards[:2]) == 1
    openvino = cards[2].model_copy(update={"model": "face_embedder_openvino"})
    assert default_version([cards[0], openvino]) == 1
    not_evaluated = cards[2].model_copy(update={"evaluation": None})
    assert default_version([cards[0], not_evaluated]) == 1
    with pytest.raises(ValueError, match="no version of face_embedder has a licence without a restriction"):
        default_version([cards[1]])
    assert licence_text(cards[1]) == "**research only**"
    assert licence_text(cards[0]) == "Apache-2.0"


def test_the_default_of_the_repository_is_the_one_of_the_rule() -> None:
    default, path = read_default(REPOSITORY, REPOSITORY)
    assert default.version == default_version(read_all_cards(REPOSITORY)), f"change {path}, or the rule"


def test_figures_go_into_the_cards_of_the_weights_that_were_measured(
    versions: Mapping[int, dict[str, Any]], tmp_path: Path
) -> None:
    versions = copy.deepcopy(dict(versions))
    cards = {}
    for number in NOISES:
        cards[number] = card(number, "", 0.1, 0.1).model_copy(update={"sha256": f"{number}" * 64, "evaluation": None})
        (tmp_path / "face_embedder" / str(number)).mkdir(parents=True)
        write_card(tmp_path / "face_embedder" / str(number) / "card.json", cards[number])
    figures: dict[str, Any] = {
        "digests": {"1": "1" * 64, "2": "2" * 64, "4": "4" * 64},
        "versions": {str(number): {"passes": 1, **found} for number, found in versions.items()},
        "groups": {"2": [], "4": []},
        "pose": [{"model": "version 2"}, {"model": "version 4"}],
    }
    forget_other_weights(figures, cards)
    assert set(figures["versions"]) == {"1", "2", "4"}
    cards[2] = cards[2].model_copy(update={"sha256": "0" * 64})
    write_card(tmp_path / "face_embedder" / "2" / "card.json", cards[2])
    forget_other_weights(figures, cards)
    assert set(figures["versions"]) == {"1", "4"}
    assert "2" not in figures["versions"]["4"]["against"]
    assert (figures["groups"], figures.pop("pose")) == ({"4": []}, [{"model": "version 4"}])
    written = write_evaluations(tmp_path, cards, figures)
    assert versions_of(tmp_path) == written
    assert written[2].evaluation is None
    found = written[4].evaluation
    assert found is not None
    assert found.fnir.value == pytest.approx(versions[4]["figures"]["FNIR at FPIR 1e-2"]["value"], abs=1e-5)
    assert [one.fmr for one in found.fnmr] == [1e-3, 1e-4, 1e-5]
    page = "a\n<!-- versions: figures -->\nold\n<!-- end of versions -->\nb\n"
    del figures["groups"]
    text = refreshed(page, figures, written)
    assert "old" not in text
    assert "| **4**, the default | Apache-2.0 | 1 |" in text
    assert refreshed(text, figures, written) == text


def test_the_tables_say_what_is_not_supported_and_which_differences_are_shown(
    versions: Mapping[int, dict[str, Any]],
) -> None:
    figures = {"versions": {str(number): {"passes": 1, **found} for number, found in versions.items()}}
    cards = {number: card(number, "", 0.1, 0.1) for number in NOISES}
    first, second, third = versions_tables(figures, cards, 4)
    assert all("(not supported)" in row[5] for row in first.rows)
    assert [row[0] for row in second.rows] == ["2 − 1", "4 − 1", "4 − 2"]
    shown = dict(zip(second.headings, second.rows[1], strict=True))
    one = versions[4]["against"]["1"]["FNIR at FPIR 1e-2"]
    assert shown["FNIR"].startswith("**") == (one["high"] < 0 or one["low"] > 0)
    assert len(third.rows) == 3
    assert np.all([cell.endswith("%") for row in third.rows for cell in row[1:]])


def test_operating_points_of_a_card_stay_unless_they_shall_be_replaced(versions: Mapping[int, dict[str, Any]]) -> None:
    measured = [{**point, "fmr": 0.01} for point in read_points(1)][:1]
    old = card(1, "", 0.1, 0.1)
    assert with_points(old, measured) == old
    assert [one.fmr for one in with_points(old, measured, replace=True).operating_points] == [0.01]
    empty = old.model_copy(update={"operating_points": ()})
    assert [one.fmr for one in with_points(empty, measured).operating_points] == [0.01]
    # Forty people support none of a card's rates.
    assert versions[1]["operating_points"] == []


def read_points(version: int) -> list[dict[str, Any]]:
    found = read_card(REPOSITORY / "face_embedder" / str(version) / "card.json")
    return [point.model_dump() for point in found.operating_points]


def test_networks_of_folds_are_read_with_the_base_first(samples: Mapping[int, Samples], tmp_path: Path) -> None:
    for number, name in ((4, "averaged-0.5"), (1, "base"), (2, "averaged-0.5-changed")):
        write_embeddings(tmp_path / f"{name}.npz", samples[number])
    found = networks_of(tmp_path)
    assert list(found) == ["base", "averaged 0.5"]
    assert np.array_equal(found["averaged 0.5"].vectors, samples[4].vectors)


def test_pages_and_cards_hold_what_was_measured() -> None:
    """``python -m benchmarks versions --write`` makes them again from the figures."""
    figures = json.loads(FIGURES.read_text())
    cards = versions_of(REPOSITORY)
    for document in DOCUMENTS:
        text = document.read_text()
        assert refreshed(text, figures, cards) == text
        assert "<!-- versions: " in text
    measured = {number: card for number, card in cards.items() if str(number) in figures["versions"]}
    assert {1, 2} <= set(measured)
    for number, one in measured.items():
        assert figures["digests"][str(number)] == one.sha256, f"version {number} was measured with other weights"
        assert one.evaluation == Evaluation.model_validate(figures["versions"][str(number)]["evaluation"])
        assert {group.measured_on for group in one.groups} == {"lfw_devtest", "london"}
        assert all(group.fnmr_by_identity is not None for group in one.groups)


def test_the_pages_have_the_figures_of_the_maps_cards() -> None:
    tables, found = map_tables(REPOSITORY), set()
    for page in map(Path, ("docs/models.md", "docs/model-change.md")):
        text = page.read_text()
        assert filled(text, tables) == text, f"run python -m benchmarks versions --write; {page} is not current"
        found |= {name for name, table in tables.items() if table in text}
    assert found == tables.keys()
    described = json.loads((REPOSITORY / "face_embedder" / "maps" / "1-3" / "card.json").read_text())["evaluation"]
    fnir = [100 * described[name]["fnir"]["value"] for name in ("old", "mapped", "new", "unmapped")]
    assert f"| {' / '.join(f'{one:.2f}' for one in fnir[:3])} |" in tables["maps"]
    assert [float(one) for one in re.findall(r"([\d.]+) % \(", tables["one_map"].splitlines()[-1])] == pytest.approx(
        fnir, abs=0.0051
    )


def test_a_difference_that_is_shown_is_bold() -> None:
    (card, *_) = shipped_maps(REPOSITORY)
    endpoints = dict.fromkeys(card.evaluation.against_old, "no difference shown")
    better = card.evaluation.model_copy(update={"against_old": {**endpoints, "FNIR at FPIR 1e-2": "better"}})
    (row,) = maps_table([card.model_copy(update={"evaluation": better})]).rows
    assert [cell.count("**") for cell in row[3:8]] == [0, 0, 0, 0, 2]
