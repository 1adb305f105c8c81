"""Turns compressed weights into fp32 constants, which ONNX Runtime and Triton can load.

OpenCV Zoo's block quantiser stores every weight as int8 blocks behind a DequantizeLinear node. ONNX Runtime has no
kernel for that on constants, so numpy computes these nodes here. Our weights are stored in half precision behind a Cast
(`sameface.models.weights`).
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Constants: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class FoldedGraph:
    """The remaining nodes in order, and all constants by name."""

    nodes: tuple[onnx.NodeProto, ...]
    constants: Constants


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as Python values."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def dequantize_blocks(
    quantized: NDArray[Any], scales: NDArray[Any], zero_points: NDArray[Any], axis: int, block_size: int
) -> NDArray[np.float32]:
    """Return (q − zero point) · scale with one scale per ``block_size`` values along ``axis`` (ONNX opset 21)."""
    size = quantized.shape[axis]
    scale = np.repeat(scales.astype(np.float32), block_size, axis).take(range(size), axis)
    zero = np.repeat(zero_points.astype(np.int32), block_size, axis).take(range(size), axis)
    return (quantized.astype(np.int32) - zero).astype(np.float32) * scale


def fold(content: bytes) -> FoldedGraph:
    """Read an ONNX file, and compute every DequantizeLinear, Reshape, Cast and Constant whose inputs are constants."""
    graph = onnx.load_from_string(content).graph
    constants: Constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        inputs = [constants[name] for name in node.input if name in constants]
        foldable = len(inputs) == len(node.input)
        chosen = attributes(node)
        output = node.output[0]
        match node.op_type:
            case "DequantizeLinear" if foldable:
                quantized, scales, zero_points = inputs
                axis, block_size = chosen["axis"], chosen["block_size"]
                constants[output] = dequantize_blocks(quantized, scales, zero_points, axis, block_size)
            case "Reshape" if foldable:
                values, shape = inputs
                constants[output] = values.reshape(shape)
            case "Cast" if foldable:
                constants[output] = inputs[0].astype(helper.tensor_dtype_to_np_dtype(chosen["to"]))
            case "Constant":
                constants[output] = numpy_helper.to_array(chosen["value"])
            case _:
                nodes.append(node)
    return FoldedGraph(tuple(nodes), constants)


def fold_casts(content: bytes) -> bytes:
    """Return an ONNX file with half-precision constants behind a Cast turned into fp32 constants. Keep all other nodes.

    Every half-precision number is an fp32 number, so nothing is rounded. A file with sub-graphs (If, Loop, Scan) is
    returned unchanged, because ONNX Runtime folds these constants itself when it loads the file.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return content
    halves = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    kept, folded = [], []
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in halves and attributes(node)["to"] == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
            folded.append(numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input} | {output.name for output in graph.output}
    initializers = [tensor for tensor in graph.initializer if tensor.name not in halves or tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend([*initializers, *folded])
    return bytes(model.SerializeToString(deterministic=True))
