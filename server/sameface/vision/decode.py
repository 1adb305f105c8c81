"""Decodes an image file to RGB pixels. Checks sizes before it decodes anything large."""

import warnings
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from sameface.errors import ImageTooLarge, ImageUndecodable
from sameface.vision.jpeg import SIGNATURE, plain_jpeg
from sameface.vision.work import PhotoFile, PhotoWork, WorkStopped

Pixels: TypeAlias = NDArray[np.uint8]
"""RGB, shape [height, width, 3]."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# libtiff decodes these in time linear in the pixels. JPEG is not among them: inside a TIFF it may have many scans.
TIFF_COMPRESSIONS = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate")
LARGEST_EXIF = 1 << 20
"""Longer EXIF is not parsed, in bytes. In a JPEG it has at most 64 KiB."""
READ_SIZE = 1 << 14
"""Bytes that a decoder reads at a time. Its work can be stopped between two reads."""
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "F")

# Our limits below are stricter than Pillow's, which would only add warnings.
Image.MAX_IMAGE_PIXELS = None
# Read uncompressed files with libtiff too: Pillow would create a Python object for each strip, and a file may have
# millions of strips.
TiffImagePlugin.READ_LIBTIFF = True


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits of a photo."""

    max_bytes: Annotated[int, Ge(1)] = 16 << 20
    max_pixels: Annotated[int, Ge(1)] = 50_000_000
    """Width times height of a JPEG, which can be decoded at a reduced size."""
    max_pixels_whole: Annotated[int, Ge(1)] = 25_000_000
    """Width times height of other formats, which must be decoded at full size."""
    max_scan_pixels: Annotated[int, Ge(1)] = 1_000_000_000
    """Width times height times scans of a JPEG, for example 20 scans at 50 megapixels. More than 100 scans are refused
    at any size."""
    max_cpu_s: Annotated[float, Gt(0)] = 5.0
    """Seconds of processor time to decode one photo. The largest allowed photos take about one second."""
    max_side: Annotated[int, Ge(112)] = 1600
    """Longest side of a decoded photo; larger photos are reduced. Enough for a 112×112 crop of a small face."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded photo, possibly reduced. ``scale`` is its size relative to the original, at most 1."""

    pixels: Pixels
    original_width: int
    original_height: int
    scale: float


def decode_image(content: bytes, limits: ImageLimits, work: PhotoWork | None = None) -> DecodedImage:
    """Decode one image file: first frame, EXIF orientation applied, RGB, transparency over white.

    A large JPEG is decoded at an eighth, a quarter or half of its size if that is large enough. Another thread can stop
    the decoding through ``work``.

    Raises:
        ImageTooLarge: the file has too many bytes, pixels, scans or segments (found before decoding), or needs too much
            processor time.
        ImageUndecodable: the file is not a complete image of a supported format.
        WorkStopped: ``work`` was stopped.
    """
    if len(content) > limits.max_bytes:
        raise ImageTooLarge(
            f"the image has {len(content)} bytes; at most {limits.max_bytes} are allowed",
            metadata={"bytes": len(content), "limit": limits.max_bytes},
        )
    if not content:
        raise ImageUndecodable(f"the image has 0 bytes; expected a complete file of {', '.join(FORMATS)}")
    work = work or PhotoWork(limits.max_cpu_s)
    work.check()
    scans: tuple[int, ...] = ()
    try:
        if content.startswith(SIGNATURE):
            jpeg = plain_jpeg(content, work)
            content, scans = jpeg.content, jpeg.scans
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(PhotoFile(content, work, cuts=scans), formats=FORMATS) as image:
                return _decode(image, len(scans), limits, work)
    except (ImageTooLarge, ImageUndecodable, WorkStopped):
        raise
    except UnidentifiedImageError:
        raise ImageUndecodable(
            f"the {len(content)} bytes are not an image of a supported format; expected {', '.join(FORMATS)}",
            metadata={"bytes": len(content)},
        ) from None
    except Exception as error:
        # Decoders raise many types of errors for broken files: OSError, SyntaxError, struct.error, ValueError, …
        raise ImageUndecodable(
            f"the image is truncated or broken ({type(error).__name__}); expected a complete file of "
            f"{', '.join(FORMATS)}",
            metadata={"bytes": len(content)},
        ) from None


def _decode(image: ImageFile.ImageFile, scans: int, limits: ImageLimits, work: PhotoWork) -> DecodedImage:
    width, height = image.size
    _check_limits(image, scans, limits)
    longest = max(width, height)
    if longest > limits.max_side:
        # Only for JPEG: decode at the smallest of 1/8, 1/4, 1/2 that is not below the wanted size.
        wanted = limits.max_side / longest
        image.draft("RGB", (max(1, int(width * wanted)), max(1, int(height * wanted))))
    image.decodermaxblock = READ_SIZE
    image.seek(0)
    image.load()
    work.check()
    orientation = _orientation(image)
    reduced: Image.Image = image
    if max(image.size) > limits.max_side:
        # Reduce before converting, so that the large image is never copied to another mode.
        reduced = _eight_bit(image)
        shrink = limits.max_side / max(reduced.size)
        size = (max(1, round(reduced.width * shrink)), max(1, round(reduced.height * shrink)))
        reduced = reduced.resize(size, Image.Resampling.BOX if reduced.mode != "P" else Image.Resampling.NEAREST)
    work.check()
    pixels = np.asarray(_upright(_rgb(reduced), orientation))
    if orientation in range(5, 9):
        width, height = height, width
    return DecodedImage(pixels, width, height, scale=max(pixels.shape[:2]) / longest)


def _check_limits(image: Image.Image, scans: int, limits: ImageLimits) -> None:
    width, height = image.size
    most = limits.max_pixels if image.format == "JPEG" else limits.max_pixels_whole
    if width * height > most:
        raise ImageTooLarge(
            f"the {image.format} image is {width}×{height} = {width * height} pixels; at most {most} are allowed",
            metadata={"width": width, "height": height, "limit": most},
        )
    most = max(1, limits.max_scan_pixels // (width * height))
    if scans > most:
        raise ImageTooLarge(
            f"the JPEG image of {width}×{height} pixels has {scans} scans; at most {most} are allowed for its size; "
            "save it again as an ordinary JPEG",
            metadata={"scans": scans, "width": width, "height": height, "limit": most},
        )
    if image.format == "TIFF" and image.info.get("compression") not in TIFF_COMPRESSIONS:
        raise ImageUndecodable(
            f"the TIFF image has the compression {image.info.get('compression')}; expected one of "
            f"{', '.join(TIFF_COMPRESSIONS)}",
            metadata={"compression": image.info.get("compression")},
        )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, or 1 (upright) if there is none or it cannot be read."""
    if len(image.info.get("exif", b"")) > LARGEST_EXIF:
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # Some cameras write EXIF that no parser can read. The image is usable without it.
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    # `exif_transpose` also rewrites the rest of the EXIF, which fails for the EXIF of many cameras. So we keep only the
    # orientation.
    image.info.clear()
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(image)


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode not in SIXTEEN_BIT_MODES:
        return image
    values = np.asarray(image).astype(np.float32)
    # 16-bit files use the whole range. In a 32-bit mode, values up to 255 mean an 8-bit image, and floats up to 1 mean
    # values from 0 to 1.
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
