"""TIFF files."""

from collections.abc import Iterator

import numpy as np
from PIL import ImageCms

from tests.vision.writers import tiff
from tools.odd_photos.portrait import GREY, GREYS, NEGATIVE, PIXELS, PLAIN, READ, SMALL, Entry, saved


def tiffs() -> Iterator[Entry]:
    """TIFF: numbers, photometric interpretations, and arrangements."""
    deep = PIXELS.astype(np.uint16) * 257
    grey = GREYS / 255
    yield "rgb.tiff", READ, tiff(PIXELS, 2)
    yield "rgb-big-endian.tiff", READ, tiff(PIXELS, 2, order=">")
    yield "rgb-16-big-endian.tiff", READ, tiff(deep, 2, order=">")
    yield "rgb-12-in-16.tiff", "no value above", tiff(SMALL.astype(np.uint16) * 16, 2)
    yield "rgb-16-planar.tiff", READ, tiff(deep, 2, planar=True)
    yield "rgb-tiled.tiff", READ, tiff(PIXELS, 2, tile=(48, 64))
    yield "rgb-strips.tiff", READ, tiff(PIXELS, 2, rows=5)
    yield "rgb-bigtiff.tiff", READ, tiff(PIXELS, 2, big=True)
    yield "rgb-bigtiff-big-endian.tiff", "big-endian BigTIFF", tiff(SMALL, 2, big=True, order=">")
    yield "rgb-float.tiff", "pixels that are not read", tiff((SMALL / 255).astype(np.float32), 2)
    yield "min-is-white.tiff", GREY, tiff(255 - GREYS, 0)
    yield "min-is-white-16.tiff", "white as 0", tiff(65535 - GREYS.astype(np.uint16) * 257, 0)
    for bits in (10, 12, 16):
        values = (GREYS.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
        yield f"grey-{bits}-in-16.tiff", GREY, tiff(values, 1)
    yield "signed-16.tiff", GREY, tiff(GREYS.astype(np.int16) * 128, 1)
    yield "signed-16-negative.tiff", "values from -", tiff((GREYS.astype(np.int32) * 257 - 32768).astype(np.int16), 1)
    yield "signed-8.tiff", "pixels that are not read", tiff((GREYS.astype(np.int16) - 128).astype(np.int8), 1)
    yield "unsigned-32.tiff", GREY, tiff(GREYS.astype(np.uint32), 1)
    yield "unsigned-32-full.tiff", "values from -", tiff(GREYS.astype(np.uint32) * 16843009, 1)
    for name, top in (("1", 1), ("255", 255), ("65535", 65535)):
        yield f"float-to-{name}.tiff", GREY, tiff((grey * top).astype(np.float32), 1)
    yield "float-hdr.tiff", "values from 0", tiff((grey * 8).astype(np.float32), 1)
    yield "float-big-endian.tiff", "float, big-endian", tiff((grey * 255).astype(np.float32)[::3, ::3], 1, order=">")
    yield "float-nan.tiff", "not finite", tiff(np.where(grey > 0.99, np.nan, grey).astype(np.float32), 1)
    yield "float-signed.tiff", "values from -", tiff((grey * 2 - 1).astype(np.float32), 1)
    yield "float-64.tiff", "pixels that are not read", tiff(grey, 1)
    yield "cmyk.tiff", READ, tiff(np.asarray(PLAIN.convert("CMYK")), 5)
    yield "ycbcr.tiff", READ, tiff(np.asarray(PLAIN.convert("YCbCr")), 6, deflate=False, tags={530: (3, [1, 1])})
    spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(PLAIN, *spaces, outputMode="LAB")
    yield "lab.tiff", READ, saved(lab, "TIFF", compression="tiff_adobe_deflate")
    yield "extra-sample.tiff", READ, tiff(np.dstack([PIXELS, GREYS]), 2)
    yield "transparent.tiff", "transparent everywhere", tiff(np.zeros((64, 64, 4), np.uint8), 2, tags={338: (3, [1])})
    pages = saved(PLAIN, "TIFF", save_all=True, append_images=[NEGATIVE.resize((40, 40))], compression="tiff_lzw")
    yield "two-pages.tiff", READ, pages
    yield "thumbnail-first.tiff", "begins with a thumbnail", tiff(SMALL, 2, tags={254: (4, [1])})
    yield "jpeg.tiff", "compression jpeg", saved(PLAIN, "TIFF", compression="jpeg")
    yield "bilevel.tiff", "greys, too few", saved(PLAIN.convert("1"), "TIFF")
    yield "fax.tiff", "compression group4", saved(PLAIN.convert("1"), "TIFF", compression="group4")
    yield "truncated.tiff", "truncated", tiff(PIXELS[:40], 2, deflate=False, rows=8)[:9_000]
