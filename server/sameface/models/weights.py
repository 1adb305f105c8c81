"""`weights.onnx`: the form in which weights of our own are committed beside their card, and what is built from it.

Plain ONNX in the tensor contract, loadable as it is: Cast, (Sub, Mul), Conv with bias, PRelu with a slope per channel,
Flatten, Gemm, LpNormalization. Convolution and dense weights are stored in half precision behind a Cast, which halves
the file; biases and slopes are small and stay in fp32. Batch norms are folded in already.

What is served is built from it (`sameface model build`). Its fast form is never stored in half precision: where a
slope is near 1, its constants are far apart and rounding them would not cancel.
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
"""What may be committed: every clone of the repository carries it."""


def write_weights(layers: Iterable[Layer]) -> bytes:
    """Return the committed ONNX file of these layers (see the module).

    Raises:
        ModelCheckFailed: a weight is not finite or beyond what half precision holds.
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
    """Return the served ONNX file of a committed one; the same bytes on every machine.

    A chain of convolutions gets the fast form of version 1. Another backbone (residual, pooled, …) keeps its nodes as
    they are; only half-precision constants become fp32.

    Raises:
        ModelCheckFailed: the file does not keep the tensor contract.
    """
    check_tensor_contract(content)
    layers = read_layers(fold(content))
    return fold_casts(content) if layers is None else write_embedder(layers)
