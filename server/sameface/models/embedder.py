"""The served form of `face_embedder`: a chain of convolutions, rewritten for speed, that keeps the tensor contract.

The rewrites are exact. They are computed in double precision, and the constants are rounded once at the end:

- Every batch norm is folded into the convolution or dense layer before it, the last one into the layer after it.
- PRelu(x) = s·x + (1−s)·relu(x) = (1−s)·(s/(1−s)·x + relu(x)). The factor (1−s) goes into the weights of the next
  layer. ONNX Runtime's PRelu kernel takes as long as all convolutions together; this form halves the total time.
- The output is divided by its L2 norm in the graph.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import onnx

from sameface.errors import ModelCheckFailed
from sameface.inference.cards import EMBEDDER
from sameface.models.folding import FoldedGraph
from sameface.models.graph import GraphWriter
from sameface.models.layers import Array, Convolution, Dense, Layer, PixelStep, Slopes, read_layers

DIMENSION = 128
# Keeps s/(1−s) finite if a slope is 1. The product of both factors is still s, so only rounding errors remain.
SMALLEST_GAP = 1e-6


def build_embedder(graph: FoldedGraph) -> bytes:
    """Return the ONNX file: `images` UINT8 [N,3,112,112] RGB → `embedding` FP32 [N,128] of unit norm.

    Raises:
        ModelCheckFailed: the graph is not a chain of convolutions with a dense layer at its end.
    """
    layers = read_layers(graph)
    if layers is None:
        raise ModelCheckFailed(
            "the source has an unknown form: expected a chain of convolutions with a dense layer at its end, found "
            + ", ".join(sorted({node.op_type for node in graph.nodes}))
        )
    return write_embedder(layers)


def write_embedder(layers: Iterable[Layer]) -> bytes:
    """Return the served ONNX file of these layers, with PRelu in its fast form."""
    writer = GraphWriter(EMBEDDER)
    current = writer.node("Cast", ["images"], "pixels", to=onnx.TensorProto.FLOAT)
    # The factor (1−s) of the last PRelu, per channel, which the next weights must include.
    factor: Array | None = None
    for layer in layers:
        match layer:
            case PixelStep():
                constant = writer.constant(layer.constant_name or f"{layer.name}_constant", layer.constant)
                current = writer.node(layer.operator, [current, constant], layer.name)
            case Convolution():
                scaled = layer if factor is None else replace(layer, weights=_by_input(layer, factor))
                inputs = [
                    current,
                    writer.constant(f"{layer.name}_weight", scaled.weights),
                    writer.constant(f"{layer.name}_bias", scaled.bias),
                ]
                current, factor = writer.node("Conv", inputs, layer.name, **layer.attributes), None
            case Slopes():
                gap = 1.0 - layer.values
                factor = np.where(np.abs(gap) < SMALLEST_GAP, SMALLEST_GAP, gap)
                ratio = writer.constant(f"{layer.name}_ratio", ((1.0 - factor) / factor).reshape(-1, 1, 1))
                linear = writer.node("Mul", [current, ratio], f"{layer.name}_linear")
                positive = writer.node("Relu", [current], f"{layer.name}_positive")
                current = writer.node("Add", [linear, positive], layer.name)
            case Dense():
                weights = layer.weights
                if factor is not None:
                    by_channel = weights.reshape(len(weights), factor.size, -1)
                    weights = (by_channel * factor[:, np.newaxis]).reshape(weights.shape)
                flat = writer.node("Flatten", [current], "flat", axis=1)
                inputs = [
                    flat,
                    writer.constant(f"{layer.name}_weight", weights),
                    writer.constant(f"{layer.name}_bias", layer.bias),
                ]
                current, factor = writer.node("Gemm", inputs, layer.name, transB=1), None
    writer.node("LpNormalization", [current], "embedding", axis=1, p=2)
    return writer.model(["N", 3, 112, 112], "embedding", ["N", DIMENSION])


def _by_input(layer: Convolution, factor: Array) -> Array:
    """Return a convolution's weights times a factor for each of its input channels ([channels], or [1] for all)."""
    outputs, inputs, *kernel = layer.weights.shape
    grouped = layer.weights.reshape(layer.group, outputs // layer.group, inputs, *kernel)
    channels = np.broadcast_to(factor, layer.group * inputs).reshape(layer.group, 1, inputs, *[1] * len(kernel))
    return (grouped * channels).reshape(layer.weights.shape)
