"""Cuts views of a face out of an image: its surroundings, turned and reduced."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface.vision.pixels import Pixels


def turned_view(
    pixels: Pixels, centre: tuple[float, float], roll: float, scale: float, side: int
) -> tuple[Pixels, NDArray[np.float64]]:
    """Return a square view, RGB [side, side, 3], and its matrix. See `turned_views`."""
    (view,) = turned_views(pixels, centre, [roll], scale, side)
    return view


def turned_views(
    pixels: Pixels, centre: tuple[float, float], rolls: Sequence[float], scale: float, side: int
) -> list[tuple[Pixels, NDArray[np.float64]]]:
    """Return a square view for each of ``rolls``, RGB [side, side, 3]. Pixels outside the image are black.

    The second value of each is the [2, 3] matrix from pixels of the image to pixels of the view. Only the part that the
    views show is read, so the image may be of any size. It is reduced with area averaging, once for all views, because
    bilinear sampling alone would skip pixels.

    Args:
        pixels: the image.
        centre: its point in the middle of the views, x and y.
        rolls: degrees by which a view turns the image to the left.
        scale: of the views relative to the image.
        side: of a view in pixels.
    """
    # The corners of the turned view are farther from the centre than its sides.
    reach = side / scale * math.sqrt(0.5)
    size = np.array(pixels.shape[1::-1])
    low = np.clip(np.floor(np.array(centre) - reach), 0, size - 1).astype(int)
    high = np.clip(np.ceil(np.array(centre) + reach), low + 1, size).astype(int)
    part = pixels[low[1] : high[1], low[0] : high[0]]
    ratio = np.ones(2)
    if scale < 0.5:
        reduced = tuple(max(1, round(length * scale)) for length in part.shape[1::-1])
        ratio = np.array(reduced) / np.array(part.shape[1::-1])
        part = cv2.resize(part, reduced, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    middle = (np.array(centre) - low) * ratio
    views = []
    for roll in rolls:
        matrix = cv2.getRotationMatrix2D(middle.tolist(), roll, scale / ratio[0]).astype(np.float64)
        matrix[:, 2] += side / 2 - middle
        view = cv2.warpAffine(part, matrix, (side, side), flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
        matrix[:, :2] *= ratio
        matrix[:, 2] -= matrix[:, :2] @ low
        views.append((view, matrix))
    return views
