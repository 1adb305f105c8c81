"""Reads the size of AV1 pictures from their sequence headers (AV1 specification, 5.5), which a decoder allocates by.

The size that a container states may be another one.
"""

_SEQUENCE_HEADER = 1
MOST_UNITS = 64
"""Units (OBU) that are read at the start of a picture. A sequence header is among the first two."""


def sequence_sizes(content: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Return width and height of each sequence header among the first units of the data from ``start`` to ``end``.

    Raises:
        IndexError: the data ends too early.
        ValueError: a header holds timing, as that of a video. Its size is not read.
    """
    sizes, position = list[tuple[int, int]](), start
    for _ in range(MOST_UNITS):
        if position >= end:
            break
        head = content[position]
        position += 2 if head & 4 else 1
        length = end - position
        if head & 2:
            length, position = _leb128(content, position)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            sizes.append(_size(_Bits(content[position : position + min(length, 64)])))
        position += length
    return sizes


def _leb128(content: bytes, position: int) -> tuple[int, int]:
    value = 0
    for number in range(8):
        byte = content[position]
        position += 1
        value |= (byte & 127) << 7 * number
        if byte < 128:
            break
    return value, position


class _Bits:
    def __init__(self, content: bytes) -> None:
        self._value, self._left = int.from_bytes(content, "big"), len(content) * 8

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise IndexError
        return self._value >> self._left & ((1 << count) - 1)


def _size(bits: _Bits) -> tuple[int, int]:
    bits.take(4)  # profile and still picture
    if bits.take(1):
        bits.take(5)  # a reduced header has one level
    else:
        if bits.take(1):
            raise ValueError("timing")
        delay = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if delay and bits.take(1):
                bits.take(4)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(wide) + 1, bits.take(high) + 1
