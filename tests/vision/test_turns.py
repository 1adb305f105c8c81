"""Turning an image and back, and joining what was found in its turns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.vision import Detection, Sighting
from sameface.vision.turns import joined, seen_upright, turned, turned_back


def face(x: float = 20, y: float = 30, score: float = 0.9, width: float = 40, height: float = 50) -> Sighting:
    landmarks = np.array([[x + 10, y + 15], [x + 30, y + 15], [x + 20, y + 28], [x + 12, y + 40], [x + 28, y + 40]])
    return Sighting(Detection((x, y, width, height), landmarks.astype(np.float32), score), 1.0)


@given(width=st.integers(1, 60), height=st.integers(1, 60), quarters=st.integers(0, 3), seed=st.integers(0, 9))
def test_a_quarter_turn_moves_every_pixel_and_changes_none(width: int, height: int, quarters: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image, _ = turned(pixels, 90 * quarters)
    np.testing.assert_array_equal(image, np.rot90(pixels, quarters))


@given(width=st.integers(90, 300), height=st.integers(90, 300), degrees=st.sampled_from(range(0, 360, 45)))
def test_what_is_found_in_a_turned_image_comes_back_to_its_place(width: int, height: int, degrees: int) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)
    there = face(width / 2 - 20, height / 2 - 25).face
    image, matrix = turned(pixels, degrees)
    landmarks = (there.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    assert landmarks.min() >= 0
    assert landmarks.max(axis=0) == pytest.approx(np.minimum(landmarks.max(axis=0), image.shape[1::-1]))
    x, y = matrix[:, :2] @ (width / 2, height / 2) + matrix[:, 2]
    shown = (50, 40) if degrees in (90, 270) else (40, 50)
    seen = Detection((x - shown[0] / 2, y - shown[1] / 2, *shown), landmarks, 0.9)
    (back,) = (one.face for one in turned_back((Sighting(seen, 1.0),), matrix))
    np.testing.assert_allclose(back.landmarks, there.landmarks, atol=0.01)
    assert back.box == pytest.approx(there.box, abs=0.01)


def test_in_a_turned_image_a_face_must_score_more() -> None:
    matrix = turned(np.zeros((100, 100, 3), np.uint8), 90)[1]
    assert turned_back((face(score=0.79),), matrix) == ()
    assert len(turned_back((face(score=0.8),), matrix)) == 1


def test_a_face_found_in_two_turns_is_one_face() -> None:
    hallucinated, true, other = face(score=0.81), face(22, 31, score=0.91), face(200, 200, score=0.85)
    assert joined({0: (hallucinated, other), 90: (true,)}) == (90, (true, other))


def test_what_was_taken_for_a_face_beside_the_turn_of_the_photo_is_left_out() -> None:
    true, false = face(score=0.91), face(200, 200, score=0.75)
    assert joined({0: (false,), 90: (), 180: (true,)}) == (180, (true,))


def test_where_nothing_else_is_found_a_face_as_it_stands_counts() -> None:
    poor = face(score=0.71)
    assert joined({0: (poor,), 90: (), 180: (), 270: ()}) == (0, (poor,))
    assert joined({0: (), 90: ()}) == (0, ())
    assert not seen_upright((poor,))
    assert seen_upright((poor, face(score=0.88)))
