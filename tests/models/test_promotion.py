"""A second version: built, sealed, promoted, rolled back, and served beside the first."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.client import Client, Outcome, connect
from sameface.errors import ModelCheckFailed, ModelNotFound, ServerEnded
from sameface.inference.cards import Licence, read_card, read_cards
from sameface.inference.defaults import (
    Default,
    check_served,
    check_unrestricted,
    chosen_version,
    promoted,
    read_default,
    restricted_default,
    rolled_back,
    write_default,
)
from sameface.inference.embedders import VERSIONS_SETTING
from sameface.launcher import served
from sameface.models.build import build_models
from sameface.models.seal import write_card
from sameface.settings import cache_folder, model_repository_source
from sameface.v1 import system_service_pb2
from tests.cli.conftest import Run, lines
from tests.models.conftest import OWN, RESTRICTION, add_version, embedder_card, restrict

pytestmark = pytest.mark.usefixtures("every_version")

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
Model = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def both_versions(monkeypatch: pytest.MonkeyPatch, every_version: None) -> None:
    """Let what the test starts serve the versions that the test is about: the others take seconds at each start."""
    monkeypatch.setenv(VERSIONS_SETTING, str([1, OWN]))


@pytest.fixture
def model(sameface: Run, repository: Path) -> Model:
    """`sameface model …` on the repository with one version."""
    return lambda *arguments: sameface("model", *arguments, SAMEFACE_MODEL_REPOSITORY=str(repository))


# The default as a value


@given(st.lists(st.one_of(st.integers(1, 5), st.none())))
def test_rollbacks_undo_promotions_in_their_order_and_everything_is_kept(steps: list[int | None]) -> None:
    default, stack, changes = Default(version=1), [1], 0
    for step in steps:
        if step is not None:
            default, changes = promoted(default, step, NOW), changes + 1
            stack.append(step)
        elif len(stack) > 1:
            default, changes = rolled_back(default, NOW), changes + 1
            stack.pop()
        else:
            with pytest.raises(ModelNotFound, match="no promotion is left"):
                rolled_back(default, NOW)
        assert default.version == stack[-1]
        assert default.before == (stack[-2] if len(stack) > 1 else None)
    assert len(default.history) == changes


def test_the_setting_goes_before_the_repository_and_that_before_the_package(tmp_path: Path) -> None:
    package, own = tmp_path / "package", tmp_path / "own"
    package.mkdir()
    own.mkdir()
    with pytest.raises(ModelNotFound, match=r"has a defaults\.json"):
        chosen_version(None, own, package)
    write_default(package, Default(version=3))
    assert (chosen_version(None, own, package).version, chosen_version(None, own, package).origin) == (3, "package")
    path = write_default(own, promoted(Default(version=3), 4, NOW))
    chosen = chosen_version(None, own, package)
    assert (chosen.version, chosen.origin, chosen.where) == (4, "model repository", str(path))
    assert read_default(own, package)[0].before == 3
    assert (chosen_version(5, own, package).version, chosen_version(5, own, package).origin) == (5, "settings")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"face_embedder": {"version": 0}}', '{"face_embedder": 2}'])
def test_a_file_that_names_no_default_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "defaults.json").write_text(text)
    with pytest.raises(ModelCheckFailed, match=r"defaults\.json does not set a default version"):
        read_default(tmp_path, tmp_path)


def test_the_committed_default_is_a_version_that_is_there() -> None:
    source = model_repository_source()
    card = check_served(chosen_version(None, source, source), read_cards(source))
    assert card.points
    assert card.golden_set


# The commands


def test_a_version_is_built_from_its_committed_weights_and_checked(model: Model, second: Path) -> None:
    card = embedder_card(second.parents[2], OWN)
    assert card.sha256 != embedder_card(second.parents[2], 1).sha256
    (second.parent / "model.onnx").unlink()
    assert model("build").returncode == 0
    checked = {(one["model"], one["version"]): one for one in lines(model("check", "--json").stdout)}
    assert checked["face_embedder", OWN]["cosine"] > 0.999999
    assert checked["face_embedder", OWN]["golden_set"]["smallest_cosine"] > 0.999999
    assert checked["face_detector", 1]["golden_set"] is None
    shown = model("check").stdout
    assert re.search(rf"face_embedder +{OWN} +1\.0000000 +1\.0000000 +0\.\d+ to 0\.\d+ +-0\.\d+ to 0\.\d+", shown), (
        shown
    )


def test_figures_of_other_weights_are_not_in_a_sealed_card(sealed: Path, repository: Path) -> None:
    copied_from = embedder_card(repository, 1)
    assert copied_from.evaluation is not None
    assert copied_from.groups
    assert copied_from.operating_points
    card = read_card(sealed / "card.json")
    assert (card.evaluation, card.groups, card.operating_points) == (None, (), ())


def test_a_repository_elsewhere_is_built_from_the_weights_of_its_source(second: Path, tmp_path: Path) -> None:
    # A source with this version alone: the others are built in tests of their own.
    source, target = tmp_path / "source", tmp_path / "elsewhere"
    (source / "face_embedder").mkdir(parents=True)
    shutil.copy(second.parents[1] / "config.pbtxt", source / "face_embedder")
    shutil.copytree(second.parent, source / "face_embedder" / str(OWN))
    build_models(target, source=source, cache=cache_folder(), progress=lambda step: None)
    built = target / "face_embedder" / str(OWN)
    assert (built / "model.onnx").read_bytes() == (second.parent / "model.onnx").read_bytes()
    # The weights that it was built from stay.
    assert not (built / "weights.onnx").exists()


def test_what_breaks_the_tensor_contract_is_not_sealed(model: Model, second: Path, repository: Path) -> None:
    before = second.read_text()
    detector = repository / "face_detector" / "1" / "model.onnx"
    result = model("seal", "face_embedder", str(OWN), "--weights", str(detector))
    assert result.returncode == 3
    assert "does not keep the tensor contract of face_embedder: found input images UINT8 [N,3,H,W]" in result.stderr
    assert second.read_text() == before


def test_a_version_that_is_not_sealed_is_named(model: Model, repository: Path, perturbed: bytes) -> None:
    add_version(repository, perturbed)
    result = model("build")
    assert result.returncode == 3
    assert f"has no digest; write it with `sameface model seal face_embedder {OWN}`" in result.stderr


def test_committed_weights_that_are_not_what_was_sealed_are_refused(model: Model, second: Path) -> None:
    (second.parent / "model.onnx").unlink()
    weights = second.parent / "weights.onnx"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.unlink()  # it may be a link to a file of other tests
    weights.write_bytes(content)
    result = model("build")
    assert result.returncode == 3
    assert "MODEL_CHECK_FAILED" in result.stderr
    assert not (second.parent / "model.onnx").exists()


def test_promotion_and_rollback_change_the_default_and_outlive_a_build(
    model: Model, sameface: Run, second: Path
) -> None:
    repository = second.parents[2]

    def default() -> list[int]:
        listed = lines(model("list", "--json").stdout)
        return [one["version"] for one in listed if one["default"]]

    assert default() == [1]
    result = model("promote", str(OWN))
    assert result.returncode == 0, result.stderr
    assert f"version {OWN} is the default of new galleries, version 1 was before" in result.stdout
    assert "restart it" in result.stderr
    assert default() == [OWN]
    assert model("build").returncode == 0
    assert default() == [OWN]
    assert "is the default already" in model("promote", str(OWN)).stdout
    settings = {"SAMEFACE_MODEL_REPOSITORY": str(repository), "SAMEFACE_LISTEN": "127.0.0.1:0"}
    found = {one["name"]: one for one in lines(sameface("doctor", "--json", **settings).stdout)}["default version"]
    assert found["found"] == f"face_embedder v{OWN} for new galleries, by {repository / 'defaults.json'}"
    overridden = sameface("model", "promote", "1", SAMEFACE_EMBEDDER_VERSION="1", **settings)
    assert "the setting embedder_version is 1 here, and overrides the default" in overridden.stderr
    for before in (OWN, 1):
        assert f"version {before} is the default of new galleries again" in model("rollback").stdout
        assert default() == [before]
    refused = model("rollback")
    assert refused.returncode == 3
    assert "no promotion is left to roll back" in refused.stderr
    history = json.loads((repository / "defaults.json").read_text())["face_embedder"]["history"]
    assert [(one["action"], one["version"]) for one in history] == [
        ("promote", OWN),
        ("promote", 1),
        ("rollback", OWN),
        ("rollback", 1),
    ]


def test_a_version_whose_licence_forbids_something_is_the_default_only_by_the_setting(
    model: Model, sameface: Run, second: Path
) -> None:
    repository = second.parents[2]
    assert model("promote", str(OWN)).returncode == 0
    assert model("promote", "1").returncode == 0
    restrict(second)
    for command in (("promote", str(OWN)), ("rollback",)):
        refused = model(*command)
        assert refused.returncode == 3
        assert f"face_embedder version {OWN} cannot be the default" in refused.stderr
        assert RESTRICTION in refused.stderr
        assert f"--embedder-version {OWN}" in refused.stderr
        assert read_default(repository, repository)[0].version == 1
    settings = {"SAMEFACE_MODEL_REPOSITORY": str(repository), "SAMEFACE_LISTEN": "127.0.0.1:0"}
    doctor = sameface("doctor", "--json", **settings, SAMEFACE_EMBEDDER_VERSION=str(OWN))
    found = {one["name"]: one for one in lines(doctor.stdout)}["default version"]
    assert found["found"].endswith(
        f"v{OWN} for new galleries, by SAMEFACE_EMBEDDER_VERSION or --embedder-version. {RESTRICTION}"
    )


def without_points(card: Path) -> None:
    write_card(card, embedder_card(card.parents[2], OWN).model_copy(update={"operating_points": ()}))


def without_golden_set(card: Path) -> None:
    write_card(card, embedder_card(card.parents[2], OWN).model_copy(update={"golden_set": None}))


def with_other_faces(card: Path) -> None:
    first, second = embedder_card(card.parents[2], 1), embedder_card(card.parents[2], OWN)
    write_card(card, second.model_copy(update={"golden_set": first.golden_set}))


def with_other_weights(card: Path) -> None:
    (card.parent / "model.onnx").unlink()
    (card.parent / "model.onnx").write_bytes((card.parents[1] / "1" / "model.onnx").read_bytes())


def without_licence(card: Path) -> None:
    stored = embedder_card(card.parents[2], OWN)
    write_card(card, stored.model_copy(update={"licence": Licence(weights=" ", training_data="")}))


def without_weights(card: Path) -> None:
    (card.parent / "model.onnx").unlink()


REFUSED: dict[Callable[[Path], None], str] = {
    without_points: "has no operating points",
    without_golden_set: "has no golden set",
    with_other_faces: "does not reproduce its golden set",
    with_other_weights: "its card says",
    without_licence: "does not state its licence of the weights and training data; write licence.weights: ",
    restrict: RESTRICTION,
    without_weights: "sameface model build",
}


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_a_version_that_is_not_fit_is_not_promoted(model: Model, second: Path, spoil: Callable[[Path], None]) -> None:
    spoil(second)
    result = model("promote", str(OWN))
    assert result.returncode == 3
    assert REFUSED[spoil] in result.stderr
    assert read_default(second.parents[2], second.parents[2])[0].version == 1


def test_a_version_that_is_not_there_is_not_promoted(model: Model) -> None:
    result = model("promote", "99")
    assert result.returncode == 3
    assert "has no face_embedder version 99; it has [1" in result.stderr


# The service


def test_old_galleries_keep_their_version_and_new_ones_get_the_promoted_which_the_server_names(
    model: Model, sameface: Run, second: Path, portraits: Path, tmp_path: Path, both_versions: None
) -> None:
    repository = second.parents[2]
    flags = ["--inference", "onnx", "--model-repository", str(repository)]
    photo, probe = portraits / "emmanuel_macron_2014.jpg", portraits / "emmanuel_macron_2025.jpg"
    log = tmp_path / "log"
    with served(tmp_path / "data", log, flags) as service, Client(service.address) as client:
        assert client.create_gallery("old").contract.version == 1
        client.enroll("old", "macron", photo)
        score = client.verify("old", "macron", probe).decision.score
        # Promoted while the service runs: the service keeps its default.
        assert model("promote", str(OWN)).returncode == 0
        made = client.create_gallery("late")
        assert (made.contract.version, made.licence_restriction) == (1, "")
    assert "licence forbids something" not in log.read_text()
    # As a defaults.json of an older release, which let such a version be promoted.
    restrict(second)
    with served(tmp_path / "data", log, flags) as service, Client(service.address) as client:
        told = log.read_text()
        assert f"bound to face_embedder version {OWN}, by {repository / 'defaults.json'}" in told
        assert f"whose licence forbids something: {RESTRICTION} If that concerns you, run sameface model" in told
        again = client.verify("old", "macron", probe).decision
        assert (again.outcome, again.score) == (Outcome.MATCH, score)
        created = sameface("gallery", "create", "new", "--json", SAMEFACE_ADDRESS=service.address)
        (gallery,) = lines(created.stdout)
        assert (gallery["contract"]["version"], gallery["licence_restriction"]) == (OWN, RESTRICTION)
        assert created.stderr.strip() == RESTRICTION
        client.enroll("new", "macron", photo)
        assert client.verify("new", "macron", probe).decision.score != score
        base = sameface("gallery", "create", "base", "--embedder-version", "1", SAMEFACE_ADDRESS=service.address)
        assert base.stderr == ""
        assert RESTRICTION in sameface("gallery", "show", "new", SAMEFACE_ADDRESS=service.address).stdout
        listed = {one.name: one.licence_restriction for one in client.galleries()}
        assert {name: bool(said) for name, said in listed.items()} == {
            "galleries/old": False,
            "galleries/late": False,
            "galleries/base": False,
            "galleries/new": True,
        }
        with connect(service.address) as connection:
            info = connection.system.GetServerInfo(system_service_pb2.GetServerInfoRequest())
        assert info.default_embedder_origin == "model repository"
        models = {(one.name, one.version): one for one in info.models}
        assert [key for key, one in models.items() if one.default_embedder] == [("face_embedder", OWN)]
        assert models["face_embedder", OWN].licence_restriction == RESTRICTION
        assert models["face_embedder", 1].licence_restriction == ""
    flags += ["--embedder-version", "1"]
    with served(tmp_path / "data", log, flags) as service, Client(service.address) as client:
        assert client.create_gallery("chosen").contract.version == 1


def test_the_committed_default_has_no_restriction_and_a_restricted_one_is_told() -> None:
    source = model_repository_source()
    cards = {card.version: card for card in read_cards(source) if card.embeds_faces}
    own = chosen_version(None, source, source)
    assert restricted_default(own, cards[own.version]) == ""
    check_unrestricted(cards[own.version])
    research = chosen_version(2, source, source)
    assert "leave the setting out (SAMEFACE_EMBEDDER_VERSION or" in restricted_default(research, cards[2])


def test_a_default_that_is_not_served_stops_the_start(repository: Path, tmp_path: Path) -> None:
    write_default(repository, Default(version=9))
    flags = ["--inference", "onnx", "--model-repository", str(repository)]
    with (
        pytest.raises(ServerEnded, match=r"defaults\.json sets face_embedder version 9 for new galleries"),
        served(tmp_path / "data", tmp_path / "log", flags),
    ):
        pass


@pytest.mark.triton
def test_a_triton_elsewhere_is_checked_before_a_version_is_promoted(
    model: Model, second: Path, both_versions: None
) -> None:
    command = [sys.executable, "-m", "sameface.cli", "triton", "serve"]
    environment = {"SAMEFACE_MODEL_REPOSITORY": str(second.parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}) as process:
        assert process.stdout is not None
        url = re.findall(r"gRPC on (\S+),", process.stdout.readline())[0]
        checked = lines(model("check", "--triton-url", url, "--json").stdout)
        result = model("promote", str(OWN), "--triton-url", url)
        process.terminate()
        assert process.wait(60) == 0
    assert {one["version"] for one in checked if one["golden_set"]} >= {1, OWN}
    assert min(one["golden_set"]["smallest_cosine"] for one in checked if one["golden_set"]) > 0.9999
    assert result.returncode == 0, result.stderr
    assert model("promote", "1", "--triton-url", url).returncode == 3
