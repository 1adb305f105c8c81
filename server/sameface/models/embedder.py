"""`face_embedder` version 1: SFace (OpenCV Zoo) rewritten for speed and bound to the tensor contract.

Exact rewrites, in double precision before the constants are rounded once:

- every batch norm is folded into the convolution or dense layer before it, the last one into the layer after it;
- PRelu(x) = s·x + (1−s)·relu(x) = (1−s)·(s/(1−s)·x + relu(x)), where the factor (1−s) goes into the next layer's
  weights. ONNX Runtime's PRelu kernel costs as much as all convolutions together; this form halves the whole.
- the output is divided by its L2 norm in the graph.
"""

import numpy as np
import onnx
from numpy.typing import NDArray

from sameface.models.folding import Constants, FoldedGraph, attributes
from sameface.models.graph import GraphWriter

Array = NDArray[np.float64]

DIMENSION = 128
# Keeps s/(1−s) finite where a slope is 1. Even then the product of both factors is s, so nothing is lost but rounding.
SMALLEST_GAP = 1e-6


def build_embedder(graph: FoldedGraph) -> bytes:
    """Return the ONNX file: `images` UINT8 [N,3,112,112] RGB → `embedding` FP32 [N,128] of unit norm."""
    writer = GraphWriter("face_embedder")
    constants = graph.constants
    current = writer.node("Cast", ["images"], "pixels", to=onnx.TensorProto.FLOAT)
    nodes = iter(graph.nodes)
    # What the layers so far still owe to the next weights: a factor and an offset per channel.
    factor: Array | None = None
    offset: Array | None = None
    for node in nodes:
        name = node.output[0]
        match node.op_type:
            case "Sub" | "Mul":
                current = writer.node(
                    node.op_type, [current, writer.constant(node.input[1], constants[node.input[1]])], name
                )
            case "Conv":
                weights = _double(constants[node.input[1]])
                if factor is not None:
                    per_channel = (-1, 1, 1, 1) if attributes(node)["group"] > 1 else (1, -1, 1, 1)
                    weights = weights * factor.reshape(per_channel)
                    factor = None
                scale, shift = _affine(next(nodes), constants)
                inputs = [
                    current,
                    writer.constant(f"{name}_weight", weights * scale.reshape(-1, 1, 1, 1)),
                    writer.constant(f"{name}_bias", shift),
                ]
                current = writer.node("Conv", inputs, name, **attributes(node))
            case "PRelu":
                slope = _double(constants[node.input[1]]).ravel()
                gap = 1.0 - slope
                factor = np.where(np.abs(gap) < SMALLEST_GAP, SMALLEST_GAP, gap)
                ratio = writer.constant(f"{name}_ratio", ((1.0 - factor) / factor).reshape(-1, 1, 1))
                linear = writer.node("Mul", [current, ratio], f"{name}_linear")
                positive = writer.node("Relu", [current], f"{name}_positive")
                current = writer.node("Add", [linear, positive], name)
            case "BatchNormalization":
                scale, offset = _affine(node, constants)
                factor = scale if factor is None else factor * scale
            case "Gemm":
                weights, bias = _dense(node, constants, factor, offset)
                scale, shift = _affine(next(nodes), constants)
                flat = writer.node("Flatten", [current], "flat", axis=1)
                inputs = [
                    flat,
                    writer.constant(f"{name}_weight", weights * scale[:, np.newaxis]),
                    writer.constant(f"{name}_bias", bias * scale + shift),
                ]
                current = writer.node("Gemm", inputs, name, transB=1)
            case "Dropout" | "Flatten":
                pass
            case other:
                raise ValueError(f"SFace holds an unexpected {other} node; the source is not the pinned one")
    writer.node("LpNormalization", [current], "embedding", axis=1, p=2)
    return writer.model(["N", 3, 112, 112], "embedding", ["N", DIMENSION])


def _double(values: NDArray[np.float32]) -> Array:
    return values.astype(np.float64)


def _affine(node: onnx.NodeProto, constants: Constants) -> tuple[Array, Array]:
    """Return a batch norm as scale and shift per channel (inference mode)."""
    gamma, beta, mean, variance = (_double(constants[name]) for name in node.input[1:])
    scale = gamma / np.sqrt(variance + attributes(node)["epsilon"])
    return scale, beta - mean * scale


def _dense(
    node: onnx.NodeProto, constants: Constants, factor: Array | None, offset: Array | None
) -> tuple[Array, Array]:
    """Return weights and bias of the dense layer with the channels' factor and offset before it folded in."""
    weights, bias = _double(constants[node.input[1]]), _double(constants[node.input[2]])
    if factor is None or offset is None:
        return weights, bias
    by_channel = weights.reshape(weights.shape[0], factor.size, -1)
    return (
        (by_channel * factor[:, np.newaxis]).reshape(weights.shape),
        bias + np.einsum("ocp,c->o", by_channel, offset),
    )
