"""Faces that a template map is fitted to: aligned photos of people, changed copies of them, and mixtures of two people.

Mixtures are means of two aligned photos. They are faces of nobody, but both versions embed them, and a map must hold
for faces that are not among the few people.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sameface.models.face_changes import Changes, Images, changed
from sameface.models.quantised_version import SIDE, SUFFIXES
from sameface.vision import ImageLimits, decode_image
from sameface_qdrant.errors import InvalidArgument, NotEnoughData

LEAST_SHARE = 0.35
"""Each of the two people makes up at least this much of a mixture."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """How many pictures are made of the photos. Each is also mirrored."""

    copies: int = 4
    """Changed copies of each photo."""
    mixtures: int = 1500
    """Mixtures of two people; every other one is changed too."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PeoplesFaces:
    """Aligned photos of people."""

    images: tuple[Images, ...]
    """Each uint8 [3, H, W] RGB, at least 112×112; the middle 112×112 is the aligned face."""
    names: tuple[str, ...]
    """``person/photo``."""

    @property
    def people(self) -> NDArray[np.int64]:
        """Who is in each photo, as numbers from 0 on, [N]."""
        persons = np.array([name.split("/")[0] for name in self.names])
        found: NDArray[np.int64] = np.unique(persons, return_inverse=True)[1].astype(np.int64)
        return found

    def owners(self, amounts: Amounts) -> NDArray[np.int64]:
        """Return the people in each picture of `pictures`, [M, 2]; both are the same but in mixtures."""
        people = self.people
        alone = np.concatenate([people, np.repeat(people, amounts.copies)])
        mixed = [(people[one], people[other]) for one, other, _ in self._mixtures(amounts)]
        return np.concatenate([np.stack([alone, alone], axis=1), np.array(mixed, np.int64).reshape(-1, 2)])

    def pictures(self, amounts: Amounts) -> Iterator[Images]:
        """Make the photos, their changed copies and the mixtures, each uint8 [3, 112, 112]."""
        changes = Changes()
        for image in self.images:
            yield _middle(image)
        for place, image in enumerate(self.images):
            for copy in range(amounts.copies):
                yield changed(image, changes, np.random.default_rng([amounts.seed, 0, place, copy]), SIDE)
        for number, (one, other, share) in enumerate(self._mixtures(amounts)):
            mixed = (share * self.images[one] + (1.0 - share) * self.images[other]).round().astype(np.uint8)
            rng = np.random.default_rng([amounts.seed, 1, number])
            yield changed(mixed, changes, rng, SIDE) if number % 2 else _middle(mixed)

    def digest(self, amounts: Amounts) -> str:
        """Return a digest of the photos and of what is made of them."""
        content = hashlib.sha256(f"{amounts}{Changes()}{self.names}".encode())
        for image in self.images:
            content.update(image.tobytes())
        return content.hexdigest()

    def _mixtures(self, amounts: Amounts) -> list[tuple[int, int, float]]:
        """Return places of two photos, if possible of the same file name, and the share of the first one."""
        rng = np.random.default_rng([amounts.seed, 2])
        people, shown = self.people, [name.split("/")[-1] for name in self.names]
        place_of = {(int(person), name): place for place, (person, name) in enumerate(zip(people, shown, strict=True))}
        found: list[tuple[int, int, float]] = []
        while len(found) < amounts.mixtures and people.max(initial=0) > 0:
            one = int(rng.integers(0, len(people)))
            person = int(rng.choice(np.setdiff1d(people, people[one])))
            other = place_of.get((person, shown[one]), int(rng.choice(np.flatnonzero(people == person))))
            if self.images[one].shape == self.images[other].shape:
                found.append((one, other, float(rng.uniform(LEAST_SHARE, 1.0 - LEAST_SHARE))))
            else:
                break
        return found


def read_people(folder: Path) -> PeoplesFaces:
    """Read ``<person>/<photo>``: aligned faces, as `sameface-train prepare` makes them.

    Raises:
        InvalidArgument: there is no photo, or one is smaller than 112×112.
        NotEnoughData: there are photos of only one person.
        ImageUndecodable, ImageTooLarge: a file is no image.
    """
    files = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InvalidArgument(
            f"{folder} has no <person>/<photo> in {', '.join(SUFFIXES)}; expected aligned faces, as "
            "`sameface-train prepare` makes them",
            metadata={"field": "faces"},
        )
    if len({path.parent for path in files}) < 2:
        raise NotEnoughData(
            f"{folder} has photos of one person; expected several, one folder each", metadata={"identities": 1}
        )
    return PeoplesFaces(tuple(map(_read, files)), tuple(path.relative_to(folder).as_posix() for path in files))


def _read(path: Path) -> Images:
    pixels = decode_image(path.read_bytes(), ImageLimits()).pixels
    if min(pixels.shape[:2]) < SIDE:
        raise InvalidArgument(
            f"{path} has {pixels.shape[1]}×{pixels.shape[0]} pixels; expected an aligned face of at least "
            f"{SIDE}×{SIDE}",
            metadata={"field": "faces", "path": path},
        )
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _middle(image: Images) -> Images:
    top, left = (image.shape[1] - SIDE) // 2, (image.shape[2] - SIDE) // 2
    return np.ascontiguousarray(image[:, top : top + SIDE, left : left + SIDE])
