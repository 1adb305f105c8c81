"""Encodes pixels as an image file."""

import io
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sameface.client.errors import NotAPhoto
from sameface.client.naming import type_name
from sameface.file_types import HEAD_BYTES, file_type

CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA"}
EXPECTED = (
    "expected uint8, RGB [height, width, 3], RGBA [height, width, 4] or grey [height, width] (from OpenCV: "
    "pixels[:, :, ::-1] turns BGR into RGB)"
)
# What Pillow writes to PNG as it is, and what it converts without a choice of range.
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_CONVERTED_MODES = {
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "RGBX": "RGB",
    "RGBa": "RGBA",
    "La": "LA",
    "PA": "RGBA",
}


def encode_array(given: Any) -> bytes:
    """Return an array as a PNG.

    Args:
        given: a numpy array, or what numpy can read as one (``__array__``): uint8, RGB [height, width, 3], RGBA
            [height, width, 4], grey [height, width] or [height, width, 1].

    Raises:
        NotAPhoto: another type of values, another shape, or no pixels. Floats are refused, because nothing says
            whether white is 1 or 255.
    """
    try:
        pixels: NDArray[Any] = np.asarray(given)
    except Exception as error:
        raise NotAPhoto(
            f"the {type_name(given)} could not be read as an array ({type(error).__name__}); expected an array in the "
            "memory of the CPU"
        ) from None
    if pixels.dtype != np.uint8:
        raise NotAPhoto(f"{_described(pixels)} is not a photo: {_wrong_type(pixels)}; {EXPECTED}")
    if is_encoded(pixels):
        raise NotAPhoto(
            f"{_described(pixels)} holds the bytes of an image file, as cv2.imencode returns them, not pixels; hand "
            "over its bytes, with .tobytes()"
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in CHANNELS)):
        raise NotAPhoto(f"{_described(pixels)} is not a photo{_wrong_shape(pixels)}; {EXPECTED}")
    from PIL import Image

    return _png(Image.fromarray(pixels))


def is_encoded(pixels: NDArray[Any]) -> bool:
    """Return whether an array of one row or column holds the bytes of an image file instead of pixels."""
    if pixels.dtype != np.uint8 or max(pixels.shape, default=0) != pixels.size:
        return False
    kind = file_type(pixels.ravel()[:HEAD_BYTES].tobytes())
    return kind is not None and kind.is_photo


def is_pillow_image(thing: object) -> bool:
    """Return whether a thing is an image of Pillow. Where Pillow was not imported, nothing is."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(thing, module.Image)


def encode_image(image: Any) -> bytes:
    """Return the present frame of a Pillow image as a PNG.

    An image as Pillow opened it is turned as its EXIF orientation says. One that was made or changed since is sent
    as its pixels are.

    Raises:
        NotAPhoto: the image has no pixels, cannot be loaded, or has a mode whose range nothing tells (F, I).
    """
    if image.mode not in (*_PLAIN_MODES, *_CONVERTED_MODES):
        raise NotAPhoto(
            f"a Pillow image of mode {image.mode[:20]} is not a photo; expected RGB, L or another mode of 8 bits (its "
            "range cannot be told: convert it yourself)"
        )
    if 0 in image.size:
        raise NotAPhoto(f"a Pillow image of {image.width}×{image.height} has no pixels")
    try:
        turned = upright(image) if image.format else image
        if mode := _CONVERTED_MODES.get(turned.mode):
            turned = turned.convert(mode)
            # It described the colours before the conversion.
            turned.info.pop("icc_profile", None)
        return _png(turned)
    except Exception as error:
        raise NotAPhoto(f"the Pillow image could not be loaded or encoded ({type(error).__name__})") from None


def upright(image: Any) -> Any:
    """Return a Pillow image turned as its EXIF orientation says. EXIF that no parser can read is passed over."""
    from PIL import ExifTags, Image

    # `ImageOps.exif_transpose` also writes the rest of the EXIF anew, which fails for that of many cameras.
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return image
    turn = Image.Transpose
    turns = {2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE}
    turns |= {6: turn.ROTATE_270, 7: turn.TRANSVERSE, 8: turn.ROTATE_90}
    return image.transpose(turns[orientation]) if orientation in turns else image


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    # Lossless. Low compression is fast, and the bytes are sent only once.
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _described(pixels: NDArray[Any]) -> str:
    return f"an array of {pixels.dtype.name[:40]} with shape {list(pixels.shape)}"


def _wrong_type(pixels: NDArray[Any]) -> str:
    if pixels.dtype.kind == "f":
        return "floats do not tell whether white is 1 or 255; scale them, for instance (255 * pixels).astype('uint8')"
    if pixels.dtype.kind in "ui":
        return "its range cannot be told; scale it to 0..255 and convert it with .astype('uint8')"
    return "its values are no pixels"


def _wrong_shape(pixels: NDArray[Any]) -> str:
    if pixels.ndim == 3 and pixels.shape[0] in CHANNELS and pixels.size:
        return ": the channels come first; move them last with pixels.transpose(1, 2, 0)"
    if pixels.ndim == 1 and pixels.size:
        return ": it has one dimension; if it holds the bytes of an image file, hand over .tobytes()"
    if pixels.ndim == 4:
        return ": it is a batch; hand over one photo at a time"
    return ""
