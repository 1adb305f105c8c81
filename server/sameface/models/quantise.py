"""Quantises a chain of convolutions for `face_embedder_openvino`: whole numbers of 8 bits between all layers.

Every layer reads activations of 8 bits (0 to 255, one scale and one zero point for each tensor). Its weights are whole
numbers from −63 to 63, with one scale for each output: 7 bits, because processors without VNNI add two products in 16
bits, and 2 · 255 · 127 does not fit. With 63 every x86-64 processor gives the same embedding.

Ranges come from calibration faces. Before they are used, channels are scaled to fill them alike (Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction"; the exponent is that of Xiao et al. 2023,
"SmoothQuant"), and the mean error of the rounded weights is taken from each bias.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from sameface.errors import ModelCheckFailed
from sameface.inference.base import Tensor
from sameface.inference.cards import EMBEDDER
from sameface.inference.onnx import open_session
from sameface.models.embedder import DIMENSION
from sameface.models.graph import GraphWriter
from sameface.models.layers import Array, Convolution, Dense, Layer, PixelStep, Slopes
from sameface.models.openvino import write_for_openvino, write_whole_numbers
from sameface.models.rescaling import channels_between, input_weights, moved

WEIGHT_STEPS = 63
LARGEST_ACTIVATION = 255
SHARE = 0.98
"""Share of the calibration faces whose largest activation of a channel lies in the range; the others are cut."""
EXPONENT = 0.7
"""How far channels are scaled by their activations, and not by the weights that read them: 0 to 1."""
NARROWEST = 1e-3
"""Smallest range of a channel, as a part of the widest one: a channel that is almost always 0 is stretched no more."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Lowest, highest and mean activation of each channel, [channels]."""

    low: Array
    high: Array
    mean: Array

    def divided(self, factors: Array) -> "Ranges":
        """Return the ranges of the activations divided by ``factors``."""
        return Ranges(self.low / factors, self.high / factors, self.mean / factors)


def quantise(layers: Sequence[Layer], faces: Tensor) -> bytes:
    """Return the quantised ONNX file of these layers, in the tensor contract.

    Args:
        layers: of the network.
        faces: uint8 [N, 3, 112, 112], aligned, some hundred of the people that the network was trained on. Never those
            that judge it.

    Raises:
        ModelCheckFailed: channels of the pixels are normalised each in its own way.
    """
    layers = tuple(_with_slopes(layers))
    ranges = measured_ranges(layers, faces)
    scaled, ranges = _alike(list(layers), ranges)
    return _written(scaled, ranges)


def measured_ranges(layers: Sequence[Layer], faces: Tensor) -> dict[str, Ranges]:
    """Return the ranges after each PRelu, by the name of its layer, over calibration faces."""
    names = [layer.name for layer in layers if isinstance(layer, Slopes)]
    model = onnx.load_from_string(write_for_openvino(layers, dense_steps=None))
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = open_session(model.SerializeToString(), threads=1)
    seen: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for face in faces:
        for name, output in zip(names, session.run(names, {"images": face[np.newaxis]}), strict=True):
            channels = output[0].reshape(output.shape[1], -1)
            seen[name].append(np.stack([channels.min(axis=1), channels.max(axis=1), channels.mean(axis=1)]))
    return {name: _range(np.stack(each).astype(np.float64)) for name, each in seen.items()}


def _range(each: Array) -> Ranges:
    low = np.quantile(each[:, 0], 1 - SHARE, axis=0)
    return Ranges(low, np.quantile(each[:, 1], SHARE, axis=0), each[:, 2].mean(axis=0))


def _alike(layers: list[Layer], ranges: dict[str, Ranges]) -> tuple[list[Layer], dict[str, Ranges]]:
    """Scale the channels after every PRelu, so that all fill the range of their tensor."""
    for index, layer in enumerate(layers):
        if not isinstance(layer, Slopes):
            continue
        pair = channels_between(layers, index)
        assert pair is not None
        before, after = pair
        widest = _at_least_narrowest(np.maximum(ranges[layer.name].high, -ranges[layer.name].low))
        if isinstance(after, Convolution) and after.group == len(before.weights):
            factors = widest  # a depthwise layer has one scale for each channel, so this costs its weights nothing
        else:
            weights = _at_least_narrowest(np.abs(input_weights(after, len(before.weights))).max(axis=1))
            factors = widest**EXPONENT / weights ** (1 - EXPONENT)
        factors = factors / factors.max()
        layers = moved(layers, index, factors)
        ranges = {**ranges, layer.name: ranges[layer.name].divided(factors)}
    return layers, ranges


def _at_least_narrowest(values: Array) -> Array:
    largest = values.max()
    return np.maximum(values, NARROWEST * largest) if largest > 0 else np.ones_like(values)


def _written(layers: Iterable[Layer], ranges: dict[str, Ranges]) -> bytes:
    layers = list(layers)
    writer = GraphWriter(EMBEDDER)
    current, shift = _write_pixels(writer, [layer for layer in layers if isinstance(layer, PixelStep)])
    mean: Array | None = None  # of the next layer's inputs; of pixels it does not matter
    for layer in layers:
        match layer:
            case Convolution() | Dense():
                weights, rounded = write_whole_numbers(writer, f"{layer.name}_weight", layer.weights, WEIGHT_STEPS)
                lost = layer.weights - rounded
                bias = layer.bias + shift * layer.weights.reshape(len(layer.bias), -1).sum(axis=1)
                bias = bias if mean is None else bias + _mean_error(replace(layer, weights=lost), mean)
                shift, mean = 0.0, None
                constant = writer.constant(f"{layer.name}_bias", bias)
                if isinstance(layer, Dense):
                    flat = writer.node("Flatten", [current], "flat", axis=1)
                    current = writer.node("Gemm", [flat, weights, constant], layer.name, transB=1)
                else:
                    current = writer.node("Conv", [current, weights, constant], layer.name, **layer.attributes)
            case Slopes():
                slopes = writer.constant(f"{layer.name}_slope", layer.values.reshape(-1, 1, 1))
                current = writer.node("PRelu", [current, slopes], layer.name)
                current, mean = _write_rounding(writer, current, ranges[layer.name]), ranges[layer.name].mean
            case PixelStep():
                pass
    writer.node("LpNormalization", [current], "embedding", axis=1, p=2)
    return writer.model(["N", 3, 112, 112], "embedding", ["N", DIMENSION])


def _write_pixels(writer: GraphWriter, steps: Sequence[PixelStep]) -> tuple[str, float]:
    """Add the normalisation of pixels, which are whole numbers already. Return its name, and what it lacks.

    A pixel p becomes scale · (p − zero); the zero point is a whole number, so the rest goes into the first bias.
    """
    scale, offset = 1.0, 0.0
    for step in steps:
        value = float(step.constant.ravel()[0])
        scale, offset = (scale, offset - value) if step.operator == "Sub" else (scale * value, offset * value)
    zero = int(np.clip(np.rint(-offset / scale), 0, LARGEST_ACTIVATION))
    inputs = ["images", *_scale_and_zero(writer, "pixels", scale, zero)]
    return writer.node("DequantizeLinear", inputs, "pixels"), offset + scale * zero


def _write_rounding(writer: GraphWriter, name: str, ranges: Ranges) -> str:
    low, high = min(float(ranges.low.min()), 0.0), max(float(ranges.high.max()), 0.0)
    scale = max(high - low, 1e-6) / LARGEST_ACTIVATION
    how = _scale_and_zero(writer, name, scale, round(-low / scale))
    whole = writer.node("QuantizeLinear", [name, *how], f"{name}_whole")
    return writer.node("DequantizeLinear", [whole, *how], f"{name}_rounded")


def _scale_and_zero(writer: GraphWriter, name: str, scale: float, zero: int) -> list[str]:
    return [
        writer.constant(f"{name}_scale", np.array(scale)),
        writer.constant(f"{name}_zero", np.array(zero, np.uint8)),
    ]


def _mean_error(lost: Convolution | Dense, mean: Array) -> Array:
    """Return what the outputs lack on average if the weights ``lost`` are missing, [outputs]."""
    if isinstance(lost, Dense):
        by_channel = lost.weights.reshape(len(lost.weights), mean.size, -1).sum(axis=2)
        return np.asarray(by_channel @ mean)
    outputs, inputs = lost.weights.shape[:2]
    by_channel = lost.weights.reshape(lost.group, outputs // lost.group, inputs, -1).sum(axis=3)
    return np.asarray(np.einsum("goi,gi->go", by_channel, mean.reshape(lost.group, inputs)).ravel())


def _with_slopes(layers: Sequence[Layer]) -> Iterator[Layer]:
    """Give every convolution a PRelu. One of slope 1 changes nothing.

    Raises:
        ModelCheckFailed: channels of the pixels are normalised each in its own way.
    """
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, PixelStep) and layer.constant.size != 1:
            raise ModelCheckFailed(
                f"{layer.name} has {layer.constant.size} constants; expected one for all channels of the pixels"
            )
        yield layer
        if isinstance(layer, Convolution) and not isinstance(following, Slopes):
            yield Slopes(f"{layer.name}_as_it_is", np.ones(1))
