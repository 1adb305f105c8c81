"""Committed weights: the built model gives the same outputs, and weights that break the tensor contract are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sameface.errors import ModelCheckFailed
from sameface.inference.cards import golden_input
from sameface.inference.golden_set import read_golden_faces
from sameface.inference.onnx import open_session
from sameface.models.contract import check_tensor_contract
from sameface.models.folding import fold, fold_casts
from sameface.models.graph import GraphWriter
from sameface.models.layers import Array, Convolution, Dense, Layer, PixelStep, Slopes, read_layers
from sameface.models.weights import LARGEST_BYTES, build_from_weights, write_weights
from sameface.settings import model_repository_source

RNG = np.random.default_rng(3)
SHAPE: list[int | str] = ["N", 3, 112, 112]
# A small, fast network of four channels: a plain, a depthwise and a grouped convolution.
KERNELS = {"plain": RNG.normal(0, 0.1, (4, 3, 3, 3)), "deep": RNG.normal(0, 0.3, (4, 1, 3, 3))}
KERNELS |= {"grouped": RNG.normal(0, 0.3, (6, 2, 3, 3)), "dense": RNG.normal(0, 0.3, (128, 6 * 7 * 7))}


def images() -> np.ndarray[Any, Any]:
    noise = np.random.default_rng(4).integers(0, 256, (3, 3, 112, 112), np.uint8)
    return np.concatenate([golden_input((1, 3, 112, 112)), noise])


def run(content: bytes, given: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
    (output,) = open_session(content, threads=1).run(None, {"images": images() if given is None else given})
    return np.asarray(output)


def small(first: list[float], second: list[float]) -> tuple[Layer, ...]:
    """The small network with these slopes."""

    def convolution(name: str, stride: int, group: int) -> Convolution:
        weights: Array = KERNELS[name]
        chosen = {"group": group, "pads": [1, 1, 1, 1], "strides": [stride, stride]}
        return Convolution(name, weights, np.linspace(-0.5, 0.5, len(weights)), chosen)

    return (
        PixelStep("centred", "Sub", np.array(127.5)),
        PixelStep("scaled", "Mul", np.array(1 / 128)),
        convolution("plain", 4, 1),
        Slopes("bent", np.array(first)),
        convolution("deep", 2, 4),
        convolution("grouped", 2, 2),
        Slopes("bent_again", np.array(second)),
        Dense("dense", KERNELS["dense"], np.linspace(-1, 1, 128)),
    )


SMALL = small([0.25, -0.8, 1.12, 0.0], [0.3])


def test_half_precision_moves_no_embedding_of_version_1(sface: tuple[Layer, ...]) -> None:
    repository = model_repository_source()
    faces = read_golden_faces(repository / "face_embedder" / "golden_set.npz").images
    committed = write_weights(sface)
    assert len(committed) <= LARGEST_BYTES
    expected = run((repository / "face_embedder" / "1" / "model.onnx").read_bytes(), faces)
    as_it_is, built = run(committed, faces), run(build_from_weights(committed), faces)
    assert np.sum(as_it_is * expected, axis=1).min() > 0.9999
    np.testing.assert_allclose(built, as_it_is, atol=2e-6)


def test_large_weights_are_stored_in_half_precision_and_small_ones_are_not() -> None:
    graph = onnx.load_from_string(write_weights(SMALL)).graph
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert {name for name, kind in stored.items() if kind == TensorProto.FLOAT16} == {
        f"{name}_weight_half" for name in ("plain", "deep", "grouped", "dense")
    }
    assert stored["plain_bias"] == stored["bent_slope"] == stored["dense_bias"] == TensorProto.FLOAT
    assert [node.op_type for node in graph.node if node.op_type != "Cast"] == (
        ["Sub", "Mul", "Conv", "PRelu", "Conv", "Conv", "PRelu", "Flatten", "Gemm", "LpNormalization"]
    )


def test_what_is_built_is_fast_whole_and_the_same_each_time() -> None:
    committed = write_weights(SMALL)
    built = build_from_weights(committed)
    graph = onnx.load_from_string(built).graph
    assert "PRelu" not in {node.op_type for node in graph.node}
    assert {tensor.data_type for tensor in graph.initializer} == {TensorProto.FLOAT}
    assert build_from_weights(committed) == built


SLOPE = st.one_of(st.floats(-2, 2, width=32), st.sampled_from([1.0, 1 - 2**-24, 1 + 2**-23, 0.9995, 0.0, -1.0]))


@settings(max_examples=40, deadline=None)
@given(st.lists(SLOPE, min_size=4, max_size=4), st.lists(SLOPE, min_size=6, max_size=6))
def test_the_fast_form_equals_prelu_for_every_slope(first: list[float], second: list[float]) -> None:
    committed = write_weights(small(first, second))
    np.testing.assert_allclose(run(build_from_weights(committed)), run(committed), atol=3e-6)


def test_layers_survive_being_written_and_read() -> None:
    read = read_layers(fold(write_weights(SMALL)))
    assert read is not None
    assert [type(layer) for layer in read] == [type(layer) for layer in SMALL]
    assert write_weights(read) == write_weights(SMALL)


def other_backbone() -> bytes:
    """A network with a residual connection, pooling and plain activations."""
    writer = GraphWriter("other")
    pixels = writer.node("Cast", ["images"], "pixels", to=TensorProto.FLOAT)
    scaled = writer.node("Mul", [pixels, writer.constant("scale", np.array(1 / 128))], "scaled")
    stem = writer.node(
        "Conv", [scaled, writer.half_constant("stem_weight", RNG.normal(0, 0.1, (8, 3, 3, 3)))], "stem", strides=[2, 2]
    )
    pooled = writer.node("MaxPool", [writer.node("Relu", [stem], "active")], "pooled", kernel_shape=[2, 2])
    again = writer.half_constant("again_weight", RNG.normal(0, 0.1, (8, 8, 3, 3)))
    branch = writer.node("Conv", [pooled, again], "branch", pads=[1, 1, 1, 1])
    whole = writer.node("GlobalAveragePool", [writer.node("Add", [pooled, branch], "sum")], "whole")
    flat = writer.node("Flatten", [whole], "flat", axis=1)
    dense = writer.half_constant("dense_weight", RNG.normal(0, 1, (128, 8)))
    out = writer.node("Gemm", [flat, dense, writer.constant("dense_bias", RNG.normal(0, 1, 128))], "out", transB=1)
    writer.node("LpNormalization", [out], "embedding", axis=1, p=2)
    return writer.model(SHAPE, "embedding", ["N", 128])


def test_another_backbone_keeps_its_nodes() -> None:
    committed = other_backbone()
    before, built = onnx.load_from_string(committed), build_from_weights(committed)
    after = onnx.load_from_string(built)
    assert after.opset_import == before.opset_import
    assert {tensor.data_type for tensor in after.graph.initializer} == {TensorProto.FLOAT}
    # Only the cast of the pixels stays.
    assert [node.op_type for node in after.graph.node] == ["Cast"] + [
        node.op_type for node in before.graph.node if node.op_type != "Cast"
    ]
    np.testing.assert_array_equal(run(built), run(committed))


def test_a_half_constant_that_something_else_uses_stays() -> None:
    model = onnx.load_from_string(other_backbone())
    model.graph.node.append(helper.make_node("Cast", ["stem_weight_half"], ["spare"], to=TensorProto.DOUBLE))
    kept = onnx.load_from_string(fold_casts(model.SerializeToString())).graph
    assert {"stem_weight_half", "stem_weight"} <= {tensor.name for tensor in kept.initializer}


Change = Callable[[onnx.ModelProto], None]


def node_of(model: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == operator)


def transposed_dense(model: onnx.ModelProto) -> None:
    dense = node_of(model, "Gemm")
    dense.attribute[0].i = 0
    stored = next(tensor for tensor in model.graph.initializer if tensor.name == "dense_weight_half")
    stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(stored).T), stored.name))


def prelu_at_the_end(model: onnx.ModelProto) -> None:
    node_of(model, "LpNormalization").input[0] = "late"
    model.graph.node.insert(
        len(model.graph.node) - 1, helper.make_node("PRelu", ["dense", "late_slope"], ["late"], name="late")
    )
    model.graph.initializer.append(numpy_helper.from_array(np.full(128, 0.5, np.float32), "late_slope"))


def squared_pixels(model: onnx.ModelProto) -> None:
    node_of(model, "Mul").input[1] = "centred"


def bypassed_layer(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.output[0] == "deep").input[0] = "plain"


@pytest.mark.parametrize("change", [transposed_dense, prelu_at_the_end, squared_pixels, bypassed_layer])
def test_a_chain_with_something_unusual_is_served_as_it_is(change: Change) -> None:
    model = onnx.load_from_string(write_weights(SMALL))
    change(model)
    committed = model.SerializeToString()
    assert read_layers(fold(committed)) is None
    np.testing.assert_array_equal(run(build_from_weights(committed)), run(committed))


def renamed_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = node_of(model, "Cast").input[0] = "pictures"
    next(node for node in model.graph.node if node.output[0] == "pixels").input[0] = "pictures"


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def other_side(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 96


def renamed_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = node_of(model, "LpNormalization").output[0] = "features"


def two_outputs(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("dense", TensorProto.FLOAT, ["N", 128]))


def new_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 22


def new_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 11


def foreign_operators(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def weights_elsewhere(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")


def unknown_operator(model: onnx.ModelProto) -> None:
    node_of(model, "LpNormalization").op_type = "Unheard"


def no_normalisation(model: onnx.ModelProto) -> None:
    node_of(model, "LpNormalization").CopyFrom(helper.make_node("Identity", ["dense"], ["embedding"]))


def not_finite(model: onnx.ModelProto) -> None:
    stored = next(tensor for tensor in model.graph.initializer if tensor.name == "dense_bias")
    stored.CopyFrom(numpy_helper.from_array(np.full(128, np.nan, np.float32), stored.name))


def batch_dependent(model: onnx.ModelProto) -> None:
    node_of(model, "LpNormalization").input[0] = "moved"
    position = len(model.graph.node) - 1
    model.graph.node.insert(position, helper.make_node("Add", ["dense", "mean"], ["moved"]))
    model.graph.node.insert(position, helper.make_node("ReduceMean", ["dense"], ["mean"], axes=[0], keepdims=1))


BROKEN: dict[Change, str] = {
    renamed_input: r"input pictures UINT8 \[N,3,112,112\]; expected images UINT8",
    float_input: "input images FLOAT",
    fixed_batch: r"input images UINT8 \[1,3,112,112\]",
    other_side: r"\[N,3,112,96\]",
    renamed_output: "output features FLOAT",
    two_outputs: "output embedding .*, dense",
    new_opset: "opset 22; expected opset 21 or below",
    new_ir: "IR 11; expected IR 10 or below",
    foreign_operators: "operators of com.example",
    weights_elsewhere: "1 weights in another file",
    unknown_operator: "does not load",
    no_normalisation: "a norm of",
    not_finite: "not finite",
    batch_dependent: r"differs by 0\.\d+ in a batch",
}


@pytest.mark.parametrize("change", BROKEN, ids=lambda change: change.__name__)
def test_what_breaks_the_tensor_contract_is_refused(change: Change) -> None:
    model = onnx.load_from_string(write_weights(SMALL))
    change(model)
    with pytest.raises(ModelCheckFailed, match=BROKEN[change]):
        check_tensor_contract(model.SerializeToString())
    with pytest.raises(ModelCheckFailed, match="does not keep the tensor contract"):
        build_from_weights(model.SerializeToString())


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x08"])
def test_what_is_no_onnx_file_is_refused(content: bytes) -> None:
    with pytest.raises(ModelCheckFailed, match="expected an ONNX file"):
        check_tensor_contract(content)


def test_every_embedder_of_the_repository_keeps_the_tensor_contract() -> None:
    found = sorted(Path(model_repository_source() / "face_embedder").glob("*/*.onnx"))
    assert found
    for path in found:
        check_tensor_contract(path.read_bytes())


@pytest.mark.parametrize("value", [70000.0, -70000.0, float("inf"), float("nan")])
def test_what_half_precision_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ModelCheckFailed, match="half precision"):
        GraphWriter("x").half_constant("weights", np.array([1.0, value]))
