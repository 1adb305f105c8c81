"""Aligns a face by its landmarks to the 112×112 crop that the embedder takes."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface.vision.pixels import Pixels

CROP_SIDE = 112
USUAL_SLACK = 8
"""Pixels on each side that training adds."""
LARGEST_SOURCE = 32766
"""OpenCV warps no image with a longer side, in pixels."""
# ArcFace (Deng et al. 2019), the five points of a 112×112 crop, in the order of `Detection.landmarks`.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float64,
)


def similarity_transform(source: NDArray[np.floating], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the [2, 3] matrix of rotation, uniform scale and shift that best maps ``source`` [N, 2] to ``target``.

    Least squares without reflection (Umeyama 1991, equations 34 to 43). In the plane, with points as complex numbers,
    it is one division. OpenCV's `estimateAffinePartial2D` is a robust estimate: it leaves out landmarks that it takes
    for outliers.
    """
    # Plain numbers: for five points they are faster than arrays.
    points = [complex(x, y) for x, y in source.tolist()]
    goals = [complex(x, y) for x, y in target.tolist()]
    middle, goal = sum(points) / len(points), sum(goals) / len(goals)
    spread, product = 0.0, 0j
    for point, wanted in zip(points, goals, strict=True):
        offset = (point - middle).conjugate()
        spread += offset.real * offset.real + offset.imag * offset.imag
        product += offset * (wanted - goal)
    # Rotation and scale: the argument and the length of one complex number.
    turn = product / spread if spread > 0 else 1.0 + 0.0j
    shift = goal - turn * middle
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align(pixels: Pixels, landmarks: NDArray[np.float32], slack: int = 0) -> Pixels:
    """Return the aligned crop, RGB [112, 112, 3]. Pixels outside the image are black.

    ``slack`` adds that many pixels on each side. The middle is the same crop, so training can shift and rotate it
    without black borders.

    Sampling is bilinear, as in the embedder's training data. A face larger than twice the crop is first reduced with
    area averaging, because bilinear sampling alone would skip pixels and cause aliasing.
    """
    points = landmarks.astype(np.float64)
    target, side = TEMPLATE + slack, CROP_SIDE + 2 * slack
    matrix = similarity_transform(points, target)
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if scale < 0.5 or max(pixels.shape[:2]) > LARGEST_SOURCE:
        pixels, points = _around(pixels, points, max(slack, USUAL_SLACK))
        matrix = similarity_transform(points, target)
    if scale < 0.5:
        shrink = 2.0 * scale
        height, width = pixels.shape[:2]
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        # Pixel centres: x' + ½ = shrink · (x + ½), with the exact ratio of the rounded size.
        ratio = np.array([size[0] / width, size[1] / height])
        points = (points + 0.5) * ratio - 0.5
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        matrix = similarity_transform(points, target)
    crop: Pixels = cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return crop


def _around(pixels: Pixels, points: NDArray[np.float64], slack: int) -> tuple[Pixels, NDArray[np.float64]]:
    """Return the part of an image that the crop shows, with ``slack`` around it, and ``points`` in that part.

    The part decides how the pixels are averaged. So the crops with less slack take the same part.
    """
    matrix = similarity_transform(points, TEMPLATE)
    low_corner, high_corner = -slack, CROP_SIDE + slack
    corners = np.array([[x, y] for x in (low_corner, high_corner) for y in (low_corner, high_corner)], dtype=np.float64)
    seen = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    # Bilinear sampling of the reduced part needs one of its pixels on each side.
    margin = 4.0 / np.hypot(matrix[0, 0], matrix[1, 0])
    low = np.clip(np.floor(seen.min(axis=0) - margin), 0, np.array(pixels.shape[1::-1]) - 1).astype(int)
    high = np.ceil(seen.max(axis=0) + margin).astype(int)
    high = np.maximum(high, low + 1)
    return pixels[low[1] : high[1], low[0] : high[0]], points - low
