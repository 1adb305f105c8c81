"""The kind of a file by its first bytes."""

import base64
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sameface.file_signatures import SIGNATURES
from sameface.file_types import HEAD_BYTES, FileType, Use, file_type
from sameface.vision import FORMATS, name_of_format


def written(format: str) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((40, 40)).convert("RGB").save(file, format)
    return file.getvalue()


def kind(head: bytes) -> FileType:
    found = file_type(head)
    assert found is not None
    return found


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "MPO"])
def test_photos_are_told_in_every_guise(format: str) -> None:
    content = written(format)
    name = {"WEBP": "WebP", "MPO": "JPEG"}.get(format, format)
    assert file_type(content) == FileType(name, Use.PHOTO)
    for text in (base64.b64encode(content), base64.urlsafe_b64encode(content), base64.encodebytes(content)):
        assert file_type(text) == FileType(f"{name} as base64 text", Use.STAND_IN)
    assert file_type(content.hex().encode()) == FileType(f"{name} as hexadecimal text", Use.STAND_IN)
    assert file_type(str(content).encode()) == FileType("bytes printed as text", Use.STAND_IN)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_bytes_that_were_decoded_as_text_are_told(format: str) -> None:
    content = written(format)
    for text in (content.decode("latin-1"), content.decode(errors="replace")):
        assert file_type(text.encode()) == FileType(f"{format} decoded as text", Use.STAND_IN)


@pytest.mark.parametrize("format", ["JPEG2000", "ICO", "PPM", "TGA", "EPS", "DDS"])
def test_pictures_that_are_not_decoded_are_told(format: str) -> None:
    assert kind(written(format)).use is Use.PICTURE


@pytest.mark.parametrize(
    ("brands", "name"),
    [
        (b"heic\0\0\0\0mif1heic", "HEIC"),
        (b"mif1\0\0\0\0mif1heic", "HEIC"),
        (b"msf1\0\0\0\0hevcmsf1", "HEIC"),
        (b"mif1\0\0\0\0mif1avif", "AVIF"),
        (b"mif1\0\0\0\0mif1jpeg", "HEIF"),
        (b"crx \0\0\0\1crx isom", "camera raw (CR3)"),
        (b"qt  \0\0\0\0qt  \0\0\0\0", "MP4 or MOV video"),
        (b"isom\0\0\2\0isomiso2", "MP4 or MOV video"),
    ],
)
def test_containers_are_told_by_their_brands(brands: bytes, name: str) -> None:
    head = (8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands
    assert kind(head + b"\0\0\1\0meta\0\0\0\0heic").name == name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"", "empty file"),
        (bytes(100), "zero bytes"),
        (b"photo", "text"),
        (b"/world/photos/ada/first", "text"),
        ("\ufeffÄrger".encode(), "text"),
        (("a" * (HEAD_BYTES - 1) + "é").encode(), "text"),
        ("photo".encode("utf-16"), "text"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b'{"error": "not found"}', "JSON"),
        (b"data:image/jpeg;base64,/9j/4AAQ", "data URI"),
        (b"https://example.org/ada.jpg", "URL"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"\xff\x0a\xfa\x7f\x01", "JPEG XL"),
        (b"II*\0\x10\0\0\0CR\2\0", "camera raw (CR2)"),
        (b"\x89PNG\n\x1a\n\0\0\0", "PNG with changed line ends"),
    ],
)
def test_what_is_no_photo_has_a_name(head: bytes, name: str) -> None:
    found = kind(head)
    assert (found.name, found.is_photo) == (name, False)


@pytest.mark.parametrize(("offset", "signature", "expected"), SIGNATURES)
def test_no_signature_hides_another(offset: int, signature: bytes, expected: FileType) -> None:
    assert kind(b"\x80" * offset + signature + b"\x80" * 8) == expected


@given(st.binary(max_size=200), st.sampled_from([b"", *(bytes(offset) + head for offset, head, _ in SIGNATURES)]))
def test_what_the_decoder_reads_is_a_photo_for_the_client(content: bytes, head: bytes) -> None:
    found = file_type(head + content)
    assert (name_of_format(head + content) in FORMATS) == (found is not None and found.is_photo)


@given(st.binary(max_size=2 * HEAD_BYTES))
def test_only_the_head_counts(content: bytes) -> None:
    found = file_type(content)
    assert found == file_type(content[:HEAD_BYTES])
    # The name comes from the table, never from the content.
    assert found is None or len(found.name) < 50
