"""Measures which share of a face lies inside the picture."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface.vision.align import TEMPLATE, similarity_transform
from sameface.vision.pixels import Pixels

# The face in the aligned crop: an ellipse from the hairline to the chin and from ear to ear, in pixels of the crop.
CENTRE = np.array([56.0, 62.0])
RADII = np.array([36.0, 48.0])
_CENTRE_X, _CENTRE_Y = CENTRE.tolist()
_LONGEST_RADIUS = float(RADII.max())
_EYES = float(np.linalg.norm(TEMPLATE[1] - TEMPLATE[0]))
_EYES_TO_MOUTH = float(np.linalg.norm(TEMPLATE[3:].mean(axis=0) - TEMPLATE[:2].mean(axis=0)))

BAR_SIDE = 256
"""Most rows and columns that are looked at; of larger images every second one, every third one, …"""
BAR_MEAN, BAR_MOST = 1.5, 8
"""Neighbouring lines of a bar differ by less than this, on average and at most, in grey levels. JPEG leaves traces."""


def visible_share(pixels: Pixels, landmarks: NDArray[np.float32], matrix: NDArray[np.float64] | None = None) -> float:
    """Return the share of the face that lies inside the picture, 0 to 1.

    Bars at the borders of the image do not belong to the picture (see `picture_bounds`). In a cut face the detector may
    squeeze the landmarks into what is left. The face is therefore taken to be as large as the longer of its two sides
    says: eye to eye, or eyes to mouth. ``matrix``, if it is known, is the one that leads to the aligned crop.
    """
    matrix = similarity_transform(landmarks, TEMPLATE) if matrix is None else matrix
    # Plain numbers: most faces need no arrays.
    (turn, _, shift_x), (skew, _, shift_y) = matrix.tolist()
    scale = math.hypot(turn, skew)
    (right_x, right_y), (left_x, left_y), _, *mouth = landmarks.tolist()
    mouth_x, mouth_y = (sum(values) / 2 for values in zip(*mouth, strict=True))
    eyes = math.hypot(right_x - left_x, right_y - left_y) / _EYES
    height = math.hypot(mouth_x - (right_x + left_x) / 2, mouth_y - (right_y + left_y) / 2) / _EYES_TO_MOUTH
    grown = max(1.0, scale * max(eyes, height))
    left, top, right, bottom = picture_bounds(pixels)
    from_x, from_y = _CENTRE_X - shift_x, _CENTRE_Y - shift_y
    x, y = (from_x * turn + from_y * skew) / scale**2, (from_y * turn - from_x * skew) / scale**2
    if min(x - left, y - top, right - x, bottom - y) > grown * _LONGEST_RADIUS / scale + 0.5:
        return 1.0
    places = (CENTRE + grown * RADII * _DISK - matrix[:, 2]) @ matrix[:, :2] / scale**2
    inside = (
        (places[:, 0] >= left - 0.5)
        & (places[:, 0] <= right - 0.5)
        & (places[:, 1] >= top - 0.5)
        & (places[:, 1] <= bottom - 0.5)
    )
    return float(inside.mean())


def picture_bounds(pixels: Pixels) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the picture inside an image, without bars at its borders.

    A bar is a run of columns or rows, from the border on, in which every line equals the next one: one colour, or a
    repetition of the picture's last line. A plain wall beside the face may be taken for one, which does no harm as long
    as it does not reach into the face. Bars with a pattern or a blurred copy of the picture are not seen.
    """
    height, width = pixels.shape[:2]
    columns = pixels.transpose(1, 0, 2)
    if min(height, width) < 2:
        return 0.0, 0.0, float(width), float(height)
    if not (
        _are_alike(columns[0], columns[1])
        or _are_alike(columns[-1], columns[-2])
        or _are_alike(pixels[0], pixels[1])
        or _are_alike(pixels[-1], pixels[-2])
    ):
        return 0.0, 0.0, float(width), float(height)
    step = -(-max(height, width) // BAR_SIDE)
    rows, columns = pixels[::step, ::step], columns[::step, ::step]
    return (
        float(_bar(columns) * step),
        float(_bar(rows) * step),
        float(width - _bar(columns[::-1]) * step),
        float(height - _bar(rows[::-1]) * step),
    )


def _bar(lines: NDArray[np.uint8]) -> int:
    """Return how many of the lines, [lines, length, 3], make up a bar at the beginning; 0 if all lines are alike."""
    for place in range(len(lines) - 1):
        if not _are_alike(lines[place], lines[place + 1]):
            return place + 1 if place else 0
    return 0


def _are_alike(line: NDArray[np.uint8], following: NDArray[np.uint8]) -> bool:
    most = cv2.norm(line, following, cv2.NORM_INF)
    return most <= BAR_MOST and cv2.norm(line, following, cv2.NORM_L1) / line.size < BAR_MEAN


def _disk() -> NDArray[np.float64]:
    steps = np.arange(-0.975, 1.0, 0.05)
    places = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    inside: NDArray[np.float64] = places[(places**2).sum(axis=1) <= 1.0]
    return inside


_DISK = _disk()
"""Points spread evenly over a circle of radius 1, [points, 2]."""
