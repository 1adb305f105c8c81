"""What training and held-out data have in common: the same files, nearly the same pictures, the same names."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

MAX_DISTANCE = 6
"""Bits of 64 in which the hashes of two copies of a picture may differ."""
LEAST_CORRELATION = 0.98
"""Of the thumbnails of two copies. Aligned faces have so much in common that hashes alone name strangers; with copies
at half to one and a half times the size and JPEG qualities from 30 on it was 0.99."""
THUMBNAIL_SIDE = 32
_BLOCK = 1024

Shared = tuple[tuple[Path, Path], ...]
"""Pairs of a training and a held-out file."""


@dataclass(frozen=True, slots=True)
class Leakage:
    """What both sides share; all empty is what evaluation needs."""

    identical_files: Shared
    """The same bytes."""
    near_duplicates: Shared
    """Pictures that look the same (resized, compressed again), and are not the same file."""
    shared_identities: tuple[str, ...]
    """Names on both sides, whether or not they are the same people."""
    unreadable: tuple[Path, ...]
    """Files that are no picture: compared by their bytes alone."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.identical_files or self.near_duplicates or self.shared_identities)

    def counts(self) -> dict[str, int]:
        """Return how many of each were found, by name."""
        return {
            "identical_files": len(self.identical_files),
            "near_duplicates": len(self.near_duplicates),
            "shared_identities": len(self.shared_identities),
            "unreadable": len(self.unreadable),
        }


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file is recognised by."""

    sha256: str
    dhash: int | None
    """None where the file is no picture."""
    thumbnail: bytes = b""
    """Grey, 32 × 32."""


def find_leakage(
    train: Mapping[Path, str], held_out: Mapping[Path, str], *, max_distance: int = MAX_DISTANCE
) -> Leakage:
    """Compare the files (with their identities) of both sides.

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
    """Compare files by what they are recognised by."""
    by_bytes: dict[str, list[Path]] = {}
    for path, one in train.items():
        by_bytes.setdefault(one.sha256, []).append(path)
    identical = tuple((same, path) for path, one in held_out.items() for same in by_bytes.get(one.sha256, ()))
    known = set(identical)
    near = tuple(pair for pair in _near(train, held_out, max_distance) if pair not in known)
    unreadable = tuple(path for side in (train, held_out) for path, one in side.items() if one.dhash is None)
    return Leakage(identical, near, tuple(sorted(shared_identities)), unreadable)


def digest(path: Path) -> Digest:
    """Return what a file is recognised by.

    Raises:
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    try:
        with Image.open(path) as image:
            grey = image.convert("L")
            small = grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
            return Digest(hashlib.sha256(content).hexdigest(), dhash(grey), small.tobytes())
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        # Pillow raises any of these for broken files; the bytes could be read.
        return Digest(hashlib.sha256(content).hexdigest(), None)


def dhash(image: Image.Image) -> int:
    """Return the difference hash of a picture, 64 bits: which of 9×8 grey cells are brighter than their left neighbour.

    Krawetz 2013, "Kind of Like That" (hackerfactor.com). Sizes and compression hardly change it; a mirror image or
    another crop does.
    """
    cells = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX))
    bits = cells[:, 1:] > cells[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _near(train: Mapping[Path, Digest], held_out: Mapping[Path, Digest], max_distance: int) -> list[tuple[Path, Path]]:
    ours = [path for path, one in train.items() if one.dhash is not None]
    theirs = [path for path, one in held_out.items() if one.dhash is not None]
    if not ours or not theirs:
        return []
    known, asked = _signs(train, ours), _signs(held_out, theirs)
    found = []
    for start in range(0, len(theirs), _BLOCK):
        # Of ±1 vectors the product is 64 − 2 × the number of bits that differ.
        distances = (64 - asked[start : start + _BLOCK] @ known.T) / 2
        candidates = [
            (ours[column], theirs[start + row])
            for row, column in zip(*np.nonzero(distances <= max_distance), strict=True)
        ]
        found += [pair for pair in candidates if _correlation(train[pair[0]], held_out[pair[1]]) >= LEAST_CORRELATION]
    return found


def _correlation(one: Digest, other: Digest) -> float:
    first, second = (np.frombuffer(side.thumbnail, np.uint8).astype(np.float64) for side in (one, other))
    first, second = first - first.mean(), second - second.mean()
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    # Two pictures of a single grey are alike.
    return float(first @ second) / norm if norm else 1.0


def _signs(side: Mapping[Path, Digest], paths: list[Path]) -> NDArray[np.float32]:
    words = np.array([side[path].dhash for path in paths], dtype=np.uint64).astype(">u8")
    bits = np.unpackbits(words.view(np.uint8).reshape(len(paths), 8), axis=1)
    return bits.astype(np.float32) * 2 - 1
