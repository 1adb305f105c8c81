"""HEIC files, if their encoder is installed."""

import io
import sys
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.vision.writers import exif, in_space, profile
from tools.odd_photos.colours import transferred
from tools.odd_photos.portrait import GREY, GREY_PLAIN, NEGATIVE, PIXELS, PLAIN, READ, UNDO, Entry, eight, saved


def heics() -> Iterator[Entry]:
    """HEIC, where its encoder is installed; else names alone, for the table."""
    try:
        import pillow_heif
    except ImportError:
        print("pillow-heif is not installed: the HEIC files stay as they are", file=sys.stderr)
        pillow_heif = None

    def made(image: Image.Image, **options: object) -> bytes:
        return saved(image, "HEIF", **{"quality": 95, **options}) if pillow_heif else b""

    whole = b""
    if pillow_heif:
        pillow_heif.register_heif_opener()
        whole = made(PLAIN)
    deep = io.BytesIO()
    if pillow_heif:
        samples = (PIXELS.astype(np.uint16) * 257).tobytes()
        pillow_heif.from_bytes("RGB;16", PLAIN.size, samples).save(deep, quality=95)
    wide = eight(in_space(PIXELS, "channels-swapped"))
    bright = eight(transferred(in_space(PIXELS, "rec2020") ** 2.4, 16))
    names = {"color_primaries": 9, "transfer_characteristics": 16, "matrix_coefficients": 9, "full_range_flag": 1}
    yield "plain.heic", READ, whole
    yield "grey.heic", GREY, made(GREY_PLAIN)
    yield "alpha.heic", READ, made(PLAIN.convert("RGBA"))
    yield "10-bit.heic", READ, deep.getvalue()
    yield "second-is-primary.heic", READ, made(NEGATIVE, save_all=True, append_images=[PLAIN], primary_index=1)
    yield "turned.heic", READ, made(PLAIN.transpose(UNDO[6]), exif=exif(6))
    yield "profile.heic", READ, made(wide, icc_profile=profile("channels-swapped"))
    yield "pq.heic", READ, made(bright, **names)
    yield "truncated.heic", "truncated", whole[: len(whole) * 7 // 10]
