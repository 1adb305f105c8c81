"""The names of formats in the decoder's errors, so that a photo that is refused can be named."""

from sameface.errors import ImageUndecodable
from sameface.file_types import EMPTY, HEAD_BYTES, PHOTOS, ZEROS, file_type

FORMATS = tuple(dict.fromkeys(photo.format for photo in PHOTOS))
"""What `sameface.vision.decode_image` reads."""
INSTEAD = "send an 8-bit sRGB JPEG or PNG"
UNKNOWN = "unknown"


def name_of_format(content: bytes) -> str:
    """Return the name of a file's format: one of `FORMATS`, another format's name, or `UNKNOWN`.

    Reads the first `HEAD_BYTES` bytes alone.

    >>> name_of_format(b"GIF89a")
    'GIF'
    >>> name_of_format(b"%PDF-1.7")
    'PDF document'
    """
    kind = file_type(content[:HEAD_BYTES])
    return UNKNOWN if kind is None or kind in (EMPTY, ZEROS) else kind.format


def refused(name: str, why: str, **metadata: object) -> ImageUndecodable:
    """Return the error for a photo of the format ``name``. It says what to send instead."""
    return ImageUndecodable(f"the {name} image {why}; {INSTEAD}", metadata={"format": name, **metadata})


def not_read(name: str) -> ImageUndecodable:
    """Return the error for a photo of a format that is not among `FORMATS`."""
    return ImageUndecodable(
        f"the photo's format, {name}, is not read; expected {', '.join(FORMATS)}; {INSTEAD}", metadata={"format": name}
    )
