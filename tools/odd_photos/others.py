"""BMP, GIF, WebP and AVIF files, and files with orientation tags."""

import struct
from collections.abc import Iterator

import numpy as np
from PIL import PngImagePlugin

from tests.vision.writers import exif, tiff, xmp
from tools.odd_photos.portrait import GREYS, NEGATIVE, PIXELS, PLAIN, READ, UNDO, Entry, jpeg, saved


def others() -> Iterator[Entry]:
    """BMP, GIF, WebP and AVIF."""
    bmp = saved(PLAIN, "BMP")
    yield "24.bmp", READ, bmp
    yield "32-without-alpha.bmp", READ, bitmap(32)
    yield "16.bmp", READ, bitmap(16)
    yield "top-down.bmp", READ, bitmap(24)
    yield "truncated.bmp", "truncated", bmp[: len(bmp) // 2]
    yield "plain.gif", READ, saved(PLAIN.quantize(256), "GIF")
    yield "transparent.gif", READ, saved(PLAIN.quantize(255), "GIF", transparency=255)
    animation = [NEGATIVE.resize(PLAIN.size).quantize(4)]
    animated = saved(PLAIN.quantize(256), "GIF", save_all=True, append_images=animation)
    yield "animated.gif", READ, animated
    yield "no-trailer.gif", READ, saved(PLAIN.quantize(256), "GIF")[:-1]
    yield "16-colours.gif", "colours, too few", saved(PLAIN.quantize(16), "GIF")
    lossy = saved(PLAIN, "WEBP", quality=95)
    yield "lossy.webp", READ, lossy
    yield "lossless.webp", READ, saved(PLAIN, "WEBP", lossless=True)
    yield "alpha.webp", READ, saved(PLAIN.convert("RGBA"), "WEBP", lossless=True)
    yield "animated.webp", READ, saved(PLAIN, "WEBP", quality=95, save_all=True, append_images=[NEGATIVE])
    yield "truncated.webp", "truncated", lossy[: len(lossy) * 7 // 10]
    yield "plain.avif", READ, saved(PLAIN, "AVIF", quality=95)
    yield "alpha.avif", READ, saved(PLAIN.convert("RGBA"), "AVIF", quality=95)
    yield "animated.avif", READ, saved(PLAIN, "AVIF", quality=95, save_all=True, append_images=[NEGATIVE])
    yield "truncated.avif", "truncated", saved(PLAIN, "AVIF", quality=95)[:3000]


def bitmap(bits: int) -> bytes:
    """A BMP with its rows from top to bottom, of 16 (5 for each colour), 24 or 32 bits (the last 8 unused)."""
    height, width, _ = PIXELS.shape
    if bits == 16:
        five = PIXELS.astype(np.uint16) >> 3
        rows = (five[:, :, 0] << 10 | five[:, :, 1] << 5 | five[:, :, 2]).astype("<u2")
    else:
        rows = PIXELS[:, :, ::-1]
        if bits == 32:
            rows = np.dstack([rows, np.zeros_like(GREYS)])
    each = [row.tobytes() for row in rows]
    body = b"".join(row + bytes(-len(row) % 4) for row in each)
    head = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, bits, 0, len(body), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + head + body


def orientations() -> Iterator[Entry]:
    """Orientation tags, valid and not."""
    for place in (3, 6):
        lying = PLAIN.transpose(UNDO[place])
        yield f"exif-{place}.jpg", READ, jpeg(lying, exif=b"Exif\0\0" + exif(place, order=">"))
        yield f"exif-{place}.png", READ, saved(lying, "PNG", exif=exif(place))
        yield f"exif-{place}.webp", READ, saved(lying, "WEBP", quality=95, exif=exif(place))
        yield f"exif-{place}.avif", READ, saved(lying, "AVIF", quality=95, exif=exif(place))
        yield f"tag-{place}.tiff", READ, tiff(np.asarray(lying), 2, tags={274: (3, [place])})
    lying = PLAIN.transpose(UNDO[6])
    yield "xmp-6.jpg", READ, jpeg(lying, xmp=xmp(6))
    yield "xmp-6.webp", READ, saved(lying, "WEBP", quality=95, xmp=xmp(6))
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp(6).decode())
    yield "xmp-6.png", READ, saved(lying, "PNG", pnginfo=text)
    yield "exif-6-xmp-3.jpg", READ, jpeg(lying, exif=b"Exif\0\0" + exif(6), xmp=xmp(3))
    yield "exif-6-as-long.jpg", READ, jpeg(lying, exif=b"Exif\0\0" + exif(6, kind=4))
    for place in (0, 9, 65535):
        yield f"exif-{place}.jpg", READ, jpeg(exif=b"Exif\0\0" + exif(place))
    yield "exif-cut.jpg", READ, jpeg(exif=b"Exif\0\0" + exif(6)[:12])
    yield "exif-far.jpg", READ, jpeg(exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
