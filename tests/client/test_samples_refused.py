"""What is no photo is refused by an error that quotes nothing of it."""

import array
import asyncio
import base64
import io
import json
import os
import socket
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from sameface.client import AsyncClient, Client, NotAPhoto
from sameface.client.connection import MAX_MESSAGE_BYTES, MAX_PHOTO_BYTES
from sameface.client.samples import as_sample, photo_bytes
from sameface.v1 import face_pb2
from tests.client.photos import LONGEST_MESSAGE, PHOTO, PIXELS, refused, written


class Upload:
    """An uploaded file of an asynchronous web framework."""

    async def read(self, size: int = -1) -> bytes:
        return PHOTO


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (PIXELS / 255, "array of float64 .* white is 1 or 255"),
        (PIXELS.astype(np.float32), "array of float32 .* white is 1 or 255"),
        (PIXELS.astype(np.uint16), "array of uint16 .* range cannot be told"),
        (PIXELS > 4, "array of bool .* no pixels"),
        (np.array(["ada.jpg"]), "no pixels"),
        (np.array(None), "array of object"),
        (PIXELS.transpose(2, 0, 1), r"shape \[3, 24, 32\] is not a photo: the channels come first"),
        (PIXELS[None], "it is a batch"),
        (PIXELS[:, :, :2], r"shape \[24, 32, 2\] is not a photo; expected uint8"),
        (PIXELS[:0], r"shape \[0, 32, 3\]"),
        (PIXELS[0, 0], r"shape \[3\]"),
        (np.float64(0.5), r"shape \[\]"),
        (Image.fromarray(PIXELS[:, :, 0]).convert("F"), "mode F"),
        (Image.new("RGB", (0, 3)), "0×3 has no pixels"),
    ],
)
def test_pixels_of_another_kind_are_refused_by_what_they_are(pixels: Any, why: str) -> None:
    refused(pixels, why)


def test_an_image_that_cannot_be_loaded_is_refused() -> None:
    refused(Image.open(io.BytesIO(PHOTO[:-100])), "could not be loaded or encoded")
    closed = Image.open(io.BytesIO(PHOTO))
    closed.close()
    refused(closed, "could not be loaded or encoded")


@pytest.mark.parametrize(
    ("photo", "why"),
    [
        (base64.b64encode(PHOTO).decode(), "JPEG as base64 text; decode it"),
        (base64.b64encode(PHOTO), "JPEG as base64 text; decode it"),
        (base64.urlsafe_b64encode(written("PNG")).decode(), "PNG as base64 text"),
        (PHOTO.hex(), "JPEG as hexadecimal text"),
        ("data:image/jpeg;base64," + base64.b64encode(PHOTO).decode(), "data URI; decode"),
        (b"data:image/jpeg;base64," + base64.b64encode(PHOTO), "data URI; decode"),
        ("https://example.org/ada.jpg", "URL; download"),
        (b"https://example.org/ada.jpg", "URL; download"),
        ("s3://bucket/ada.jpg", "URL; download"),
        ("file:///home/ada.jpg", "URL; download"),
        (str(PHOTO), "bytes printed as text"),
        (PHOTO.decode("latin-1"), r"bytes of a photo \(JPEG\) that were decoded|JPEG decoded as text"),
        (PHOTO.decode(errors="replace"), "JPEG decoded as text"),
        (PHOTO.decode(errors="surrogateescape"), r"bytes of a photo \(JPEG\) that were decoded"),
        (PHOTO.decode("latin-1").encode(), "JPEG decoded as text"),
        (written("GIF").decode("latin-1"), "GIF"),
        (
            json.dumps(base64.b64encode(PHOTO).decode()),
            "JPEG as base64 text in quotes; take the quotes off, and decode",
        ),
        (repr(base64.b64encode(PHOTO).decode()), "JPEG as base64 text in quotes"),
        (json.dumps(base64.b64encode(PHOTO).decode()).replace("/", r"\/"), "JPEG as base64 text in quotes"),
        (json.dumps(base64.b64encode(PHOTO).decode()).encode(), "JPEG as base64 text in quotes"),
        (json.dumps("data:image/jpeg;base64," + base64.b64encode(PHOTO).decode()), "data URI in quotes"),
        ('"https://example.org/ada.jpg"', "URL in quotes"),
        (json.dumps({"photo": base64.b64encode(PHOTO).decode()}), "JSON; read the photo's text out of it"),
        (json.dumps([base64.b64encode(PHOTO).decode()] * 2), "JSON; read the photo's text out of it"),
        (json.dumps({"photo": "/9j/4AAQ"}), "JSON; read the photo's text out of it"),
        (b"photos/ada.jpg", "looks like: path; hand over that path as a str"),
        (b"ada.heic\n", "looks like: path"),
        (os.fsencode(__file__), "looks like: path"),
        (bytearray("jos\u00e9.png".encode()), "looks like: path"),
        (b"/proc/self/cmdline", "looks like: path"),
        (np.frombuffer(PHOTO, np.uint8), r"array of uint8 with shape .* the bytes of an image file.*\.tobytes\(\)"),
        (np.frombuffer(PHOTO, np.uint8)[:, None], r"the bytes of an image file.*\.tobytes\(\)"),
        (np.frombuffer(written("PNG"), np.uint8)[None], r"the bytes of an image file.*\.tobytes\(\)"),
        ((True, np.frombuffer(PHOTO, np.uint8)), r"its second item, with \.tobytes\(\)"),
        (np.zeros(9, np.uint8), r"one dimension; if it holds the bytes of an image file, hand over \.tobytes\(\)"),
        ("ada\0.jpg", "holds a NUL"),
        ("\ud800.jpg", "lone surrogate"),
        (b"", "an object of type bytes has 0 bytes"),
        (bytearray(), "an object of type bytearray has 0 bytes"),
        (memoryview(b""), "an object of type memoryview has 0 bytes"),
        (io.BytesIO(), "the BytesIO holds 0 bytes; expected"),
        (io.StringIO("photo"), 'StringIO is a text file; open the file with open\\(path, "rb"\\)'),
        (None, "None is not a photo; expected a path"),
        (7, "an object of type int is not a photo; expected"),
        ([PHOTO, PHOTO], "an object of type list with 2 items is not a photo; hand over one photo at a time"),
        ((), "type tuple with 0 items"),
        ({"photo": PHOTO}, "type dict with 1 items"),
        ((photo for photo in [PHOTO]), "an object of type generator is not a photo; hand over one photo at a time, or"),
        (io.BytesIO, "the class BytesIO"),
        (io.BytesIO(PHOTO).getvalue, "builtin_function_or_method is not a photo; call it"),
        (Upload(), r"read\(\) of the Upload is asynchronous; hand over its bytes: await file\.read\(\)"),
        (face_pb2.Sample(photo=PHOTO), "an object of type Sample is not a photo"),
    ],
)
def test_a_mistake_is_named(photo: Any, why: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(photo, why)


def test_files_that_hold_no_photo_are_refused_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    refused(tmp_path / "empty.jpg", r"empty.jpg' has 0 bytes")
    (tmp_path / "text.jpg").write_bytes(base64.b64encode(PHOTO))
    refused(tmp_path / "text.jpg", r"text.jpg' is not a photo but looks like: JPEG as base64 text")
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)
    refused(tmp_path / "huge.jpg", f"has {1 << 40} bytes; a photo may have at most {MAX_PHOTO_BYTES}")
    with (tmp_path / "huge.jpg").open("rb") as file:
        refused(file, f"BufferedReader has more than {MAX_PHOTO_BYTES} bytes")
    huge = bytes(MAX_PHOTO_BYTES + 1)
    for content in (huge, bytearray(huge), memoryview(huge), array.array("B", huge)):
        refused(content, f"{type(content).__name__} has {MAX_PHOTO_BYTES + 1} bytes; a photo may have at most")
    os.mkfifo(tmp_path / "pipe.jpg")
    refused(tmp_path / "pipe.jpg", "is a named pipe")
    refused("/dev/zero", "'/dev/zero' is a device")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.jpg"))
        refused(tmp_path / "socket.jpg", "is a socket")
    with pytest.raises(IsADirectoryError, match=r"folder; expected the file of one photo .*sameface enroll"):
        photo_bytes(tmp_path)
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(OSError, match=r"loop.jpg"):
        photo_bytes(tmp_path / "loop.jpg")


def test_a_missing_file_is_named_as_far_as_it_is_a_name(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(FileNotFoundError, match=r"nowhere/ada.jpg"):
        photo_bytes("/nowhere/ada.jpg")
    with pytest.raises(FileNotFoundError, match=r"Path.expanduser"):
        photo_bytes("~/ada-is-not-here.jpg")
    with pytest.raises(NotADirectoryError, match=r"ada.jpg"):
        photo_bytes(file / "ada.jpg")
    with pytest.raises(OSError, match="a path of 5000 characters; expected"):
        photo_bytes("x" * 5000)


def test_a_name_with_brackets_or_quotes_is_still_a_name() -> None:
    for name in ("[1].jpg", "{name}.jpg", '"ada".jpg', "'ada.jpg'", '["ada", 1.jpg'):
        with pytest.raises(FileNotFoundError):
            photo_bytes(name)


HUGE = bytes(MAX_PHOTO_BYTES + 1)
NOISE = np.random.default_rng(8).integers(0, 256, (2400, 2400, 3), np.uint8)
LARGEST = bytes(MAX_MESSAGE_BYTES // 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.detect(HUGE),
        lambda client: client.identify("g", NOISE),
        lambda client: client.embed(Image.fromarray(NOISE)),
        lambda client: client.verify("g", "ada", face_pb2.Sample(photo=HUGE)),
        lambda client: client.enroll("g", "ada", face_pb2.Sample(photo=HUGE)),
        lambda client: client.search("g", HUGE),
        lambda client: client.compare(PHOTO, HUGE),
    ],
)
async def test_a_photo_that_is_too_large_is_refused_before_it_is_sent(call: Callable[[Any], Any]) -> None:
    limit = rf"a photo may have at most {MAX_PHOTO_BYTES} \(16 MiB\); send"
    # Nothing listens there.
    with Client("127.0.0.1:1") as client, pytest.raises(NotAPhoto, match=limit) as error:
        call(client)
    assert error.value.reason == "IMAGE_TOO_LARGE"
    assert "SAMEFACE_IMAGE__MAX_BYTES" in error.value.message
    async with AsyncClient("127.0.0.1:1") as waiting:
        with pytest.raises(NotAPhoto, match=limit):
            await call(waiting)


async def test_photos_that_fit_alone_are_refused_if_they_do_not_fit_together() -> None:
    limit = f"the request CompareFacesRequest has .* bytes; a message may have at most {MAX_MESSAGE_BYTES}"
    with Client("127.0.0.1:1", max_photo_bytes=len(LARGEST)) as client:
        with pytest.raises(NotAPhoto, match=limit) as error:
            client.compare(LARGEST, LARGEST)
        assert error.value.reason == "IMAGE_TOO_LARGE"
    async with AsyncClient("127.0.0.1:1", max_photo_bytes=len(LARGEST)) as waiting:
        with pytest.raises(NotAPhoto, match=limit):
            await waiting.compare(LARGEST, LARGEST)


def test_the_limit_of_a_photo_may_be_lowered_and_raised_up_to_a_message() -> None:
    with Client("127.0.0.1:1", max_photo_bytes=10) as client, pytest.raises(NotAPhoto, match="at most 10 "):
        client.detect(PHOTO)
    for limit in (0, -1, MAX_MESSAGE_BYTES + 1):
        for kind in (Client, AsyncClient):
            with pytest.raises(ValueError, match=f"max_photo_bytes is {limit}; expected 1 to {MAX_MESSAGE_BYTES}"):
                kind("127.0.0.1:1", max_photo_bytes=limit)


def test_pixels_that_are_too_large_as_a_png_may_be_small_as_a_jpeg() -> None:
    refused(NOISE, "the array as a PNG has .*; send a JPEG instead, or")
    refused(Image.fromarray(NOISE), "the Pillow image as a PNG has .*; send a JPEG instead, or")


@pytest.mark.parametrize("mode", ["r", "w", "wb", "a+", "closed"])
def test_files_that_are_open_in_another_way_are_refused(path: Path, mode: str) -> None:
    with (path if "w" not in mode else path.with_suffix(".new")).open("rb" if mode == "closed" else mode) as file:
        if mode == "closed":
            file.close()
        refused(file, {"closed": "is closed", "wb": "cannot be read from"}.get(mode, "is a text file"))
    with tempfile.NamedTemporaryFile("w+") as named, tempfile.SpooledTemporaryFile(mode="w+") as kept:
        refused(named, "is a text file")
        kept.write("photo")
        refused(kept, "is a text file")


@pytest.mark.parametrize("kind", ["coroutine", "Task"])
async def test_what_was_not_awaited_is_refused_without_a_warning(kind: str) -> None:
    async def download() -> bytes:
        return PHOTO

    async with AsyncClient("127.0.0.1:1") as client:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            photo: Any = download() if kind == "coroutine" else asyncio.ensure_future(download())
            with pytest.raises(NotAPhoto, match=f"an object of type {kind} is not a photo; await it"):
                await client.detect(photo) if kind == "coroutine" else photo_bytes(photo)
            if kind == "Task":
                assert await photo == PHOTO


@pytest.mark.parametrize(
    "samples", [PHOTO, "ada.jpg", Path("ada.jpg"), PIXELS, Image.fromarray(PIXELS), io.BytesIO(PHOTO), None, 7]
)
async def test_a_stream_of_one_photo_is_refused(samples: Any) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(NotAPhoto, match="expected"):
        next(client.identify_stream("g", samples))
    async with AsyncClient("127.0.0.1:1") as waiting:
        with pytest.raises(NotAPhoto, match="expected"):
            await anext(waiting.identify_stream("g", samples))


async def test_an_asynchronous_source_is_for_the_asynchronous_client() -> None:
    async def photos() -> Any:
        yield PHOTO

    source: Any = photos()
    with Client("127.0.0.1:1") as client, pytest.raises(NotAPhoto, match="hand it to AsyncClient"):
        next(client.identify_stream("g", source))


def error_of(photo: Any) -> Exception | None:
    try:
        photo_bytes(photo)
    except (NotAPhoto, OSError) as error:
        assert 0 < len(str(error)) <= LONGEST_MESSAGE  # noqa: PT017  # for any input there may be no error
        return error
    return None


def quotes(message: str, content: bytes | str) -> bool:
    """Whether a message holds 12 bytes or characters of a content in a row."""
    ways = [content] if isinstance(content, str) else [content.decode("latin-1"), content.decode(errors="replace")]
    return any(text[at : at + 12] in message for text in ways for at in range(len(text) - 11))


CONTENTS = st.one_of(
    st.binary(min_size=12, max_size=300),
    st.binary(min_size=0, max_size=300).map(lambda tail: PHOTO[:40] + tail),
    st.binary(min_size=24, max_size=300).map(base64.b64encode),
)


@settings(max_examples=150)
@given(content=CONTENTS, data=st.data())
def test_no_error_quotes_what_was_handed_over(content: bytes, data: st.DataObject) -> None:
    ways: list[Callable[[bytes], Any]] = [
        bytes,
        io.BytesIO,
        lambda content: content.decode("latin-1"),
        lambda content: content.decode(errors="replace"),
        lambda content: content.decode(errors="surrogateescape"),
        lambda content: base64.b64encode(content).decode(),
        lambda content: Path(base64.b64encode(content).decode()),
        lambda content: "data:;base64," + base64.b64encode(content).decode(),
        repr,
        lambda content: [content],
        lambda content: {content: content},
        lambda content: iter([content]),
        lambda content: np.array([content]),
        lambda content: io.TextIOWrapper(io.BytesIO(content)),
    ]
    # A printable text may be a name, and a missing file is named.
    assume(not content.decode("latin-1").isprintable())
    photo = data.draw(st.sampled_from(ways))(content)
    error = error_of(photo)
    if error is not None:
        assert not quotes(str(error), content)
        assert not quotes(str(error), base64.b64encode(content).decode())
        # A traceback would print them.
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=300) | st.binary(max_size=50),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner) | st.tuples(inner),
    max_leaves=4,
)


@given(anything)
def test_anything_is_a_photo_or_refused_with_a_short_message(thing: Any) -> None:
    assume(not (isinstance(thing, str) and os.path.exists(thing.replace("\0", ""))))
    if error_of(thing) is None:
        assert as_sample(thing).photo == thing
