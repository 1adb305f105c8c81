"""Merges what several looks at a photo found: each face once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sameface.vision.detection import Detection

LARGEST_TRAINED = 300.0
"""Longest side in pixels of the face boxes that the detector was trained on (Wu, Peng and Yu 2023: 10 to 300)."""
SAME_FACE = 0.3
"""Boxes that overlap more (intersection over union) are one face, as in the detector's own suppression."""
INSIDE = 0.7
"""A box of which another one covers more than this share is the same face if their sizes are alike."""
NEAR = 0.25
"""Faces of like sizes whose landmarks are nearer than this share of their width are one face."""
ALIKE = 2.5
"""Ratio of two widths up to which sizes are alike."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A face in pixels of the photo, and the scale of the look that found it."""

    face: Detection
    scale: float


def merge(sightings: Sequence[Sighting]) -> tuple[Sighting, ...]:
    """Return each face once, best first, whatever the order of ``sightings``.

    Of several sightings of a face the one with the most pixels within the detector's trained range is kept. What looks
    like a small face between the eyes, nose and mouth of a larger one is part of it, unless its score is higher.
    """
    if len(sightings) < 2:
        return tuple(sightings)
    ranked = sorted(sightings, key=_rank)
    boxes = np.array([one.face.box for one in ranked])
    middles = np.array([one.face.landmarks.mean(axis=0) for one in ranked])
    left = np.ones(len(ranked), dtype=bool)
    kept: list[int] = []
    for index in range(len(ranked)):
        if left[index]:
            kept.append(index)
            near = np.hypot(*(middles - middles[index]).T) < NEAR * boxes[index, 2]
            left &= ~_same(boxes[index], boxes, near)
    boxes = boxes[kept]
    scores = np.array([ranked[index].face.score for index in kept])
    parts = np.zeros(len(kept), dtype=bool)
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    for place, index in enumerate(kept):
        points = ranked[index].face.landmarks
        low, high = points.min(axis=0), points.max(axis=0)
        margin = (high - low) * 0.25
        within = ((centres >= low - margin) & (centres <= high + margin)).all(axis=1)
        parts |= within & (boxes[:, 2] * ALIKE < boxes[place, 2]) & (scores < scores[place])
    return tuple(ranked[index] for index, part in zip(kept, parts, strict=True) if not part)


def is_among(face: Detection, known: Sequence[Sighting]) -> bool:
    """Whether a face is one of the ``known`` ones, by its box or by the middle of its landmarks.

    The box of a face that is seen turned may be another one. The middle of its landmarks stays.
    """
    if not known:
        return False
    boxes = np.array([one.face.box for one in known])
    middles = np.array([one.face.landmarks.mean(axis=0) for one in known])
    widths = np.maximum(boxes[:, 2], face.box[2])
    near = np.hypot(*(middles - face.landmarks.mean(axis=0)).T) < NEAR * widths
    return bool(_same(np.array(face.box), boxes, near).any())


def _rank(one: Sighting) -> tuple[float, ...]:
    size = max(one.face.box[2:]) * one.scale
    pixels = size if size <= LARGEST_TRAINED else LARGEST_TRAINED * LARGEST_TRAINED / size
    # Looks differ by a factor in scale. Smaller differences of size come from the detector's own scatter.
    return (-round(2 * float(np.log2(max(pixels, 1.0)))), -one.face.score, *one.face.box, one.scale)


def _same(box: NDArray[np.float64], boxes: NDArray[np.float64], near: NDArray[np.bool_]) -> NDArray[np.bool_]:
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    shared = np.clip(high - low, 0.0, None).prod(axis=1)
    area, areas = box[2] * box[3], boxes[:, 2] * boxes[:, 3]
    ratio = np.maximum(box[2] / boxes[:, 2], boxes[:, 2] / box[2])
    overlap = shared / (area + areas - shared)
    covered = shared / np.minimum(area, areas)
    return np.asarray((overlap > SAME_FACE) | (((covered > INSIDE) | near) & (ratio < ALIKE)))
