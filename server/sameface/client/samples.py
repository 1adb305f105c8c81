"""What can be sent as a photo or an embedding."""

import io
import os
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sameface.v1 import face_pb2

Photo: TypeAlias = "str | os.PathLike[str] | bytes | NDArray[np.uint8] | IO[bytes]"
"""A path, the bytes of an image file, pixels (uint8, RGB [height, width, 3] or grey [height, width]), an open file."""
SampleLike: TypeAlias = "Photo | face_pb2.Embedding | face_pb2.Sample"


def photo_bytes(photo: Photo) -> bytes:
    """Return the bytes of an image file.

    Raises:
        OSError: the file cannot be read.
        ValueError: an array is not an image.
        TypeError: ``photo`` is of another type.
    """
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    if isinstance(photo, np.ndarray):
        return _encoded(photo)
    if isinstance(photo, str | os.PathLike):
        return Path(photo).read_bytes()
    if hasattr(photo, "read"):
        return bytes(photo.read())
    raise TypeError(f"{type(photo).__name__} is not a photo; expected a path, bytes, a numpy array or an open file")


def as_sample(sample: SampleLike) -> face_pb2.Sample:
    """Return a photo or an embedding as it is sent."""
    if isinstance(sample, face_pb2.Sample):
        return sample
    if isinstance(sample, face_pb2.Embedding):
        return face_pb2.Sample(embedding=sample)
    return face_pb2.Sample(photo=photo_bytes(sample))


def _encoded(pixels: NDArray[Any]) -> bytes:
    from PIL import Image

    grey, colour = pixels.ndim == 2, pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not (grey or colour) or pixels.size == 0:
        raise ValueError(
            f"an array of {pixels.dtype} with shape {list(pixels.shape)} is not a photo; expected uint8, RGB "
            "[height, width, 3] or grey [height, width]"
        )
    buffer = io.BytesIO()
    # Lossless. Low compression is fast, and the bytes are sent only once.
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
