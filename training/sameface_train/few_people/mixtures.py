"""Mixtures of two people: faces of nobody, for the teacher's term alone.

Aligned photos of two people in the same pose have eyes, nose and mouth in the same places, so their mean looks like a
face. Mixtures show the network more faces than the few people do, and hold it to its teacher there.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from sameface_train.samples import Images, Samples

LEAST_SHARE = 0.35
"""Each of the two people makes up at least this much of a mixture."""


@dataclass(frozen=True, slots=True)
class Mixtures:
    """``first`` and ``second`` [M] are places of samples of two people, ``share`` [M] is the first one's share."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    share: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)

    def images(self, samples: Samples) -> Images:
        """Return the mixtures as images uint8 [M, 3, H, W]."""
        share = self.share[:, np.newaxis, np.newaxis, np.newaxis]
        mixed = share * samples.images[self.first] + (1.0 - share) * samples.images[self.second]
        return np.asarray(mixed.round(), np.uint8)

    def parents_of(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the labels of both people, [M, 2]; ``labels`` [N] are those of the samples."""
        return np.stack([labels[self.first], labels[self.second]], axis=1)


def draw_mixtures(samples: Samples, count: int, seed: int) -> Mixtures:
    """Return ``count`` mixtures of two people under the same file name, or of any of their photos if names differ."""
    rng = np.random.default_rng([seed, 2])
    by_name: dict[tuple[int, str], int] = {}
    owned: dict[int, list[int]] = {}
    for place, (label, name) in enumerate(zip(samples.labels.tolist(), samples.names, strict=True)):
        by_name[label, PurePosixPath(name).name] = place
        owned.setdefault(label, []).append(place)
    people = sorted(owned)
    first, second = np.zeros((2, count), np.int64)
    for number in range(count):
        one, other = rng.choice(people, 2, replace=False).tolist()
        first[number] = rng.choice(owned[one])
        name = PurePosixPath(samples.names[int(first[number])]).name
        second[number] = by_name.get((other, name), int(rng.choice(owned[other])))
    return Mixtures(first, second, rng.uniform(LEAST_SHARE, 1.0 - LEAST_SHARE, count))
