"""The second look: landmarks found in the upright view have the right position in the image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.vision import Detection, look_again, needs_second_look, upright_view
from sameface.vision.pose import MEAN_FACE, head_pose


def tilted(roll: float, size: float = 60.0, centre: float = 400.0) -> Detection:
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    points = size * (MEAN_FACE[:, :2] - [0, 0.5]) @ np.array([[cos, sin], [-sin, cos]]) + centre
    box = (centre - size, centre - size, 2 * size, 2 * size)
    return Detection(box, points.astype(np.float32), 0.9)


@given(roll=st.floats(-170, 170), size=st.floats(8, 300), centre=st.floats(0, 800))
def test_the_view_shows_the_face_upright_in_its_middle(roll: float, size: float, centre: float) -> None:
    face = tilted(roll, size, centre)
    view, matrix = upright_view(np.zeros((800, 800, 3), np.uint8), face)
    assert view.shape == (320, 320, 3)
    seen = Detection((0, 0, 1, 1), (face.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32), 0.9)
    assert head_pose(seen).roll == pytest.approx(0.0, abs=0.5)
    assert seen.landmarks.mean(axis=0) == pytest.approx([160, 160], abs=25)
    assert seen.landmarks.min() > 0
    assert seen.landmarks.max() < 320


@given(roll=st.floats(-60, 60), missed=st.floats(-40, 40))
def test_landmarks_seen_in_the_view_come_back_to_the_picture(roll: float, missed: float) -> None:
    truth = tilted(roll)
    drawn_towards_upright = tilted(roll + missed)
    _, matrix = upright_view(np.zeros((800, 800, 3), np.uint8), drawn_towards_upright)
    seen = Detection(
        (120.0, 120.0, 80.0, 80.0), (truth.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32), 0.8
    )
    stranger = Detection((0.0, 0.0, 50.0, 50.0), seen.landmarks - 100, 0.99)
    corrected, again = look_again(drawn_towards_upright, [stranger, seen], matrix)
    np.testing.assert_allclose(corrected.landmarks, truth.landmarks, atol=0.05)
    assert (corrected.box, corrected.score) == (drawn_towards_upright.box, drawn_towards_upright.score)
    assert again == needs_second_look(seen)


def test_a_neighbour_is_not_taken_for_the_face() -> None:
    face = tilted(30)
    _, matrix = upright_view(np.zeros((800, 800, 3), np.uint8), face)
    size = 120 * float(np.hypot(*matrix[0, :2]))
    neighbour = Detection((160 + 0.2 * size, 160 - size / 2, size, size), face.landmarks, 0.95)
    assert look_again(face, [neighbour], matrix) == (face, False)


def test_where_nothing_is_seen_the_face_stays() -> None:
    face = tilted(30)
    _, matrix = upright_view(np.zeros((800, 800, 3), np.uint8), face)
    assert look_again(face, [], matrix) == (face, False)
    assert needs_second_look(face)
    assert not needs_second_look(tilted(5))
