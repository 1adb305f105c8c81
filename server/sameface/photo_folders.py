"""Finds the photos in folders. A file counts by its content, and what is not used is counted by reason."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sameface.file_types import HEAD_BYTES, TIFF, Use, file_type

# fmt: off
SUFFIXES = {
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".tif",
    ".tiff", ".webp",
}
"""A file with one of these is meant as a photo, whatever it holds; the service says what is wrong with it."""
RAW_SUFFIXES = {
    ".3fr", ".arw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".nef", ".nrw", ".pef", ".rwl",
    ".sr2", ".srf", ".srw",
}
"""Raw files of cameras that begin like any TIFF."""
# fmt: on
DRAWING = re.compile(r"\.sameface(-\d+)?\.jpg$")
NAMES_TOLD = 5


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder below a named folder that is not used."""

    path: Path
    why: str


def photos_below(folder: Path, skipped: list[Skipped]) -> list[Path]:
    """Return the photos below a folder, sorted, and add everything else that is there to ``skipped``.

    A file or folder that cannot be read is returned as a photo, so that reading it raises the error.
    """
    found, passed_over, waiting = list[Path](), list[Skipped](), [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    path = here / entry.name
                    if why := why_skipped(entry):
                        passed_over.append(Skipped(path, why))
                    else:
                        (waiting if is_folder(entry) else found).append(path)
        except OSError:
            found.append(here)
    skipped += sorted(passed_over, key=lambda one: one.path.parts)
    return sorted(found, key=lambda path: path.parts)


def why_skipped(entry: os.DirEntry[str]) -> str:
    """Return why an entry of a folder is not used; empty for a photo and for a folder to look into.

    At most `HEAD_BYTES` bytes of a file are read, and none of one that has a photo's suffix. Pipes, sockets and devices
    are not opened.
    """
    if entry.name.startswith("."):
        return "hidden"
    if is_folder(entry):
        return "a link to a folder" if entry.is_symlink() else ""
    if is_drawing(entry.name):
        return "made by --draw"
    suffix = os.path.splitext(entry.name)[1].lower()
    if not (entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path)):
        broken = entry.is_symlink() and not os.path.exists(entry.path)
        # Meant as a photo: reading it says that there is none.
        return "" if broken and suffix in SUFFIXES else "a broken link" if broken else "a pipe, socket or device"
    if suffix in SUFFIXES:
        return ""
    try:
        kind = file_type(_head(entry.path))
    except OSError:
        return ""
    if kind == TIFF and suffix in RAW_SUFFIXES:
        return f"camera raw ({suffix[1:].upper()}) is not supported"
    if kind is None:
        return "no photo: unknown kind of file"
    return {Use.PHOTO: "", Use.PICTURE: f"{kind.name} is not supported"}.get(kind.use, f"no photo: {kind.name}")


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or leads to one."""
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself.
        return False


def is_drawing(name: str) -> bool:
    """Return whether a file has a name that ``--draw`` gives.

    >>> is_drawing("ada.sameface.jpg"), is_drawing("ada.sameface-2.jpg"), is_drawing("sameface.jpg")
    (True, True, False)
    """
    return DRAWING.search(name) is not None


def describe_skipped(skipped: Iterable[Skipped]) -> list[str]:
    """Return one line for each reason, with how many and the first few names.

    >>> describe_skipped([Skipped(Path("people/.cache"), "hidden"), Skipped(Path("people/.git"), "hidden")])
    ['2 skipped (hidden): people/.cache, people/.git']
    """
    by_reason: dict[str, list[str]] = {}
    for one in skipped:
        by_reason.setdefault(one.why, []).append(str(one.path))
    return [
        f"{len(names)} skipped ({why}): {', '.join(names[:NAMES_TOLD])}{', …' if len(names) > NAMES_TOLD else ''}"
        for why, names in by_reason.items()
    ]


def _head(path: str) -> bytes:
    # Without waiting, if the file has just become a pipe.
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(opened, HEAD_BYTES)
    finally:
        os.close(opened)
