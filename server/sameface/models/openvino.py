"""The served form of `face_embedder_openvino`: the layers of `face_embedder`, as OpenVINO runs them fastest.

- OpenVINO computes a PRelu within the convolution before it. So PRelu stays as it is.
- The dense layer has two thirds of all weights, and one image uses each of them once: reading them takes a sixth of
  the time. They are stored with 8 bits and one scale for each output, and OpenVINO multiplies them as they are. Before
  that, the channels are scaled so that the largest weight of each is the same. Nothing else is rounded. The cosine to
  the embeddings of `face_embedder` is in the card.
"""

from collections.abc import Iterable

import numpy as np

from sameface.models.contract import check_tensor_contract
from sameface.models.folding import fold, fold_casts
from sameface.models.graph import GraphWriter
from sameface.models.layers import Array, Layer, read_layers
from sameface.models.plain import write_plain
from sameface.models.rescaling import channels_between, input_weights, moved

WEIGHT_STEPS = 127
"""Largest of the whole numbers that stand for a weight of 8 bits."""


def build_for_openvino(content: bytes, *, committed: bool) -> bytes:
    """Return the served file of ``weights.onnx`` (``committed``), or of the source of version 1.

    A file with another backbone, or a quantised one, keeps its nodes.

    Raises:
        ModelCheckFailed: a committed file does not keep the tensor contract.
    """
    if committed:
        check_tensor_contract(content)
    layers = read_layers(fold(content))
    return fold_casts(content) if layers is None else write_for_openvino(layers)


def write_for_openvino(layers: Iterable[Layer], dense_steps: int | None = WEIGHT_STEPS) -> bytes:
    """Return the ONNX file of these layers: `images` UINT8 [N,3,112,112] RGB → `embedding` FP32 [N,128], unit norm.

    With None for ``dense_steps`` the dense layer stays as it is, and nothing is scaled.
    """
    if dense_steps is None:
        return write_plain(layers, convolution=GraphWriter.constant, dense=GraphWriter.constant)

    def whole_numbers(writer: GraphWriter, name: str, weights: Array) -> str:
        return write_whole_numbers(writer, name, weights, dense_steps)[0]

    layers = _alike_in_the_dense_layer(list(layers))
    return write_plain(layers, convolution=GraphWriter.constant, dense=whole_numbers)


def _alike_in_the_dense_layer(layers: list[Layer]) -> list[Layer]:
    index = len(layers) - 2
    pair = channels_between(layers, index)
    if pair is None:
        return layers
    before, dense = pair
    largest = np.abs(input_weights(dense, len(before.weights))).max(axis=1)
    factors: Array = 1.0 / np.where(largest > 0, largest, 1.0)
    return moved(layers, index, factors)


def write_whole_numbers(writer: GraphWriter, name: str, weights: Array, steps: int) -> tuple[str, Array]:
    """Add weights [outputs, ...] as whole numbers from −steps to steps with one scale for each output.

    Return the name of their fp32 values in the graph, and these values.
    """
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    scales = (np.where(largest > 0, largest, 1.0) / steps).astype(np.float32)
    by_output = scales.reshape(-1, *[1] * (weights.ndim - 1))
    numbers = np.clip(np.round(weights / by_output), -steps, steps)
    inputs = [writer.constant(f"{name}_numbers", numbers.astype(np.int8)), writer.constant(f"{name}_scale", scales)]
    return writer.node("DequantizeLinear", inputs, name, axis=0), numbers * by_output
