"""Reads the templates of an attached collection for comparisons."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.attached.counting import stacked
from sameface_qdrant.attached.layout import unit_rows
from sameface_qdrant.attached.target import Id
from sameface_qdrant.calibration.requests import GalleryTemplates
from sameface_qdrant.metrics.comparisons import ComparisonScores, sample_templates
from sameface_qdrant.metrics.cross_comparison import compare_gallery
from sameface_qdrant.values.vectors import is_usable

if TYPE_CHECKING:
    from sameface_qdrant.attached.queries import AttachedCollection

_BATCH = 256


async def read_templates(
    collection: "AttachedCollection", max_templates: int, per_identity: int, seed: int
) -> GalleryTemplates:
    """Return templates with unit vectors: all of them, or a seeded sample if there are more than the limits.

    Broken embeddings are left out. It reads every id, but only the vectors of the sample.

    Raises:
        InvalidArgument: see `sample_templates`.
    """
    await collection.check_unchanged()
    points, _ = await collection.points_by_identity()
    drawn = sample_templates(points, max_templates=max_templates, per_identity=per_identity, seed=seed)
    names = unique_names(points)
    read_of = Counter(identity for identity, _ in drawn)
    within = max((len(points[identity]) / count for identity, count in read_of.items()), default=1.0)
    rows: list[NDArray[np.float32]] = [np.empty((0, collection.dimension), np.float32)]
    identities: list[str] = []
    unusable = 0
    for start in range(0, len(drawn), _BATCH):
        batch = drawn[start : start + _BATCH]
        found = await collection.vectors([point for _, point in batch])
        read = [(identity, point) for identity, point in batch if point in found]
        vectors = stacked([found[point] for _, point in read], collection.dimension)
        usable = is_usable(vectors)
        unusable += int(np.count_nonzero(~usable))
        rows.append(unit_rows(collection.target, collection.distance, vectors[usable]))
        identities += [names[identity] for (identity, _), fits in zip(read, usable, strict=True) if fits]
    in_use = sum(map(len, points.values())) - unusable
    return GalleryTemplates(np.concatenate(rows), identities, in_use=in_use, growth_within=within, unusable=unusable)


def compare_templates(templates: GalleryTemplates, seed: int) -> ComparisonScores:
    """Compare templates with each other. May take seconds.

    Raises:
        NotEnoughData: they are of fewer than two identities.
    """
    compared = compare_gallery(templates.vectors, templates.identities, seed=seed)
    return ComparisonScores(
        compared.mated,
        compared.non_mated,
        len(compared.names),
        len(templates.identities),
        templates.growth == 1.0 and compared.non_mated.size == compared.possible_comparisons,
    )


def unique_names(identities: Iterable[Id]) -> dict[Id, str]:
    """Return a text for each identity. The number 7 is ``7``, or ``7 (number)`` beside an identity with the text "7".

    >>> unique_names([7, "7", 8])
    {7: '7 (number)', '7': '7', 8: '8'}
    """
    every = list(identities)
    texts = {one for one in every if isinstance(one, str)}
    return {one: f"{one} (number)" if isinstance(one, int) and str(one) in texts else str(one) for one in every}
