"""SFace in PyTorch, with the weights that `face_embedder` version 1 is built from.

27 convolutions, alternately depthwise and pointwise, with PReLU, then a dense layer. Batch norms are folded into their
neighbours: fine-tuning in small batches must not change their statistics, and there is less to compute.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sameface.models.folding import fold
from sameface.models.layers import Convolution, Dense, Layer, PixelStep, Slopes, read_layers
from sameface.models.source import SFACE, fetch_wheel, read_source
from sameface.settings import cache_folder


class Scale(nn.Module):
    """(x − offset) · factor: brings pixels to the range that the network expects."""

    def __init__(self, offset: float, factor: float) -> None:
        super().__init__()
        self.offset, self.factor = offset, factor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return scaled pixels."""
        return (images - self.offset) * self.factor


def sface(channels: int = 3, side: tuple[int, int] = (112, 112), dimension: int = 128) -> nn.Sequential:
    """Return the pretrained network; fetches its pinned source on first use.

    Raises:
        ValueError: another size than [3, 112, 112] → 128 is asked for.
        RuntimeMissing, ModelCheckFailed: the source cannot be fetched, or has another digest.
    """
    if (channels, side, dimension) != (3, (112, 112), 128):
        raise ValueError(
            f"SFace takes [3, 112, 112] and gives 128 numbers; asked for {(channels, *side)} → {dimension}"
        )
    layers = read_layers(fold(read_source(fetch_wheel(cache_folder()), SFACE)))
    assert layers is not None, "the pinned source is a chain of convolutions"
    return from_layers(layers)


def from_layers(layers: Iterable[Layer]) -> nn.Sequential:
    """Return the layers as a network; equal to the published graph within rounding."""
    modules: list[nn.Module] = []
    offset = 0.0
    for layer in layers:
        match layer:
            case PixelStep(operator="Sub"):
                offset = float(layer.constant.ravel()[0])
            case PixelStep():
                modules.append(Scale(offset, float(layer.constant.ravel()[0])))
            case Convolution():
                modules.append(_convolution(layer))
            case Slopes():
                slopes = nn.PReLU(layer.values.size)
                slopes.weight = _parameter(layer.values)
                modules.append(slopes)
            case Dense():
                dense = nn.Linear(layer.weights.shape[1], layer.weights.shape[0])
                dense.weight, dense.bias = _parameter(layer.weights), _parameter(layer.bias)
                modules += [nn.Flatten(), dense]
    return nn.Sequential(*modules)


def centre_output(network: nn.Sequential, embeddings: NDArray[np.float32], norm: float) -> None:
    """Subtract the mean of unit ``embeddings`` [N, D] from the output; ``norm`` is the output's typical length."""
    last = network[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.bias -= norm * torch.from_numpy(embeddings.mean(axis=0)).to(last.bias.device)


def _convolution(layer: Convolution) -> nn.Conv2d:
    chosen = layer.attributes
    outputs, inputs, *kernel = layer.weights.shape
    module = nn.Conv2d(
        inputs * layer.group,
        outputs,
        (kernel[0], kernel[1]),
        tuple(chosen["strides"]),
        tuple(chosen["pads"][:2]),
        groups=layer.group,
    )
    module.weight, module.bias = _parameter(layer.weights), _parameter(layer.bias)
    return module


def _parameter(values: NDArray[np.float64]) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(values.astype(np.float32)))
