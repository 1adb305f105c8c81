"""Handwritten image files that cost a decoder far more time than their size suggests."""

import io
import struct
import zlib
from collections.abc import Sequence

from PIL import Image

SOF0, SOF2, DHT, EOI, SOS, DQT, DRI, COM = 0xC0, 0xC2, 0xC4, 0xD9, 0xDA, 0xDB, 0xDD, 0xFE


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def scan(components: Sequence[int], spectrum: bytes, entropy: bytes = b"") -> bytes:
    """A scan's header and data. ``spectrum`` holds the first and last coefficient, and the bit positions."""
    listed = b"".join(bytes([component, 0]) for component in components)
    return segment(SOS, bytes([len(components)]) + listed + spectrum) + entropy


def refinement(width: int, height: int) -> bytes:
    """Entropy-coded data that changes no block: 15 bits for 32,767 blocks."""
    blocks = (-(-width // 8)) * (-(-height // 8))
    bits = ("0" + "1" * 14) * (blocks // 32767 + 1)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")


def jpeg(
    width: int,
    height: int,
    refinements: int,
    *,
    components: int = 3,
    entropy: bytes = b"",
    between: bytes = b"",
    metadata: bytes = b"",
) -> bytes:
    """A progressive JPEG: one scan of the mean values, then ``refinements`` scans of all other coefficients.

    ``between`` stands before every refinement, ``metadata`` before the picture.
    """
    numbers = range(1, components + 1)
    frame = struct.pack(">BHHB", 8, height, width, components) + b"".join(bytes([n, 0x11, 0]) for n in numbers)
    out = [b"\xff\xd8", metadata, segment(DQT, b"\x00" + b"\x01" * 64), segment(SOF2, frame)]
    # One code for a mean value without change, one for a run of blocks without coefficients.
    out += [segment(DHT, b"\x00\x01" + bytes(15) + b"\x00"), segment(DHT, b"\x10\x01" + bytes(15) + b"\xe0")]
    out.append(scan(numbers, b"\x00\x00\x00"))
    for number in range(refinements):
        out += [between, scan([1 + number % components], b"\x01\x3f\x10", entropy)]
    return b"".join([*out, b"\xff\xd9"])


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_empty_chunks(count: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(8 * 25)))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT") * count + pixels + chunk(b"IEND")


def gif_of_small_blocks(count: int) -> bytes:
    content = saved(Image.new("P", (8, 8)), "GIF")
    start = content.index(b",")
    return content[:start] + b"!\xfe" + b"\x01x" * count + b"\x00" + content[start:]


def bmp_of_short_runs(count: int) -> bytes:
    content = bytearray(saved(Image.new("P", (2000, 2000)), "BMP")[: 54 + 1024])
    content[30:34] = struct.pack("<I", 1)  # run lengths
    return bytes(content) + b"\x01\x00" * count


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()
