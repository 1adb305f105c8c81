"""`weights.onnx`: the committed form of our weights, beside their card. `sameface model build` builds the served form.

It is plain ONNX that keeps the tensor contract and can be loaded: Cast, (Sub, Mul), Conv with bias, PRelu with a slope
per channel, Flatten, Gemm, LpNormalization. Convolution and dense weights are stored in half precision behind a Cast,
which halves the file. Biases and slopes are small and stay in fp32. Batch norms are already folded in.

The fast, served form is never stored in half precision. For a slope near 1 its constants differ by orders of magnitude,
and their rounding errors would not cancel.
"""

from collections.abc import Iterable

import onnx

from sameface.inference.cards import EMBEDDER
from sameface.models.contract import check_tensor_contract
from sameface.models.embedder import DIMENSION, write_embedder
from sameface.models.folding import fold, fold_casts
from sameface.models.graph import GraphWriter
from sameface.models.layers import Convolution, Dense, Layer, PixelStep, Slopes, read_layers

FILE_NAME = "weights.onnx"
LARGEST_BYTES = 20_000_000
"""Largest file to commit, because every clone of the repository contains it."""


def write_weights(layers: Iterable[Layer]) -> bytes:
    """Return the committed ONNX file of these layers, as described in the module.

    Raises:
        ModelCheckFailed: a weight is not finite, or too large for half precision.
    """
    writer = GraphWriter(EMBEDDER)
    current = writer.node("Cast", ["images"], "pixels", to=onnx.TensorProto.FLOAT)
    for layer in layers:
        match layer:
            case PixelStep():
                constant = writer.constant(layer.constant_name or f"{layer.name}_constant", layer.constant)
                current = writer.node(layer.operator, [current, constant], layer.name)
            case Convolution():
                weights = writer.half_constant(f"{layer.name}_weight", layer.weights)
                bias = writer.constant(f"{layer.name}_bias", layer.bias)
                current = writer.node("Conv", [current, weights, bias], layer.name, **layer.attributes)
            case Slopes():
                slopes = writer.constant(f"{layer.name}_slope", layer.values.reshape(-1, 1, 1))
                current = writer.node("PRelu", [current, slopes], layer.name)
            case Dense():
                flat = writer.node("Flatten", [current], "flat", axis=1)
                weights = writer.half_constant(f"{layer.name}_weight", layer.weights)
                bias = writer.constant(f"{layer.name}_bias", layer.bias)
                current = writer.node("Gemm", [flat, weights, bias], layer.name, transB=1)
    writer.node("LpNormalization", [current], "embedding", axis=1, p=2)
    return writer.model(["N", 3, 112, 112], "embedding", ["N", DIMENSION])


def build_from_weights(content: bytes) -> bytes:
    """Return the served ONNX file of a committed one. It has the same bytes on every machine.

    A chain of convolutions gets the fast form of version 1. Another backbone (residual, pooled, …) keeps its nodes;
    only its half-precision constants become fp32.

    Raises:
        ModelCheckFailed: the file does not keep the tensor contract.
    """
    check_tensor_contract(content)
    layers = read_layers(fold(content))
    return fold_casts(content) if layers is None else write_embedder(layers)
