"""Detector input and output: pixels to a padded tensor, raw anchors to faces.

Decoding follows OpenCV's FaceDetectorYN (YuNet; Wu, Peng and Yu 2023) and gives the same boxes, landmarks and scores.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface.vision.pixels import Pixels

STRIDES = (8, 16, 32)
MULTIPLE = 32
_NEARLY = 0.9999
"""Lowers the first threshold, so that rounding loses no anchor."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One face."""

    box: tuple[float, float, float, float]
    """x, y, width, height in pixels. The box may reach beyond the image."""
    landmarks: NDArray[np.float32]
    """Shape [5, 2], x and y: right eye (on the left of the image), left eye, nose tip, right and left mouth corner."""
    score: float
    """0 to 1."""

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return self.box[2] * self.box[3]

    def area_inside(self, width: int, height: int) -> float:
        """Area of the part of the box that is inside an image of ``width`` × ``height`` pixels."""
        x, y, box_width, box_height = self.box
        inside_x = min(x + box_width, width) - max(x, 0.0)
        inside_y = min(y + box_height, height) - max(y, 0.0)
        return max(0.0, inside_x) * max(0.0, inside_y)

    def scaled(self, factor: float) -> "Detection":
        """Return the same face in an image that is ``factor`` times as large."""
        x, y, width, height = self.box
        return Detection(
            (x * factor, y * factor, width * factor, height * factor),
            (self.landmarks * factor).astype(np.float32),
            self.score,
        )

    def moved(self, x: float, y: float) -> "Detection":
        """Return the same face, ``x`` to the right and ``y`` down."""
        left, top, width, height = self.box
        landmarks = (self.landmarks + np.array([x, y])).astype(np.float32)
        return Detection((left + x, top + y, width, height), landmarks, self.score)


def detector_input(pixels: Pixels, longest_side: int) -> tuple[Pixels, float]:
    """Return the tensor [1, 3, H, W] (H, W multiples of 32, padded with black) and its scale.

    The scale is the size of the tensor's image relative to ``pixels``. Images are reduced to ``longest_side``, never
    enlarged.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, longest_side / max(height, width))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        height, width = pixels.shape[:2]
    tensor = np.zeros((1, 3, _round_up(height), _round_up(width)), dtype=np.uint8)
    tensor[0, :, :height, :width] = pixels.transpose(2, 0, 1)
    return tensor, scale


def decode_faces(
    raw: NDArray[np.float32],
    size: tuple[int, int],
    scale: float,
    *,
    score_threshold: float = 0.7,
    nms_threshold: float = 0.3,
    top_k: int = 5000,
) -> tuple[Detection, ...]:
    """Return the faces in raw detector output, best score first.

    OpenCV's FaceDetectorYN cannot be used: it runs the model itself. Here the model runs in Triton or ONNX Runtime.

    Args:
        raw: shape [A, 16]: class score, object score, box (4), landmarks (10) for every anchor of strides 8, 16, 32.
        size: width and height of the detector's input.
        scale: the scale that `detector_input` returned. The faces are in pixels of the image before scaling.
        score_threshold: lowest score to keep, 0..1.
        nms_threshold: if two boxes overlap more than this (intersection over union), only the better one is kept.
        top_k: most candidates for non-maximum suppression.
    """
    # Few calls of NumPy, and plain numbers for the few anchors that are left: between two runs of a model every other
    # function is read from memory anew.
    kept: list[int] = np.flatnonzero(raw[:, 0] * raw[:, 1] >= score_threshold * score_threshold * _NEARLY).tolist()
    candidates = list[tuple[int, int, int, list[float]]]()
    scores, boxes = list[float](), list[tuple[float, float, float, float]]()
    for place in kept if score_threshold > 0.0 else range(len(raw)):
        values = raw[place].tolist()
        score = math.sqrt(min(1.0, max(0.0, values[0])) * min(1.0, max(0.0, values[1])))
        if score < score_threshold:
            continue
        column, row, stride = _anchor(place, *size)
        width, height = math.exp(values[4]) * stride, math.exp(values[5]) * stride
        x, y = (column + values[2]) * stride - width / 2, (row + values[3]) * stride - height / 2
        candidates.append((column, row, stride, values))
        scores.append(score)
        boxes.append((x, y, width, height))
    chosen = cv2.dnn.NMSBoxes(boxes, scores, 0.0, nms_threshold, top_k=top_k) if len(boxes) > 1 else range(len(boxes))
    faces = []
    for number in chosen:
        column, row, stride, values = candidates[number]
        left, top, width, height = boxes[number]
        landmarks = [
            ((values[at] + column) * stride / scale, (values[at + 1] + row) * stride / scale) for at in range(6, 16, 2)
        ]
        box = (left / scale, top / scale, width / scale, height / scale)
        faces.append(Detection(box, np.array(landmarks, np.float32), scores[number]))
    return tuple(faces)


def _round_up(length: int) -> int:
    return -(-length // MULTIPLE) * MULTIPLE


def _anchor(place: int, width: int, height: int) -> tuple[int, int, int]:
    """Return column, row and stride of the anchor at this place of the detector's output.

    The output has the anchors of each stride in turn, row by row.
    """
    for stride in STRIDES:
        columns = width // stride
        count = (height // stride) * columns
        if place < count:
            return place % columns, place // columns, stride
        place -= count
    raise IndexError(place)
