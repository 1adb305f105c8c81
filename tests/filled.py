"""A gallery of simulated people on a running service: embeddings, no photos."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from sameface.client import Client, Embedding
from tests.plugin.simulated import people


@contextmanager
def filled_gallery(client: Client, count: int, each: int = 2) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Make a gallery whose targets few people support, fill it, erase it; gives its id and the vectors.

    Some of the people look alike at these targets, so collisions are not refused.
    """
    gallery = f"filled-{uuid.uuid4().hex[:12]}"
    made = client.create_gallery(gallery, target_fmr=0.03, target_fpir=0.12, on_collision="warn")
    # Spread so that scores of one person lie where those of real photos do.
    vectors, names = people(np.random.default_rng(1), count, each, dimension=made.contract.dimension, spread=0.8)
    for vector, name in zip(vectors, names, strict=True):
        client.enroll(gallery, name, Embedding(values=tuple(vector.tolist()), contract=made.contract))
    yield gallery, vectors
    client.delete_gallery(gallery, force=True)
