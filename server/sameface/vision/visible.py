"""Measures which share of a face lies inside the picture."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface.vision.align import TEMPLATE, similarity_transform
from sameface.vision.decode import Pixels

# The face in the aligned crop: an ellipse from the hairline to the chin and from ear to ear, in pixels of the crop.
CENTRE = np.array([56.0, 62.0])
RADII = np.array([36.0, 48.0])
_EYES = float(np.linalg.norm(TEMPLATE[1] - TEMPLATE[0]))
_EYES_TO_MOUTH = float(np.linalg.norm(TEMPLATE[3:].mean(axis=0) - TEMPLATE[:2].mean(axis=0)))

BAR_SIDE = 256
"""Longest side at which bars are looked for, in pixels."""
BAR_MEAN, BAR_MOST = 1.5, 8
"""Neighbouring lines of a bar differ by less than this, on average and at most, in grey levels. JPEG leaves traces."""


def visible_share(pixels: Pixels, landmarks: NDArray[np.float32]) -> float:
    """Return the share of the face that lies inside the picture, 0 to 1.

    Bars at the borders of the image do not belong to the picture (see `picture_bounds`). In a cut face the detector may
    squeeze the landmarks into what is left. The face is therefore taken to be as large as the longer of its two sides
    says: eye to eye, or eyes to mouth.
    """
    points = landmarks.astype(np.float64)
    matrix = similarity_transform(points, TEMPLATE)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    eyes = float(np.linalg.norm(points[1] - points[0])) / _EYES
    height = float(np.linalg.norm(points[3:].mean(axis=0) - points[:2].mean(axis=0))) / _EYES_TO_MOUTH
    grown = max(1.0, scale * max(eyes, height))
    places = CENTRE + grown * RADII * _DISK - matrix[:, 2]
    places = places @ matrix[:, :2] / scale**2
    left, top, right, bottom = picture_bounds(pixels)
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
    if not any(_is_repeated(side) for side in (columns, columns[::-1], pixels, pixels[::-1])):
        return 0.0, 0.0, float(width), float(height)
    shrink = min(1.0, BAR_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if shrink < 1.0 else pixels
    columns = small.transpose(1, 0, 2)
    across, down = width / small.shape[1], height / small.shape[0]
    return (
        _bar(columns) * across,
        _bar(small) * down,
        width - _bar(columns[::-1]) * across,
        height - _bar(small[::-1]) * down,
    )


def _is_repeated(lines: NDArray[np.uint8]) -> bool:
    """Return whether the first two of the lines, [lines, length, 3], are alike. It is a quick look at the border."""
    if len(lines) < 2:
        return False
    difference = np.abs(lines[0].astype(np.int16) - lines[1])
    return bool(difference.mean() < BAR_MEAN)


def _bar(lines: NDArray[np.generic]) -> int:
    """Return how many of the lines, [lines, length, 3], make up a bar at the beginning; 0 if all lines are alike."""
    difference = np.abs(np.diff(lines.astype(np.int16), axis=0)).max(axis=-1)
    differing = np.flatnonzero((difference.mean(axis=1) >= BAR_MEAN) | (difference.max(axis=1) > BAR_MOST))
    return int(differing[0]) + 1 if differing.size and differing[0] else 0


def _disk() -> NDArray[np.float64]:
    steps = np.arange(-0.975, 1.0, 0.05)
    places = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    inside: NDArray[np.float64] = places[(places**2).sum(axis=1) <= 1.0]
    return inside


_DISK = _disk()
"""Points spread evenly over a circle of radius 1, [points, 2]."""
