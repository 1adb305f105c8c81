"""The content of one frame: fields as JSON, deflated, then the vectors of its points as little-endian float32. Pure."""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from sameface_qdrant.engines.base import Point
from sameface_qdrant.transfer.errors import ExportCorrupt

MOST_JSON = 1 << 28
"""Bytes of one frame's fields, inflated."""
_LENGTH = struct.Struct(">I")


class FrameKind(StrEnum):
    """What a frame holds. A file has them in this order; galleries follow one another."""

    STORE = "store"
    """What kind of file it is, when it was begun, and the store's secret."""
    NOTES = "notes"
    """Receipts of erasures, and notes of moves."""
    GALLERY = "gallery"
    """A gallery's record."""
    POLICIES = "policies"
    """Earlier revisions of its policy."""
    IDENTITIES = "identities"
    """Whole identities: each record, then its templates. ``again`` lists identities that this frame replaces."""
    GALLERY_END = "gallery_end"
    """How many identities and templates the gallery's frames hold."""
    END = "end"
    """How many frames came before, and the digest of their contents."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, decoded."""

    kind: FrameKind
    fields: dict[str, Any]
    points: tuple[Point, ...] = ()


def encoded(frame: Frame) -> bytes:
    """Return a frame as bytes."""
    points = [
        {"id": point.id, "payload": dict(point.payload), "vector": 0 if point.vector is None else len(point.vector)}
        for point in frame.points
    ]
    head = json.dumps({"kind": frame.kind.value, "fields": frame.fields, "points": points}, separators=(",", ":"))
    vectors = [np.asarray(point.vector, "<f4").tobytes() for point in frame.points if point.vector is not None]
    written = zlib.compress(head.encode(), 1)
    return b"".join([_LENGTH.pack(len(written)), written, *vectors])


def decoded(content: bytes) -> Frame:
    """Return the frame that bytes hold.

    Raises:
        ExportCorrupt: they hold none. As frames are authenticated, this release did not write them.
    """
    try:
        (length,) = _LENGTH.unpack_from(content)
        head = json.loads(_inflated(content[_LENGTH.size : _LENGTH.size + length]))
        at, points = _LENGTH.size + length, []
        for one in head["points"]:
            size = int(one["vector"])
            vector = np.frombuffer(content, "<f4", size, at).astype(np.float32) if size else None
            at += 4 * size
            points.append(Point(str(one["id"]), dict(one["payload"]), vector))
        if at != len(content):
            raise ValueError("bytes are left over")
        return Frame(FrameKind(head["kind"]), dict(head["fields"]), tuple(points))
    except (ValueError, KeyError, TypeError, struct.error, zlib.error) as error:
        raise malformed(str(error)) from error


def _inflated(content: bytes) -> bytes:
    inflater = zlib.decompressobj()
    found = inflater.decompress(content, MOST_JSON)
    if not inflater.eof or inflater.unused_data:
        raise ValueError("its fields are cut, or too large")
    return found


def malformed(what: str) -> ExportCorrupt:
    """Return the error for a file that is authentic, and does not hold what an export holds."""
    return ExportCorrupt(
        f"the file is not what an export of this release writes ({what}); export again with a release of sameface"
    )


def batches(points: Sequence[Point], size: int) -> list[Sequence[Point]]:
    """Return points in groups of at most ``size``."""
    return [points[first : first + size] for first in range(0, len(points), size)]
