"""Tells faces from what only looks like one, in a second look at a comfortable size.

Textures may look like a face at one size, and small faces score low. At a size at which the detector is at its best,
faces score 0.87 and more, and other things far less. The landmarks are also more precise there.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface.vision.detection import Detection
from sameface.vision.pixels import Pixels
from sameface.vision.pose import head_pose
from sameface.vision.views import turned_view

Box: TypeAlias = tuple[float, float, float, float]

CONFIRM_SIDE = 128
"""Side of the view in pixels. The face box is 48 px wide in it, with some 22 px between the eyes."""
FACE_WIDTH = 48.0
SURE = 0.8
"""Score of a clear face."""
DOUBT = 0.25
"""A face may score this much less than the detector's threshold if the second look scores ``SURER``."""
SURER = 0.85
SAME_BOX = 0.3
"""Intersection over union of two boxes of one face."""


def is_clear(face: Detection) -> bool:
    """Whether a face needs no second look: it scores high, and at a size at which that is no accident.

    The face is in pixels of the look that found it.
    """
    return face.score >= SURE and face.box[2] >= FACE_WIDTH


def confirm_view(pixels: Pixels, face: Detection) -> tuple[Pixels, NDArray[np.float64]]:
    """Return a view of a face, upright by its landmarks, RGB [128, 128, 3].

    The second value is the [2, 3] matrix from pixels of the image to pixels of the view.
    """
    x, y, width, height = face.box
    centre = (x + width / 2, y + height / 2)
    return turned_view(pixels, centre, head_pose(face).roll, FACE_WIDTH / max(width, 1.0), CONFIRM_SIDE)


def confirmed(
    face: Detection, seen: Sequence[Detection], matrix: NDArray[np.float64], threshold: float
) -> Detection | None:
    """Return the face as the second look shows it, in pixels of the image, or None if that shows no face.

    ``seen`` are the faces found in the view.
    """

    def distance(other: Detection) -> float:
        x, y, width, height = other.box
        return math.hypot(x + width / 2 - CONFIRM_SIDE / 2, y + height / 2 - CONFIRM_SIDE / 2)

    same = [
        other
        for other in seen
        if distance(other) < FACE_WIDTH / 2
        and 0.6 < other.box[2] / FACE_WIDTH < 1.7
        and other.score >= (threshold if face.score >= threshold else max(threshold, SURER))
    ]
    if not same:
        return None
    best = min(same, key=distance)
    back = cv2.invertAffineTransform(matrix)
    points = np.vstack([best.landmarks, [best.box[0] + best.box[2] / 2, best.box[1] + best.box[3] / 2]])
    *landmarks, (x, y) = points @ back[:, :2].T + back[:, 2]
    scale = math.hypot(*back[0, :2])
    width, height = best.box[2] * scale, best.box[3] * scale
    box = (float(x - width / 2), float(y - height / 2), width, height)
    # Two looks at a face give slightly different boxes. The largest face stays the largest if the first one is kept.
    if _overlap(box, face.box) > SAME_BOX:
        box = face.box
    return Detection(box, np.array(landmarks, dtype=np.float32), best.score)


def _overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, across) * max(0.0, down)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)
