"""Opens a photo of each format: checks it before decoding, decodes it, and keeps what its look depends on."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from sameface.errors import ImageUndecodable
from sameface.vision.formats import refused
from sameface.vision.heif import open_heic, read_container
from sameface.vision.ifd import orientation
from sameface.vision.jpeg import PlainJpeg
from sameface.vision.light import Light
from sameface.vision.limits import ImageLimits
from sameface.vision.png import plain_png
from sameface.vision.tiff import check_tiff
from sameface.vision.work import PhotoFile, PhotoWork

READ_SIZE = 1 << 14
"""Bytes that a decoder reads at a time. Its work can be stopped between two reads."""
JPEG_READ_SIZE = 1 << 16
"""The same for a JPEG. libjpeg's fast path ends 3 KiB before the end of a piece, so small pieces cost 10 % more time.

A block takes two bits at least, so a piece holds at most 17 megapixels.
"""
DARKEST_WHITE = 64
"""An image of 16 bits in several channels is refused if its brightest value is below a quarter of the range."""

# Our limits are stricter than Pillow's, which would only add warnings.
Image.MAX_IMAGE_PIXELS = None
# Read uncompressed files with libtiff too: Pillow would create a Python object for each strip, and a file may have
# millions of strips.
TiffImagePlugin.READ_LIBTIFF = True


@dataclass(frozen=True, slots=True)
class Opened:
    """A decoded photo, before it is reduced, turned and brought to sRGB."""

    image: Image.Image
    width: int
    """Pixels as stored; more than the image has if that was decoded at a reduced scale."""
    height: int
    orientation: int = 1
    profile: bytes | None = None
    light: Light = field(default_factory=Light)


def open_photo(content: bytes, name: str, limits: ImageLimits, work: PhotoWork) -> Opened:
    """Decode a photo of one of `sameface.vision.formats.FORMATS`, but a JPEG (see `open_jpeg`).

    Raises:
        ImageTooLarge, ImageUndecodable, WorkStopped: see `sameface.vision.decode_image`.
        Exception: the file is broken. Decoders raise many types of errors: OSError, SyntaxError, struct.error, …
    """
    return _OPENERS[name](content, limits, work)


def open_jpeg(jpeg: PlainJpeg, size: int, limits: ImageLimits, work: PhotoWork, enough: int | None = None) -> Opened:
    """Decode a JPEG without metadata. ``size`` is that of the file in bytes. See `open_photo`.

    ``enough``: see `sameface.vision.decode_image`.
    """
    image, width, height = _decoded_jpeg(jpeg, jpeg.content, limits, work, enough)
    doubtful = not (jpeg.ended and jpeg.complete) or _ends_in_grey(image)
    if not jpeg.in_colour or (doubtful and not _is_whole(image, jpeg, limits, work, enough)):
        raise ImageUndecodable(
            "the JPEG image is truncated or broken: its last rows or colours are missing; send the complete file",
            metadata={"format": "JPEG", "bytes": size},
        )
    if image.mode == "CMYK" and not jpeg.adobe:
        raise refused("JPEG", "has four inks without Adobe's marker, which says whether they are inverted", mode="CMYK")
    return Opened(image, width, height, orientation(jpeg.exif, jpeg.xmp), jpeg.profile)


def _decoded_jpeg(
    jpeg: PlainJpeg, content: bytes, limits: ImageLimits, work: PhotoWork, enough: int | None
) -> tuple[ImageFile.ImageFile, int, int]:
    with Image.open(PhotoFile(content, work, cuts=jpeg.scans), formats=("JPEG",)) as image:
        width, height = image.size
        limits.check_pixels("JPEG", width, height)
        limits.check_scans(len(jpeg.scans), width, height)
        longest = max(width, height)
        if longest > limits.max_side:
            # Decode at the smallest of 1/8, 1/4, 1/2 that is not below the wanted size.
            wanted = min(enough or limits.max_side, limits.max_side) / longest
            image.draft("RGB", (max(1, int(width * wanted)), max(1, int(height * wanted))))
        _load(image, work, JPEG_READ_SIZE)
        return image, width, height


def _ends_in_grey(image: Image.Image) -> bool:
    # libjpeg fills the rows that it has no data for with the middle of the range.
    last = image.getpixel((image.width - 1, image.height - 1))
    return all(value in (127, 128) for value in (last if isinstance(last, tuple) else (last,)))


def _is_whole(image: Image.Image, jpeg: PlainJpeg, limits: ImageLimits, work: PhotoWork, enough: int | None) -> bool:
    """Return whether more data would change nothing: then every row was there."""
    if not (jpeg.ended or jpeg.complete):
        return False
    prolonged, _, _ = _decoded_jpeg(jpeg, jpeg.prolonged(), limits, work, enough)
    return bool(np.array_equal(np.asarray(image), np.asarray(prolonged)))


def _png(content: bytes, limits: ImageLimits, work: PhotoWork) -> Opened:
    png = plain_png(content, work)
    image = _decoded(png.content, "PNG", limits, work)
    if png.bits == 16:
        _check_deep(image, "PNG")
    light = Light.named(*png.code_points) if png.code_points else Light.of_gamma(png.gamma, png.chromaticities)
    return Opened(image, *image.size, orientation(png.exif, png.xmp), png.profile, light)


def _tiff(content: bytes, limits: ImageLimits, work: PhotoWork) -> Opened:
    directory = check_tiff(content)
    image = _decoded(content, "TIFF", limits, work)
    if directory.one(258, 1) == 16:
        _check_deep(image, "TIFF")
    if image.mode in ("I;16", "I;16B", "F", "I") and directory.one(262, 1) == 0:
        raise refused("TIFF", "has more than 8 bits with white as 0", mode=image.mode)
    # Pillow has turned it.
    return Opened(image, *image.size, profile=image.info.get("icc_profile"))


def _webp(content: bytes, limits: ImageLimits, work: PhotoWork) -> Opened:
    if content[12:16] == b"VP8X":
        # The canvas is allocated when the file is opened.
        width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (24, 27))
        limits.check_pixels("WebP", width, height)
    image = _decoded(content, "WebP", limits, work)
    place = orientation(image.info.get("exif"), image.info.get("xmp"))
    return Opened(image, *image.size, place, image.info.get("icc_profile"))


def _avif(content: bytes, limits: ImageLimits, work: PhotoWork) -> Opened:
    container = read_container(content, limits)
    if container and container.codec == "HEVC":
        return _heic(content, limits, work)
    image = _decoded(content, "AVIF", limits, work)
    # Pillow writes the container's rotation into the EXIF.
    light = Light.named(*container.code_points) if container and container.code_points else Light()
    return Opened(image, *image.size, orientation(image.info.get("exif")), image.info.get("icc_profile"), light)


def _heic(content: bytes, limits: ImageLimits, work: PhotoWork) -> Opened:
    container = read_container(content, limits)
    if container is None:
        raise refused("HEIC", "has no primary image: it is a sequence, or incomplete")
    if container.codec == "AV1":
        return _avif(content, limits, work)
    work.check()
    image = open_heic(content, limits)
    work.check()
    light = Light.named(*container.code_points) if container.code_points else Light()
    return Opened(image, *image.size, profile=image.info.get("icc_profile"), light=light)


def _other(name: str) -> Callable[[bytes, ImageLimits, PhotoWork], Opened]:
    def opened(content: bytes, limits: ImageLimits, work: PhotoWork) -> Opened:
        image = _decoded(content, name, limits, work)
        return Opened(image, *image.size)

    return opened


_OPENERS = {
    "PNG": _png,
    "TIFF": _tiff,
    "WebP": _webp,
    "AVIF": _avif,
    "HEIC": _heic,
    "BMP": _other("BMP"),
    "GIF": _other("GIF"),
}


def _decoded(content: bytes, name: str, limits: ImageLimits, work: PhotoWork) -> ImageFile.ImageFile:
    with Image.open(PhotoFile(content, work), formats=(name,)) as image:
        limits.check_pixels(name, *image.size)
        image.seek(0)
        _load(image, work)
        return image


def _load(image: ImageFile.ImageFile, work: PhotoWork, read_size: int = READ_SIZE) -> None:
    image.decodermaxblock = read_size
    image.load()
    work.check()


def _check_deep(image: Image.Image, name: str) -> None:
    """Refuse an image of 16 bits whose values end far below white: reduced to 8 bits, nothing is left of it."""
    if image.mode in ("RGB", "RGBA", "LA"):
        colours = image.getbands()[: 1 if image.mode == "LA" else 3]
        brightest = int(np.asarray(image)[:, :, : len(colours)].max())
        if brightest < DARKEST_WHITE:
            raise refused(name, f"has 16 bits a sample and no value above {brightest * 256 + 255}", mode=image.mode)
