"""A toy embedder of whole images: the image itself, scaled to unit norm. It keeps the tensor contract."""

from pathlib import Path

import numpy as np

from sameface.inference.cards import ModelCard
from sameface.inference.whole_image import Strokes
from sameface.models.graph import GraphWriter
from sameface.models.whole_image import add_embedder, image_of
from tests.toy_pad import STATED


def toy_embedder(channels: int = 1, height: int = 8, width: int = 8) -> bytes:
    """Return the ONNX file: the pixels and one constant, of unit norm. So the norm of a black image is 1 too."""
    writer = GraphWriter("toy_embedder")
    pixels = writer.node("Cast", ["images"], "pixels", to=1)
    flat = writer.node("Flatten", [pixels], "flat", axis=1)
    size = channels * height * width
    weights = np.concatenate([np.eye(size), np.zeros((1, size))]).astype(np.float32)
    bias = np.zeros(size + 1, np.float32)
    bias[-1] = 1.0
    inputs = [flat, writer.constant("weights", weights), writer.constant("bias", bias)]
    whole = writer.node("Gemm", inputs, "whole", transB=1)
    writer.node("LpNormalization", [whole], "embedding", axis=1, p=2)
    return writer.model(["N", channels, height, width], "embedding", ["N", size + 1])


def add_toy_embedder(repository: Path, name: str = "toy-shapes", strokes: Strokes = "as-is") -> ModelCard:
    """Put the toy into a repository."""
    content = toy_embedder()
    return add_embedder(repository, name, content, image_of(content, "pad", strokes), STATED)
