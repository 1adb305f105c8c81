"""Bytes of an image file to RGB pixels, with every limit checked before anything large is decoded."""

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
# What libtiff decodes in time that is linear in pixels. A JPEG inside a TIFF may have a hundred scans.
TIFF_COMPRESSIONS = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate")
LARGEST_EXIF = 1 << 20
"""Bytes of EXIF that are parsed; in a JPEG it has at most 64 KiB."""
READ_SIZE = 1 << 14
"""Bytes that a decoder is given at a time: between two pieces its work can be ended."""
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "F")

# The limits below are ours and stricter; Pillow's own guard would only turn them into warnings.
Image.MAX_IMAGE_PIXELS = None
# libtiff also reads files without compression: Pillow would make a Python object of every strip, of which a file may
# have millions.
TiffImagePlugin.READ_LIBTIFF = True


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a photo may be."""

    max_bytes: Annotated[int, Ge(1)] = 16 << 20
    max_pixels: Annotated[int, Ge(1)] = 50_000_000
    """Width times height of a JPEG, which is decoded at a reduced size."""
    max_pixels_whole: Annotated[int, Ge(1)] = 25_000_000
    """Width times height of a file of another format, which has to be decoded whole."""
    max_scan_pixels: Annotated[int, Ge(1)] = 1_000_000_000
    """Width times height times the number of scans of a JPEG: 20 scans at 50 megapixels. It has at most 100 scans."""
    max_cpu_s: Annotated[float, Gt(0)] = 5.0
    """Seconds of processor time that decoding one photo may take; the largest that are allowed take about one."""
    max_side: Annotated[int, Ge(112)] = 1600
    """Photos are reduced so that their longer side is at most this: enough for a 112×112 crop of a small face."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels that may be smaller than the photo: ``scale`` is pixels here per pixel of the photo, at most 1."""

    pixels: Pixels
    original_width: int
    original_height: int
    scale: float


def decode_image(content: bytes, limits: ImageLimits, work: PhotoWork | None = None) -> DecodedImage:
    """Decode one image file: EXIF orientation applied, first frame, RGB, transparency over white.

    A large JPEG is decoded at an eighth, a quarter or half of its size where that is still large enough. ``work`` lets
    another thread end the decoding; without it only the limits do.

    Raises:
        ImageTooLarge: more bytes, pixels, scans or segments than allowed, found before decoding; or more processor time
            than allowed.
        ImageUndecodable: not a whole image of a supported format.
        WorkStopped: ``work`` was stopped.
    """
    if len(content) > limits.max_bytes:
        raise ImageTooLarge(
            f"the image has {len(content)} bytes; at most {limits.max_bytes} are allowed",
            metadata={"bytes": len(content), "limit": limits.max_bytes},
        )
    if not content:
        raise ImageUndecodable(f"the image has 0 bytes; expected a whole file of {', '.join(FORMATS)}")
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
            f"{len(content)} bytes are not an image of a supported format; expected {', '.join(FORMATS)}",
            metadata={"bytes": len(content)},
        ) from None
    except Exception as error:
        # Decoders of broken files raise nearly anything: OSError, SyntaxError, struct.error, ValueError, …
        raise ImageUndecodable(
            f"the image is truncated or broken ({type(error).__name__}); expected a whole file of {', '.join(FORMATS)}",
            metadata={"bytes": len(content)},
        ) from None


def _decode(image: ImageFile.ImageFile, scans: int, limits: ImageLimits, work: PhotoWork) -> DecodedImage:
    width, height = image.size
    _check_limits(image, scans, limits)
    longest = max(width, height)
    if longest > limits.max_side:
        # JPEG only: decode at the smallest of 1/8, 1/4, 1/2 that is not below the size wanted.
        wanted = limits.max_side / longest
        image.draft("RGB", (max(1, int(width * wanted)), max(1, int(height * wanted))))
    image.decodermaxblock = READ_SIZE
    image.seek(0)
    image.load()
    work.check()
    orientation = _orientation(image)
    reduced: Image.Image = image
    if max(image.size) > limits.max_side:
        # Shrink before converting: the large copy is then made once, in the file's own mode.
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
            f"the TIFF image is compressed by {image.info.get('compression')}; expected {', '.join(TIFF_COMPRESSIONS)}",
            metadata={"compression": image.info.get("compression")},
        )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none or it cannot be read."""
    if len(image.info.get("exif", b"")) > LARGEST_EXIF:
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # Cameras write EXIF that no parser agrees with; the picture is good without it.
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    # `exif_transpose` also writes the rest of the EXIF again, which fails for much that cameras write. So it gets an
    # image that has the orientation alone.
    image.info.clear()
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(image)


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
