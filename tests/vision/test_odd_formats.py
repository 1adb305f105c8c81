"""A file's format is told by its first bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.errors import ImageUndecodable
from sameface.vision import FORMATS, decode_image
from sameface.vision.formats import name_of_format
from tests.vision.odd import LIMITS


def ftyp(*brands: bytes) -> bytes:
    return struct.pack(">I4s4sI", 16 + 4 * len(brands[1:]), b"ftyp", brands[0], 0) + b"".join(brands[1:]) + bytes(8)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (ftyp(b"heic", b"mif1"), "HEIC"),
        (ftyp(b"mif1", b"heic"), "HEIC"),
        (ftyp(b"mif1", b"avif"), "AVIF"),
        (ftyp(b"avis"), "AVIF"),
        (ftyp(b"msf1", b"hevc"), "HEIC"),
        (ftyp(b"isom", b"iso2", b"avc1"), "MP4 video"),
        (ftyp(b"M4V "), "MP4 video"),
        (ftyp(b"qt  "), "QuickTime video"),
        (ftyp(b"crx ", b"isom"), "Canon CR3 raw"),
        (b"RIFF\x10\0\0\0AVI ", "AVI video"),
        (b"  \n<html>", "HTML page"),
        (b"\xef\xbb\xbf{\"a\": 1}", "JSON text"),
        (b"[1, 2]", "JSON text"),
        (b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB", "PNG as base64 text"),
        (b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBD", "JPEG as base64 text"),
        (b"data:image/png;base64,iVBOR", "data URI (text)"),
        (b"http://example.com/a.jpg", "URL (text)"),
        (bytes(64), "unknown"),
        (b"", "unknown"),
    ],
)  # fmt: skip
def test_a_format_is_known_by_its_first_bytes(content: bytes, name: str) -> None:
    assert name_of_format(content) == name


@given(st.binary(max_size=300), st.sampled_from([b"", b"II*\0", b"\0\0\0\x20ftyp", b"<", b"data:", b"A" * 20, b"RIFF"]))
def test_every_file_has_a_name_that_quotes_nothing_of_it(content: bytes, head: bytes) -> None:
    name = name_of_format(head + content)
    assert name
    assert len(name) < 60
    if name not in FORMATS and head + content:
        with pytest.raises(ImageUndecodable) as refused:
            decode_image(head + content, LIMITS)
        assert refused.value.metadata == {"format": name}
