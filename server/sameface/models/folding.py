"""Turns compressed weights into fp32 constants, which ONNX Runtime and Triton can load.

OpenCV Zoo's block quantiser stores every weight as int8 blocks behind a DequantizeLinear node. ONNX Runtime has no
kernel for that on constants, so onnx's reference evaluator computes these nodes here. Our weights are stored in half
precision behind a Cast (`sameface.models.weights`).
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Constants: TypeAlias = dict[str, NDArray[Any]]
FOLDED = ("Cast", "Constant", "DequantizeLinear", "Reshape")


@dataclass(frozen=True, slots=True)
class FoldedGraph:
    """The remaining nodes in order, and all constants by name."""

    nodes: tuple[onnx.NodeProto, ...]
    constants: Constants


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as Python values."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def fold(content: bytes) -> FoldedGraph:
    """Read an ONNX file and compute every Cast, Constant, DequantizeLinear and Reshape whose inputs are constants."""
    model = onnx.load_from_string(content)
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    constants: Constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type in FOLDED and constants.keys() >= set(node.input):
            inputs = {name: constants[name] for name in node.input}
            (output,) = ReferenceEvaluator(node, opsets=opsets).run(None, inputs)
            constants[node.output[0]] = np.asarray(output)
        else:
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
