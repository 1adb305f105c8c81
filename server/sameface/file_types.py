"""Tells the kind of a file by its first bytes, for the client, the command line, data sets and the decoder."""

import base64
import binascii
import codecs
import string

from sameface.file_signatures import (
    BMP,
    BMP_HEADER_SIZES,
    BRANDS,
    EMPTY,
    HEIF,
    HEIF_BRANDS,
    JPEG,
    MP4,
    OTHER_RIFF,
    PHOTOS,
    PNG,
    QUICKTIME,
    QUICKTIME_BOXES,
    RIFF,
    SIGNATURES,
    TEXT,
    TIFF,
    WRITTEN,
    ZEROS,
    FileType,
    Use,
)

__all__ = ["EMPTY", "HEAD_BYTES", "PHOTOS", "TIFF", "ZEROS", "FileType", "Use", "file_type"]

HEAD_BYTES = 1024
"""As many of a file's first bytes tell its kind."""
SHORTEST_INSIDE = 3
"""A shorter signature does not tell what a text encodes: ``/world`` would be base64 of one."""

_BASE64 = frozenset((string.ascii_letters + string.digits + "+/-_=").encode())
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def file_type(head: bytes) -> FileType | None:
    """Return the kind of a file by its first `HEAD_BYTES` bytes; None if it is unknown.

    The rest of the file is not looked at, so a truncated JPEG is a JPEG. More bytes change nothing.

    >>> file_type(b"\\xff\\xd8\\xff\\xe0\\x00\\x10JFIF")
    FileType(name='JPEG', use=<Use.PHOTO: 'photo'>)
    >>> file_type(b"/9j/4AAQSkZJRgABAQ")
    FileType(name='JPEG as base64 text', use=<Use.STAND_IN: 'stand-in'>)
    """
    head = bytes(head[:HEAD_BYTES])
    if not head:
        return EMPTY
    return _binary(head) or _text(head) or _after_other_bytes(head)


def _binary(head: bytes, shortest: int = 0) -> FileType | None:
    """Return the kind of a binary file, by a signature of at least ``shortest`` bytes."""
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head[4:8] in QUICKTIME_BOXES:
        return QUICKTIME
    if head.startswith(b"RIFF"):
        return RIFF.get(head[8:12], OTHER_RIFF)
    for offset, signature, kind in SIGNATURES:
        if len(signature) >= shortest and head.startswith(signature, offset):
            return kind
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in BMP_HEADER_SIZES:
        return BMP
    return None if head.strip(b"\0") else ZEROS


def _of_brands(head: bytes) -> FileType:
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[start : start + 4] for start in (8, *range(16, size, 4))]
    for brand in brands:
        if brand in BRANDS:
            return BRANDS[brand]
    return MP4 if HEIF_BRANDS.isdisjoint(brands) else HEIF


def _text(head: bytes) -> FileType | None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return TEXT
    begin = head.removeprefix(codecs.BOM_UTF8).lstrip()
    for pattern, kind in WRITTEN:
        if pattern.match(begin):
            return kind
    try:
        # The head may end inside a character.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return None
    if inner := _decoded_bytes(text):
        return FileType(f"{inner.name} decoded as text", Use.STAND_IN)
    if any(character < " " and character not in "\t\n\r\f\x1b" for character in text):
        return None
    return _encoded(text) or TEXT


def _decoded_bytes(text: str) -> FileType | None:
    """Return the kind of a photo that was read as text in Latin-1, or in UTF-8 with its bytes replaced."""
    try:
        kind = _binary(text.encode("latin-1"))
    except UnicodeEncodeError:
        kind = JPEG if text.startswith("\ufffd\ufffd\ufffd") else PNG if text.startswith("\ufffdPNG") else None
    return kind if kind and kind.is_photo and not text.isascii() else None


def _encoded(text: str) -> FileType | None:
    """Return the kind of a binary file that was written as base64 or hexadecimal text."""
    letters = "".join(text.split()).encode()
    if len(letters) >= 12 and all(letter in _BASE64 for letter in letters):
        whole = letters.rstrip(b"=")
        inner = _binary(base64.b64decode(whole[: len(whole) // 4 * 4].translate(_URL_SAFE)), SHORTEST_INSIDE)
        if inner:
            return FileType(f"{inner.name} as base64 text", Use.OTHER if inner.use is Use.OTHER else Use.STAND_IN)
    try:
        inner = _binary(binascii.unhexlify(letters[: len(letters) // 2 * 2]), SHORTEST_INSIDE)
    except (binascii.Error, ValueError):
        return None
    return FileType(f"{inner.name} as hexadecimal text", Use.STAND_IN) if inner and inner.is_photo else None


def _after_other_bytes(head: bytes) -> FileType | None:
    start = head.find(b"\xff\xd8\xff")
    return FileType(f"JPEG after {start} other bytes", Use.PICTURE) if start > 0 else None
