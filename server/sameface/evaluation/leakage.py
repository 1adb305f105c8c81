"""Finds what training and held-out data share: identical files, near-duplicate pictures, equal names of identities."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

MAX_DISTANCE = 6
"""Largest number of bits, of 64, in which the hashes of two copies of a picture may differ."""
LEAST_CORRELATION = 0.98
"""Lowest correlation of the thumbnails of two copies. Hashes alone are not enough, because aligned faces of different
people can have the same hash. Copies at 0.5 to 1.5 times the size and JPEG quality of 30 or more had 0.99."""
THUMBNAIL_SIDE = 32
_BLOCK = 1024

Shared = tuple[tuple[Path, Path], ...]
"""Pairs of a training and a held-out file."""


@dataclass(frozen=True, slots=True)
class Leakage:
    """What training and held-out data share. A valid evaluation needs all of it to be empty."""

    identical_files: Shared
    """Files with the same bytes."""
    near_duplicates: Shared
    """Pictures that look the same, for instance resized or compressed again, with different bytes."""
    shared_identities: tuple[str, ...]
    """Names that are in both, whether or not they are the same people."""
    unreadable: tuple[Path, ...]
    """Files that are not pictures; only their bytes are compared."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.identical_files or self.near_duplicates or self.shared_identities)

    def counts(self) -> dict[str, int]:
        """Return the number of each, by field name."""
        return {
            "identical_files": len(self.identical_files),
            "near_duplicates": len(self.near_duplicates),
            "shared_identities": len(self.shared_identities),
            "unreadable": len(self.unreadable),
        }


@dataclass(frozen=True, slots=True)
class Digest:
    """What files are compared by."""

    sha256: str
    dhash: int | None
    """Difference hash; None if the file is not a picture."""
    thumbnail: bytes = b""
    """Grey values, 32 × 32."""


def find_leakage(
    train: Mapping[Path, str], held_out: Mapping[Path, str], *, max_distance: int = MAX_DISTANCE
) -> Leakage:
    """Compare training and held-out files.

    Args:
        train: files with their identities.
        held_out: files with their identities.
        max_distance: largest number of bits, of 64, in which hashes of two copies may differ.

    Raises:
        OSError: a file cannot be read.
    """
    return compare_digests(
        {path: digest(path) for path in train},
        {path: digest(path) for path in held_out},
        set(train.values()) & set(held_out.values()),
        max_distance=max_distance,
    )


def compare_digests(
    train: Mapping[Path, Digest],
    held_out: Mapping[Path, Digest],
    shared_identities: set[str],
    *,
    max_distance: int = MAX_DISTANCE,
) -> Leakage:
    """Compare files by their digests; arguments as for `find_leakage`."""
    by_bytes: dict[str, list[Path]] = {}
    for path, one in train.items():
        by_bytes.setdefault(one.sha256, []).append(path)
    identical = tuple((same, path) for path, one in held_out.items() for same in by_bytes.get(one.sha256, ()))
    known = set(identical)
    near = tuple(pair for pair in _near(train, held_out, max_distance) if pair not in known)
    unreadable = tuple(path for side in (train, held_out) for path, one in side.items() if one.dhash is None)
    return Leakage(identical, near, tuple(sorted(shared_identities)), unreadable)


def digest(path: Path) -> Digest:
    """Return what a file is compared by.

    Raises:
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    try:
        with Image.open(path) as image:
            grey = image.convert("L")
            small = grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
            return Digest(hashlib.sha256(content).hexdigest(), dhash(grey), small.tobytes())
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        # Pillow raises any of these for a broken picture; its bytes were read.
        return Digest(hashlib.sha256(content).hexdigest(), None)


def dhash(image: Image.Image) -> int:
    """Return the difference hash of a picture, 64 bits: which of 9×8 grey cells are brighter than their left neighbour.

    Krawetz 2013, "Kind of Like That" (hackerfactor.com). Resizing and compression hardly change it; mirroring and
    cropping do. The package imagehash would bring scipy and PyWavelets with it.
    """
    cells = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX))
    bits = cells[:, 1:] > cells[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _near(train: Mapping[Path, Digest], held_out: Mapping[Path, Digest], max_distance: int) -> list[tuple[Path, Path]]:
    train_pictures = [path for path, one in train.items() if one.dhash is not None]
    held_out_pictures = [path for path, one in held_out.items() if one.dhash is not None]
    if not train_pictures or not held_out_pictures:
        return []
    train_signs, held_out_signs = _signs(train, train_pictures), _signs(held_out, held_out_pictures)
    found = []
    for start in range(0, len(held_out_pictures), _BLOCK):
        # The product of ±1 vectors is 64 − 2 × the number of bits that differ.
        distances = (64 - held_out_signs[start : start + _BLOCK] @ train_signs.T) / 2
        candidates = [
            (train_pictures[column], held_out_pictures[start + row])
            for row, column in zip(*np.nonzero(distances <= max_distance), strict=True)
        ]
        found += [pair for pair in candidates if _correlation(train[pair[0]], held_out[pair[1]]) >= LEAST_CORRELATION]
    return found


def _correlation(one: Digest, other: Digest) -> float:
    first, second = (np.frombuffer(side.thumbnail, np.uint8).astype(np.float64) for side in (one, other))
    first, second = first - first.mean(), second - second.mean()
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    # Two pictures of one grey value each count as equal.
    return float(first @ second) / norm if norm else 1.0


def _signs(side: Mapping[Path, Digest], paths: list[Path]) -> NDArray[np.float32]:
    words = np.array([side[path].dhash for path in paths], dtype=np.uint64).astype(">u8")
    bits = np.unpackbits(words.view(np.uint8).reshape(len(paths), 8), axis=1)
    return bits.astype(np.float32) * 2 - 1
