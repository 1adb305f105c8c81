"""Labelled photos: a folder with one sub-folder per identity, and LFW's list of pairs."""

from dataclasses import dataclass
from pathlib import Path

from sameface_qdrant.errors import InvalidArgument

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two photos to compare."""

    first: Path
    second: Path
    mated: bool
    """Whether both show the same person."""
    fold: int
    """Index of the fold it belongs to; 0 where the list has one set."""


def read_photos(root: Path) -> dict[Path, str]:
    """Return every photo of ``root/<identity>/`` with its identity, in the order of the paths.

    Raises:
        InvalidArgument: there is no photo.
    """
    photos = {path: path.parent.name for path in sorted(root.glob("*/*")) if path.suffix.lower() in SUFFIXES}
    if not photos:
        raise InvalidArgument(
            f"{root} holds no photos; expected <identity>/<photo> with one of {', '.join(sorted(SUFFIXES))}",
            metadata={"field": "folder"},
        )
    return photos


def read_pairs(listing: Path, root: Path) -> tuple[Pair, ...]:
    """Read a list in the form of LFW's ``pairs.txt`` or ``pairsDevTest.txt`` (Huang et al. 2007).

    The first line holds the number of pairs of each kind, with the number of folds before it where there are several.
    Every fold lists its mated pairs (name, number, number), then its non-mated ones (name, number, name, number).

    Raises:
        InvalidArgument: a line has another form, pairs are missing, or a photo does not exist.
    """
    first, *lines = listing.read_text(encoding="utf-8").splitlines()
    header = [int(part) for part in first.split()]
    folds, each = header if len(header) == 2 else (1, header[0])
    rows = [line.split() for line in lines if line.strip()]
    if len(rows) != 2 * folds * each:
        raise InvalidArgument(
            f"{listing} lists {len(rows)} pairs; its first line announces {2 * folds * each}",
            metadata={"field": "pairs"},
        )
    return tuple(_pair(row, root, number // (2 * each), listing) for number, row in enumerate(rows))


def _pair(row: list[str], root: Path, fold: int, listing: Path) -> Pair:
    match row:
        case [name, one, other]:
            paths, mated = (_path(root, name, one), _path(root, name, other)), True
        case [name, one, another, other]:
            paths, mated = (_path(root, name, one), _path(root, another, other)), False
        case _:
            raise InvalidArgument(
                f"{listing} has the line {' '.join(row)!r}; expected 3 or 4 columns", metadata={"field": "pairs"}
            )
    for path in paths:
        if not path.is_file():
            raise InvalidArgument(f"{listing} names {path}, which does not exist", metadata={"field": "pairs"})
    return Pair(*paths, mated, fold)


def _path(root: Path, name: str, number: str) -> Path:
    return root / name / f"{name}_{int(number):04d}.jpg"
