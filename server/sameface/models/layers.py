"""The layers of a plain chain of convolutions with one dense layer at its end. Batch norms are folded in.

Both forms of an embedder are written from these layers: the committed form (`sameface.models.weights`) and the served
form (`sameface.models.embedder`). All values are in double precision, so that constants are rounded only when they are
written.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from sameface.models.folding import Constants, FoldedGraph, attributes

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PixelStep:
    """One step of the normalisation of pixels: a constant is subtracted or multiplied."""

    name: str
    operator: Literal["Sub", "Mul"]
    constant: Array
    constant_name: str = ""
    """Name of the constant in the file. If empty, it is derived from ``name``."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """Weights [out, in/group, height, width], bias [out], and ONNX's attributes of Conv."""

    name: str
    weights: Array
    bias: Array
    attributes: dict[str, Any]

    @property
    def group(self) -> int:
        """Number of groups of channels. In a depthwise layer every channel is a group."""
        return int(self.attributes.get("group", 1))


@dataclass(frozen=True, slots=True)
class Slopes:
    """A PRelu after a convolution. One slope per channel, [channels], or one for all channels, [1]."""

    name: str
    values: Array


@dataclass(frozen=True, slots=True)
class Dense:
    """The dense layer at the end: weights [out, channels·height·width] and bias [out]."""

    name: str
    weights: Array
    bias: Array


Layer: TypeAlias = PixelStep | Convolution | Slopes | Dense

# Input, pixel normalisation, convolutions with or without batch norm and PRelu, one dense layer.
_CHAIN = re.compile(
    "(Cast )?((Sub|Mul) )*(Conv (BatchNormalization )?(PRelu )?)+"
    "(BatchNormalization )?(Dropout )?(Flatten )?Gemm (BatchNormalization )?(LpNormalization )?"
)


def read_layers(graph: FoldedGraph) -> tuple[Layer, ...] | None:
    """Return the layers of a graph, or None if it is another kind of network, which is served unchanged."""
    operators = "".join(f"{node.op_type} " for node in graph.nodes)
    if not _CHAIN.fullmatch(operators) or not _linked(graph) or not all(map(_usual, graph.nodes)):
        return None
    return tuple(_layers(graph))


def _linked(graph: FoldedGraph) -> bool:
    """Whether each node's only computed input is the output of the node before it."""
    before = graph.nodes[0].input[0]
    for node in graph.nodes:
        if node.input[0] != before or any(name not in graph.constants for name in node.input[1:]):
            return False
        before = node.output[0]
    return True


def _usual(node: onnx.NodeProto) -> bool:
    """Whether the attributes of a node are those that its layer here assumes."""
    chosen = attributes(node)
    match node.op_type:
        case "Cast":
            return bool(chosen["to"] == onnx.TensorProto.FLOAT)
        case "Gemm":
            plain = (chosen.get("alpha", 1.0), chosen.get("beta", 1.0), chosen.get("transA", 0)) == (1.0, 1.0, 0)
            return plain and chosen.get("transB", 0) == 1 and len(node.input) == 3
        case "Flatten":
            return bool(chosen.get("axis", 1) == 1)
        case "LpNormalization":
            return bool(chosen.get("p", 2) == 2 and chosen.get("axis", -1) in (1, -1))
        case "BatchNormalization":
            return len(node.output) == 1
        case _:
            return True


def _layers(graph: FoldedGraph) -> Iterator[Layer]:
    constants = graph.constants
    layer: Convolution | Dense | None = None  # waits for the next node, which may be its batch norm
    pending: tuple[Array, Array] | None = None  # a batch norm to fold into the dense layer after it
    for node in graph.nodes:
        name = node.output[0]
        if layer is not None and node.op_type == "BatchNormalization":
            layer = _scaled(layer, *_affine(node, constants))
            continue
        if layer is not None:
            yield layer
            layer = None
        match node.op_type:
            case "Sub" | "Mul":
                operator: Literal["Sub", "Mul"] = "Sub" if node.op_type == "Sub" else "Mul"
                yield PixelStep(name, operator, _double(constants[node.input[1]]), node.input[1])
            case "Conv":
                weights = _double(constants[node.input[1]])
                bias = _double(constants[node.input[2]]) if len(node.input) > 2 else np.zeros(len(weights))
                layer = Convolution(name, weights, bias, attributes(node))
            case "PRelu":
                yield Slopes(name, _double(constants[node.input[1]]).ravel())
            case "BatchNormalization":
                pending = _affine(node, constants)
            case "Gemm":
                layer = Dense(name, *(_double(constants[part]) for part in node.input[1:]))
                layer = layer if pending is None else _after(layer, *pending)
    if layer is not None:
        yield layer


def _double(values: NDArray[Any]) -> Array:
    return values.astype(np.float64)


def _affine(node: onnx.NodeProto, constants: Constants) -> tuple[Array, Array]:
    """Return a batch norm as scale and shift per channel (inference mode)."""
    gamma, beta, mean, variance = (_double(constants[name]) for name in node.input[1:])
    scale = gamma / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
    return scale, beta - mean * scale


def _scaled(layer: Convolution | Dense, scale: Array, shift: Array) -> Convolution | Dense:
    """Return a layer with the batch norm after it folded in."""
    by_output = scale.reshape(-1, *[1] * (layer.weights.ndim - 1))
    return replace(layer, weights=layer.weights * by_output, bias=layer.bias * scale + shift)


def _after(layer: Dense, scale: Array, shift: Array) -> Dense:
    """Return a dense layer with the batch norm before it folded in."""
    by_channel = layer.weights.reshape(len(layer.weights), scale.size, -1)
    return replace(
        layer,
        weights=(by_channel * scale[:, np.newaxis]).reshape(layer.weights.shape),
        bias=layer.bias + np.einsum("ocp,c->o", by_channel, shift),
    )
