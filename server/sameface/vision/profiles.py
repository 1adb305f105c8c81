"""ICC profiles (ISO 15076-1): which ones are used, and the conversion of an image to sRGB by one."""

import io
from functools import cache, lru_cache
from typing import Any

from PIL import Image, ImageCms

LARGEST_PROFILE = 4 << 20
"""A longer profile is not used, in bytes. Those of screens have about 1 KiB, those of printers up to 3 MiB."""

# Display, input, output, and conversion between colour spaces.
_CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
# The colour space in a profile's header, and the mode of the images it describes.
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK", b"Lab ": "LAB"}


def mode_of_profile(profile: bytes | None) -> str | None:
    """Return the mode of the images that a profile describes, or None if it is not used."""
    if profile is None or not 132 <= len(profile) <= LARGEST_PROFILE or profile[12:16] not in _CLASSES:
        return None
    return _MODES.get(profile[16:20])


def converted(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Return an image of the profile's mode in sRGB, or None if the profile is broken.

    Raises:
        MemoryError: there is not enough memory.
    """
    try:
        transform = _transform(profile, image.mode)
        return image if transform is None else ImageCms.applyTransform(image, transform)
    except MemoryError:
        raise
    except Exception:
        # A photo with a broken profile is shown without it by everybody.
        return None


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    """Return the transform of a profile, or None if it leaves every colour as it is."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB", intent, flags)
    if mode != "RGB":
        return transform
    steps = Image.linear_gradient("L").resize((16, 16))
    colours = Image.merge("RGB", (steps, steps.rotate(90), steps.rotate(180)))
    changed = ImageCms.applyTransform(colours, transform)
    assert changed is not None
    largest = max(abs(a - b) for a, b in zip(colours.tobytes(), changed.tobytes(), strict=True))
    return transform if largest > 2 else None


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def from_lab(image: Image.Image) -> Image.Image:
    """Return a CIELab image (of a TIFF) in sRGB."""
    result = ImageCms.applyTransform(image, _lab())
    assert result is not None
    return result


@cache
def _lab() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
