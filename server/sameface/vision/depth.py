"""How many values a pixel may have: converts more than 8 bits to 8, and refuses what is too coarse for a face."""

import numpy as np
from PIL import Image

from sameface.vision.formats import refused

DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
# What white is in integers. Signed ones and some editors use 15 bits, up to 32768.
_WHITES = (255.0, 1023.0, 4095.0, 16383.0, 32768.0, 65535.0, 2.0**31 - 1)
_FLOAT_WHITES = (1.0, 255.0, 65535.0)
LEAST_OF_WHITE = 1 / 8
"""The brightest value has at least this share of white. If it is darker, white is something else, and the picture would
be black."""
SMALLEST_FACE = 48
"""A picture with a shorter side holds no face that the quality gate accepts, in pixels."""
LEAST_GREYS, LEAST_COLOURS, LEAST_COLOURS_SMALL = 17, 49, 100
OVERPRINTED = 24
LARGE = 600
"""Longest side of a picture from which `LEAST_COLOURS` are enough, in pixels."""


def white_of(image: Image.Image, name: str) -> float:
    """Return the value of white in an image of one of `DEEP_MODES`.

    Integers may use 8, 10, 12, 14, 15, 16 or 31 bits, fractions range to 1, 255 or 65535.

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
        expected = "0 to 1, 255 or 65535"
    else:
        extremes = np.asarray(image)
        least, most = float(extremes.min()), float(extremes.max())
        white = next((one for one in _WHITES if most <= one), None)
        expected = "0 to the most of 8, 10, 12, 14, 15, 16 or 31 bits"
    if white is None or least < -0.1 * white or most < LEAST_OF_WHITE * white:
        raise refused(
            name,
            f"has values from {least:.6g} to {most:.6g}, so it is unclear what white is; expected {expected}",
            mode=image.mode,
        )
    return white


def eight_bit(image: Image.Image, white: float) -> Image.Image:
    """Return an image of one of `DEEP_MODES` as 8-bit grey."""
    values = np.asarray(image).astype(np.float32)
    return Image.fromarray((values * (255.0 / white) + 0.5).clip(0, 255).astype(np.uint8))


def check_colours(image: Image.Image, name: str) -> None:
    """Refuse a photo with a palette, or of a few greys, that is too coarse.

    Measured on six portraits of 110 to 320 pixels, cosine to the same photo in full colour: 16 colours 0.82 to 0.94, 48
    colours 0.91 to 0.98, a fixed palette of which 56 to 80 colours are used 0.89 to 0.98, 64 best colours 0.94 to 0.98,
    16 greys 0.90 to 0.98, 32 greys 0.98 and more. A palette matters less where the face is larger. Pictures too small
    for a face, and those of one colour, pass: nothing is found in them.

    Raises:
        ImageUndecodable: the image has too few colours.
    """
    if image.mode not in ("1", "L", "P", "PA") or min(image.size) < SMALLEST_FACE:
        return
    used = sum(1 for count in image.getchannel(0).histogram()[:256] if count)
    if image.mode in ("1", "L"):
        least = LEAST_GREYS
    else:
        least = LEAST_COLOURS if max(image.size) >= LARGE else LEAST_COLOURS_SMALL
    if 1 < used < least:
        raise refused(
            name,
            f"has only {used} {'greys' if image.mode in ('1', 'L') else 'colours'}, too few to recognise a face; "
            f"expected at least {least}",
            mode=image.mode,
            colours=used,
        )


def check_inks(image: Image.Image, name: str) -> None:
    """Refuse a CMYK image without a profile that was separated for a press.

    Plain formulas put black in place of equal parts of the other inks. A press prints all four on top of each other,
    and only its profile says which colour that gives.

    Raises:
        ImageUndecodable: in more than one pixel of a hundred, black lies over all other inks.
    """
    inks = np.asarray(image)
    overprinted = (inks > OVERPRINTED).all(axis=2)
    if overprinted.mean() > 0.01:
        raise refused(name, "has the four inks of a press and no usable colour profile", mode="CMYK")
