"""What the layout of an attached collection means for its scores. Pure."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.attached.target import Target
from sameface_qdrant.engines.server.error_mapping import MISSING
from sameface_qdrant.errors import ContractMismatch, InvalidArgument, SamefaceError
from sameface_qdrant.values.vectors import Vector, cosine

if TYPE_CHECKING:
    # Not at run time, so that users of Edge do not load qdrant-client.
    from qdrant_client import models

COSINE = "Cosine"
"""Qdrant's name of the distance that scales vectors to unit norm itself."""
NORM_TOLERANCE = 1e-3
SCORE_TOLERANCE = 5e-3
"""Scores of half-precision vectors differ in the third decimal."""


def cosine_of(
    target: Target, distance: "models.Distance", dimension: int, raw: float, probe: Vector, stored: Any
) -> float:
    """Return the cosine that a score of the server stands for.

    Raises:
        InvalidArgument: the stored vector has no unit norm, under a distance that needs it.
        ContractMismatch: the score is not that of the distance which the collection had. So it is another
            collection, under an alias that was moved, or made again.
    """
    vector = np.asarray(stored, dtype=np.float64)
    if vector.shape != (dimension,):
        raise replaced(target, f"holds vectors of {vector.size} numbers now, and held {dimension}")
    norm = float(np.linalg.norm(vector))
    dot = float(vector @ probe.astype(np.float64))
    match distance.value:
        case "Euclid":
            # d² = 2 − 2·cos between unit vectors.
            expected, score = float(np.linalg.norm(vector - probe)), 1.0 - raw * raw / 2.0
        case "Dot":
            expected, score = dot, raw
        case _:
            expected, score = dot / norm if norm else 0.0, raw
    # So that a score which is not a number is not taken for one.
    if not abs(raw - expected) <= SCORE_TOLERANCE * max(1.0, norm):
        raise replaced(target, f"gave the score {raw:.4f}, and under {distance.value} it would be {expected:.4f}")
    if distance.value != COSINE and abs(norm - 1.0) > NORM_TOLERANCE:
        raise not_unit_norm(target, f"holds an embedding of norm {norm:.4f}")
    return cosine(score)


def unit_rows(target: Target, distance: "models.Distance", vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return stored vectors, [n, dimension], all of them usable, scaled to unit norm.

    Raises:
        InvalidArgument: one of them has no unit norm, under a distance that needs it.
    """
    scaled = vectors / np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    norms = np.linalg.norm(vectors, axis=1)
    if distance.value != COSINE and norms.size:
        worst = float(norms[np.abs(norms - 1.0).argmax()])
        if abs(worst - 1.0) > NORM_TOLERANCE:
            raise not_unit_norm(target, f"holds an embedding of norm {worst:.4f}")
    units: NDArray[np.float32] = (scaled / np.linalg.norm(scaled, axis=1, keepdims=True)).astype(np.float32)
    return units


def named_vectors(vectors: Any) -> "dict[str, models.VectorParams]":
    """Return the dense vectors of a collection by name; the unnamed one has an empty name."""
    return vectors if isinstance(vectors, dict) else {"": vectors} if vectors else {}


def is_missing(error: SamefaceError) -> bool:
    """Return whether a call failed because there is no such collection."""
    return error.metadata.get("kind") in MISSING or "not found" in error.message


def check_writable(target: Target, writable: bool) -> None:
    """Raise InvalidArgument if a collection was attached for reading alone."""
    if not writable:
        raise InvalidArgument(
            f"{target.collection!r} was attached for reading; attach with writable=True to write to it",
            metadata={"field": "writable"},
        )


def not_unit_norm(target: Target, what: str) -> InvalidArgument:
    """Return the error for scores that cannot be turned into cosines."""
    return InvalidArgument(
        f"{target.vector_name!r} of {target.collection!r} {what}: under Dot and Euclid only unit vectors give cosines; "
        "normalise the embeddings, or make a collection with distance Cosine and copy them there",
        metadata={"field": "vector_name"},
    )


def replaced(target: Target, what: str) -> ContractMismatch:
    """Return the error for a name that leads to another collection than at `attach`."""
    return ContractMismatch(
        f"{target.collection!r} is not the collection that was attached: it {what}; attach again, and calibrate again, "
        "because thresholds do not carry over to other embeddings",
        metadata={"field": "collection"},
    )
