"""Networks from images to features. Each is a plain sequence of layers, so that `export` can write every one of them.

Input: float [N, C, H, W], 0..255. Output: features [N, dimension], not normalised.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from sameface_train.sface import Scale, sface


def conv4(channels: int, side: tuple[int, int], dimension: int) -> nn.Sequential:
    """Return four blocks of 3×3 convolution, batch norm, ReLU and 2×2 pooling, then a dense layer.

    The embedding network of Vinyals et al. 2016 (section 4.1) and Snell et al. 2017, with a dense layer instead of bare
    features, because every method here is compared at one dimension.
    """
    height, width = side
    layers: list[nn.Module] = [Scale(0.0, 1.0 / 255.0)]
    for inputs in (channels, 64, 64, 64):
        layers += [nn.Conv2d(inputs, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)]
        height, width = height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * height * width, dimension))


def conv5(
    channels: int,
    side: tuple[int, int],
    dimension: int,
    pooling: Callable[[int], nn.Module] = nn.MaxPool2d,
    width: int = 32,
) -> nn.Sequential:
    """Return five blocks of 3×3 convolution, batch norm and ReLU, three of them pooled, then a dense layer.

    Narrow where the picture is large and wide where it is small: ``width`` channels at first, four times as many in the
    end. ``pooling`` makes the layer that halves both sides.
    """
    layers: list[nn.Module] = [Scale(0.0, 1.0 / 255.0)]
    rows, columns = side
    for inputs, outputs, pooled in (
        (channels, width, True),
        (width, 2 * width, False),
        (2 * width, 2 * width, True),
        (2 * width, 4 * width, False),
        (4 * width, 4 * width, True),
    ):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        if pooled:
            layers.append(pooling(2))
            rows, columns = rows // 2, columns // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * width * rows * columns, dimension))


def signature_net(channels: int, side: tuple[int, int], dimension: int) -> nn.Sequential:
    """Return four blocks of convolution, batch norm, ReLU and pooling for wide pictures of strokes, then a dense layer.

    The mean over places makes it tolerate shifts, because the place of a signature on the line means nothing (Bromley
    et al. 1993 convolve in time for the same reason). SigNet (Dey et al. 2017) is similar, and far larger.
    """
    layers: list[nn.Module] = [Scale(0.0, 1.0 / 255.0), nn.Conv2d(channels, 24, 5, stride=2, padding=2)]
    layers += [nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2)]
    inputs = 24
    for outputs in (48, 96, 128):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        inputs = outputs
    height, width = (length // 2**5 for length in side)
    return nn.Sequential(*layers, nn.AvgPool2d((height, 1)), nn.Flatten(), nn.Linear(inputs * width, dimension))


@dataclass(frozen=True, slots=True)
class Backbone:
    """How a network is made, and the images it takes."""

    build: Callable[[int, tuple[int, int], int], nn.Sequential]
    """From channels, (height, width) and dimension."""
    channels: int
    side: tuple[int, int]
    source: str
    """Paper, or where the weights come from."""


BACKBONES: dict[str, Backbone] = {
    "conv4": Backbone(conv4, 1, (28, 28), "Vinyals et al. 2016, section 4.1"),
    "conv5": Backbone(conv5, 1, (28, 28), "after conv4, one block more, later ones wider"),
    "conv5-mean": Backbone(partial(conv5, pooling=nn.AvgPool2d), 1, (28, 28), "conv5, pooled by means"),
    "conv5-wide": Backbone(
        partial(conv5, pooling=nn.AvgPool2d, width=48), 1, (28, 28), "conv5-mean, half as wide again"
    ),
    "signature": Backbone(signature_net, 1, (96, 192), "after Dey et al. 2017 (SigNet), smaller"),
    "sface": Backbone(sface, 3, (112, 112), "SFace, Zhong et al. 2021, pretrained (face_embedder version 1)"),
}


def freeze(network: nn.Sequential, blocks: int) -> None:
    """Freeze the first ``blocks`` convolutions and all other layers before the next convolution."""
    seen = 0
    for layer in network:
        seen += isinstance(layer, nn.Conv2d)
        frozen = seen <= blocks
        for parameter in layer.parameters():
            parameter.requires_grad_(not frozen)


def learning(network: nn.Sequential) -> None:
    """Put the network in training mode, except its frozen layers: their batch statistics must not change."""
    network.train()
    trained = [any(p.requires_grad for p in layer.parameters()) for layer in network]
    for layer in network[: trained.index(True) if True in trained else len(network)]:
        layer.eval()


def features(network: nn.Sequential, images: Tensor) -> Tensor:
    """Return features, without recording gradients in frozen layers."""
    first = next(
        (place for place, layer in enumerate(network) if any(p.requires_grad for p in layer.parameters())), len(network)
    )
    with torch.no_grad():
        for layer in network[:first]:
            images = layer(images)
    for layer in network[first:]:
        images = layer(images)
    return images
