"""A small ordinary JPEG is decoded in one piece, and has the pixels that Pillow gives it."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sameface.vision import ImageLimits, PhotoWork, decode, decode_image
from sameface.vision.jpeg import plain_jpeg
from sameface.vision.small_jpeg import small_pixels
from sameface_qdrant.errors import SamefaceError
from tests.conftest import PORTRAITS
from tests.vision.hostile import saved

LIMITS = ImageLimits()
with Image.open(PORTRAITS / "emmanuel_macron_2014.jpg") as opened:
    PORTRAIT = opened.convert("RGB")


@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    quality=st.integers(20, 100),
    subsampling=st.sampled_from([0, 1, 2]),
    optimize=st.booleans(),
    restart=st.sampled_from([0, 1, 5]),
)
@settings(max_examples=40)
def test_its_pixels_are_those_of_pillow(
    width: int, height: int, quality: int, subsampling: int, optimize: bool, restart: int
) -> None:
    options = {"quality": quality, "subsampling": subsampling, "optimize": optimize, "restart_marker_blocks": restart}
    content = saved(PORTRAIT.resize((width, height)), "JPEG", **options)
    pixels = small_pixels(plain_jpeg(content, PhotoWork(5.0)), LIMITS)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image)
    assert pixels is None or np.array_equal(pixels, expected)
    np.testing.assert_array_equal(decode_image(content, LIMITS).pixels, expected)


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"mode": "L"}, {"mode": "CMYK"}, {"size": (1700, 10)}, {"size": (1200, 1000)}]
)
def test_what_is_unusual_or_large_is_left_to_pillow(options: dict[str, object]) -> None:
    image = PORTRAIT.resize(options.pop("size", (40, 50))).convert(str(options.pop("mode", "RGB")))  # type: ignore[arg-type]
    assert small_pixels(plain_jpeg(saved(image, "JPEG", **options), PhotoWork(5.0)), LIMITS) is None


@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3),
    cut=st.sampled_from([1.0, 1.0, 0.9, 0.6]),
)
@settings(max_examples=80)
def test_a_damaged_file_is_decoded_or_refused_as_without_it(changes: list[tuple[float, int]], cut: float) -> None:
    content = bytearray(saved(PORTRAIT.resize((40, 50)), "JPEG"))
    for place, value in changes:
        content[int(place * len(content))] = value
    damaged = bytes(content[: int(cut * len(content))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "small_pixels", lambda *_: None)
        expected = _outcome(damaged)
    assert _outcome(damaged) == expected


def _outcome(content: bytes) -> object:
    try:
        decoded = decode_image(content, LIMITS)
    except SamefaceError as error:
        return type(error), error.message
    return decoded.pixels.tobytes(), decoded.pixels.shape, decoded.scale


def test_a_portrait_turned_by_its_exif_is_turned(portraits: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(PORTRAIT, "JPEG", exif=exif)
    decoded = decode_image(content, LIMITS)
    assert decoded.pixels.shape[:2] == (PORTRAIT.width, PORTRAIT.height)
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(decoded.pixels, np.asarray(image.transpose(Image.Transpose.ROTATE_270)))
