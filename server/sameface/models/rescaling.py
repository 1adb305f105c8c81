"""Moves a factor for each channel through a PRelu: from the layer before it to the layer after it.

PRelu(f·x) = f·PRelu(x) for every f > 0. So a convolution's outputs may be divided by factors, and the inputs of the
next layer multiplied by them; the network computes the same. Whole numbers then hold all channels alike.
"""

from dataclasses import replace

import numpy as np

from sameface.models.layers import Array, Convolution, Dense, Layer, Slopes


def channels_between(layers: list[Layer], index: int) -> tuple[Convolution, Convolution | Dense] | None:
    """Return the layers before and after the PRelu at ``index``, or None if one of them is of another kind."""
    before, after = layers[index - 1], layers[index + 1]
    if isinstance(layers[index], Slopes) and isinstance(before, Convolution) and isinstance(after, Convolution | Dense):
        return before, after
    return None


def input_weights(layer: Convolution | Dense, channels: int) -> Array:
    """Return the weights with the input channel as first axis, [channels, others]. Channels of a group are alike."""
    if isinstance(layer, Dense):
        return layer.weights.reshape(len(layer.weights), channels, -1).transpose(1, 0, 2).reshape(channels, -1)
    outputs, inputs = layer.weights.shape[:2]
    grouped = layer.weights.reshape(layer.group, outputs // layer.group, inputs, -1)
    return grouped.transpose(0, 2, 1, 3).reshape(channels, -1)


def moved(layers: list[Layer], index: int, factors: Array) -> list[Layer]:
    """Return the layers with the outputs of the PRelu at ``index`` divided by ``factors`` [channels], all above 0."""
    pair = channels_between(layers, index)
    assert pair is not None
    before, after = pair
    divided = replace(before, weights=before.weights / factors.reshape(-1, 1, 1, 1), bias=before.bias / factors)
    weights = after.weights
    if isinstance(after, Dense):
        by_channel = weights.reshape(len(weights), factors.size, -1) * factors[:, np.newaxis]
    else:
        outputs, inputs, *kernel = weights.shape
        grouped = weights.reshape(after.group, outputs // after.group, inputs, *kernel)
        by_channel = grouped * factors.reshape(after.group, 1, inputs, *[1] * len(kernel))
    changed = list(layers)
    changed[index - 1], changed[index + 1] = divided, replace(after, weights=by_channel.reshape(weights.shape))
    return changed
