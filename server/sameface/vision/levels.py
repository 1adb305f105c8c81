"""Converts pixels of more than 8 bits to 8: which value is white."""

import numpy as np
from PIL import Image

from sameface.vision.formats import refused

DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
# What white is in integers: 8, 10, 12, 14, 16, 31 and 32 bits.
_WHITES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0, 2.0**31 - 1)
_FLOAT_WHITES = (1.0, 255.0, 65535.0)


def white_of(image: Image.Image, name: str) -> float:
    """Return the value of white in an image of one of `DEEP_MODES`.

    Integers may use 8, 10, 12, 14, 16 or 31 bits, fractions range to 1, 255 or 65535.

    Raises:
        ImageUndecodable: the values are in no known range.
    """
    if image.mode == "F":
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise refused(name, "has values that are not finite", mode=image.mode)
        least, most = float(values.min()), float(values.max())
        # A filter that sharpens writes a little more than white.
        white = next((one for one in _FLOAT_WHITES if most <= one * 1.1), None)
        if 1.1 < most < 32:
            white = None
    else:
        extremes = np.asarray(image)
        least, most = float(extremes.min()), float(extremes.max())
        white = next((one for one in _WHITES if most <= one), None)
    if white is None or least < -0.1 * white:
        raise refused(
            name,
            f"has values from {least:.6g} to {most:.6g}; expected 0 to 1, or 0 to the most of 8, 10, 12, 14 or 16 bits",
            mode=image.mode,
        )
    return white


def eight_bit(image: Image.Image, white: float) -> Image.Image:
    """Return an image of one of `DEEP_MODES` as 8-bit grey."""
    values = np.asarray(image).astype(np.float32)
    return Image.fromarray((values * (255.0 / white) + 0.5).clip(0, 255).astype(np.uint8))
