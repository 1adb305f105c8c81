"""Decodes an image file to upright RGB pixels in sRGB. Checks sizes before it decodes anything large."""

import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sameface.errors import ImageTooLarge, ImageUndecodable, ServerBusy
from sameface.vision.depth import DEEP_MODES, check_colours, check_inks, eight_bit, white_of
from sameface.vision.formats import FORMATS, name_of_format, not_read, refused
from sameface.vision.ifd import orientation
from sameface.vision.jpeg import plain_jpeg
from sameface.vision.light import in_srgb
from sameface.vision.limits import ImageLimits
from sameface.vision.opening import Opened, open_jpeg, open_photo
from sameface.vision.pixels import Pixels
from sameface.vision.profiles import converted, from_lab, mode_of_profile
from sameface.vision.small_jpeg import small_pixels
from sameface.vision.work import PhotoWork, WorkStopped

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WITH_ALPHA = ("RGBA", "LA")
RETRY_AFTER_S = 1.0
"""Seconds until memory may be free again: the largest allowed photos take about one."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded photo, possibly reduced. ``scale`` is its size relative to the original, at most 1."""

    pixels: Pixels
    original_width: int
    original_height: int
    scale: float


def decode_image(
    content: bytes,
    limits: ImageLimits,
    work: PhotoWork | None = None,
    enough: int | None = None,
    *,
    for_faces: bool = True,
) -> DecodedImage:
    """Decode one image file: first frame, upright by its EXIF or container, sRGB, transparency over white.

    A large JPEG is decoded at an eighth, a quarter or half of its size if that is large enough. Another thread can stop
    the decoding through ``work``.

    A JPEG above ``limits.max_side`` is decoded at the smallest of these scales whose longest side is at least
    ``enough`` pixels, if that is given.

    With ``for_faces``, an image of too few colours to recognise a face is refused. A drawing may have two.

    Raises:
        ImageTooLarge: the file has too many bytes, pixels, scans or segments (found before decoding), or needs too much
            processor time.
        ImageUndecodable: the file is not a complete image of a supported format and layout. The message names the
            format.
        ServerBusy: there is not enough memory at the moment.
        WorkStopped: ``work`` was stopped.
    """
    limits.check_bytes(len(content))
    if not content:
        raise ImageUndecodable(f"the image has 0 bytes; expected a complete file of {', '.join(FORMATS)}")
    work = work or PhotoWork(limits.max_cpu_s)
    work.check()
    name = name_of_format(content)
    if name not in FORMATS:
        raise not_read(name)
    try:
        jpeg = plain_jpeg(content, work) if name == "JPEG" else None
        small = None if jpeg is None else small_pixels(jpeg, limits)
        if jpeg is not None and small is not None:
            work.check()
            return _whole(small, orientation(jpeg.exif, jpeg.xmp))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            photo = (
                open_photo(content, name, limits, work)
                if jpeg is None
                else open_jpeg(jpeg, len(content), limits, work, enough)
            )
            if for_faces:
                check_colours(photo.image, name)
            return _decode(photo, name, limits, work)
    except (ImageTooLarge, ImageUndecodable, WorkStopped):
        raise
    except MemoryError:
        # The sizes were checked before, so it is not the photo's fault.
        raise ServerBusy(
            f"the server has not enough memory at the moment to decode the {name} image; wait and repeat the call",
            metadata={"format": name, "bytes": len(content)},
            retry_after_s=RETRY_AFTER_S,
        ) from None
    except Exception as error:
        # Decoders raise many types of errors for broken files: OSError, SyntaxError, struct.error, ValueError, …
        raise ImageUndecodable(
            f"the {name} image is truncated or broken ({type(error).__name__}); send the complete file, or an 8-bit "
            "sRGB JPEG or PNG",
            metadata={"format": name, "bytes": len(content)},
        ) from None


def _whole(pixels: Pixels, place: int) -> DecodedImage:
    """Return an image at its full size, upright by its EXIF orientation."""
    if place in _TURNS:
        pixels = np.asarray(Image.fromarray(pixels).transpose(_TURNS[place]))
    return DecodedImage(pixels, pixels.shape[1], pixels.shape[0], scale=1.0)


def _decode(photo: Opened, name: str, limits: ImageLimits, work: PhotoWork) -> DecodedImage:
    width, height = photo.width, photo.height
    longest = max(width, height)
    image = photo.image
    white = white_of(image, name) if image.mode in DEEP_MODES else None
    if image.mode in ("P", "PA", "1"):
        # Neighbouring places of a palette are no similar colours.
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode in _WITH_ALPHA:
        image = _without_needless_alpha(image, name)
    if max(image.size) > limits.max_side:
        # Reduce before converting, so that the large image is never copied to another mode.
        shrink = limits.max_side / max(image.size)
        size = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
        image = image.resize(size, Image.Resampling.BOX)
    work.check()
    if white is not None:
        image = eight_bit(image, white)
    image = _over_white(image, photo, name)
    if photo.orientation in _TURNS:
        image = image.transpose(_TURNS[photo.orientation])
    if photo.orientation in range(5, 9):
        width, height = height, width
    pixels = np.asarray(image)
    work.check()
    return DecodedImage(pixels, width, height, scale=max(pixels.shape[:2]) / longest)


def _without_needless_alpha(image: Image.Image, name: str) -> Image.Image:
    """Return the image without its alpha channel if that is the same everywhere.

    Writers that know no transparency leave zeros where it belongs.
    """
    least, most = image.getchannel("A").getextrema()
    if least != most:
        return image
    opaque = image.convert("RGB") if image.mode == "RGBA" else image.getchannel("L")
    if most == 0 and all(band.getextrema()[0] == band.getextrema()[1] for band in opaque.split()):
        raise refused(name, "is transparent everywhere")
    return opaque


def _over_white(image: Image.Image, photo: Opened, name: str) -> Image.Image:
    """Return the reduced image as RGB in sRGB, its transparency over white."""
    if image.mode not in _WITH_ALPHA and "transparency" not in image.info:
        return _srgb(image, photo, name)
    rgba = image.convert("RGBA")
    colours = _srgb(rgba.convert("RGB"), photo, name)
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(colours, mask=rgba.getchannel("A"))
    return white


def _srgb(image: Image.Image, photo: Opened, name: str) -> Image.Image:
    mode = mode_of_profile(photo.profile)
    if photo.profile is not None and mode is not None:
        source = image.convert("RGB") if mode == "RGB" and image.mode in ("L", "YCbCr") else image
        if source.mode == mode and (result := converted(source, photo.profile)) is not None:
            return result
    if image.mode == "CMYK":
        check_inks(image, name)
    if image.mode == "LAB":
        return from_lab(image)
    return in_srgb(image if image.mode == "RGB" else image.convert("RGB"), photo.light)
