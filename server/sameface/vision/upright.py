"""Detects the landmarks of a tilted face a second time, in an upright view of the face.

The detector was trained on upright faces. It also finds tilted faces, but places their landmarks too upright. A crop
aligned by these landmarks stays tilted, and at 40° its embedding hardly matches the person any more.
"""

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface.vision.decode import Pixels
from sameface.vision.detection import Detection
from sameface.vision.pose import head_pose

VIEW_SIDE = 320
"""Side of the upright view in pixels. A face fills up to half of it."""
UPRIGHT = 8.0
"""Degrees of roll that need no second look: landmarks of upright faces scatter by about as much."""


def needs_second_look(face: Detection) -> bool:
    """Whether a face is tilted so far that its landmarks should be detected again."""
    return abs(head_pose(face).roll) > UPRIGHT


def upright_view(pixels: Pixels, face: Detection) -> tuple[Pixels, NDArray[np.float64]]:
    """Return a view of a face and its surroundings, rotated upright, RGB [320, 320, 3].

    The second value is the [2, 3] matrix from pixels of the image to pixels of the view.
    """
    x, y, width, height = face.box
    centre = (x + width / 2, y + height / 2)
    scale = min(1.0, VIEW_SIDE / (2.2 * max(width, height)))
    matrix = cv2.getRotationMatrix2D(centre, head_pose(face).roll, scale)
    matrix[:, 2] += VIEW_SIDE / 2 - np.array(centre)
    view: Pixels = cv2.warpAffine(pixels, matrix, (VIEW_SIDE, VIEW_SIDE), flags=cv2.INTER_LINEAR).astype(
        np.uint8, copy=False
    )
    return view, matrix.astype(np.float64)


def look_again(face: Detection, seen: Sequence[Detection], matrix: NDArray[np.float64]) -> tuple[Detection, bool]:
    """Return the face with landmarks from its upright view, and whether it is still tilted in that view.

    ``seen`` are the faces detected in the view. If none of them is this face, the face is returned unchanged.
    """

    def distance(other: Detection) -> float:
        x, y, width, height = other.box
        return math.hypot(x + width / 2 - VIEW_SIDE / 2, y + height / 2 - VIEW_SIDE / 2)

    nearest = min(seen, key=distance, default=None)
    size = max(face.box[2:]) * math.hypot(*matrix[0, :2])
    # A detection farther away than half a face is another person.
    if nearest is None or distance(nearest) > size / 2:
        return face, False
    back = cv2.invertAffineTransform(matrix)
    landmarks = (nearest.landmarks @ back[:, :2].T + back[:, 2]).astype(np.float32)
    return dataclasses.replace(face, landmarks=landmarks), needs_second_look(nearest)
