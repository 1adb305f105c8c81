"""A log of the points that were written since the latest flush of a shard.

A flush of Edge waits for the disk some sixty times, and holds Python's interpreter lock meanwhile. Appending to this
log waits once, and the interpreter runs on. So between two flushes a written point is durable by the log. After a
crash, the next opening writes the logged points once more.

Only points that are written whole are logged. Before anything is removed, or changed by a filter, the shard is flushed
and the log is emptied. So nothing is ever written again that was removed.

A record has its length and its CRC-32 before its contents. The first record that a crash has cut off ends the log.
"""

import contextlib
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from sameface_qdrant.engines.base import VECTOR_NAME, Point
from sameface_qdrant.engines.edge.files import LOG, MIB, note_log, sync_folder

LONGEST_S, LARGEST = 30.0, 16 * MIB
"""A log that is older or larger gives way to a flush at the next commit. Ten thousand points are written again within
two seconds."""
ROOM_AGAIN = 4
"""Writing a log again takes at most so many times its size on the disk."""
_HEAD = struct.Struct("<II")
_SIZE = struct.Struct("<I")


@dataclass(slots=True)
class WriteLog:
    """The log of one open shard. All methods block, apart from `note`."""

    path: Path
    whole: bool = True
    """Whether everything since the latest flush is in the log or waits for it."""
    size: int = 0
    """Durable bytes."""
    _waiting: list[bytes] = field(default_factory=list)
    _waiting_bytes: int = 0
    _flushed_at: float = float("-inf")
    _file: int = -1

    def note(self, record: bytes | None) -> None:
        """Keep the record of a write for `sync`. None is a write that cannot be logged, or that failed."""
        if record is None:
            self.whole = False
        elif self.whole:
            self._waiting.append(record)
            self._waiting_bytes += len(record)
            if self._waiting_bytes >= LARGEST:  # it will not suffice, so it need not be kept
                self.whole = False
        if not self.whole:
            self._waiting, self._waiting_bytes = [], 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be written again."""
        return not self.size and not self._waiting

    @property
    def suffices(self) -> bool:
        """Whether `sync` makes everything durable that was written; otherwise the shard has to be flushed."""
        return (
            self.whole and time.monotonic() - self._flushed_at < LONGEST_S and self.size + self._waiting_bytes < LARGEST
        )

    def sync(self) -> None:
        """Append what waits, and make it durable."""
        if not self._waiting:
            return
        try:
            if self._file < 0:
                self._file = self._made()
            added = b"".join(self._waiting)
            _write(self._file, added)
            _sync_contents(self._file)
        except OSError:
            # The shard holds the points, so a flush can still make them durable.
            self.whole = False
            if self._file >= 0:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self.size)
            raise
        self.size += len(added)
        self._waiting, self._waiting_bytes = [], 0

    def empty(self) -> None:
        """Empty the log durably; the shard was flushed, and nothing was written since."""
        # Until it is empty for certain, only flushes make anything durable.
        self.whole = False
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.fsync(self._file)
        self.whole, self.size, self._waiting, self._waiting_bytes = True, 0, [], 0
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _made(self) -> int:
        note_log(self.path.parents[2])
        file = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            sync_folder(self.path.parent)
        except BaseException:
            os.close(file)
            raise
        return file


def record_of(points: Sequence[Point], *, insert_only: bool) -> bytes | None:
    """Return the record of a write of whole points; None if JSON cannot hold a payload."""
    vectors = [np.empty(0, "<f4") if point.vector is None else point.vector.astype("<f4") for point in points]
    try:
        listed = [[point.id, dict(point.payload), vector.size] for point, vector in zip(points, vectors, strict=True)]
        header = json.dumps([insert_only, listed], separators=(",", ":")).encode()
    except (TypeError, ValueError):
        return None
    contents = b"".join([_SIZE.pack(len(header)), header, *(vector.tobytes() for vector in vectors)])
    return _HEAD.pack(len(contents), zlib.crc32(contents)) + contents


def room_again(folder: Path) -> int:
    """Return how many bytes `write_again` may take on the disk."""
    path = folder / LOG
    return ROOM_AGAIN * path.stat().st_size if path.exists() else 0


def write_again(shard: edge.EdgeShard, folder: Path) -> None:
    """Write to a shard what the log in its folder holds, flush the shard, and empty the log; blocks."""
    path = folder / LOG
    if not path.exists() or not path.stat().st_size:
        return
    for contents in _records(path):
        shard.update(_operation(contents))
    shard.flush()
    file = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def upsert_of(points: Sequence[Any], *, insert_only: bool, condition: edge.Filter | None = None) -> Any:
    """Return Edge's operation that writes points."""
    mode = edge.UpdateMode.Upsert if condition is None else edge.UpdateMode.UpdateOnly
    return edge.UpdateOperation.upsert_points(
        list(points), condition=condition, update_mode=edge.UpdateMode.InsertOnly if insert_only else mode
    )


def edge_point(point: str, vector: list[float], payload: dict[str, Any]) -> edge.Point:
    """Return a point as Edge takes it; an empty vector means none."""
    return edge.Point(point, {VECTOR_NAME: vector} if vector else {}, payload)


def _operation(contents: bytes) -> Any:
    header = _SIZE.size + _SIZE.unpack_from(contents)[0]
    insert_only, listed = json.loads(contents[_SIZE.size : header])
    numbers = np.frombuffer(contents[header:], "<f4").tolist()
    points, at = [], 0
    for point, payload, size in listed:
        points.append(edge_point(point, numbers[at : at + size], payload))
        at += size
    return upsert_of(points, insert_only=insert_only)


def _records(path: Path) -> Iterator[bytes]:
    left = path.stat().st_size
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            left -= _HEAD.size + length
            # A tail that the system filled with zeros has the right checksum of a record without contents.
            if length < _SIZE.size or left < 0 or zlib.crc32(contents := file.read(length)) != checksum:
                return
            yield contents


def _write(file: int, contents: bytes) -> None:
    left = memoryview(contents)
    while left:
        left = left[os.write(file, left) :]


_sync_contents = getattr(os, "fdatasync", os.fsync)
