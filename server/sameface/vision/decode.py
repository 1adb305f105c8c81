"""Bytes of an image file to RGB pixels, with every limit checked before anything large is decoded."""

import io
import warnings
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sameface.errors import ImageTooLarge, ImageUndecodable

Pixels: TypeAlias = NDArray[np.uint8]
"""RGB, shape [height, width, 3]."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# MPO is what phones call a JPEG with a second picture behind the first.
REDUCIBLE = ("JPEG", "MPO")
ORIENTATION_TAG = 0x0112
# What brings a stored picture upright, by EXIF orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {TURNS[5], TURNS[6], TURNS[7], TURNS[8]}
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "F")

# The limits below are ours and stricter; Pillow's own guard would only turn them into warnings.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a photo may be."""

    max_bytes: Annotated[int, Ge(1)] = 16 << 20
    max_pixels: Annotated[int, Ge(1)] = 50_000_000
    """Width times height of a JPEG, which is decoded at a reduced size."""
    max_pixels_whole: Annotated[int, Ge(1)] = 25_000_000
    """Width times height of a file of another format, which has to be decoded whole."""
    max_side: Annotated[int, Ge(112)] = 1600
    """Photos are reduced so that their longer side is at most this: enough for a 112×112 crop of a small face."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels that may be smaller than the photo: ``scale`` is pixels here per pixel of the photo, at most 1."""

    pixels: Pixels
    original_width: int
    original_height: int
    scale: float


def decode_image(content: bytes, limits: ImageLimits) -> DecodedImage:
    """Decode one image file: EXIF orientation applied, first frame, RGB, transparency over white.

    A large JPEG is decoded at an eighth, a quarter or half of its size where that is still large enough.

    Raises:
        ImageTooLarge: more bytes or pixels than allowed; found before decoding.
        ImageUndecodable: not a whole image of a supported format.
    """
    if len(content) > limits.max_bytes:
        raise ImageTooLarge(
            f"the image has {len(content)} bytes; at most {limits.max_bytes} are allowed",
            metadata={"bytes": len(content), "limit": limits.max_bytes},
        )
    if not content:
        raise ImageUndecodable(f"the image has 0 bytes; expected a whole file of {', '.join(FORMATS)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return _decode(image, limits)
    except ImageTooLarge:
        raise
    except UnidentifiedImageError:
        raise ImageUndecodable(
            f"{len(content)} bytes are not an image of a supported format; expected {', '.join(FORMATS)}",
            metadata={"bytes": len(content)},
        ) from None
    except Exception as error:
        # Decoders of broken files raise nearly anything: OSError, SyntaxError, struct.error, ValueError, …
        raise ImageUndecodable(
            f"the image is truncated or broken ({type(error).__name__}); expected a whole file of {', '.join(FORMATS)}",
            metadata={"bytes": len(content)},
        ) from None


def _decode(image: Image.Image, limits: ImageLimits) -> DecodedImage:
    width, height = image.size
    most = limits.max_pixels if image.format in REDUCIBLE else limits.max_pixels_whole
    if width * height > most:
        raise ImageTooLarge(
            f"the {image.format} image is {width}×{height} = {width * height} pixels; at most {most} are allowed",
            metadata={"width": width, "height": height, "limit": most},
        )
    longest = max(width, height)
    if longest > limits.max_side:
        # JPEG only: decode at the smallest of 1/8, 1/4, 1/2 that is not below the size wanted.
        wanted = limits.max_side / longest
        image.draft("RGB", (max(1, int(width * wanted)), max(1, int(height * wanted))))
    image.seek(0)
    image.load()
    turn = TURNS.get(_orientation(image))
    if max(image.size) > limits.max_side:
        # Shrink before converting: the large copy is then made once, in the file's own mode.
        image = _eight_bit(image)
        shrink = limits.max_side / max(image.size)
        size = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
        image = image.resize(size, Image.Resampling.BOX if image.mode != "P" else Image.Resampling.NEAREST)
    if turn is not None:
        image = image.transpose(turn)
        if turn in SIDEWAYS:
            width, height = height, width
    pixels = np.asarray(_rgb(image))
    return DecodedImage(pixels, width, height, scale=max(pixels.shape[:2]) / longest)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:
        # Cameras write EXIF that no parser agrees with; the picture is good without it.
        return 1


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode not in SIXTEEN_BIT_MODES:
        return image
    values = np.asarray(image).astype(np.float32)
    # 16-bit files use the whole range; a 32-bit mode holding small numbers is an 8-bit picture in disguise, and one of
    # floats up to 1 is a picture in fractions.
    largest = values.max(initial=0.0)
    top = 65535.0 if largest > 255.0 else 1.0 if image.mode == "F" and largest <= 1.0 else 255.0
    return Image.fromarray((values / top * 255.0).clip(0, 255).astype(np.uint8), mode="L")


def _rgb(image: Image.Image) -> Image.Image:
    image = _eight_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
