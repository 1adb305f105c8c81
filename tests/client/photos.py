"""A photo as pixels and as a file, for tests of what is handed to the clients."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sameface.client import NotAPhoto
from sameface.client.samples import photo_bytes

LONGEST_MESSAGE = 400
PIXELS = np.random.default_rng(7).integers(0, 256, (24, 32, 3), np.uint8)


def written(format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, format, **options)
    return file.getvalue()


PHOTO = written()


def refused(photo: Any, why: str) -> None:
    with pytest.raises(NotAPhoto, match=why) as error:
        photo_bytes(photo)
    assert len(str(error.value)) <= LONGEST_MESSAGE
