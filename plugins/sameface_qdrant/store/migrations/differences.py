"""What a pass compares and makes: differences of two points, and copies under another contract. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import InvalidEmbedding
from sameface_qdrant.store.migrations.copies import OWNED, OWNED_BY_IDENTITY, under_contract
from sameface_qdrant.store.payloads import TEMPLATE
from sameface_qdrant.store.template_origin import RENEWAL, mapped_from, origin_of
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.template_map import TemplateMap


def is_template(point: Point) -> bool:
    """Return whether a point is a template."""
    return bool(point.payload["kind"] == TEMPLATE)


def mapped_copies(template_map: TemplateMap, templates: Sequence[Point], contract: Contract) -> list[Point]:
    """Return the copies of templates under another contract.

    Raises:
        InvalidEmbedding: nothing is left of an embedding; the message names the template.
    """
    sha256 = template_map.sha256
    try:
        vectors = template_map.applied(np.stack([point.vector for point in templates if point.vector is not None]))
    except InvalidEmbedding as error:
        template = templates[int(error.metadata.get("number", 0))].id
        raise InvalidEmbedding(
            f"the template {template} cannot be mapped: {error.message}; or delete it",
            metadata={**error.metadata, "template": template},
        ) from error
    return [
        Point(point.id, under_contract(dict(point.payload), contract, mapped_from(point.payload, sha256)), vector)
        for point, vector in zip(templates, vectors, strict=True)
    ]


def parts(ids: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """Return ids in parts of at most so many."""
    return (ids[first : first + most] for first in range(0, len(ids), most))


def changes(point: Point, other: Point) -> dict[str, Any]:
    """Return the fields of a point that its counterpart has not, without those that belong to a contract."""
    owned = OWNED if is_template(point) else OWNED_BY_IDENTITY
    wanted: Mapping[str, Any] = point.payload
    names = {*wanted, *other.payload} - {*owned}
    # A field that is missing is one without a value.
    return {name: wanted.get(name) for name in names if wanted.get(name) != other.payload.get(name)}


def is_outdated(point: Point, other: Point) -> bool:
    """Return whether a map made the copy from an embedding that the point no longer has."""
    mapped = origin_of(other.payload)[0] is EmbeddingOrigin.MAPPED
    return mapped and other.payload.get(RENEWAL) != point.payload.get(RENEWAL)
