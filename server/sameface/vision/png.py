"""The chunks of a PNG file (W3C PNG, third edition): takes the metadata apart before anything is decoded."""

import re
import zlib
from dataclasses import dataclass

from sameface.vision.profiles import LARGEST_PROFILE
from sameface.vision.work import PhotoWork

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST_TEXT = 1 << 20
"""Longer EXIF or XMP in a PNG is not read, in bytes after decompression."""

_CRITICAL = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_KEPT = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"iCCP", b"eXIf")
_XMP = b"XML:com.adobe.xmp\0"
_RAW_EXIF = (b"Raw profile type exif\0", b"Raw profile type APP1\0")


@dataclass(frozen=True, slots=True)
class PlainPng:
    """A PNG with nothing but its first image, and the metadata that a photo's look depends on."""

    content: bytes
    bits: int
    """Bits of a sample, 1 to 16."""
    exif: bytes | None
    xmp: bytes | None
    profile: bytes | None
    gamma: float | None
    """Exponent from stored values to light is one over this. sRGB is about 0.455."""
    chromaticities: tuple[float, ...] | None
    """x and y of white, red, green and blue."""
    code_points: tuple[int, int] | None
    """Colour primaries and transfer characteristics by ITU-T H.273."""


def plain_png(content: bytes, work: PhotoWork) -> PlainPng:
    """Take a PNG apart.

    The last chunk may be cut off: a decoder tells whether every row is there.

    Raises:
        WorkStopped, ImageTooLarge: see `PhotoWork.check`.
    """
    kept, found = [SIGNATURE], dict[bytes, bytes]()
    position, end = len(SIGNATURE), len(content)
    while position + 8 <= end:
        work.check()
        length, kind = int.from_bytes(content[position : position + 4], "big"), content[position + 4 : position + 8]
        start, position = position + 8, position + 12 + length
        if kind == b"IEND":
            break
        if kind in _CRITICAL:
            if position <= end:
                kept.append(content[start - 8 : position])
            elif kind == b"IDAT":
                kept.append(_chunk(kind, content[start : start + length]))
        elif kind in _KEPT:
            found.setdefault(kind, content[start : start + min(length, LARGEST_PROFILE)])
        elif kind in (b"iTXt", b"zTXt", b"tEXt"):
            if content.startswith(_XMP, start):
                found.setdefault(b"xmp", content[start : start + min(length, LARGEST_TEXT)])
            elif content.startswith(_RAW_EXIF, start):
                found.setdefault(b"raw " + kind, content[start : start + min(length, LARGEST_TEXT)])
    kept.append(_chunk(b"IEND", b""))
    header = kept[1] if len(kept) > 1 else b""
    standard = b"sRGB" in found
    return PlainPng(
        content=b"".join(kept),
        bits=header[16] if len(header) > 16 else 8,
        exif=found.get(b"eXIf") or _raw_exif(found),
        xmp=_xmp(found.get(b"xmp")),
        profile=None if b"cICP" in found else _profile(found.get(b"iCCP")),
        gamma=None if standard else _gamma(found.get(b"gAMA")),
        chromaticities=None if standard else _chromaticities(found.get(b"cHRM")),
        code_points=_code_points(found.get(b"cICP")),
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return len(content).to_bytes(4, "big") + kind + content + checksum.to_bytes(4, "big")


def _inflated(content: bytes, most: int) -> bytes | None:
    """Return the decompressed bytes, or None if they are broken or more than ``most``."""
    decompressor = zlib.decompressobj()
    try:
        whole = decompressor.decompress(content, most)
    except zlib.error:
        return None
    return whole if decompressor.eof else None


def _profile(chunk: bytes | None) -> bytes | None:
    name, separator, rest = (chunk or b"").partition(b"\0")
    return _inflated(rest[1:], LARGEST_PROFILE) if separator and len(name) < 80 else None


def _xmp(chunk: bytes | None) -> bytes | None:
    if chunk is None:
        return None
    compressed, rest = chunk[len(_XMP) : len(_XMP) + 1], chunk[len(_XMP) + 2 :]
    text = rest.split(b"\0", 2)[-1]
    return _inflated(text, LARGEST_TEXT) if compressed == b"\1" else text


def _raw_exif(found: dict[bytes, bytes]) -> bytes | None:
    """Return the EXIF that ImageMagick writes as text: a name, a length, then hexadecimal digits."""
    for key in (b"raw zTXt", b"raw tEXt"):
        _, _, rest = found.get(key, b"").partition(b"\0")
        text = _inflated(rest[1:], LARGEST_TEXT) if key == b"raw zTXt" and rest else rest
        digits = re.sub(rb"\s", b"", b"".join((text or b"").split(b"\n")[3:]))
        try:
            return bytes.fromhex(digits.decode("ascii")) or None
        except ValueError:
            continue
    return None


def _gamma(chunk: bytes | None) -> float | None:
    value = int.from_bytes(chunk[:4], "big") / 100_000 if chunk else 0.0
    return value if 0.2 <= value <= 2.0 else None


def _chromaticities(chunk: bytes | None) -> tuple[float, ...] | None:
    if chunk is None or len(chunk) < 32:
        return None
    values = tuple(int.from_bytes(chunk[at : at + 4], "big") / 100_000 for at in range(0, 32, 4))
    return values if all(0.0 <= value <= 1.0 for value in values) else None


def _code_points(chunk: bytes | None) -> tuple[int, int] | None:
    return (chunk[0], chunk[1]) if chunk and len(chunk) >= 4 else None
