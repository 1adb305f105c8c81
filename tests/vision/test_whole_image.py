"""A whole image becomes an input: its size, its aspect, its borders and its strokes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.vision import Pixels, fit_whole_image, isolate_strokes

SIDES = st.integers(1, 40)


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=40)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([1, 3]), st.sampled_from(["pad", "stretch"]))
def test_any_image_becomes_the_input(rows: int, columns: int, height: int, width: int, channels: int, fit: str) -> None:
    image = noise(rows, columns)
    fitted = fit_whole_image(image, shape=(channels, height, width), fit=fit)  # type: ignore[arg-type]
    assert (fitted.shape, str(fitted.dtype)) == ((channels, height, width), "uint8")
    assert fitted.flags.c_contiguous
    # A mean of pixels, or a pixel between others, is within their range.
    assert image.min() <= fitted.min()
    assert fitted.max() <= image.max()


def test_an_image_of_the_size_of_the_input_is_not_changed() -> None:
    image = noise(20, 30)
    np.testing.assert_array_equal(fit_whole_image(image, shape=(3, 20, 30)), image.transpose(2, 0, 1))
    grey = np.repeat(image[:, :, :1], 3, axis=2)
    np.testing.assert_array_equal(fit_whole_image(grey, shape=(1, 20, 30))[0], image[:, :, 0])


def test_a_wide_image_keeps_its_aspect_between_equal_borders_of_its_edge() -> None:
    image = np.full((10, 40, 3), (10, 20, 30), np.uint8)
    image[4:6, 4:36] = 200
    padded = fit_whole_image(image, shape=(3, 20, 20))
    # 40x10 becomes 20x5: rows 7 to 11 of 20.
    for border in (padded[:, :7], padded[:, 12:]):
        np.testing.assert_array_equal(border, np.broadcast_to(np.array([10, 20, 30])[:, None, None], border.shape))
    assert padded[0, 9].max() > 150
    assert fit_whole_image(image, shape=(3, 20, 20), fit="stretch")[0, 9, 10] > 150


@pytest.mark.parametrize(("ground", "inverted"), [(240, True), (10, False)])
def test_strokes_become_bright(ground: int, inverted: bool) -> None:
    image = np.full((12, 12, 3), ground, np.uint8)
    image[5] = 255 - ground
    expected = 255 - image if inverted else image
    np.testing.assert_array_equal(fit_whole_image(image, shape=(1, 12, 12), strokes="bright")[0], expected[:, :, 0])


def test_isolated_strokes_fill_the_input_wherever_they_were_on_the_paper() -> None:
    stroke = np.array([[40, 60], [60, 40]], np.uint8).repeat(6, axis=0).repeat(9, axis=1)
    found = []
    for top, left in ((0, 0), (30, 5), (48, 42)):
        paper = np.full((60, 60), 230, np.uint8)
        paper[top : top + 12, left : left + 18] = stroke
        found.append(isolate_strokes(paper, (24, 40)))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    rows, columns = np.flatnonzero(found[0].any(axis=1)), np.flatnonzero(found[0].any(axis=0))
    # 12x18 grows by 16/12: four pixels stay free above and below, and 18 become 24 in the middle of 40.
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (4, 19, 8, 31)
    assert not isolate_strokes(np.full((9, 9), 77, np.uint8), (24, 40)).any()
