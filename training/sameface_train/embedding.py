"""Embeds samples with a network, as the served model would: the middle of the image, nothing changed."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sameface_train.augmentation import centre
from sameface_train.samples import Images

BATCH = 64


@torch.no_grad()
def embed(
    network: nn.Sequential,
    images: Images,
    side: tuple[int, int],
    device: str = "cpu",
    *,
    mirrored: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the features [N, D] of images [N, C, H, W], which are cut to their middle ``side``; not normalised."""
    network.eval()
    found = []
    for first in range(0, len(images), BATCH):
        part = torch.from_numpy(np.ascontiguousarray(images[first : first + BATCH])).float()
        part = centre(part, side).to(device, memory_format=torch.channels_last)
        found.append(network(part.flip(3) if mirrored else part).cpu())
        if progress is not None:
            progress(min(first + BATCH, len(images)), len(images))
    vectors: NDArray[np.float32] = torch.cat(found).numpy()
    return vectors


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors [N, D] on the unit sphere."""
    normed: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    return normed
