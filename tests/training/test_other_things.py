"""Other things than faces, end to end: a run is exported, served beside the faces, enrolled and verified."""

import contextlib
import json
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tritonclient.grpc import model_config_pb2

from benchmarks.things.attempts import FORGERY, GENUINE, MATED, NON_MATED, claims, draw, searches
from benchmarks.things.splits import Image as Photographed
from sameface.client import Client, ServiceError
from sameface.errors import FacesNotSupported, ImageUndecodable, ModelCheckFailed, ModelNotFound
from sameface.inference.cards import ModelCard, read_all_cards, read_card, read_cards
from sameface.inference.embedders import VERSIONS_SETTING
from sameface.inference.onnx import OnnxInference
from sameface.launcher import served
from sameface.models.build import build_version
from sameface.models.statement import Statement
from sameface.models.whole_image import add_embedder
from sameface.pipeline.answers import IdentificationSettings
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.pipeline.samples import PhotoSample
from sameface.settings import model_repository_source
from sameface.vision import FaceSelection
from sameface_qdrant import Policy, Store
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.decision import Outcome
from sameface_qdrant.values.gallery import PresentationAttackAction
from sameface_train.backbones import BACKBONES
from sameface_train.checkpoint import Trained
from sameface_train.cli import main
from sameface_train.export import export
from sameface_train.monitor import live_view
from sameface_train.publish import publish_embedder
from sameface_train.recipes import recipe
from sameface_train.trainer import Options, Run
from tests.cli.conftest import Run as Command
from tests.cli.conftest import sameface as sameface
from tests.training.glyphs import glyphs
from tests.training.shapes import SHAPES, drawn

STATED = Statement("CC0", "drawn by the tests", source="tests", figures="not measured", title="t")
SIZES = {"drawings": (90, 90), "signatures": (400, 150)}
"""Width and height of what is photographed, for each model."""
THRESHOLDS = {"drawings": 0.83, "signatures": 0.966}
"""Between the scores of samples of one shape (0.93 and 0.99 at least) and of two (0.72 and 0.94 at most)."""


def trained(folder: Path, backbone: str, steps: int) -> Path:
    """Return the folder of a short run on drawings, without its curves."""
    # A loss without miners, whose imports take longer than the training.
    chosen = recipe(
        "matching", backbone=backbone, dimension=16, identities=8, each=2, steps=steps, warm_up=2, averaging=0.5
    )
    samples = replace(glyphs(12, 2, seed=5), strokes="bright")
    if backbone == "small-wide":
        samples = replace(samples, images=np.kron(samples.images, np.ones((2, 4), np.uint8)), strokes="isolated")
    with live_view("", 1, quiet=True) as view, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sameface_train.trainer.draw_log", lambda *of_the_run: None)
        Run(chosen, samples, folder, Options(), lambda text: None).train(view)
    return folder


def exported(run: Path, repository: Path, model: str, *options: str) -> int:
    """Export a run with the command, and return its exit code."""
    command = ["sameface-train", "export", str(run), "--model", model, "--repository", str(repository)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*command, "--licence", "CC0", "--training-data", "drawn by the tests", *options])
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code if isinstance(ended.value.code, int) else 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        "drawings": trained(folder / "drawings", "small", 30),
        "signatures": trained(folder / "signatures", "small-wide", 50),
    }


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, runs: dict[str, Path]) -> Path:
    """A model repository with one version of the models of faces, and both runs."""
    target = tmp_path_factory.mktemp("models") / "repository"
    source, ignored = model_repository_source().resolve(), shutil.ignore_patterns("[2-9]", "face_embedder_openvino")
    shutil.copytree(source, target, ignore=ignored, copy_function=lambda one, two: Path(two).symlink_to(one))
    for model, run in runs.items():
        assert exported(run, target, model) == 0
    return target


def card_of(repository: Path, model: str, version: int = 1) -> ModelCard:
    return read_card(repository / model / str(version) / "card.json")


def test_an_export_has_a_config_and_a_sealed_card_of_its_own_shape(repository: Path, runs: dict[str, Path]) -> None:
    for model, shape, strokes in (("drawings", (1, 28, 28), "bright"), ("signatures", (1, 40, 96), "isolated")):
        card = card_of(repository, model)
        assert card.whole_image is not None
        assert card.whole_image.shape == shape
        assert (card.whole_image.detection, card.whole_image.strokes) == ("none", strokes)
        assert json.loads((repository / model / "1" / "card.json").read_text())["whole_image"]["detection"] == "none"
        assert card.contract.preprocessing == f"whole-grey-{shape[1]}x{shape[2]}-pad-{strokes}-v1"
        assert (card.contract.model, card.contract.dimension) == (model, 16)
        text = (repository / model / "config.pbtxt").read_text()
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        assert (config.name, tuple(config.input[0].dims), tuple(config.output[0].dims)) == (model, shape, (16,))
        # It is built again from weights.onnx to the same bytes, as the versions of faces are.
        assert build_version(repository, model, 1, Path("unused")) == (repository / model / "1/model.onnx").read_bytes()
    assert exported(runs["drawings"], repository, "drawings", "--version", "1") == 3


def test_the_network_for_signatures_is_exported_as_it_is(tmp_path: Path) -> None:
    backbone = BACKBONES["signature"]
    network = backbone.build(1, backbone.side, 32).eval()
    # A run of a release that did not say what was done to the strokes.
    run = Trained(recipe("triplet", "signatures", dimension=32), network, {}, (), backbone.side, 1, 0)
    content, cosine = export(run, "signers")
    assert cosine > 0.9999
    card = publish_embedder(run, content, tmp_path, "signers", None, STATED, source="tests")
    assert card.preprocessing == "whole-grey-96x192-pad-isolated-v1"


def test_a_second_export_is_the_next_version_and_must_have_the_same_tensors(
    tmp_path: Path, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for version in (1, 2):
        assert exported(runs["drawings"], tmp_path / "new" / "models", "shapes", "--strokes", "as-is") == 0
        assert card_of(tmp_path / "new" / "models", "shapes", version).preprocessing.endswith("-as-is-v1")
    capsys.readouterr()
    assert exported(runs["signatures"], tmp_path / "new" / "models", "shapes") == 3
    assert "give this one another name" in capsys.readouterr().err
    assert exported(runs["drawings"], tmp_path / "new" / "models", "face_pad") == 3
    assert exported(runs["drawings"], tmp_path / "new" / "models", "face_embedder", "--version", "5") == 3
    assert "--model NAME" in capsys.readouterr().err
    assert [card.version for card in read_all_cards(tmp_path / "new" / "models")] == [1, 2]


@pytest.mark.parametrize("name", ["", "Shapes", "a/b", "..", "-a", "face_detector", "x" * 65])
def test_a_name_that_is_no_folder_of_an_embedder_is_refused(tmp_path: Path, repository: Path, name: str) -> None:
    image = card_of(repository, "drawings").whole_image
    assert image is not None
    with pytest.raises(InvalidArgument):
        add_embedder(tmp_path, name, b"", image, STATED)


def test_a_card_that_contradicts_itself_is_refused(repository: Path, tmp_path: Path) -> None:
    stored = json.loads((repository / "drawings" / "1" / "card.json").read_text())
    wrong = (
        {"model": "face_embedder"},
        {"whole_image": None},
        {"preprocessing": "arcface-112-v1"},
        {"input": {**stored["input"], "shape": [-1, 1, 28, 29]}},
        {"whole_image": {**stored["whole_image"], "colour": "rgb"}},
    )
    for change in wrong:
        (tmp_path / "card.json").write_text(json.dumps(stored | change))
        with pytest.raises(ModelCheckFailed):
            read_card(tmp_path / "card.json")


@pytest.fixture(scope="module")
async def operations(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> AsyncIterator[FaceOperations]:
    """The service's operations in this process, on ONNX Runtime."""
    store = await Store.open(f"edge://{tmp_path_factory.mktemp('store')}")
    inference = OnnxInference(repository)
    yield FaceOperations(PhotoPipeline(inference), store, read_cards(repository), default_embedder=1)
    await inference.aclose()
    await store.aclose()


async def test_in_process_each_thing_matches_itself_alone(operations: FaceOperations) -> None:
    for model, size in SIZES.items():
        made = await operations.create_gallery(
            model,
            embedder_version=None,
            embedder_model=model,
            display_name="",
            policy=Policy(
                verify_threshold=THRESHOLDS[model], identify_threshold=THRESHOLDS[model], runner_up_margin=0.01
            ),
            request_id="",
        )
        assert made.contract.model == model
        for shape in SHAPES:
            enrolment = await operations.enroll(
                model,
                shape,
                PhotoSample(drawn(shape, 1, *size)),
                allow_missing=True,
                display_name="",
                selection=None,
                expire_time=None,
                request_id="",
                validate_only=False,
            )
            assert (enrolment.face, enrolment.template.provenance.source) == (None, "photo")
        for shape in SHAPES:
            sample = PhotoSample(drawn(shape, 2, *size))
            settings = IdentificationSettings(model)
            ((decision, face),) = (await operations.identify(sample, settings)).faces
            assert decision is not None
            assert (decision.outcome, decision.candidates[0].identity, face) == (Outcome.MATCH, shape, None)


@pytest.mark.parametrize(("mode", "form"), [("1", "PNG"), ("L", "PNG"), ("P", "PNG"), ("P", "GIF"), ("1", "TIFF")])
async def test_a_drawing_may_have_two_colours(operations: FaceOperations, mode: str, form: str) -> None:
    ink = (
        Image.open(BytesIO(drawn("comb", 1, *SIZES["signatures"]))).convert("L").point(lambda grey: 255 * (grey > 127))
    )
    contents = []
    for image, kind in ((ink.convert(mode), form), (ink.convert("RGB"), "PNG")):
        buffer = BytesIO()
        image.save(buffer, format=kind)
        contents.append(buffer.getvalue())
    card = operations.embedder_card(None, "signatures")
    (coarse, _), (full, _) = [await operations.embed_image(content, card) for content in contents]
    assert np.array_equal(coarse, full)
    # A face cannot be recognised in so few.
    with pytest.raises(ImageUndecodable, match="too few to recognise a face"):
        await operations.detect(contents[0])


async def test_options_about_faces_are_refused_by_name(operations: FaceOperations) -> None:
    sample = PhotoSample(drawn("box", 3, 60, 60))
    contract = operations.embedder_card(None, "drawings").contract
    await operations.store.galleries.create("options", contract)
    settings = IdentificationSettings("options", selection=FaceSelection.LARGEST)
    pad = Policy(presentation_attack=PresentationAttackAction.REPORT)
    refused = {
        "face_selection": operations.identify(sample, settings),
        "all_faces": operations.identify(sample, IdentificationSettings("options", all_faces=True)),
        "presentation_attack": operations.create_gallery(
            "pad", embedder_version=1, embedder_model="drawings", display_name="", policy=pad, request_id=""
        ),
    }
    for field, call in refused.items():
        with pytest.raises(FacesNotSupported, match=field) as error:
            await call
        assert error.value.metadata == {"field": field, "model": "drawings"}
    for version, model, told in ((7, "drawings", r"versions \[1\]"), (None, "voices", "drawings, face_embedder")):
        with pytest.raises(ModelNotFound, match=told):
            operations.embedder_card(version, model)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[str]:
    """A service with a real tritonserver, which serves both models beside the faces."""
    folder = tmp_path_factory.mktemp("service")
    flags = ["--model-repository", str(repository), "--embedder-version", "1"]
    with contextlib.ExitStack() as stack:
        # The repository has this version alone. The setting is of this service alone.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VERSIONS_SETTING, "[1]")
            running = stack.enter_context(served(folder / "data", folder / "serve.log", flags))
        yield running.address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as opened:
        yield opened


@pytest.mark.triton
async def test_triton_serves_them_beside_the_faces(client: Client, operations: FaceOperations, portraits: Path) -> None:
    models = {one.name: one for one in client.server_info().models}
    assert {name for name, one in models.items() if one.takes_whole_images} == set(SIZES)
    assert models["face_embedder"].default_embedder
    assert models["drawings"].default_embedder
    for model, size in SIZES.items():
        image = drawn("wave", 4, *size)
        (found,) = client.embed(image, embedder_model=model).faces
        assert (found.face.bounding_box.width, found.face.bounding_box.height) == size
        vector, _ = await operations.embed_image(image, operations.embedder_card(None, model))
        assert np.dot(found.embedding.values, vector) > 0.9999
        client.create_gallery(model, embedder_model=model, verify_threshold=THRESHOLDS[model], runner_up_margin=0.01)
        client.enroll(model, "wave", image)
        client.enroll(model, "box", drawn("box", 4, *size))
        genuine = client.verify(model, "wave", drawn("wave", 5, *size))
        assert (str(genuine.decision.outcome), genuine.face) == ("MATCH", None)
        assert str(client.verify(model, "wave", drawn("comb", 5, *size)).decision.outcome) == "NO_MATCH"
        with pytest.raises(ServiceError) as error:
            client.verify(model, "wave", image, face_selection="error")
        assert (error.value.reason, error.value.metadata["field"]) == ("FACES_NOT_SUPPORTED", "face_selection")
    client.create_gallery("people")
    client.enroll("people", "macron", (portraits / "emmanuel_macron_2014.jpg").read_bytes())
    assert client.verify("people", "macron", (portraits / "emmanuel_macron_2025.jpg").read_bytes()).matched


@pytest.mark.triton
def test_the_measurement_counts_what_the_service_answers(client: Client, tmp_path: Path) -> None:
    images = []
    for kind, name, shape, sample in (
        *(("genuine", name, name, sample) for name in SHAPES for sample in range(3)),
        ("forgery", "box", "wave", 7),
        ("forgery", "wave", "wave", 8),
    ):
        path = tmp_path / f"{kind}-{name}-{sample}.png"
        path.write_bytes(drawn(shape, sample, *SIZES["signatures"]))
        images.append(Photographed(path, name, kind == "forgery"))
    drawing = draw(images, most=20)
    galleries = ("things", "things-one", "things-two")
    lowest = THRESHOLDS["signatures"]
    for gallery in galleries:
        client.create_gallery(
            gallery,
            embedder_model="signatures",
            verify_threshold=lowest,
            identify_threshold=lowest,
            runner_up_margin=0.01,
        )
    claimed = claims(client, galleries[0], drawing, lambda text: None)
    found = [(one.kind, one.probe, one.outcome) for one in claimed]
    probes = len(SHAPES) * 2
    assert found[:probes] == [(GENUINE, image.identity, "MATCH") for image in drawing.probes]
    assert [outcome for _, _, outcome in found[probes:-2]] == ["NO_MATCH"] * probes
    # A good forgery cannot be told from a genuine one, and a poor one can.
    assert sorted(found[-2:]) == [(FORGERY, "box", "NO_MATCH"), (FORGERY, "wave", "MATCH")]
    searched = searches(client, galleries[1:], drawing, lambda text: None)
    assert all((one.outcome == "MATCH") == (one.probe == one.claimed) for one in searched if one.kind == MATED)
    assert {one.outcome for one in searched if one.kind == NON_MATED} == {"NO_MATCH"}
    assert (sum(one.kind == MATED for one in searched), sum(one.kind == NON_MATED for one in searched)) == (
        probes,
        probes,
    )


@pytest.mark.triton
def test_thresholds_are_measured_and_new_galleries_have_them(
    address: str, client: Client, repository: Path, sameface: Command, tmp_path: Path
) -> None:
    client.create_gallery("unmeasured", embedder_model="drawings")
    client.enroll("unmeasured", "box", drawn("box", 1, 90, 90))
    with pytest.raises(ServiceError, match="operating-points") as error:
        client.verify("unmeasured", "box", drawn("box", 2, 90, 90))
    assert error.value.reason == "THRESHOLD_NOT_CALIBRATED"
    for shape in SHAPES:
        (tmp_path / "shapes" / shape).mkdir(parents=True)
        for sample in range(3):
            (tmp_path / "shapes" / shape / f"{sample}.png").write_bytes(drawn(shape, sample, 90, 90))
    measured = sameface(
        *("evaluate", "operating-points", str(tmp_path / "shapes"), "--embedder-model", "drawings", "--write"),
        "--accept-unsupported",
        *("--address", address, "--json"),
        SAMEFACE_MODEL_REPOSITORY=str(repository),
    )
    assert measured.returncode == 0, measured.stderr
    record = json.loads(measured.stdout)
    assert "whole-grey-28x28-pad-bright-v1" in record["conditions"]["preprocessed"]
    points = card_of(repository, "drawings").operating_points
    assert [point.threshold for point in points] == [one["threshold"] for one in record["operating_points"]]


@pytest.mark.triton
def test_a_folder_of_signers_is_evaluated_with_forgeries_apart(address: str, sameface: Command, tmp_path: Path) -> None:
    size, shapes = SIZES["signatures"], list(SHAPES)
    for place, shape in enumerate(shapes):
        for kind, what in (("genuine", shape), ("forgery", shapes[place - 1])):
            folder = tmp_path / "signers" / shape / kind
            folder.mkdir(parents=True)
            for sample in range(3):
                (folder / f"{sample}.png").write_bytes(drawn(what, sample + (10 if kind == "forgery" else 0), *size))
    source = (str(tmp_path / "signers"), "--embedder-model", "signatures", "--address", address, "--json")
    records = {}
    for command in (("forgeries", "--templates", "2"), ("verification",)):
        told = sameface("evaluate", *command, *source, "--replicates", "100")
        assert told.returncode == 0, told.stderr
        records[command[0]] = json.loads(told.stdout)
    signers, each = len(shapes), 3
    assert (records["forgeries"]["genuine"], records["forgeries"]["skilled"]) == (signers, signers * each)
    found = records["verification"]
    assert (found["mated"], found["conditions"]["skilled_forgeries"]) == (signers * each, signers * each)
    assert found["skilled_forgeries"]["comparisons"] == signers * each * each
