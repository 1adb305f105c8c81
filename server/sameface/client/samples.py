"""What can be sent as a photo or an embedding."""

import inspect
import os
from collections.abc import AsyncIterable, Iterable, Sized
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from sameface.client.answers.faces import Embedding
from sameface.client.connection import MAX_MESSAGE_BYTES, MAX_PHOTO_BYTES
from sameface.client.errors import NotAPhoto
from sameface.client.files import asynchronous, check_content, read_file, read_path, refuse_awaitable, too_large
from sameface.client.naming import EXPECTED, described, named, type_name
from sameface.client.pixels import encode_array, encode_image, is_encoded, is_pillow_image
from sameface.v1 import face_pb2

if TYPE_CHECKING:
    from PIL import Image


class AsArray(Protocol):
    """What numpy can read as an array, for instance a tensor of torch."""

    def __array__(self) -> NDArray[Any]:
        """Return it as an array."""


Photo: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[np.uint8] | AsArray | Image.Image | IO[bytes]"
)
"""A path; the bytes of an image file; pixels (uint8, RGB [height, width, 3], RGBA [height, width, 4] or grey [height,
width]); a Pillow image; a file object."""
Request = TypeVar("Request", bound=Message)
SampleLike: TypeAlias = "Photo | Embedding | face_pb2.Embedding | face_pb2.Sample"


def photo_bytes(photo: Photo, most: int = MAX_PHOTO_BYTES) -> bytes:
    """Return the bytes of an image file, at most ``most``.

    A file object is read from its beginning, wherever it stands; one that cannot seek is read on. Errors quote nothing
    of a photo.

    Raises:
        NotAPhoto: what was given is not a photo, or too large.
        OSError: the file cannot be read.
    """
    content, source = _read(photo, most)
    check_content(content, source, most)
    return content


def as_sample(sample: SampleLike, most: int = MAX_PHOTO_BYTES) -> face_pb2.Sample:
    """Return a photo of at most ``most`` bytes or an embedding as it is sent.

    Raises:
        NotAPhoto: what was given is not a photo, or too large.
        OSError: the file cannot be read.
    """
    if isinstance(sample, face_pb2.Sample):
        if len(sample.photo) > most:
            raise too_large("the photo of the Sample", len(sample.photo), most)
        return sample
    if isinstance(sample, Embedding):
        return face_pb2.Sample(embedding=sample.proto)
    if isinstance(sample, face_pb2.Embedding):
        return face_pb2.Sample(embedding=sample)
    return face_pb2.Sample(photo=photo_bytes(sample, most))


def fitting(request: Request) -> Request:
    """Return a request with photos, if a message can hold it.

    Raises:
        NotAPhoto: it is too large. Photos that fit alone may not fit together.
    """
    size = request.ByteSize()
    if size > MAX_MESSAGE_BYTES:
        raise NotAPhoto(
            f"the request {request.DESCRIPTOR.name} has {size} bytes; a message may have at most {MAX_MESSAGE_BYTES} "
            f"({MAX_MESSAGE_BYTES >> 20} MiB); send smaller photos",
            reason="IMAGE_TOO_LARGE",
        )
    return request


def holds_photo(request: Message) -> bool:
    """Whether a request has a photo."""
    return any(
        field.name == "photo" or (isinstance(value, Message) and holds_photo(value))
        for field, value in request.ListFields()
    )


def check_many(samples: Any, *, asynchronous: bool) -> None:
    """Check that samples are many, not one photo.

    Raises:
        NotAPhoto: ``samples`` is one photo, cannot be iterated, or only asynchronously where that does not help.
    """
    refuse_awaitable(samples)
    messages = face_pb2.Sample | face_pb2.Embedding
    one = isinstance(samples, str | bytes | bytearray | memoryview | os.PathLike | Embedding | messages)
    rows = hasattr(samples, "__array__") and getattr(samples, "ndim", 0) < 4
    if one or rows or hasattr(samples, "read") or is_pillow_image(samples):
        raise NotAPhoto(f"{described(samples)} is one photo; expected several, for instance a list of paths")
    if isinstance(samples, AsyncIterable) and not asynchronous:
        raise NotAPhoto(f"{described(samples)} is asynchronous; hand it to AsyncClient")
    if not any(hasattr(samples, name) for name in ("__iter__", "__aiter__", "__getitem__")):
        raise NotAPhoto(f"{described(samples)} is not a sequence of photos; expected for instance a list of paths")


def _read(photo: Any, most: int) -> tuple[bytes, str]:
    """Return the bytes of a photo, and what it is called in an error."""
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo), described(photo)
    if isinstance(photo, str | os.PathLike):
        return read_path(photo, most), named(os.fsdecode(photo))
    if isinstance(photo, type):
        raise NotAPhoto(f"the class {photo.__name__[:60]} is not a photo; {EXPECTED}")
    refuse_awaitable(photo)
    kind = type_name(photo)
    if is_pillow_image(photo):
        return _encoded(encode_image(photo), "the Pillow image as a PNG", most)
    if hasattr(photo, "__array__"):
        return _encoded(encode_array(photo), "the array as a PNG", most)
    if hasattr(photo, "read"):
        return read_file(_blocking(photo), f"the {kind}", most), f"the {kind}"
    if hasattr(photo, "read_bytes"):
        return bytes(photo.read_bytes()), f"the {kind}"
    try:
        return bytes(memoryview(photo)), described(photo)
    except TypeError:
        raise NotAPhoto(_no_photo(photo)) from None


def _encoded(content: bytes, source: str, most: int) -> tuple[bytes, str]:
    if len(content) > most:
        raise too_large(source, len(content), most, "send a JPEG instead")
    return content, source


def _blocking(file: Any) -> Any:
    """Return what reads a file object without a coroutine: the file inside of an upload (Starlette's UploadFile)."""
    if not inspect.iscoroutinefunction(file.read):
        return file
    inner: Any = getattr(file, "file", None)
    if not hasattr(inner, "read") or inspect.iscoroutinefunction(inner.read):
        raise asynchronous(f"the {type_name(file)}")
    return inner


def _no_photo(thing: object) -> str:
    """Return why a thing of another type is not a photo."""
    what = described(thing)
    if thing is None:
        return f"None is not a photo; {EXPECTED}"
    if inspect.isgenerator(thing) or isinstance(thing, AsyncIterable):
        return f"{what} is not a photo; hand over one photo at a time, or all of them to identify_stream"
    if isinstance(thing, tuple) and len(thing) == 2 and isinstance(thing[1], np.ndarray) and is_encoded(thing[1]):
        return f"{what} with 2 items is not a photo; hand over its second item, with .tobytes()"
    if isinstance(thing, list | tuple | set | frozenset | dict) or (
        isinstance(thing, Iterable) and isinstance(thing, Sized)
    ):
        return f"{what} with {len(thing)} items is not a photo; hand over one photo at a time"
    if callable(thing):
        return f"{what} is not a photo; call it and hand over its result"
    return f"{what} is not a photo; {EXPECTED}"
