"""Files of other colour spaces."""

import struct
from collections.abc import Iterator

import numpy as np

from tests.vision import writers
from tests.vision.writers import in_space, light, profile, tiff, with_chunks
from tools.odd_photos.portrait import GREY, GREYS, PIXELS, PLAIN, READ, Entry, eight, jpeg, saved


def colours() -> Iterator[Entry]:
    """Colour spaces, by profile and by name."""
    for space in ("display-p3", "adobe-rgb", "prophoto", "rec2020", "linear", "channels-swapped"):
        wide = eight(in_space(PIXELS, space))
        yield f"{space}.jpg", READ, jpeg(wide, icc_profile=profile(space))
        if space in ("prophoto", "channels-swapped"):
            yield f"{space}.png", READ, saved(wide, "PNG", icc_profile=profile(space))
            yield f"{space}.webp", READ, saved(wide, "WEBP", lossless=True, icc_profile=profile(space))
            yield f"{space}.tiff", READ, saved(wide, "TIFF", compression="tiff_lzw", icc_profile=profile(space))
            yield f"{space}.avif", READ, saved(wide, "AVIF", quality=95, icc_profile=profile(space))
    dark = eight(light(GREYS[:, :, 0]))
    yield "grey-linear.png", GREY, saved(dark, "PNG", icc_profile=profile("linear", grey=True))
    yield "grey-profile-on-rgb.png", READ, saved(PLAIN, "PNG", icc_profile=profile("linear", grey=True))
    yield "broken-profile.png", READ, saved(PLAIN, "PNG", icc_profile=profile("rec2020")[:200])
    yield "no-profile.jpg", READ, jpeg(icc_profile=b"not a profile " * 20)
    plain = saved(PLAIN, "PNG")
    for gamma in (0.3, 1.0):
        stored = saved(eight(light(PIXELS) ** gamma), "PNG")
        yield f"gamma-{gamma}.png", READ, with_chunks(stored, (b"gAMA", struct.pack(">I", round(gamma * 100_000))))
    yield "gamma-0.png", READ, with_chunks(plain, (b"gAMA", bytes(4)))
    root = with_chunks(saved(eight(in_space(PIXELS, "rec2020") ** (2.4 * 0.45455)), "PNG"), *named_by_points("rec2020"))
    yield "chromaticities.png", READ, root
    for name, code in (("pq", 16), ("hlg", 18), ("linear", 8)):
        values = transferred(in_space(PIXELS, "rec2020") ** 2.4, code)
        yield f"cicp-{name}.png", READ, with_chunks(saved(eight(values), "PNG"), (b"cICP", bytes([9, code, 0, 1])))
    inks = np.dstack([np.full(PIXELS.shape, 90, np.uint8), 255 - GREYS])
    yield "press-without-profile.tiff", "four inks of a press", tiff(inks, 5)


def named_by_points(space: str) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """The chunks gAMA and cHRM."""
    points = b"".join(struct.pack(">II", round(x * 100_000), round(y * 100_000)) for x, y in writers.SPACES[space][0])
    return (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", points)


def transferred(linear: np.ndarray, code: int) -> np.ndarray:
    """Light as ITU-T H.273 stores it: linear, PQ with white at 203 cd/m², HLG with white at 75 % of the signal."""
    if code == 16:
        power = (linear * 203 / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    if code == 18:
        scene = linear ** (1 / 1.2) * 0.265
        above = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), above)
    return linear
