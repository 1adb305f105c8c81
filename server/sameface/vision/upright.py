"""Turns a face upright and detects its landmarks there.

The detector was trained on upright faces. It also finds others, but places their landmarks as if they were more
upright than they are. Tilted by 30°, a small face seems tilted by 5°. Upside down it seems upright, and the crop shows
it upside down: such crops of different people look alike to the embedder.

The score tells what the landmarks do not, if the face has a size at which the detector is least tolerant: 44 pixels.
Measured on 270 photos (LFW, and London without profiles), no upright face scores below 0.88 there, and 1 of 100 views
that are 45° and more away scores above 0.86. Among eight views, 45° apart, the best one was never more than 30° away in
810 trials. Among four it was 45° away or more in 17 %, because faces score low between two of them. Two views, upright
and upside down, do not tell a face that lies on its side. Larger faces tell less: in a view of 160 pixels they reach
0.92 upside down.

The mean of five turns, 20° apart and weighted by score, misses the roll by 4° (root mean square, up to 25°); the
landmarks of one view miss it by 10°. Eight views of 96 pixels cost the detector 1.8 ms, less than one of 320 pixels.
"""

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface.vision.detection import MULTIPLE, Detection
from sameface.vision.pixels import Pixels
from sameface.vision.pose import head_pose
from sameface.vision.views import turned_views

SMALL_SIDE = 96
"""Side of the views that tell the roll, in pixels."""
LARGEST_SIDE = 448
"""Largest side of the view that gives the landmarks, in pixels. A profile of 200 pixels that is reduced seems less
turned to the side than it does to the first look, and would pass the quality gate."""
SURROUNDINGS = 2.2
"""Side of a view, in sides of the face's box."""
VIEW_SCALES = (1.0, 1.4)
"""Scales of the views whose landmarks are averaged. In the smaller one, profiles seem less turned to the side than they
are, in the larger one three-quarter views more."""
NEARBY = (0, -40, -20, 20, 40)
"""Turns in degrees, relative to an estimate of the roll, that show how far it is off."""
OPPOSITE = (140, 180, 220)
"""Turns in degrees that show a face upright that is upside down. The detector finds most of those as if upright."""
AROUND = tuple(range(0, 360, 45))
"""Turns in degrees that show every face at most 22.5° away from upright once."""
SURE = 0.92
"""Of 18,000 turned photos, none scored more with landmarks that were wrong by more than 45°."""
SURELY_UPRIGHT = 4.0
"""Degrees of roll by the landmarks of a sure face that need no further look."""
UPRIGHT_SCORE = 0.88
"""Lowest score of an upright face in a small view."""
UPRIGHT = 10.0
"""Degrees of roll by the scores, and by the landmarks, up to which a face needs no view of its own."""
BORNE = 6.0
"""Degrees between the roll by the scores and by the landmarks that the landmarks bear."""
NEAR = 15.0
"""Degrees of roll by the scores, relative to the estimate, that need no second estimate."""


def is_surely_upright(face: Detection) -> bool:
    """Whether a face is upright by the detector's first look alone."""
    return face.score >= SURE and abs(head_pose(face).roll) <= SURELY_UPRIGHT


def small_views(pixels: Pixels, face: Detection, rolls: Sequence[float]) -> Pixels:
    """Return a face and its surroundings as they look upright if its roll is one of ``rolls``, RGB [N, 96, 96, 3]."""
    return np.stack([view for view, _ in _views(pixels, face, rolls, SMALL_SIDE)])


def scores_in(face: Detection, seen: Sequence[Sequence[Detection]]) -> NDArray[np.float64]:
    """Return the score of a face in each of its small views, [N]; 0 where it was not detected.

    ``seen`` are the faces detected in each view.
    """
    size = min(max(face.box[2:]), SMALL_SIDE / SURROUNDINGS)
    found = [_same_face(size, each, SMALL_SIDE) for each in seen]
    return np.array([other.score if other else 0.0 for other in found])


def believed(face: Detection, best: float) -> Detection:
    """Return a face that scores no more than ``best``, the score of its best small view.

    There real faces score 0.84 and more (230 photos of LFW and London, upright and turned, with profiles). What was
    taken for a face at some turn and is none scores 0.74 and less.
    """
    return dataclasses.replace(face, score=min(face.score, best))


def roll_by_scores(roll: float, scores: NDArray[np.float64]) -> float:
    """Return the roll of a face whose views, turned by `NEARBY` relative to ``roll``, have these scores."""
    weights = np.clip(scores - 0.8, 1e-6, None) ** 2
    return roll + float(weights @ np.array(NEARBY) / weights.sum())


def tilted_by(face: Detection, degrees: float) -> Detection:
    """Return a face whose landmarks are turned clockwise about their middle."""
    middle = face.landmarks.mean(axis=0)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned = (face.landmarks - middle) @ np.array([[cos, sin], [-sin, cos]]) + middle
    return dataclasses.replace(face, landmarks=turned.astype(np.float32))


def upright_view(
    pixels: Pixels, face: Detection, roll: float, scale: float = 1.0
) -> tuple[Pixels, NDArray[np.float64]]:
    """Return a square view of a face and its surroundings, turned upright, RGB. It is enlarged by ``scale`` at most.

    Its side is a multiple of 32, at most ``scale`` times `LARGEST_SIDE`. The second value is the [2, 3] matrix from
    pixels of the image to pixels of the view.
    """
    side = -(-math.ceil(scale * SURROUNDINGS * max(face.box[2:])) // MULTIPLE) * MULTIPLE
    most = math.floor(scale * LARGEST_SIDE / MULTIPLE) * MULTIPLE
    (view,) = _views(pixels, face, [roll], min(side, most), scale)
    return view


def look_again(face: Detection, seen: Sequence[Detection], side: int, matrix: NDArray[np.float64]) -> Detection:
    """Return the face with landmarks from its upright view.

    If none of the faces seen in the view is this face, it is returned unchanged.

    Args:
        face: as found in the image.
        seen: the faces detected in the view.
        side: of the view.
        matrix: of the view.
    """
    found = _same_face(max(face.box[2:]) * float(np.hypot(*matrix[0, :2])), seen, side)
    if found is None:
        return face
    back = cv2.invertAffineTransform(matrix)
    landmarks = (found.landmarks @ back[:, :2].T + back[:, 2]).astype(np.float32)
    return dataclasses.replace(face, landmarks=landmarks)


def averaged(looks: Sequence[Detection]) -> Detection:
    """Return a face with the mean landmarks of several looks at it."""
    landmarks = np.mean([one.landmarks for one in looks], axis=0).astype(np.float32)
    return dataclasses.replace(looks[0], landmarks=landmarks)


def _views(
    pixels: Pixels, face: Detection, rolls: Sequence[float], side: int, most: float = 1.0
) -> list[tuple[Pixels, NDArray[np.float64]]]:
    x, y, width, height = face.box
    scale = min(most, side / (SURROUNDINGS * max(face.box[2:])))
    return turned_views(pixels, (x + width / 2, y + height / 2), rolls, scale, side)


def _same_face(size: float, seen: Sequence[Detection], side: int) -> Detection | None:
    """Return which of the faces seen in a view is that in its middle. Farther off than half its size is another one."""

    def distance(other: Detection) -> float:
        x, y, width, height = other.box
        return math.hypot(x + width / 2 - side / 2, y + height / 2 - side / 2)

    nearest = min(seen, key=distance, default=None)
    return None if nearest is None or distance(nearest) > size / 2 else nearest
