"""The largest face is the one of which most is inside the photo."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sameface.vision import Detection, FaceSelection, largest_first, select_face

SIDES = st.integers(1, 40)
BOXES = st.tuples(st.integers(-40, 60), st.integers(-40, 60), st.integers(1, 60), st.integers(1, 60))


def face(box: tuple[float, float, float, float]) -> Detection:
    return Detection(box, np.zeros((5, 2), np.float32), 0.9)


def pixels_inside(box: tuple[int, int, int, int], width: int, height: int) -> int:
    """Count, one by one, the pixels of an image that a box covers."""
    x, y, box_width, box_height = box
    rows, columns = np.mgrid[:height, :width]
    covered = (columns >= x) & (columns < x + box_width) & (rows >= y) & (rows < y + box_height)
    return int(covered.sum())


@given(BOXES, SIDES, SIDES)
def test_the_area_inside_is_the_number_of_pixels_that_the_box_covers(
    box: tuple[int, int, int, int], width: int, height: int
) -> None:
    assert face(box).area_inside(width, height) == pixels_inside(box, width, height)


@given(st.lists(BOXES, min_size=1, max_size=6), SIDES, SIDES)
def test_faces_are_ranked_by_the_pixels_that_they_cover(
    boxes: list[tuple[int, int, int, int]], width: int, height: int
) -> None:
    faces = [face(box) for box in boxes]
    covered = {id(one): pixels_inside(box, width, height) for one, box in zip(faces, boxes, strict=True)}
    ranked = [covered[id(one)] for one in largest_first(faces, width, height)]
    assert ranked == sorted(covered.values(), reverse=True)
    assert covered[id(select_face(faces, FaceSelection.LARGEST, width, height))] == ranked[0]


def test_a_face_mostly_outside_does_not_win_by_its_box() -> None:
    whole, cut = face((40, 40, 30, 40)), face((-70, 10, 80, 100))
    assert cut.area > whole.area
    assert select_face([cut, whole], FaceSelection.LARGEST, 100, 120) is whole
