"""Crops a face with its surroundings for presentation attack detection. Pure.

The edge of a sheet of paper, a frame or a hand tells more about an attack than the face does, so the crop is much
larger than the face.
"""

import cv2
import numpy as np

from sameface.vision.detection import Detection
from sameface.vision.pixels import Pixels
from sameface.vision.pose import head_pose

PAD_SIDE = 128
"""Side of the crop in pixels."""
PAD_MARGIN, LEAST_MARGIN = 2.7, 1.5
"""Side of the square relative to the longer side of the face's box: wanted, and least in a picture that is smaller."""
PAD_PREPROCESSING = "pad-square-2.7-v1"
"""The name of this crop in model cards. A change of the crop gets another name."""

Square = tuple[float, float, float]
"""Left edge, top edge and side in pixels."""


def pad_square(box: tuple[float, float, float, float], width: int, height: int) -> Square:
    """Return the square around a face's box (x, y, width, height) in an image of ``width`` × ``height`` pixels.

    Its side is 2.7 times the longer side of the box, its centre that of the box. In a smaller image it shrinks to the
    image's shorter side, because pixels that are made up look like an attack, but not below 1.5 times the box. It is
    shifted as little as possible so that it is inside the image. If it is still larger than the image in one direction,
    it covers the image in that direction.
    """
    x, y, box_width, box_height = box
    longer = max(box_width, box_height)
    side = max(1.0, min(PAD_MARGIN * longer, width, height), LEAST_MARGIN * longer)

    def start(middle: float, length: int) -> float:
        return float(np.clip(middle - side / 2, min(0.0, length - side), max(0.0, length - side)))

    return start(x + box_width / 2, width), start(y + box_height / 2, height), side


def quarter_turns(face: Detection) -> int:
    """Return how many quarter turns against the clock bring a face nearest to upright, 0 to 3."""
    return round(head_pose(face).roll / 90) % 4


def pad_crop(pixels: Pixels, face: Detection) -> Pixels:
    """Return the crop of a face, RGB [128, 128, 3], and upright to within an eighth of a turn.

    The face is turned by quarter turns alone, because any other turn would resample the picture and blur the traces of
    print and screen. Where the square reaches beyond the image, its edge pixels are repeated.

    Args:
        pixels: the image, RGB [height, width, 3].
        face: in pixels of the image, with landmarks that are right at any turn.
    """
    height, width = pixels.shape[:2]
    left, top, side = pad_square(face.box, width, height)
    first_column, last_column, before_x, after_x = _span(left, side, width)
    first_row, last_row, before_y, after_y = _span(top, side, height)
    inside = pixels[first_row:last_row, first_column:last_column]
    # Only the part inside the image is resized, so a huge square takes no memory.
    size = (PAD_SIDE - before_x - after_x, PAD_SIDE - before_y - after_y)
    shrinks = inside.shape[1] >= size[0] and inside.shape[0] >= size[1]
    resized = cv2.resize(inside, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    crop = cv2.copyMakeBorder(resized, before_y, after_y, before_x, after_x, cv2.BORDER_REPLICATE)
    turned: Pixels = np.ascontiguousarray(np.rot90(crop, quarter_turns(face))).astype(np.uint8, copy=False)
    return turned


def _span(start: float, side: float, length: int) -> tuple[int, int, int, int]:
    """Return first and last pixel of the square inside the image, and the crop's pixels before and after the image."""
    scale = PAD_SIDE / side
    first = min(length - 1, max(0, round(start)))
    last = max(first + 1, min(length, round(start + side)))
    before = min(PAD_SIDE - 1, max(0, round(-start * scale)))
    after = min(PAD_SIDE - 1 - before, max(0, round((start + side - length) * scale)))
    return first, last, before, after
