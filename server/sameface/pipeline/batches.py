"""Batches of images for an embedder, and the check of what it returns."""

from collections.abc import Sequence

import numpy as np

from sameface.errors import ModelCheckFailed
from sameface.inference.base import Tensor
from sameface.vision import Pixels
from sameface_qdrant.values.vectors import Vector

LARGEST_BATCH = 8
"""Far below ``max_batch_size`` of the embedders' Triton configs. A mirror-averaged version computes two images for each
face: in ONNX Runtime 8 faces then take 330 MiB, and 32 take 1,440. On a CPU a larger batch saves no time."""


def batches_of(crops: Sequence[Pixels]) -> list[Pixels]:
    """Return the crops as inputs of the embedder, each uint8 [up to 8, 3, 112, 112]."""
    each = np.stack(crops) if len(crops) > 1 else crops[0][np.newaxis]
    images = np.ascontiguousarray(each.transpose(0, 3, 1, 2))
    return [images[start : start + LARGEST_BATCH] for start in range(0, len(images), LARGEST_BATCH)]


def checked_embeddings(embeddings: Sequence[Tensor], model: str, version: int) -> tuple[Vector, ...]:
    """Return the unit vectors of several batches.

    Raises:
        ModelCheckFailed: a norm is not 1, or a value is not finite.
    """
    vectors = np.concatenate(embeddings).astype(np.float32, copy=False)
    norms = np.sqrt((vectors * vectors).sum(axis=1))
    # The norm of a vector with a value that is not finite is not near 1 either.
    if not (np.abs(norms - 1.0) < 1e-3).all():
        raise ModelCheckFailed(
            f"{model} version {version} returned vectors with norms {norms.round(4).tolist()}; expected unit norm; "
            "check the model with `sameface model check`",
            metadata={"model": model, "version": version},
        )
    return tuple(vectors)
