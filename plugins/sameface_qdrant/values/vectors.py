"""Checks embeddings and scales them to unit norm."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sameface_qdrant.errors import ContractMismatch, InvalidArgument, InvalidEmbedding
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.scalars import article

Vector: TypeAlias = NDArray[np.float32]
"""One embedding, shape [dimension], float32, unit L2 norm: as it is stored and compared. Callers may give any
``ArrayLike``."""
_NO_SEQUENCES = (Mapping, Set, str, bytes, bytearray)
"""What can be read in a loop, and holds no embeddings in an order."""
_LEAST = 1e-30
"""A vector whose largest number is smaller counts as zero."""


class Embedding(Protocol):
    """What a `NewTemplate` and a `Probe` have in common."""

    @property
    def vector(self) -> ArrayLike:
        """Shape [dimension]; need not be normalised."""
        ...

    @property
    def contract(self) -> Contract:
        """The contract under which it was made."""
        ...


def numbers(embedding: ArrayLike) -> NDArray[np.float64]:
    """Return an embedding as float64, of whatever shape it has.

    It may be an array of any type of real numbers, a list, a tuple, or a tensor that numpy can read.

    Raises:
        InvalidEmbedding: it does not consist of real numbers, or some of them are masked.
    """
    if isinstance(embedding, np.ma.MaskedArray) and (masked := int(np.ma.getmaskarray(embedding).sum())):
        raise InvalidEmbedding(
            f"the embedding has {masked} masked numbers of {embedding.size}; expected one that is complete",
            metadata={"field": "embedding"},
        )
    try:
        values = np.asarray(embedding)
    except (TypeError, ValueError, RuntimeError) as error:
        # A list of lists that differ in length, or a tensor on a GPU or with a gradient.
        raise InvalidEmbedding(
            f"the embedding is {article(type(embedding).__name__)} that numpy cannot read: {str(error)[:120]}; "
            "expected numbers of one shape, such as an array, a list, or tensor.detach().cpu().float()",
            metadata={"field": "embedding", "given": type(embedding).__name__},
        ) from None
    if values.dtype.kind not in "fiub":
        given = type(embedding).__name__ if values.ndim == 0 else f"array of dtype {values.dtype}"
        advice = "; pass its vector" if hasattr(embedding, "vector") else ""
        raise InvalidEmbedding(
            f"the embedding is {article(given)}, shape {list(values.shape)}; expected real numbers, such as "
            f"float32{advice}",
            metadata={"field": "embedding", "given": str(values.dtype), "expected": "float32"},
        )
    return values.astype(np.float64, copy=False)


def cosine(score: float) -> float:
    """Return the cosine that a store's score stands for: rounding may have left it slightly outside −1..1.

    A score that is not a number is that of a broken embedding. It gives −1, so that it never matches.

    >>> cosine(1.0000001), cosine(float("nan"))
    (1.0, -1.0)
    """
    # In this order, because comparisons with NaN are false.
    return min(1.0, max(-1.0, score))


def is_usable(vectors: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows of [n, dimension] have a direction: finite numbers, and a norm that is not zero."""
    # The largest of them is not finite if any is not.
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    usable: NDArray[np.bool_] = np.isfinite(largest) & (largest >= _LEAST)
    return usable


def unit(vector: ArrayLike, dimension: int) -> Vector:
    """Return the vector scaled to unit L2 norm, float32 [dimension]; computed in double precision.

    Raises:
        InvalidEmbedding: it does not consist of real numbers, its shape is not [dimension], a value is not finite, or
            its norm is zero. (Qdrant accepts NaN and zero vectors, and keeps part of a batch that holds a vector of
            another dimension.)
    """
    values = numbers(vector)
    if values.shape != (dimension,):
        one = "; pass the embeddings one by one" if values.ndim > 1 and values.shape[-1] == dimension else ""
        raise InvalidEmbedding(
            f"the embedding has shape {list(values.shape)}; expected [{dimension}]{one}",
            metadata={"field": "embedding", "given": list(values.shape), "expected": dimension},
        )
    largest = float(np.maximum.reduce(np.abs(values)))
    if not math.isfinite(largest):
        position = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InvalidEmbedding(
            f"the embedding has a value that is not a finite number, first at position {position}; check the model",
            metadata={"field": "embedding", "position": position},
        )
    if largest < _LEAST:
        raise InvalidEmbedding(
            "the embedding has zero norm; expected a number that is not zero; check the model",
            metadata={"field": "embedding"},
        )
    # Scaled first, so that squares of very large or small values neither overflow nor vanish.
    scaled = values / largest
    return (scaled / math.sqrt(scaled.dot(scaled))).astype(np.float32)


def units(embeddings: ArrayLike | Sequence[ArrayLike], dimension: int) -> list[Vector]:
    """Return the unit vector of each embedding: of a sequence of them, of a matrix, or of a single one.

    Raises:
        InvalidArgument: ``embeddings`` is no sequence, or an array of more than two axes.
        InvalidEmbedding: see `unit`; ``metadata["number"]`` says of which embedding.
    """
    if _is_single(embeddings):
        return [unit(cast(ArrayLike, embeddings), dimension)]
    shape = getattr(embeddings, "shape", ())
    if isinstance(embeddings, _NO_SEQUENCES) or not hasattr(embeddings, "__iter__") or len(shape) > 2:
        what = f"has shape {list(shape)}" if shape else f"is {article(type(embeddings).__name__)}"
        raise InvalidArgument(
            f"embeddings {what}; expected a sequence of embeddings, shape [n, {dimension}]",
            metadata={"field": "embeddings"},
        )
    found = []
    given = cast(Iterable[ArrayLike], embeddings)
    for number, embedding in enumerate(given):
        try:
            found.append(unit(embedding, dimension))
        except InvalidEmbedding as error:
            error.metadata["number"] = str(number)
            raise
    return found


def _is_single(embeddings: Any) -> bool:
    """Return whether these are the numbers of one embedding."""
    dimensions = getattr(embeddings, "ndim", None)
    if isinstance(dimensions, int):
        # One of objects, such as a column of pandas, holds an embedding in each place.
        return dimensions < 2 and getattr(getattr(embeddings, "dtype", None), "kind", "") != "O"
    return isinstance(embeddings, list | tuple) and bool(embeddings) and all(map(np.isscalar, embeddings))


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
    if given is not expected and not expected.accepts(given):
        raise ContractMismatch(
            f"the embedding has the contract {given.key[:80]} ({given.dimension} numbers, {given.preprocessing[:40]}); "
            f"expected {expected.key} ({expected.dimension} numbers, {expected.preprocessing}); use that model",
            metadata={"given": given.key[:80], "expected": expected.key},
        )
