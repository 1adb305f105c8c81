"""Checks embeddings and scales them to unit norm."""

import math
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.errors import ContractMismatch, InvalidEmbedding
from sameface_qdrant.values.contract import Contract

Vector: TypeAlias = NDArray[np.float32]
"""One embedding, shape [dimension], float32. Unit L2 norm once it is inside a Template or Probe."""


class Embedding(Protocol):
    """What a `NewTemplate` and a `Probe` have in common."""

    @property
    def vector(self) -> Vector:
        """Shape [dimension]; need not be normalised."""
        ...

    @property
    def contract(self) -> Contract:
        """The contract under which it was made."""
        ...


def unit(vector: Vector, dimension: int) -> Vector:
    """Return the vector scaled to unit L2 norm, float32 [dimension]; computed in double precision.

    Raises:
        InvalidEmbedding: its shape is not [dimension], a value is not finite, or its norm is zero. (Qdrant accepts NaN
            and zero vectors, and keeps part of a batch that holds a vector of another dimension.)
    """
    values = np.asarray(vector, dtype=np.float64)
    if values.shape != (dimension,):
        raise InvalidEmbedding(
            f"the embedding has shape {list(values.shape)}; expected [{dimension}]",
            metadata={"field": "embedding", "given": list(values.shape), "expected": dimension},
        )
    # The largest of them is not finite if any is not.
    largest = float(np.abs(values).max(initial=0.0))
    if not math.isfinite(largest):
        position = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InvalidEmbedding(
            f"the embedding has a value that is not a finite number, first at position {position}; check the model",
            metadata={"field": "embedding", "position": position},
        )
    if largest < 1e-30:
        raise InvalidEmbedding(
            "the embedding has zero norm; expected a number that is not zero; check the model",
            metadata={"field": "embedding"},
        )
    # Scaled first, so that squares of very large or small values neither overflow nor vanish.
    scaled = values / largest
    return (scaled / math.sqrt(scaled.dot(scaled))).astype(np.float32)


def units_under(contract: Contract, embeddings: Sequence[Embedding]) -> list[Vector]:
    """Return the unit vector of each embedding after checking that it was made under ``contract``.

    Raises:
        InvalidEmbedding: see `unit`.
        ContractMismatch: it was made under another contract, and neither contract lists the other as equivalent.
    """
    vectors = []
    for embedding in embeddings:
        vectors.append(unit(embedding.vector, contract.dimension))
        check_same_contract(embedding.contract, contract)
    return vectors


def check_same_contract(given: Contract, expected: Contract) -> None:
    """Raise ContractMismatch if embeddings under ``given`` cannot be compared with those under ``expected``."""
    if not expected.accepts(given):
        raise ContractMismatch(
            f"the embedding has the contract {given.key[:80]} ({given.dimension} numbers, {given.preprocessing[:40]}); "
            f"expected {expected.key} ({expected.dimension} numbers, {expected.preprocessing}); use that model",
            metadata={"given": given.key[:80], "expected": expected.key},
        )
