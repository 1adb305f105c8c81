"""Reads the first directory (IFD) of a TIFF file or of EXIF metadata, in bounded time, and the orientation in it."""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

ORIENTATION = 274
MOST_ENTRIES = 2000
"""More entries of a directory are not read. A photo has about 20, EXIF about 60."""
MOST_VALUES = 64
"""More values of one entry are not read: a million strips are of no interest here."""

_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\s*[\"'<]")


@dataclass(frozen=True, slots=True)
class Directory:
    """The entries of one directory."""

    integers: Mapping[int, tuple[int, ...]]
    """Values of the tags that hold integers, at most `MOST_VALUES` each."""
    texts: Mapping[int, bytes]
    """Values of the tags that hold text, at most 64 bytes each."""

    def one(self, tag: int, default: int) -> int:
        """Return the first value of an integer tag."""
        values = self.integers.get(tag)
        return values[0] if values else default


def first_directory(content: bytes) -> Directory | None:
    """Return the first directory of a TIFF or BigTIFF, or None if there is none."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        return None
    try:
        (magic,) = struct.unpack_from(f"{order}H", content, 2)
        if magic == 43:
            (start,) = struct.unpack_from(f"{order}Q", content, 8)
            return directory_at(content, start, order, big=True)
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        return directory_at(content, start, order, big=False)
    except struct.error:
        return None


def directory_at(content: bytes, start: int, order: str, *, big: bool) -> Directory:
    """Return the directory at an offset. Entries that lie outside the file are left out.

    Raises:
        struct.error: the directory does not begin inside the file.
    """
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", content, start)
    first, length, width = start + (8 if big else 2), 20 if big else 12, 8 if big else 4
    integers, texts = dict[int, tuple[int, ...]](), dict[int, bytes]()
    for number in range(min(count, MOST_ENTRIES)):
        place = first + number * length
        if place + length > len(content):
            break
        tag, kind, values = struct.unpack_from(f"{order}HH{'Q' if big else 'I'}", content, place)
        at = place + length - width
        if _SIZES.get(kind, 0) * values > width:
            (at,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", content, at)
        if kind == 2:
            texts.setdefault(tag, content[at : at + min(values, 64)])
        elif kind in _CODES:
            most = min(values, MOST_VALUES)
            if at + most * _SIZES[kind] <= len(content):
                integers.setdefault(tag, struct.unpack_from(f"{order}{most}{_CODES[kind]}", content, at))
    return Directory(integers, texts)


def orientation(exif: bytes | None, xmp: bytes | None = None) -> int:
    """Return how a photo lies, 1 (upright) to 8, from its EXIF, else from its XMP. 1 if neither holds a valid value."""
    directory = first_directory(exif.removeprefix(b"Exif\0\0")) if exif else None
    value = directory.one(ORIENTATION, 0) if directory else 0
    if value in range(1, 9):
        return value
    found = _XMP_ORIENTATION.search(xmp) if xmp else None
    return int(found.group(1)) if found else 1
