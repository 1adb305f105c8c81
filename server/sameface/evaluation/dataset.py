"""Reads labelled images (a folder with one sub-folder per identity) and LFW's list of pairs."""

import os
from dataclasses import dataclass
from pathlib import Path

from sameface.evaluation.forgery_names import FORGERY_FOLDERS, KINDS, kinds_alone
from sameface.photo_folders import Skipped, is_folder, photos_below, why_skipped
from sameface_qdrant.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Pair:
    """Two photos to compare, named by their paths below the data folder."""

    first: str
    second: str
    mated: bool
    """Whether both show the same person."""
    fold: int
    """Index of its fold; 0 in a list without folds."""


@dataclass(frozen=True, slots=True)
class LabelledFolder:
    """What is in a folder with one sub-folder per identity."""

    photos: dict[Path, str]
    """Every image with its identity, sorted by path."""
    forgeries: dict[Path, str]
    """Every skilled forgery with the identity that it imitates, sorted by path."""
    skipped: tuple[Skipped, ...]
    """What is left out, with the reasons."""


def read_photos(root: Path) -> dict[Path, str]:
    """Return every image of ``root/<identity>/`` with its identity, sorted by path, without forgeries.

    Raises:
        InvalidArgument: there is no image, or the folder has another layout.
        OSError: a folder cannot be read.
    """
    return read_labelled(root).photos


def read_labelled(root: Path) -> LabelledFolder:
    """Read ``root/<identity>/<image>``, and ``root/<signer>/{genuine,forgery}/<image>`` with forgeries apart.

    A file is an image by its suffix, else by its content (`sameface.photo_folders.why_skipped`).

    Raises:
        InvalidArgument: there is no image that is no forgery, or the kinds come before the identities.
        OSError: a folder cannot be read.
    """
    found = _read(root)
    if not found.photos:
        raise InvalidArgument(
            f"{root} contains no photos; expected <identity>/<image>, or <signer>/genuine/<image> and "
            "<signer>/forgery/<image>",
            metadata={"field": "folder"},
        )
    if kinds := kinds_alone({*found.photos.values(), *found.forgeries.values()}):
        raise InvalidArgument(f"{root} {kinds}", metadata={"field": "folder"})
    return found


def files_passed_over(root: Path) -> tuple[Skipped, ...]:
    """Return what `read_labelled` leaves out of ``root`` and its sub-folders, with the reasons.

    Raises:
        OSError: a folder cannot be read.
    """
    return _read(root).skipped


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, sorted; nothing if there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as scanned:
        return sorted(scanned, key=lambda entry: entry.name)


def photos_within(folder: Path, skipped: list[Skipped]) -> list[Path]:
    """Return the photos in a folder and its sub-folders, sorted, and add everything else to ``skipped``."""
    found = photos_below(folder, skipped)
    photos = [path for path in found if path.is_file()]
    skipped += [Skipped(path, "cannot be read") for path in sorted({*found} - {*photos})]
    return photos


def _read(root: Path) -> LabelledFolder:
    photos, forgeries, skipped = dict[Path, str](), dict[Path, str](), list[Skipped]()
    for entry in entries(root):
        path = root / entry.name
        if not is_folder(entry) or entry.name.startswith("."):
            skipped.append(Skipped(path, why_skipped(entry) or "not in an identity's folder"))
            continue
        for inner in entries(path):
            kind = inner.name.lower()
            if kind in KINDS and is_folder(inner) and not inner.is_symlink():
                _add(path / inner.name, entry.name, forgeries if kind in FORGERY_FOLDERS else photos, skipped)
            else:
                _add_one(path, inner, entry.name, photos, skipped)
    return LabelledFolder(photos, forgeries, tuple(skipped))


def _add(folder: Path, identity: str, found: dict[Path, str], skipped: list[Skipped]) -> None:
    for entry in entries(folder):
        _add_one(folder, entry, identity, found, skipped)


def _add_one(
    folder: Path, entry: os.DirEntry[str], identity: str, found: dict[Path, str], skipped: list[Skipped]
) -> None:
    if why := why_skipped(entry) or _why_not_read(entry):
        skipped.append(Skipped(folder / entry.name, why))
    else:
        found[folder / entry.name] = identity


def _why_not_read(entry: os.DirEntry[str]) -> str:
    if is_folder(entry):
        return "a folder in an identity's folder"
    return "" if entry.is_file() else "cannot be read"


def read_pairs(listing: Path, root: Path | None = None) -> tuple[Pair, ...]:
    """Read a list of pairs in LFW's form, ``pairs.txt`` or ``pairsDevTest.txt`` (Huang et al. 2007).

    The first line holds the number of mated pairs, which is also that of non-mated pairs. With several folds, the
    number of folds comes before it. Each fold lists its mated pairs (name, number, number), then its non-mated
    pairs (name, number, name, number).

    Args:
        listing: the file.
        root: where the photos must exist; not checked if None.

    Raises:
        InvalidArgument: a line has another form, pairs are missing, or a photo does not exist.
        OSError: the file cannot be read.
    """
    first, *lines = listing.read_text(encoding="utf-8").splitlines() or [""]
    try:
        header = [int(part) for part in first.split()]
    except ValueError:
        header = []
    if len(header) not in (1, 2):
        raise InvalidArgument(
            f"{listing} begins with {first[:40]!r}; expected the number of pairs of each kind, with the number of "
            "folds before it if there are several",
            metadata={"field": "pairs"},
        )
    folds, each = header if len(header) == 2 else (1, header[0])
    rows = [line.split() for line in lines if line.strip()]
    if len(rows) != 2 * folds * each or not rows:
        raise InvalidArgument(
            f"{listing} lists {len(rows)} pairs; its first line announces {2 * folds * each}",
            metadata={"field": "pairs"},
        )
    return tuple(_pair(row, root, number // (2 * each), listing) for number, row in enumerate(rows))


def _pair(row: list[str], root: Path | None, fold: int, listing: Path) -> Pair:
    try:
        match row:
            case [name, one, other]:
                pair = Pair(_name(name, one), _name(name, other), True, fold)
            case [name, one, another, other]:
                pair = Pair(_name(name, one), _name(another, other), False, fold)
            case _:
                raise ValueError
    except ValueError:
        raise InvalidArgument(
            f"{listing} has the line {' '.join(row)!r}; expected 3 or 4 columns, names and numbers",
            metadata={"field": "pairs"},
        ) from None
    for name in (pair.first, pair.second):
        if root is not None and not (root / name).is_file():
            raise InvalidArgument(f"{listing} names {root / name}, which does not exist", metadata={"field": "pairs"})
    return pair


def _name(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"
