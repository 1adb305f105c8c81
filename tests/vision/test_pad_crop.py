"""The crop of presentation attack detection: where it is, how it is turned, and what it costs."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.vision import PAD_SIDE, Detection, Pixels, pad_crop
from sameface.vision.pad_crop import LEAST_MARGIN, PAD_MARGIN, pad_square, quarter_turns

SIDES = st.floats(-500, 900), st.floats(-500, 900), st.floats(1, 400), st.floats(1, 400)
# Upright in a box of 1 × 1: eyes, nose tip, corners of the mouth.
LANDMARKS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)


def face(x: float, y: float, width: float, height: float) -> Detection:
    return Detection((x, y, width, height), LANDMARKS * np.array([width, height]) + np.array([x, y]), 0.9)


@given(box=st.tuples(*SIDES), width=st.integers(1, 900), height=st.integers(1, 900))
def test_the_square_is_centred_unless_the_image_ends(
    box: tuple[float, float, float, float], width: int, height: int
) -> None:
    left, top, side = pad_square(box, width, height)
    longer = max(box[2:])
    if PAD_MARGIN * longer <= min(width, height):
        assert side == pytest.approx(max(1.0, PAD_MARGIN * longer))
    else:
        assert side == pytest.approx(max(1.0, min(width, height), LEAST_MARGIN * longer))
    for start, length, middle in ((left, width, box[0] + box[2] / 2), (top, height, box[1] + box[3] / 2)):
        wanted = middle - side / 2
        if side <= length:
            assert -1e-6 <= start <= length - side + 1e-6
        else:
            assert start <= 1e-6
            assert start + side >= length - 1e-6
        allowed = sorted((0.0, length - side))
        assert start == pytest.approx(min(max(wanted, allowed[0]), allowed[1]))


@given(
    box=st.tuples(*SIDES),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    seed=st.integers(0, 9),
)
def test_every_face_has_a_crop_of_the_pixels_that_are_there(
    box: tuple[float, float, float, float], width: int, height: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(40, 200, (height, width, 3), np.uint8)
    crop = pad_crop(pixels, face(*box))
    assert crop.shape == (PAD_SIDE, PAD_SIDE, 3)
    assert crop.dtype == np.uint8
    # Edges are repeated, so no colour is invented.
    assert pixels.min() <= crop.min() <= crop.max() <= pixels.max()


def gradient(width: int, height: int) -> Pixels:
    """Return an image whose red grows to the right and whose green grows downwards."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 250, width).round()[None, :]
    pixels[..., 1] = np.linspace(0, 250, height).round()[:, None]
    return pixels


def test_the_crop_shows_the_square() -> None:
    pixels = gradient(1000, 1000)
    box = (400.0, 300.0, 100.0, 120.0)
    left, top, side = pad_square(box, 1000, 1000)
    crop = pad_crop(pixels, face(*box))
    for row, column in ((0, 0), (64, 64), (127, 0), (100, 30)):
        x, y = left + (column + 0.5) * side / PAD_SIDE, top + (row + 0.5) * side / PAD_SIDE
        assert crop[row, column, 0] == pytest.approx(0.25 * x, abs=2)
        assert crop[row, column, 1] == pytest.approx(0.25 * y, abs=2)


def test_a_picture_smaller_than_the_square_is_not_filled_up() -> None:
    pixels = gradient(200, 100)
    left, top, side = pad_square((120, 20, 50, 60), 200, 100)
    assert (left, top, side) == (95.0, 0.0, 100.0)
    crop = pad_crop(pixels, face(120, 20, 50, 60))
    assert crop[0, 64, 1] < crop[3, 64, 1] < crop[124, 64, 1] < crop[127, 64, 1]


def test_a_face_that_fills_the_picture_gets_repeated_edges() -> None:
    pixels = gradient(100, 100)
    crop = pad_crop(pixels, face(0, 0, 100, 100))
    border = round((PAD_SIDE - PAD_SIDE / LEAST_MARGIN) / 2)
    assert (crop[:, : border - 1, 0] == crop[64, 0, 0]).all()
    assert (crop[: border - 1, :, 1] == crop[0, 64, 1]).all()
    assert crop[64, border - 1, 0] < crop[64, 64, 0] < crop[64, PAD_SIDE - border, 0]


@pytest.mark.parametrize("turns", range(4))
def test_a_turned_photo_gives_the_crop_of_the_upright_one(turns: int) -> None:
    pixels = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (300, 400, 3), np.uint8), (0, 0), 3)
    upright = face(120, 80, 60, 75)
    # Against the clock as seen, like np.rot90: (x, y) → (y, width − x).
    landmarks, box = upright.landmarks.copy(), upright.box
    width, height = 400, 300
    for _ in range(turns):
        landmarks = np.stack([landmarks[:, 1], width - landmarks[:, 0]], axis=1)
        x, y, box_width, box_height = box
        box = (y, width - x - box_width, box_height, box_width)
        width, height = height, width
    turned = Detection(box, landmarks.astype(np.float32), 0.9)
    photo = np.ascontiguousarray(np.rot90(pixels, turns))
    assert quarter_turns(turned) == -turns % 4
    difference = pad_crop(photo, turned).astype(int) - pad_crop(pixels, upright).astype(int)
    assert np.abs(difference).max() <= 6


def test_a_huge_face_takes_no_memory() -> None:
    pixels = np.full((50, 60, 3), 7, np.uint8)
    crop = pad_crop(pixels, face(-1e6, -1e6, 2e6, 2e6))
    assert (crop == 7).all()
