"""Simulated people for searches, and the exact answer of each search.

Embeddings of real faces crowd in some directions, differ by identity and scatter around it. So an identity's centre is
drawn from a normal distribution whose variance falls with the number of the axis (`SPECTRUM`), and turned at random. A
template adds isotropic noise of its own length (log-normal, median `NOISE`), as some photos are worse than others. All
vectors have unit norm. Of 25,000 identities with four templates each, mated scores are 0.55 to 0.85 (5 % to 95 %, mean
0.72), non-mated ones have mean 0 and standard deviation 0.12, and the nearest template of somebody unknown scores 0.39
to 0.52.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DIMENSION = 128
SPECTRUM = 0.7
"""The variance of axis i is proportional to i^-SPECTRUM."""
NOISE, NOISE_SPREAD = 0.6, 0.3
"""Length of a template's noise relative to its centre: median, and standard deviation of its logarithm."""
STRANGERS = 1_000_000
"""Number of the gallery from which people who are not enrolled are drawn."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class People:
    """Centres of identities, from which templates and probes are drawn. The same seed gives the same people."""

    seed: int

    def centres(self, gallery: int, identities: int) -> Floats:
        """Return unit vectors [identities, DIMENSION] of one gallery."""
        rng = np.random.default_rng([self.seed, gallery])
        deviations = np.arange(1, DIMENSION + 1) ** (-SPECTRUM / 2)
        turn, _ = np.linalg.qr(np.random.default_rng(self.seed).normal(size=(DIMENSION, DIMENSION)))
        return _unit((rng.normal(size=(identities, DIMENSION)) * deviations) @ turn.T)

    def templates(self, gallery: int, identities: int, each: int) -> Floats:
        """Return unit vectors [identities, each, DIMENSION]."""
        centres = self.centres(gallery, identities)
        return _scattered(np.repeat(centres[:, None], each, axis=1), np.random.default_rng([self.seed, gallery, 1]))

    def probes(self, gallery: int, identities: int, count: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return unit vectors [count, DIMENSION] and whose they are: every second one is of somebody unknown, −1."""
        rng = np.random.default_rng([self.seed, gallery, 2])
        whose = rng.integers(identities, size=count)
        whose[1::2] = -1
        strangers = self.centres(STRANGERS + gallery, count)
        centres = np.where(whose[:, None] < 0, strangers, self.centres(gallery, identities)[whose])
        return _scattered(centres, rng), whose


def nearest_scores(stored: Floats, probes: Floats, block: int = 100_000) -> Floats:
    """Return the highest cosine of each probe with any stored vector, by comparing with all."""
    best = np.full(len(probes), -2.0, dtype=np.float32)
    for start in range(0, len(stored), block):
        best = np.maximum(best, (probes @ stored[start : start + block].T).max(axis=1))
    return best


def _scattered(centres: Floats, rng: np.random.Generator) -> Floats:
    lengths = NOISE * np.exp(NOISE_SPREAD * rng.normal(size=(*centres.shape[:-1], 1)))
    return _unit(centres + lengths * _unit(rng.normal(size=centres.shape)))


def _unit(vectors: NDArray[np.floating]) -> Floats:
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return unit
