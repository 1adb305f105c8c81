"""Reads the templates of an attached collection for comparisons."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from sameface_qdrant.attached.target import Id
from sameface_qdrant.calibration.gallery import GalleryTemplates
from sameface_qdrant.metrics.comparisons import sample_templates
from sameface_qdrant.values.vectors import Vector, unit

if TYPE_CHECKING:
    from sameface_qdrant.attached.queries import AttachedCollection

_BATCH = 256


async def read_templates(
    collection: "AttachedCollection", *, max_templates: int, per_identity: int, seed: int
) -> GalleryTemplates:
    """Return templates with unit vectors: all of them, or a seeded sample if there are more than the limits.

    It reads every id, but only the vectors of the sample.
    """
    await collection.check_unchanged()
    points, _ = await collection.points_by_identity()
    drawn = sample_templates(points, max_templates=max_templates, per_identity=per_identity, seed=seed)
    names = unique_names(points)
    vectors: list[Vector] = []
    identities: list[str] = []
    for start in range(0, len(drawn), _BATCH):
        batch = drawn[start : start + _BATCH]
        found = await collection.vectors([point for _, point in batch])
        for identity, point in batch:
            if (values := found.get(point)) is not None:
                vectors.append(unit(np.asarray(values), collection.dimension))
                identities.append(names[identity])
    stacked = np.asarray(vectors, dtype=np.float32).reshape(len(vectors), collection.dimension)
    return GalleryTemplates(stacked, identities, in_use=sum(map(len, points.values())))


def unique_names(identities: Iterable[Id]) -> dict[Id, str]:
    """Return a text for each identity. The number 7 is ``7``, or ``7 (number)`` beside an identity with the text "7".

    >>> unique_names([7, "7", 8])
    {7: '7 (number)', '7': '7', 8: '8'}
    """
    every = list(identities)
    texts = {one for one in every if isinstance(one, str)}
    return {one: f"{one} (number)" if isinstance(one, int) and str(one) in texts else str(one) for one in every}
