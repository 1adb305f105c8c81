"""A second look at a tilted face: the picture turned upright around it.

The detector was trained on upright faces. On a tilted one it still finds the face, but draws the landmarks towards
upright: a crop aligned by them is tilted by what they miss, and at 40° the embedding has little left of the person.
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
"""Pixels of the turned view; a face takes up to a half of it."""
UPRIGHT = 8.0
"""Degrees of roll that need no second look: on upright faces the landmarks scatter by about as much."""


def needs_second_look(face: Detection) -> bool:
    """Whether a face is tilted so far that its landmarks should be looked for again."""
    return abs(head_pose(face).roll) > UPRIGHT


def upright_view(pixels: Pixels, face: Detection) -> tuple[Pixels, NDArray[np.float64]]:
    """Return a face and its surroundings turned upright, RGB [320, 320, 3].

    The second value is the [2, 3] matrix from the picture's pixels to the view's.
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
    """Return the face with the landmarks of what was seen in its upright view, and whether that was still tilted.

    Where the face was not seen it stays as it is.
    """

    def distance(other: Detection) -> float:
        x, y, width, height = other.box
        return math.hypot(x + width / 2 - VIEW_SIDE / 2, y + height / 2 - VIEW_SIDE / 2)

    nearest = min(seen, key=distance, default=None)
    size = max(face.box[2:]) * math.hypot(*matrix[0, :2])
    # What is further off than half a face is somebody else.
    if nearest is None or distance(nearest) > size / 2:
        return face, False
    back = cv2.invertAffineTransform(matrix)
    landmarks = (nearest.landmarks @ back[:, :2].T + back[:, 2]).astype(np.float32)
    return dataclasses.replace(face, landmarks=landmarks), needs_second_look(nearest)
