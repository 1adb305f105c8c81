"""Measures the aligned crop, which is all that the embedder sees: detail, noise, exposure, and the eye region."""

import math
from functools import cache, lru_cache
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface.vision.align import CROP_SIDE
from sameface.vision.pixels import Pixels

Grey: TypeAlias = NDArray[np.uint8]
"""Grey levels, [height, width]."""

INNER = (slice(20, 104), slice(20, 92))
"""The face without most of the background."""
SPECTRUM_SIDE, SPECTRUM_TOP = 64, 36
"""Side and upper edge of the square in which detail is measured, in pixels of the crop."""
COARSE, FINE = (0.02, 0.06), (0.09, 0.18)
"""Frequencies of contrast and of detail, in periods per pixel of the crop. The eyes are 35 pixels apart."""
MOST_ENLARGED = 2.2
"""A crop that is enlarged further is measured as if it were enlarged this much."""
_REACH = 4
"""How far, in pixels, the local power of the noise sees."""
_SECOND_DIFFERENCE = np.array([1, -2, 1], np.float32)


def detail_beyond_noise(pixels: Pixels, grey: Grey, matrix: NDArray[np.float64]) -> float:
    """Return how much detail of the face stands out from noise, in decibels relative to its contrast.

    It is the power at `FINE` frequencies, less what noise adds to it, over the power at `COARSE` frequencies and that
    of the noise. About −15 for a sharp photo, below −23 for one that is blurred, enlarged from few pixels, or noisy.

    The noise is measured where the face is smoothest: the median over the face of the local power of a difference of
    two Laplacians, to which edges and shading contribute little (Immerkær 1996, CVIU 64, p. 300). If the crop is
    enlarged, noise has become coarser with it. Everything is then measured in the image before it is enlarged.

    Args:
        pixels: the image in which the face was found.
        grey: the aligned face, [112, 112].
        matrix: from the image to the aligned face, [2, 3].
    """
    enlarged = min(MOST_ENLARGED, float(np.hypot(matrix[0, 0], matrix[1, 0])))
    if enlarged > 1.05:
        side = round(CROP_SIDE / enlarged)
        crop = cv2.warpAffine(pixels, matrix / enlarged, (side, side)).astype(np.uint8, copy=False)
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    else:
        enlarged = 1.0
    noise = _noise_power(grey, enlarged) * enlarged**2
    coarse, fine = _powers(grey, enlarged)
    return 10.0 * float(np.log10(max(fine - 3.0 * noise, 0.03) / (coarse + 4000.0 * noise + 50.0)))


def mean_luminance(grey: Grey) -> float:
    """Return the mean grey level of the face, 0 to 255."""
    return float(cv2.mean(grey[INNER])[0])


def dynamic_range(grey: Grey) -> float:
    """Return the entropy of the face's grey levels in bits, 0 to 8 (ISO/IEC 29794-5, dynamic range)."""
    inner = grey[INNER]
    counts = np.bincount(inner.ravel(), minlength=256)
    return math.log2(inner.size) - float(_bits()[counts].sum()) / inner.size


def eye_brightness(grey: Grey) -> float:
    """Return how bright the region of the eyes is beside the cheeks: about 0.9, and below 0.5 behind dark glasses.

    The lids and the skin below the eyes are as bright as the cheeks, whatever the colour of the skin; a dark lens
    covers them too. The brighter of the two eyes counts, because a shadow may lie on one.
    """
    eyes = [_quantile(_around(grey, x, 53, 10, 7), 0.75) for x in (38, 74)]
    below = [_quantile(_around(grey, x, 59, 8, 2), 0.5) for x in (38, 74)]
    cheeks = [max(1.0, _quantile(_around(grey, x, 73, 8, 5), 0.5)) for x in (38, 74)]
    skin = max(1.0, _quantile(grey[60:84, 30:82], 0.75))
    whole = max(eyes) / skin
    return (whole + max(one / cheek for one, cheek in zip(below, cheeks, strict=True))) / 2


def _noise_power(grey: Grey, enlarged: float) -> float:
    """Return the variance of the noise in grey levels, as far as it can be told from texture."""
    edge = round(20 / enlarged)
    low, right, bottom = edge - _REACH, grey.shape[1] - edge + _REACH, grey.shape[0] - edge // 2 + _REACH
    part = grey[low:bottom, low:right]
    response = cv2.sepFilter2D(part, cv2.CV_32F, _SECOND_DIFFERENCE, _SECOND_DIFFERENCE / 6)
    local = cv2.boxFilter(response * response, -1, (7, 7))
    # Neighbours have nearly the same mean.
    return _quantile(local[_REACH:-_REACH:2, _REACH:-_REACH:2], 0.5)


def _powers(grey: Grey, enlarged: float) -> tuple[float, float]:
    """Return the mean power at coarse and at fine frequencies in the middle of the face."""
    side = round(SPECTRUM_SIDE / enlarged) // 2 * 2
    top = min(round(SPECTRUM_TOP / enlarged), grey.shape[0] - side)
    left = (grey.shape[1] - side) // 2
    window, bands = _window(side), _bands(side, enlarged)
    part = grey[top : top + side, left : left + side]
    mean = float(np.vdot(part, window)) / _window_sum(side)
    spectrum = cv2.dft((part - np.float32(mean)) * window, flags=cv2.DFT_COMPLEX_OUTPUT).ravel()
    coarse, fine = (bands @ (spectrum * spectrum)).tolist()
    return coarse, fine


def _quantile(values: NDArray[Any], share: float) -> float:
    """Return the value that this share of the values do not exceed (nearest rank). It is faster than NumPy's own."""
    rank, sorted_to_rank = math.ceil(share * values.size) - 1, values.flatten()
    sorted_to_rank.partition(rank)
    return float(sorted_to_rank[rank])


@lru_cache
def _window(side: int) -> NDArray[np.float32]:
    line = np.hanning(side + 2)[1:-1]
    window: NDArray[np.float32] = np.outer(line, line).astype(np.float32)
    return window


@cache
def _window_sum(side: int) -> float:
    return float(_window(side).sum())


@lru_cache(maxsize=16)
def _bands(side: int, enlarged: float) -> NDArray[np.float32]:
    """Return the weights, [2, 2·side²], that give the mean power of the coarse and of the fine frequencies.

    Every weight is there twice, for the real and the imaginary part.
    """
    line = np.fft.fftfreq(side) / enlarged
    frequency = np.hypot(line[:, None], line)
    bands = np.array([(frequency >= low) & (frequency < high) for low, high in (COARSE, FINE)]).reshape(2, -1)
    scale = enlarged**2 / float((_window(side) ** 2).sum())
    weights: NDArray[np.float32] = (bands * (scale / bands.sum(axis=1, keepdims=True))).astype(np.float32)
    return np.repeat(weights, 2, axis=1)


@cache
def _bits() -> NDArray[np.float64]:
    """Return n · log2(n) of every count of pixels."""
    counts = np.arange(CROP_SIDE * CROP_SIDE + 1, dtype=np.float64)
    bits: NDArray[np.float64] = counts * np.log2(np.maximum(counts, 1))
    return bits


def _around(grey: Grey, x: int, y: int, half_width: int, half_height: int) -> Grey:
    return grey[y - half_height : y + half_height + 1, x - half_width : x + half_width + 1]
