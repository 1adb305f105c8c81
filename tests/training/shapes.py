"""Plain shapes on paper, as a scanner or a phone would bring them: any size, dark strokes, grey paper."""

from io import BytesIO

import cv2
import numpy as np
from PIL import Image

SHAPES: dict[str, list[list[tuple[float, float]]]] = {
    "cross": [[(0.1, 0.1), (0.9, 0.9)], [(0.9, 0.1), (0.1, 0.9)]],
    "box": [[(0.1, 0.15), (0.9, 0.15), (0.9, 0.85), (0.1, 0.85), (0.1, 0.15)]],
    "comb": [[(0.05, 0.9), (0.95, 0.9)], [(0.1, 0.9), (0.1, 0.2)], [(0.5, 0.9), (0.5, 0.2)], [(0.9, 0.9), (0.9, 0.2)]],
    "wave": [[(0.02, 0.5), (0.2, 0.1), (0.4, 0.9), (0.6, 0.1), (0.8, 0.9), (0.98, 0.5)]],
}


def drawn(shape: str, sample: int, width: int, height: int) -> bytes:
    """Return a PNG file of a shape; each ``sample`` is drawn a little differently."""
    rng = np.random.default_rng([sample, *shape.encode()])
    paper = rng.integers(225, 245, (height, width)).astype(np.uint8)
    size = np.array([width, height])
    for stroke in SHAPES[shape]:
        points = (np.array(stroke) + rng.normal(0, 0.008, (len(stroke), 2))) * 0.8 + 0.1
        cv2.polylines(paper, [np.round(points * size * 8).astype(np.int32)], False, 25, width // 16, cv2.LINE_AA, 3)
    buffer = BytesIO()
    Image.fromarray(paper).save(buffer, format="PNG")
    return buffer.getvalue()
