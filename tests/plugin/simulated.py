"""Simulated people: unit vectors around one direction for each."""

import numpy as np
from numpy.typing import NDArray


def people(
    rng: np.random.Generator, count: int, each: int, *, dimension: int = 32, spread: float = 0.6, prefix: str = "p"
) -> tuple[NDArray[np.float32], list[str]]:
    """Return unit vectors [count · each, dimension] and their identities."""
    centres = rng.normal(size=(count, 1, dimension))
    vectors = centres + spread * rng.normal(size=(count, each, dimension))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    names = [f"{prefix}{number:04d}" for number in range(count) for _ in range(each)]
    return vectors.reshape(-1, dimension).astype(np.float32), names
