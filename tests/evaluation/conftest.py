"""The command line, and samples whose scores are known by construction."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from sameface.evaluation.samples import Failure, Samples
from tests.cli.conftest import sameface as sameface


def lattice(dimension: int) -> NDArray[np.float64]:
    """Return many unit vectors whose products are exact in any precision and any order of adding, ties included."""
    drawn = np.random.default_rng(0).integers(-5, 6, (60_000, dimension))
    return np.unique(drawn[(drawn**2).sum(axis=1) == 64], axis=0) / 8.0


LATTICE = lattice(6)


def made(identities: Sequence[str], *, seed: int = 0, noise: float = 0.8, failed: Sequence[str] = ()) -> Samples:
    """Return samples around a centre for each identity; `failed` are the identities of photos without a face."""
    rng = np.random.default_rng(seed)
    centres = {name: rng.normal(size=6) for name in sorted(set(identities))}
    vectors = np.stack([centres[name] + noise * rng.normal(size=6) for name in identities])
    return Samples(
        LATTICE[(vectors @ LATTICE.T).argmax(axis=1)].astype(np.float32),
        tuple(identities),
        tuple(f"{name}/{number:03}.jpg" for number, name in enumerate(identities)),
        tuple(Failure(f"{name}/failed{number}.jpg", name, "FACE_NOT_FOUND") for number, name in enumerate(failed)),
        model="made up",
    )


def far_apart(identities: Sequence[str], *, seed: int = 0, noise: float = 0.8) -> Samples:
    """Return samples in 32 dimensions, where different people are little alike."""
    rng = np.random.default_rng(seed)
    centres = {name: rng.normal(size=32) for name in sorted(set(identities))}
    vectors = np.stack([centres[name] + noise * rng.normal(size=32) for name in identities])
    return Samples(
        (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        tuple(identities),
        tuple(f"{name}/{number:03}.jpg" for number, name in enumerate(identities)),
    )


@pytest.fixture
def people() -> Samples:
    """Forty identities with one to five samples, and two photos without a face."""
    identities = [f"p{number:02}" for number in range(40) for _ in range(1 + number % 5)]
    return made(identities, failed=("p03", "p04"))
