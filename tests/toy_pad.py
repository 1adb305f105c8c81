"""A toy `face_pad`: photos with more blue than red are attacks. It keeps the tensor contract and knows nothing."""

import os
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from sameface.inference.cards import PAD, ModelCard
from sameface.models.add import add_pad
from sameface.models.graph import GraphWriter
from sameface.models.statement import Statement
from sameface.settings import model_repository_source

STATED = Statement(
    licence="CC0", training_data="none: written by hand for a test", source="tests/toy_pad.py", figures="not measured"
)


def toy_pad(strength: float = 0.1) -> bytes:
    """Return the ONNX file. Logits: 0 and ``strength`` × (mean blue − mean red)."""
    writer = GraphWriter("toy_pad")
    pixels = writer.node("Cast", ["images"], "pixels", to=1)
    means = writer.node("ReduceMean", [pixels], "means", axes=[2, 3], keepdims=0)
    weights = np.array([[0.0, -strength], [0.0, 0.0], [0.0, strength]])
    writer.node("MatMul", [means, writer.constant("weights", weights)], "logits")
    return writer.model(["N", 3, 128, 128], "logits", ["N", 2])


def with_toy_pad(folder: Path, strength: float = 0.1) -> tuple[Path, ModelCard]:
    """Return a model repository in ``folder`` that has the toy and one version of each other model; and its card."""
    repository = folder / "repository"
    source = model_repository_source().resolve()
    shutil.copytree(source, repository, ignore=shutil.ignore_patterns("[2-9]", PAD), copy_function=_link)
    file = folder / "toy.onnx"
    file.write_bytes(toy_pad(strength))
    return repository, add_pad(repository, file, STATED)


def _link(source: str, target: str) -> None:
    # Weights are large and never changed in place.
    (os.symlink if source.endswith(".onnx") else shutil.copy)(source, target)


def tinted(photo: Path, shift: int) -> bytes:
    """Return a photo with ``shift`` more red and less blue: bona fide to the toy, an attack if negative."""
    with Image.open(photo) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(np.int16)
    pixels = np.clip(pixels + np.array([shift, 0, -shift]), 0, 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
