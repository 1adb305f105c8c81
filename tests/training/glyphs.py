"""Drawings to train on in seconds: an identity is a few strokes, a sample is a variation of them."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from sameface_train.backbones import BACKBONES, Backbone
from sameface_train.samples import Samples
from sameface_train.sface import Scale

SIDE = 28


def _small(channels: int, side: tuple[int, int], dimension: int) -> nn.Sequential:
    """A network that learns on one core in seconds."""
    layers: list[nn.Module] = [Scale(0.0, 1.0 / 255.0)]
    inputs, (height, width) = channels, side
    for outputs in (16, 32, 32):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        inputs, height, width = outputs, height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * height * width, dimension))


BACKBONES["small"] = Backbone(_small, 1, (SIDE, SIDE), "of the tests")
BACKBONES["small-wide"] = Backbone(_small, 1, (40, 96), "of the tests, for pictures as wide as signatures")


def glyphs(identities: int, each: int, seed: int) -> Samples:
    """Return drawings [identities × each, 1, 28, 28], white on black."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(identities):
        strokes = rng.uniform(5, SIDE - 5, (3, 4, 2))
        images += [_drawn(strokes, rng) for _ in range(each)]
    names = tuple(f"glyph{number:03d}" for number in range(identities))
    return Samples(
        images=np.stack(images)[:, np.newaxis],
        labels=np.repeat(np.arange(identities), each),
        identities=names,
        names=tuple(f"{name}/{number}" for name in names for number in range(each)),
        groups=tuple(f"alphabet{number % 2}" for number in range(identities)),
    )


def write_glyphs(samples: Samples, root: Path) -> Path:
    """Write drawings as a folder with one sub-folder per identity."""
    for image, name in zip(samples.images, samples.names, strict=True):
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image[0])
    return root


def _drawn(strokes: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint8]:
    turn, scale = rng.normal(0, 0.15), 1 + rng.normal(0, 0.1)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = SIDE / 2
    moved = (strokes + rng.normal(0, 0.8, strokes.shape) - middle) @ matrix.T + middle + rng.normal(0, 1.0, 2)
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    for stroke in moved:
        cv2.polylines(canvas, [np.round(stroke * 8).astype(np.int32)], False, 255, 1, cv2.LINE_AA, 3)
    return canvas
