"""A store of every engine that runs without a server, and vectors to fill it with."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from sameface_qdrant import Contract, Store
from sameface_qdrant.values import Vector

CONTRACT = Contract("voices", version=1, sha256="a" * 64, dimension=8, preprocessing="none")


@pytest.fixture(params=["memory", "edge"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store."""
    opened = await Store.open(":memory:" if request.param == "memory" else f"edge://{tmp_path / 'store'}")
    yield opened
    await opened.aclose()


@pytest.fixture
def rng() -> np.random.Generator:
    """Seeded randomness."""
    return np.random.default_rng(20261124)


def random_vector(rng: np.random.Generator, dimension: int = CONTRACT.dimension) -> Vector:
    """A vector of random direction and length."""
    return rng.normal(size=dimension).astype(np.float32)


def near(vector: Vector, rng: np.random.Generator, distance: float = 0.1) -> Vector:
    """A vector close to another one."""
    return (vector + distance * rng.normal(size=vector.shape)).astype(np.float32)
