"""The plain ONNX form of an embedder's layers, which `weights.onnx` and the form for OpenVINO share.

Cast, (Sub, Mul), Conv with bias, PRelu with a slope per channel, Flatten, Gemm, LpNormalization. The two differ in how
weights are stored. Biases and slopes are small and always stay in fp32.
"""

from collections.abc import Callable, Iterable

import onnx

from sameface.inference.cards import EMBEDDER
from sameface.models.embedder import DIMENSION
from sameface.models.graph import GraphWriter
from sameface.models.layers import Array, Convolution, Dense, Layer, PixelStep, Slopes

WriteWeights = Callable[[GraphWriter, str, Array], str]
"""Adds weights under a name, and returns the name of their fp32 values in the graph."""


def write_plain(layers: Iterable[Layer], convolution: WriteWeights, dense: WriteWeights) -> bytes:
    """Return the ONNX file of these layers: `images` UINT8 [N,3,112,112] RGB → `embedding` FP32 [N,128], unit norm.

    Args:
        layers: the backbone, from the first layer on.
        convolution: stores the weights of a convolution.
        dense: stores the weights of the dense layer.
    """
    writer = GraphWriter(EMBEDDER)
    current = writer.node("Cast", ["images"], "pixels", to=onnx.TensorProto.FLOAT)
    for layer in layers:
        match layer:
            case PixelStep():
                constant = writer.constant(layer.constant_name or f"{layer.name}_constant", layer.constant)
                current = writer.node(layer.operator, [current, constant], layer.name)
            case Convolution():
                weights = convolution(writer, f"{layer.name}_weight", layer.weights)
                bias = writer.constant(f"{layer.name}_bias", layer.bias)
                current = writer.node("Conv", [current, weights, bias], layer.name, **layer.attributes)
            case Slopes():
                slopes = writer.constant(f"{layer.name}_slope", layer.values.reshape(-1, 1, 1))
                current = writer.node("PRelu", [current, slopes], layer.name)
            case Dense():
                flat = writer.node("Flatten", [current], "flat", axis=1)
                weights = dense(writer, f"{layer.name}_weight", layer.weights)
                bias = writer.constant(f"{layer.name}_bias", layer.bias)
                current = writer.node("Gemm", [flat, weights, bias], layer.name, transB=1)
    writer.node("LpNormalization", [current], "embedding", axis=1, p=2)
    return writer.model(["N", 3, 112, 112], "embedding", ["N", DIMENSION])
