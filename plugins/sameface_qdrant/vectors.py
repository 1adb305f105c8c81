"""What may enter the store as an embedding."""

import numpy as np

from sameface_qdrant.errors import InvalidEmbedding
from sameface_qdrant.values import Vector


def unit(vector: Vector, dimension: int) -> Vector:
    """Return the vector scaled to unit L2 norm, float32 [dimension]; computed in double precision.

    Raises:
        InvalidEmbedding: another shape than [dimension], a value that is not finite, or zero norm. Checked here because
            Qdrant accepts NaN and zero vectors, and keeps part of a batch that holds a vector of another dimension.
    """
    values = np.asarray(vector, dtype=np.float64)
    if values.shape != (dimension,):
        raise InvalidEmbedding(
            f"the embedding has shape {list(values.shape)}; expected [{dimension}]",
            metadata={"field": "embedding", "given": list(values.shape), "expected": dimension},
        )
    if not np.isfinite(values).all():
        position = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InvalidEmbedding(
            f"the embedding holds a value that is not a finite number, first at position {position}",
            metadata={"field": "embedding", "position": position},
        )
    largest = float(np.abs(values).max(initial=0.0))
    if largest < 1e-30:
        raise InvalidEmbedding("the embedding has zero norm and so no direction", metadata={"field": "embedding"})
    # Scaled first, so that squares of very large or small values neither overflow nor vanish.
    scaled = values / largest
    return (scaled / np.linalg.norm(scaled)).astype(np.float32)
