"""Bytes of an image file to RGB pixels, with every limit checked before anything large is decoded."""

import io
import warnings
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from sameface.errors import ImageTooLarge, ImageUndecodable

Pixels: TypeAlias = NDArray[np.uint8]
"""RGB, shape [height, width, 3]."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "F")

# The limits below are ours and stricter; Pillow's own guard would only turn them into warnings.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a photo may be."""

    max_bytes: int = 16 << 20
    max_pixels: int = 50_000_000
    """Width times height of the file, before any reduction."""
    max_side: int = 1600
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
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"the image is {width}×{height} = {width * height} pixels; at most {limits.max_pixels} are allowed",
            metadata={"width": width, "height": height, "limit": limits.max_pixels},
        )
    longest = max(width, height)
    if longest > limits.max_side:
        # JPEG only: decode at the smallest of 1/8, 1/4, 1/2 that is not below the size wanted.
        wanted = limits.max_side / longest
        image.draft("RGB", (int(width * wanted), int(height * wanted)))
    image.seek(0)
    image.load()
    if max(image.size) > limits.max_side:
        # Shrink before converting: the large copy is then made once, in the file's own mode.
        image = _eight_bit(image)
        shrink = limits.max_side / max(image.size)
        size = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
        image = image.resize(size, Image.Resampling.BOX if image.mode != "P" else Image.Resampling.NEAREST)
    upright = ImageOps.exif_transpose(image)
    if upright.size != image.size and (image.width, image.height) == (upright.height, upright.width):
        width, height = height, width
    pixels = np.asarray(_rgb(upright))
    return DecodedImage(pixels, width, height, scale=max(pixels.shape[:2]) / longest)


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode not in SIXTEEN_BIT_MODES:
        return image
    values = np.asarray(image).astype(np.float32)
    # 16-bit files use the whole range; a 32-bit mode holding small numbers is an 8-bit picture in disguise.
    top = 65535.0 if values.max(initial=0.0) > 255.0 else 255.0
    return Image.fromarray((values / top * 255.0).clip(0, 255).astype(np.uint8), mode="L")


def _rgb(image: Image.Image) -> Image.Image:
    image = _eight_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
