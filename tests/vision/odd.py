"""The plain photo that tests/data/odd holds as every kind of file, and what tests of such files share."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sameface.vision import ImageLimits, decode_image

LIMITS = ImageLimits()
FOLDER = Path(__file__).resolve().parents[1] / "data" / "odd"
PLAIN = np.asarray(Image.open(FOLDER / "plain.png").convert("RGB"))
GREY = np.asarray(Image.fromarray(PLAIN).convert("L"))
UNDO = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}


def close(content: bytes, expected: NDArray[np.generic], most: float) -> None:
    """The file has these pixels, with a mean difference of at most ``most``."""
    actual = decode_image(content, LIMITS).pixels
    wanted = expected if expected.ndim == 3 else np.repeat(expected[:, :, np.newaxis], 3, axis=2)
    assert actual.shape == wanted.shape
    assert np.abs(actual.astype(float) - wanted.astype(float)).mean() <= most


def photo(seed: int, side: int) -> Image.Image:
    """A smooth picture with noise, in which every turn and every swap of channels is visible."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 236, (4, 5, 3), dtype=np.uint8))
    return coarse.resize((side, side * 4 // 5), Image.Resampling.BICUBIC)
