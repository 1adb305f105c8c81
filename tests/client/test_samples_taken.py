"""What people hand to the clients as a photo is read whole."""

import array
import gzip
import http.client
import io
import mmap
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from sameface.client.samples import photo_bytes
from tests.client.photos import PHOTO, PIXELS, refused, written


class Named:
    """A path of another library."""

    def __init__(self, path: str | bytes) -> None:
        self.path = path

    def __fspath__(self) -> str | bytes:
        return self.path


class Tensor:
    """Pixels of another library."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return PIXELS


class Response:
    """An answer whose body is kept: `read` takes no size and returns all of it each time."""

    def read(self) -> bytes:
        return PHOTO


def spooled(max_size: int) -> Any:
    file = tempfile.SpooledTemporaryFile(max_size)  # noqa: SIM115  # handed over
    file.write(PHOTO)
    return file


def mapped(path: Path) -> Any:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@pytest.mark.parametrize(
    "hand_over",
    [
        str,
        Path,
        lambda path: Named(str(path)),
        lambda path: Named(os.fsencode(path)),
        lambda path: next(os.scandir(path.parent)),
        lambda path: path.read_bytes(),
        lambda path: bytearray(PHOTO),
        lambda path: memoryview(PHOTO),
        lambda path: memoryview(b"".join(bytes([byte, 0]) for byte in PHOTO))[::2],
        lambda path: array.array("B", PHOTO),
        lambda path: path.open("rb"),
        lambda path: path.open("rb", buffering=0),
        lambda path: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(PHOTO))),
        lambda path: spooled(0),
        lambda path: spooled(1 << 20),
        mapped,
        lambda path: Response(),
    ],
)
def test_the_bytes_of_a_file_are_taken_from_wherever_they_are(path: Path, hand_over: Callable[[Path], Any]) -> None:
    assert photo_bytes(hand_over(path)) == PHOTO


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, len(PHOTO) + 10), buffering=st.sampled_from([0, 1024]))
def test_a_file_object_is_read_whole_from_any_position(path: Path, position: int, buffering: int) -> None:
    with path.open("rb", buffering=buffering) as file, io.BytesIO(PHOTO) as kept:
        for opened in (file, kept):
            opened.seek(position)
            assert photo_bytes(opened) == PHOTO
            assert photo_bytes(opened) == PHOTO


def test_members_of_an_archive_are_taken() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("ada.jpg", PHOTO)
        refused(archive, "ZipFile could not be read")
    with zipfile.ZipFile(file) as archive:
        assert photo_bytes(archive.open("ada.jpg")) == PHOTO
        member: Any = zipfile.Path(archive, "ada.jpg")
        assert photo_bytes(member) == PHOTO


class Upload:
    """A file that was uploaded to an asynchronous web framework, as Starlette and FastAPI hand it over."""

    def __init__(self) -> None:
        self.file = tempfile.SpooledTemporaryFile(max_size=100)  # noqa: SIM115  # the test closes it
        self.file.write(PHOTO)

    async def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    async def seek(self, offset: int) -> None:
        self.file.seek(offset)


def test_an_upload_is_read_from_its_beginning_without_a_loop() -> None:
    upload: Any = Upload()
    assert photo_bytes(upload) == PHOTO
    assert photo_bytes(upload) == PHOTO
    upload.file.close()
    refused(upload, "Upload is closed; ")


@pytest.fixture
def answer() -> Iterator[http.client.HTTPResponse]:
    """The answer of a web server, whose body cannot seek and comes in parts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(PHOTO), 100):
                part = PHOTO[start : start + 100]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *arguments: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
        connection.request("GET", "/")
        yield connection.getresponse()
        connection.close()
        thread.join()


def test_the_body_of_an_answer_is_read_on(answer: http.client.HTTPResponse) -> None:
    assert photo_bytes(answer) == PHOTO
    refused(answer, "HTTPResponse (holds 0 bytes; it cannot seek|is closed)")


def test_pipes_that_are_held_already_are_read_to_their_end() -> None:
    def pipe() -> int:
        reading, writing = os.pipe()
        os.write(writing, PHOTO)
        os.close(writing)
        return reading

    with os.fdopen(pipe(), "rb") as opened:
        assert photo_bytes(opened) == PHOTO
    held = pipe()
    assert photo_bytes(f"/dev/fd/{held}") == PHOTO
    os.close(held)


@pytest.mark.parametrize(
    ("pixels", "seen"),
    [
        (PIXELS, PIXELS),
        (PIXELS[:, ::-1, ::-1], PIXELS[:, ::-1, ::-1]),
        (PIXELS[:, :, 0], PIXELS[:, :, 0]),
        (PIXELS[:, :, :1], PIXELS[:, :, 0]),
        (np.dstack([PIXELS, PIXELS[:, :, 0]]), np.dstack([PIXELS, PIXELS[:, :, 0]])),
        (Tensor(), PIXELS),
        (Image.fromarray(PIXELS), PIXELS),
        (Image.fromarray(PIXELS[:, :, 0]), PIXELS[:, :, 0]),
        (Image.fromarray(PIXELS).convert("RGBX"), PIXELS),
        (Image.open(io.BytesIO(written("PNG"))), PIXELS),
        (Image.fromarray(PIXELS).convert("CMYK"), np.asarray(Image.fromarray(PIXELS).convert("CMYK").convert("RGB"))),
    ],
)
def test_pixels_arrive_unchanged(pixels: Any, seen: Any) -> None:
    with Image.open(io.BytesIO(photo_bytes(pixels))) as sent:
        np.testing.assert_array_equal(np.asarray(sent), seen)


@pytest.mark.parametrize("orientation", range(10))
def test_an_image_as_it_was_opened_is_turned_as_its_orientation_says(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = written("PNG", exif=exif)
    with Image.open(io.BytesIO(content)) as opened:
        with Image.open(io.BytesIO(content)) as again, Image.open(io.BytesIO(photo_bytes(opened))) as sent:
            np.testing.assert_array_equal(np.asarray(sent), np.asarray(ImageOps.exif_transpose(again)))
        with Image.open(io.BytesIO(photo_bytes(opened.copy()))) as sent:
            np.testing.assert_array_equal(np.asarray(sent), PIXELS)


def test_pillow_is_imported_only_where_it_is_needed(path: Path) -> None:
    program = "import sys; from sameface.client.samples import photo_bytes; photo_bytes(sys.argv[1]); "
    program += "assert 'PIL' not in sys.modules"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
