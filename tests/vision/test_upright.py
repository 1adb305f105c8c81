"""Looking again: landmarks found in a view have the right position in the image, and scores give the roll."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.vision import Detection
from sameface.vision.pose import MEAN_FACE, head_pose
from sameface.vision.upright import (
    NEARBY,
    SURE,
    is_surely_upright,
    look_again,
    roll_by_scores,
    scores_in,
    small_views,
    tilted_by,
    upright_view,
)

PICTURE = np.zeros((800, 800, 3), np.uint8)


def tilted(roll: float, size: float = 60.0, centre: float = 400.0, score: float = 0.9) -> Detection:
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    points = size * (MEAN_FACE[:, :2] - [0, 0.5]) @ np.array([[cos, sin], [-sin, cos]]) + centre
    box = (centre - size, centre - size, 2 * size, 2 * size)
    return Detection(box, points.astype(np.float32), score)


@given(roll=st.floats(-180, 180), size=st.floats(8, 300), centre=st.floats(0, 800))
def test_the_view_shows_the_face_upright_in_its_middle(roll: float, size: float, centre: float) -> None:
    face = tilted(roll, size, centre)
    view, matrix = upright_view(PICTURE, face, roll)
    side = len(view)
    assert view.shape == (side, side, 3)
    assert side % 32 == 0
    assert side <= 448
    seen = Detection((0, 0, 1, 1), (face.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32), 0.9)
    assert head_pose(seen).roll == pytest.approx(0.0, abs=0.5)
    assert seen.landmarks.mean(axis=0) == pytest.approx([side / 2, side / 2], abs=25)
    assert seen.landmarks.min() > 0
    assert seen.landmarks.max() < side


@given(roll=st.floats(-180, 180), missed=st.floats(-40, 40))
def test_landmarks_seen_in_the_view_come_back_to_the_picture(roll: float, missed: float) -> None:
    truth, first = tilted(roll), tilted(roll + missed)
    view, matrix = upright_view(PICTURE, first, roll + missed)
    middle = len(view) / 2
    seen = Detection(
        (middle - 40, middle - 40, 80.0, 80.0),
        (truth.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32),
        0.8,
    )
    stranger = Detection((0.0, 0.0, 50.0, 50.0), seen.landmarks - 100, 0.99)
    corrected = look_again(first, [stranger, seen], len(view), matrix)
    np.testing.assert_allclose(corrected.landmarks, truth.landmarks, atol=0.05)
    assert (corrected.box, corrected.score) == (first.box, first.score)


def test_a_neighbour_is_not_taken_for_the_face() -> None:
    face = tilted(30)
    view, matrix = upright_view(PICTURE, face, 30)
    size, middle = 120 * float(np.hypot(*matrix[0, :2])), len(view) / 2
    neighbour = Detection((middle + 0.2 * size, middle - size / 2, size, size), face.landmarks, 0.95)
    assert look_again(face, [neighbour], len(view), matrix) is face
    assert look_again(face, [], len(view), matrix) is face


def test_each_small_view_gives_the_score_of_the_face_in_its_middle() -> None:
    face = tilted(0)
    views = small_views(PICTURE, face, [0.0, 90.0, 180.0])
    assert views.shape == (3, 96, 96, 3)
    in_the_middle = Detection((30, 30, 40, 40), face.landmarks, 0.8)
    neighbour = Detection((0, 0, 30, 30), face.landmarks, 0.99)
    assert scores_in(face, [[neighbour, in_the_middle], [neighbour], []]).tolist() == [0.8, 0.0, 0.0]


@given(roll=st.floats(-180, 180), off=st.floats(-25, 25))
def test_scores_that_fall_with_the_turn_give_the_roll(roll: float, off: float) -> None:
    # Medians of LFW and London by degrees from upright, every 10°.
    medians = [0.923, 0.918, 0.904, 0.875, 0.742, 0.583, 0.565, 0.55]
    scores = np.interp(np.abs(np.array(NEARBY) - off), np.arange(0, 80, 10), medians)
    assert roll_by_scores(roll, scores) == pytest.approx(roll + off, abs=5)


def test_where_no_view_shows_the_face_its_roll_stays() -> None:
    assert roll_by_scores(70.0, np.zeros(5)) == pytest.approx(70.0)


@pytest.mark.parametrize(("roll", "score", "sure"), [(3, SURE, True), (5, SURE, False), (0, SURE - 0.01, False)])
def test_a_face_is_surely_upright_by_score_and_landmarks(roll: float, score: float, sure: bool) -> None:
    assert is_surely_upright(tilted(roll, score=score)) == sure


@given(roll=st.floats(-80, 80), degrees=st.floats(-10, 10))
def test_a_face_is_tilted_about_the_middle_of_its_landmarks(roll: float, degrees: float) -> None:
    face = tilted(roll)
    more = tilted_by(face, degrees)
    assert head_pose(more).roll == pytest.approx(roll + degrees, abs=0.01)
    np.testing.assert_allclose(more.landmarks.mean(axis=0), face.landmarks.mean(axis=0), atol=0.01)
    assert (more.box, more.score) == (face.box, face.score)
