"""PNG files."""

import zlib
from collections.abc import Iterator

import numpy as np
from PIL import PngImagePlugin

from tests.vision import writers
from tests.vision.writers import in_space, profile, with_chunks
from tools.odd_photos.portrait import GREY, GREYS, NEGATIVE, PIXELS, PLAIN, READ, SMALL, Entry, eight, saved


def pngs() -> Iterator[Entry]:
    """PNG: depths, palettes, transparency, metadata, and ends."""
    plain = saved(PLAIN, "PNG", optimize=True)
    alpha = np.full(GREYS.shape, 255, np.uint8)
    yield "plain.png", READ, plain
    yield "rgb-16.png", READ, writers.png(PIXELS.astype(np.uint16) * 257, 16, 2)
    yield "rgb-12-in-16.png", "no value above", writers.png(SMALL.astype(np.uint16) * 16, 16, 2)
    for bits in (8, 10, 12, 14, 16):
        deep = (GREYS.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
        yield f"grey-{bits}-in-16.png", GREY, writers.png(deep, 16, 0)
    for bits in (1, 2, 4):
        coarse = (GREYS.astype(np.uint16) * ((1 << bits) - 1) + 127) // 255
        yield f"grey-{bits}.png", "greys, too few", writers.png(coarse.astype(np.uint8), bits, 0)
    yield "grey-alpha.png", GREY, writers.png(np.dstack([GREYS, alpha]), 8, 4)
    yield "alpha-all-zero.png", READ, writers.png(np.dstack([PIXELS, alpha * 0]), 8, 6)
    yield "palette-256.png", READ, saved(PLAIN.quantize(256), "PNG")
    yield "palette-16.png", "colours, too few", saved(PLAIN.quantize(16), "PNG")
    yield "palette-alpha.png", READ, saved(PLAIN.quantize(255), "PNG", transparency=255)
    yield "animated.png", READ, saved(PLAIN, "PNG", save_all=True, append_images=[NEGATIVE.resize((40, 40))])
    long = PngImagePlugin.PngInfo()
    long.add_text("Comment", "A photo. " * 1_000_000, zip=True)
    yield "text-of-9-mb.png", READ, saved(PLAIN, "PNG", pnginfo=long)
    wide = eight(in_space(PIXELS, "display-p3"))
    large = zlib.compress(profile("display-p3", padding=3_000_000), 9)
    yield "profile-of-3-mb.png", READ, with_chunks(saved(wide, "PNG"), (b"iCCP", b"wide\0\0" + large))
    yield "no-end.png", READ, plain[:-12]
    yield "no-checksum.png", READ, plain[:-14]
    yield "truncated.png", "truncated", plain[: len(plain) * 7 // 10]
    yield "apple.png", "Apple CgBI PNG", plain[:8] + writers.chunk(b"CgBI", b"\x50\0\x20\x06") + plain[8:]
    yield "as-text.png", "damaged by a transfer as text", plain.replace(b"\r\n", b"\n")
