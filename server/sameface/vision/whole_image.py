"""Fits a whole image to the input of an embedder: no face is looked for."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface.vision.pixels import Pixels

BORDER = 4
"""Pixels that stay free around isolated strokes."""
HALF = 127


def fit_whole_image(
    pixels: Pixels,
    *,
    shape: tuple[int, int, int],
    fit: Literal["pad", "stretch"] = "pad",
    strokes: Literal["as-is", "bright", "isolated"] = "as-is",
) -> Pixels:
    """Return an image as the input of an embedder, uint8 [channels, height, width].

    An image that has the size of the input, and ``strokes`` as they are, is not changed. With ``pad``, the borders have
    the median colour of the image's own edge; on both sides of the image they are equally wide, or differ by one pixel.

    Args:
        pixels: RGB, uint8 [height, width, 3].
        shape: channels (1: grey, 3: RGB), height and width of the input.
        fit: ``pad`` keeps the aspect, ``stretch`` does not.
        strokes: ``bright`` inverts an image whose mean is above 127, ``isolated`` is `isolate_strokes`.
    """
    channels, height, width = shape
    image: Pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[:, :, np.newaxis] if channels == 1 else pixels
    if strokes == "isolated":
        return isolate_strokes(image[:, :, 0], (height, width))[np.newaxis]
    if strokes == "bright" and image.mean() > HALF:
        image = 255 - image
    fitted = _padded(image, height, width) if fit == "pad" else _resized(image, height, width)
    return np.ascontiguousarray(fitted.transpose(2, 0, 1))


def isolate_strokes(drawing: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return dark strokes on paper as bright strokes on black, centred and as large as ``size`` allows.

    Otsu's threshold (1979) removes the grey of the paper. Strokes keep their shades. An image of one colour has no
    strokes, and becomes black.

    Args:
        drawing: uint8 [rows, columns].
        size: height and width of the result; `BORDER` pixels at each edge stay black.
    """
    canvas = np.zeros(size, np.uint8)
    if drawing.min() == drawing.max():
        return canvas
    threshold, _ = cv2.threshold(drawing, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    strokes = np.where(drawing <= threshold, 255 - drawing, 0).astype(np.uint8)
    rows, columns = np.flatnonzero(strokes.any(axis=1)), np.flatnonzero(strokes.any(axis=0))
    box = strokes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = min(max(1, length - 2 * BORDER) / own for length, own in zip(size, box.shape, strict=True))
    height, width = (max(1, round(length * scale)) for length in box.shape)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas[top : top + height, left : left + width] = _resized(box[:, :, np.newaxis], height, width)[:, :, 0]
    return canvas


def _padded(image: Pixels, height: int, width: int) -> Pixels:
    rows, columns = image.shape[:2]
    scale = min(height / rows, width / columns)
    inner = min(height, max(1, round(rows * scale))), min(width, max(1, round(columns * scale)))
    if inner == (height, width):
        return _resized(image, height, width)
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    padded = np.empty((height, width, image.shape[2]), np.uint8)
    padded[:] = np.median(edge, axis=0).astype(np.uint8)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    padded[top : top + inner[0], left : left + inner[1]] = _resized(image, *inner)
    return padded


def _resized(image: Pixels, height: int, width: int) -> Pixels:
    """Return an image [rows, columns, channels] at another size: means of areas to shrink it, else bilinear."""
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    shrinks = height * width < rows * columns
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8).reshape(height, width, image.shape[2])
