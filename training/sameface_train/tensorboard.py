"""Writes a run's readings as TensorBoard events, without TensorBoard.

An event file is a sequence of records (TensorFlow's TFRecord: length, checksum, content, checksum). The content is a
protobuf message ``tensorflow.Event``: wall time (1, double), step (2, int64), file version (3, string) or a summary (5)
of values (1) with tag (1, string) and number (2, float).
"""

import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from sameface_train.monitor import Reading
from sameface_train.validation import Measured

FILE_NAME = "events.out.tfevents.sameface"
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reversed
_MASK = 0xA282EAD8


class Events:
    """The event file of a run. A continued run writes the events up to its checkpoint again."""

    def __init__(self, folder: Path, readings: Iterable[Reading], measured: Iterable[Measured]) -> None:
        """Begin ``folder``/`FILE_NAME` with the events that there are."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / FILE_NAME).open("wb")
        self._file.write(record(event(time.time(), 0, version="brain.Event:2")))
        for reading in readings:
            self.see(reading)
        for one in measured:
            self.validated(one)

    def see(self, reading: Reading) -> None:
        """Write one reading."""
        names = ("loss", "active", "norm", "spread", "learning_rate")
        self._write(reading.step, {f"training/{name}": getattr(reading, name) for name in names})

    def validated(self, measured: Measured) -> None:
        """Write the figures on held-out identities."""
        values = {"held-out/fnmr": measured.fnmr, "held-out/threshold": measured.threshold}
        if measured.forgery_fmr is not None:
            values["held-out/forgery_fmr"] = measured.forgery_fmr
        self._write(measured.step, values)

    def flush(self) -> None:
        """Write buffered events to the file."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        self._file.write(record(event(time.time(), step, values)))


def event(wall_time: float, step: int, values: Mapping[str, float] | None = None, version: str = "") -> bytes:
    """Return a message ``tensorflow.Event``; ``wall_time`` in seconds since 1970."""
    content = b"\x09" + struct.pack("<d", wall_time) + b"\x10" + _varint(step)
    if version:
        content += _field(3, version.encode())
    if values:
        summary = b"".join(
            _field(1, _field(1, tag.encode()) + b"\x15" + struct.pack("<f", value)) for tag, value in values.items()
        )
        content += _field(5, summary)
    return content


def record(content: bytes) -> bytes:
    """Return a TFRecord: length, its checksum, content, its checksum."""
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked(length)) + content + struct.pack("<I", masked(content))


def masked(content: bytes) -> int:
    """Return the checksum as TFRecord stores it: CRC-32C rotated right by 15 bits, plus a constant."""
    crc = crc32c(content)
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def crc32c(content: bytes) -> int:
    """Return the CRC-32C of bytes (RFC 3720, appendix B.4).

    >>> hex(crc32c(b"123456789")), hex(crc32c(bytes(32)))
    ('0xe3069283', '0x8a9136aa')
    """
    crc = 0xFFFFFFFF
    for byte in content:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _entry(number: int) -> int:
    for _ in range(8):
        number = (number >> 1) ^ (_POLYNOMIAL if number & 1 else 0)
    return number


_TABLE = tuple(map(_entry, range(256)))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
