"""`sameface evaluate groups` as people call it, on files of embeddings."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sameface.evaluation.samples import write_embeddings
from sameface.inference.cards import read_card
from sameface.models.seal import write_card
from sameface.settings import model_repository_source
from tests.cli.conftest import Run
from tests.evaluation.conftest import far_apart

pytestmark = pytest.mark.usefixtures("every_version")

PEOPLE = [f"p{number:02}" for number in range(24)]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository with one card and no weights: nothing is run."""
    folder = tmp_path / "repository" / "face_embedder" / "1"
    folder.mkdir(parents=True)
    card = read_card(model_repository_source() / "face_embedder" / "1" / "card.json")
    write_card(folder / "card.json", card.model_copy(update={"groups": ()}))
    return tmp_path / "repository"


@pytest.fixture
def arguments(tmp_path: Path, repository: Path) -> list[str]:
    """Twenty-four people with three photos, embedded by version 1; two are of sixty years and more."""
    card = read_card(repository / "face_embedder" / "1" / "card.json")
    samples = far_apart([name for name in PEOPLE for _ in range(3)], noise=1.0)
    model = f"{card.model} version {card.version}, sha256 {card.sha256}"
    write_embeddings(tmp_path / "people.npz", replace(samples, model=model))
    rows = [f"{name},{20 + 2 * place},{'left' if place % 2 else 'right'}" for place, name in enumerate(PEOPLE)]
    (tmp_path / "people.csv").write_text("\n".join(["id,age,side", *rows]))
    files = ["--embeddings", str(tmp_path / "people.npz"), "--labels", str(tmp_path / "people.csv")]
    return ["evaluate", "groups", *files, "--replicates", "100"]


def test_groups_are_measured_at_the_operating_point_of_the_card(
    sameface: Run, arguments: list[str], repository: Path, tmp_path: Path
) -> None:
    page = tmp_path / "groups.html"
    result = sameface(*arguments, "--html", str(page), "--json", SAMEFACE_MODEL_REPOSITORY=str(repository))
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    point = next(
        one for one in read_card(repository / "face_embedder" / "1" / "card.json").operating_points if one.fmr == 1e-3
    )
    assert found["threshold"] == point.threshold
    assert found["threshold_origin"].startswith("the operating point of face_embedder version 1 for FMR 0.001")
    by_label = {group["label"]: group for group in found["groups"]}
    assert set(by_label) == {"18 to under 30", "30 to under 45", "45 to under 60", "60 and over", "left", "right"}
    assert {label for label, group in by_label.items() if group["few_identities"]} == set(by_label) - {"left", "right"}
    old = by_label["60 and over"]
    assert (old["identities"], old["mated"], old["non_mated"]) == (4, 12, 54)
    assert all(group["rates"][0]["fnmr_by_identity"] is not None for group in by_label.values())
    text = page.read_text()
    assert text.count("<svg") == 4
    assert "60 and over (few people)" in text


def test_figures_go_into_the_card_in_place_of_older_ones(sameface: Run, arguments: list[str], repository: Path) -> None:
    path = repository / "face_embedder" / "1" / "card.json"
    before = read_card(path)
    note = "the version was trained on them"
    for remark, threshold in (["--note", "first"], "0.5"), (["--note", note], "0.3"), ([], "0.2"):
        result = sameface(
            *arguments, "--write", *remark, "--threshold", threshold, SAMEFACE_MODEL_REPOSITORY=str(repository)
        )
        assert result.returncode == 0, result.stderr
    card = read_card(path)
    assert {(one.note, one.threshold, one.measured_on) for one in card.groups} == {(note, 0.2, "people.npz")}
    assert [(one.label, one.identities) for one in card.groups if not one.column] == [("everybody", len(PEOPLE))]
    few = next(one for one in card.groups if one.label == "60 and over")
    assert few.few_identities
    assert few.fnmr_by_identity is not None
    assert few.fnmr_by_identity.low <= few.fnmr_by_identity.value <= few.fnmr_by_identity.high
    assert replace_groups(card) == before
    listed = sameface("model", "list", "--json", SAMEFACE_MODEL_REPOSITORY=str(repository)).stdout
    assert json.loads(listed.splitlines()[0])["groups"][0]["measured_on"] == "people.npz"


def test_the_figures_of_a_card_are_shown(sameface: Run) -> None:
    card = read_card(model_repository_source() / "face_embedder" / "1" / "card.json")
    assert card.evaluation is not None
    shown = sameface("model", "figures", "1").stdout
    few = [one for one in card.groups if one.few_identities]
    assert few
    for one in card.groups:
        assert one.label in shown
        assert one.fnmr_by_identity is None or f"{100 * one.fnmr_by_identity.value:.2f} % (" in shown
    assert f"{100 * card.evaluation.fnir.value:.2f} % ({100 * card.evaluation.fnir.low:.2f} to" in shown
    assert shown.count("(few)") == len(few)
    assert "those of face_embedder" in shown  # version 1 for OpenVINO has equal answers
    found = [json.loads(line) for line in sameface("model", "figures", "--json").stdout.splitlines()]
    assert {"face_embedder", "face_embedder_openvino"} == {one["model"] for one in found}
    refused = sameface("model", "figures", "77")
    assert (refused.returncode, "no version 77 embeds faces here" in refused.stderr) == (3, True)


def replace_groups(card: Any) -> Any:
    return card.model_copy(update={"groups": ()})


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (["--threshold", "0.3", "--fmr", "0.01"], "expected one of them"),
        (["--fmr", "1"], "--fmr is 1; expected above 0 and below 1"),
        (["--bands", "age=30,x"], "expected a column and rising numbers, for instance age=18,30,45,60"),
        (["--bands", "age=nan", "--fmr", "0.1"], "limits of bands are nan; expected rising numbers"),
        (["--bands", "age=30", "--bands", "age=40"], "--bands was given twice for 'age'"),
        (["--bands", "age=45,30", "--fmr", "0.1"], "limits of bands are 45, 30; expected rising numbers"),
    ],
)
def test_wrong_options_are_named(
    sameface: Run, arguments: list[str], repository: Path, added: list[str], message: str
) -> None:
    result = sameface(*arguments, *added, SAMEFACE_MODEL_REPOSITORY=str(repository))
    assert result.returncode == 3
    assert message in result.stderr


def test_embeddings_of_other_weights_than_the_cards_are_refused(
    sameface: Run, arguments: list[str], repository: Path
) -> None:
    path = repository / "face_embedder" / "1" / "card.json"
    write_card(path, read_card(path).model_copy(update={"sha256": "0" * 64, "operating_points": ()}))
    result = sameface(*arguments, SAMEFACE_MODEL_REPOSITORY=str(repository))
    assert "embed them again" in result.stderr
    samples = replace(far_apart(["a", "a", "b", "b"]), model="made up")
    write_embeddings(Path(arguments[3]), samples)
    result = sameface(*arguments, SAMEFACE_MODEL_REPOSITORY=str(repository))
    assert "embedded by made up, which has no card" in result.stderr
