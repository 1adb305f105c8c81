"""`sameface model add` seals any ONNX file that keeps the contract of `face_pad`, and nothing else."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tritonclient.grpc import model_config_pb2

from sameface.errors import ModelCheckFailed
from sameface.inference.cards import PAD, Licence, Source, golden_input, read_all_cards, read_card, read_cards
from sameface.inference.check import check_digests, check_models
from sameface.inference.local.runtime import require_runtime
from sameface.inference.local.server import LocalTriton
from sameface.inference.onnx import OnnxInference
from sameface.inference.triton import TritonInference
from sameface.inference.whole_image import Strokes, WholeImage
from sameface.models.add import CONFIG, add_pad
from sameface.models.contract import FACE_PAD, check_tensor_contract
from sameface.models.statement import Statement, check_card_states, check_stated
from sameface.models.whole_image import add_embedder, image_of
from sameface.settings import cache_folder, model_repository_source
from sameface_qdrant.errors import InvalidArgument
from tests.cli.conftest import Run, lines
from tests.toy_pad import STATED, toy_pad

GREY = WholeImage(detection="none", colour="grey", height=8, width=8, fit="pad", strokes="bright")
TOLD = {"licence": "CC0", "training-data": "none", "source": "tests/toy_pad.py", "figures": "not measured"}
STATES = tuple(word for name, text in TOLD.items() for word in (f"--{name}", text))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The toy model."""
    path = tmp_path / "toy.onnx"
    path.write_bytes(toy_pad())
    return path


def test_a_model_is_added_listed_and_checked(sameface: Run, repository: Path, file: Path) -> None:
    environment = {"SAMEFACE_MODEL_REPOSITORY": str(repository)}
    told = ("--note", "of our prints", "--restriction", "Not for commerce.", "--title", "our detector")
    figures = [*STATES[:-1], "APCER 3 %"]
    added = sameface("model", "add", PAD, str(file), *figures, *told, **environment)
    assert added.returncode == 0, added.stderr
    assert "restart the service" in added.stderr
    card = read_card(repository / PAD / "1" / "card.json")
    assert (card.licence.weights, card.licence.training_data) == ("CC0", "none")
    assert (card.title, card.licence.restriction) == ("our detector", "Not for commerce.")
    assert card.figures == {"stated": "APCER 3 %", "note": "of our prints"}
    assert (card.source.package, card.source.file, len(card.source.sha256)) == ("tests/toy_pad.py", "toy.onnx", 64)
    assert (repository / PAD / "1" / "model.onnx").read_bytes() == file.read_bytes()
    assert not list(repository.glob(".adding-*"))
    listed = {one["model"]: one for one in lines(sameface("model", "list", "--json", **environment).stdout)}
    assert listed[PAD]["licence"]["training_data"] == "none"
    checked = {one["model"]: one for one in lines(sameface("model", "check", "--json", **environment).stdout)}
    assert checked[PAD]["cosine"] > 0.999999


def test_the_config_says_what_the_card_says(repository: Path, file: Path) -> None:
    card = add_pad(repository, file, STATED)
    config = text_format.Parse((repository / PAD / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert (config.name, config.version_policy.HasField("all")) == (PAD, True)
    for spec, configured in ((card.input, config.input[0]), (card.output, config.output[0])):
        assert (spec.name, spec.shape) == (configured.name, (-1, *configured.dims))
        assert model_config_pb2.DataType.Name(configured.data_type) == f"TYPE_{spec.datatype}"


async def test_the_local_triton_serves_what_in_process_runs(repository: Path, file: Path) -> None:
    card = add_pad(repository, file, STATED)
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 128, 128), np.uint8)
    in_process, local = OnnxInference(repository), LocalTriton(repository, require_runtime(cache_folder()), [card])
    try:
        await local.start()
        client = TritonInference(local.grpc_url, timeout_s=10.0, recovery_s=0.0)
        expected, served = [(await one.run(PAD, 1, {"images": images}))["logits"] for one in (in_process, client)]
        await client.aclose()
    finally:
        await local.stop()
        await in_process.aclose()
    assert served.shape == (3, 2)
    np.testing.assert_allclose(served, expected, rtol=1e-5, atol=1e-4)


async def test_other_weights_with_logits_of_the_same_direction_are_noticed(repository: Path, file: Path) -> None:
    add_pad(repository, file, STATED)
    (repository / PAD / "1" / "model.onnx").write_bytes(toy_pad(0.2))
    cards = [card for card in read_cards(repository) if card.model == PAD]
    inference = OnnxInference(repository)
    with pytest.raises(ModelCheckFailed, match="does not reproduce its golden vector"):
        await check_models(inference, cards)
    with pytest.raises(ModelCheckFailed, match="sha256"):
        check_digests(repository, cards)
    await inference.aclose()


@pytest.mark.parametrize("left_out", STATES[::2])
def test_nothing_is_added_without_a_statement(sameface: Run, repository: Path, file: Path, left_out: str) -> None:
    environment = {"SAMEFACE_MODEL_REPOSITORY": str(repository)}
    place = STATES.index(left_out)
    missing = sameface("model", "add", PAD, str(file), *STATES[:place], *STATES[place + 2 :], **environment)
    assert missing.returncode == 3
    assert f"not stated; write {left_out}: " in missing.stderr
    blank = [*STATES[: place + 1], " ", *STATES[place + 2 :]]
    refused = sameface("model", "add", PAD, str(file), *blank, **environment)
    assert refused.returncode == 3
    assert refused.stderr == missing.stderr
    assert not (repository / PAD).exists()
    unknown = [*STATES[: place + 1], "unknown", *STATES[place + 2 :]]
    assert sameface("model", "add", PAD, str(file), *unknown, **environment).returncode == 0


STATED_PARTS = ("licence", "training_data", "source", "figures")


@given(st.sets(st.sampled_from(STATED_PARTS)), st.sampled_from(["", " ", "\n\t"]))
@hypothesis_settings(max_examples=20)
def test_everything_that_is_missing_is_named_at_once(left_out: set[str], blank: str) -> None:
    texts = {name: blank if name in left_out else "told" for name in STATED_PARTS}
    stated = Statement(**texts)
    card = read_card(model_repository_source() / "face_detector" / "1" / "card.json").model_copy(
        update={
            "licence": Licence(weights=stated.licence, training_data=stated.training_data),
            "source": Source(package=stated.source, file="x", sha256="a" * 64),
            "figures": {"stated": stated.figures},
        }
    )
    if not left_out:
        check_stated(stated)
        check_card_states(card, figures=True)
        return
    with pytest.raises(InvalidArgument) as refused:
        check_stated(stated)
    options = set(re.findall(r"--([a-z-]+): ", str(refused.value)))
    assert options == {name.replace("_", "-") for name in left_out}
    assert refused.value.metadata["field"] in left_out
    with pytest.raises(ModelCheckFailed) as of_card:
        check_card_states(card, figures=True)
    for name, place in zip(STATED_PARTS, ("weights: ", "training_data: ", "source.sha256: ", "points: "), strict=True):
        assert (place in str(of_card.value)) == (name in left_out)


def test_a_version_is_never_overwritten(sameface: Run, repository: Path, file: Path) -> None:
    environment = {"SAMEFACE_MODEL_REPOSITORY": str(repository)}
    add_pad(repository, file, STATED)
    before = (repository / PAD / "1" / "card.json").read_bytes()
    again = sameface("model", "add", PAD, str(file), *STATES, **environment)
    assert again.returncode == 3
    assert "--version" in again.stderr
    assert (repository / PAD / "1" / "card.json").read_bytes() == before
    assert sameface("model", "add", PAD, str(file), *STATES, "--version", "2", **environment).returncode == 0
    assert {card.version for card in read_cards(repository) if card.model == PAD} == {1, 2}
    with pytest.raises(InvalidArgument, match="expected 1 or more"):
        add_pad(repository, file, STATED, version=0)


def test_another_model_or_no_file_is_refused(sameface: Run, repository: Path, tmp_path: Path) -> None:
    environment = {"SAMEFACE_MODEL_REPOSITORY": str(repository)}
    for arguments in (("face_embedder", str(tmp_path / "toy.onnx")), (PAD, str(tmp_path / "nothing.onnx"))):
        refused = sameface("model", "add", *arguments, *STATES, **environment)
        assert refused.returncode != 0
        assert "Traceback" not in refused.stderr
    assert not (repository / PAD).exists()


def test_a_repository_that_is_not_there_yet_is_made(tmp_path: Path, file: Path) -> None:
    card = add_pad(tmp_path / "new" / "repository", file, Statement("unknown", "unknown", "unknown", "not measured"))
    assert read_cards(tmp_path / "new" / "repository") == (card,)
    assert (tmp_path / "new" / "repository" / PAD / "config.pbtxt").read_text() == CONFIG


Change = Callable[[onnx.ModelProto], None]


def renamed_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "input"


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def other_side(model: onnx.ModelProto) -> None:
    for place in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = 80


def three_classes(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3


def renamed_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "scores"


def new_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 22


def all_zero(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.zeros((3, 2), np.float32), "weights"))


def not_finite(model: onnx.ModelProto) -> None:
    weights = np.full((3, 2), 3e38, np.float32)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "weights"))


def batch_dependent(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.append(helper.make_node("ReduceMean", ["raw"], ["middle"], axes=[0], keepdims=1))
    model.graph.node.append(helper.make_node("Sub", ["raw", "middle"], ["logits"]))


BROKEN: dict[Change, str] = {
    renamed_input: r"found input input UINT8 \[N,3,128,128\]; expected images UINT8 \[N,3,128,128\]",
    float_input: "found input images FLOAT",
    fixed_batch: r"found input images UINT8 \[1,3,128,128\]",
    other_side: r"found input images UINT8 \[N,3,80,80\]",
    three_classes: r"found output logits FLOAT \[N,3\]; expected logits FLOAT \[N,2\]",
    renamed_output: "found output scores FLOAT",
    new_opset: "opset 22; expected opset 21 or below",
    all_zero: "logits of 0",
    not_finite: "numbers that are not finite",
    batch_dependent: "differs by .* in a batch",
}


@pytest.mark.parametrize("change", BROKEN, ids=lambda change: change.__name__)
def test_what_breaks_the_contract_is_refused(tmp_path: Path, change: Change) -> None:
    model = onnx.load_from_string(toy_pad())
    change(model)
    path = tmp_path / "broken.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelCheckFailed, match=BROKEN[change]):
        add_pad(tmp_path / "repository", path, STATED)
    assert not (tmp_path / "repository").exists()


def test_large_logits_may_differ_in_their_last_digits() -> None:
    check_tensor_contract(toy_pad(strength=1e4), FACE_PAD)


def test_a_card_is_readable_json(repository: Path, file: Path) -> None:
    add_pad(repository, file, STATED)
    fields = json.loads((repository / PAD / "1" / "card.json").read_text())
    assert fields["golden"]["shape"] == [1, 3, 128, 128]
    images = golden_input((1, 3, 128, 128)).astype(np.float64).mean(axis=(2, 3))[0]
    assert fields["golden"]["output"] == pytest.approx([0.0, 0.1 * (images[2] - images[0])], abs=1e-4)


@pytest.mark.parametrize("theirs", ["config.pbtxt", "1/model.onnx"])
@pytest.mark.parametrize("model", [PAD, "shapes"])
def test_a_model_of_somebody_else_is_not_changed(tmp_path: Path, file: Path, model: str, theirs: str) -> None:
    kept = tmp_path / "models" / model / theirs
    kept.parent.mkdir(parents=True)
    kept.write_text("theirs")
    add = {
        PAD: lambda: add_pad(tmp_path / "models", file, STATED, version=2),
        "shapes": lambda: add_embedder(tmp_path / "models", "shapes", b"", GREY, STATED, version=2),
    }
    with pytest.raises(InvalidArgument, match="folder of another model") as error:
        add[model]()
    assert error.value.metadata["field"] == "model"
    assert [path.read_text() for path in (tmp_path / "models").rglob("*") if path.is_file()] == ["theirs"]


def test_an_edited_config_is_kept(tmp_path: Path, file: Path) -> None:
    add_pad(tmp_path, file, STATED)
    (tmp_path / PAD / "config.pbtxt").write_text(CONFIG + "# edited\n")
    add_pad(tmp_path, file, STATED, version=2)
    assert (tmp_path / PAD / "config.pbtxt").read_text() == CONFIG + "# edited\n"


def test_a_card_that_was_copied_to_another_folder_is_refused(tmp_path: Path, file: Path) -> None:
    add_pad(tmp_path, file, STATED)
    for other in (tmp_path / PAD / "2", tmp_path / "shapes" / "1"):
        other.mkdir(parents=True)
        shutil.copy(tmp_path / PAD / "1" / "card.json", other)
        with pytest.raises(ModelCheckFailed, match=f"is the card of {PAD} version 1; expected {other.parent.name}"):
            read_all_cards(tmp_path)
        shutil.rmtree(other)
    assert len(read_all_cards(tmp_path)) == 1


@pytest.mark.parametrize(
    ("channels", "height", "strokes", "field"), [(1, 1025, "bright", "height"), (3, 8, "bright", "strokes")]
)
def test_the_field_that_cannot_be_is_named(channels: int, height: int, strokes: Strokes, field: str) -> None:
    tensors = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", *sizes])
        for name, sizes in (("images", [channels, height, 8]), ("embedding", [4]))
    ]
    graph = onnx.helper.make_graph([], "wrong", tensors[:1], tensors[1:])
    with pytest.raises(InvalidArgument, match=field) as error:
        image_of(onnx.helper.make_model(graph).SerializeToString(), "pad", strokes)
    assert error.value.metadata["field"] == field
