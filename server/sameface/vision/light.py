"""Colour spaces that are named rather than described by a profile: code points of ITU-T H.273, and PNG's gamma."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SRGB = (0.3127, 0.3290, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
# White, red, green and blue by x and y (H.273, table 2). Those of standard television are close to sRGB's.
_PRIMARIES = {
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_LINEAR, _PQ, _HLG = 8, 16, 18
_GAMMAS = {4: 2.2, 5: 2.8, 17: 2.6}
_STEPS = 4096


@dataclass(frozen=True, slots=True)
class Light:
    """How stored values become light: a transfer and primaries."""

    transfer: int | float | None = None
    """Code point of H.273, or as a float the exponent from values to light. None is sRGB's."""
    chromaticities: tuple[float, ...] | None = None
    """x and y of white, red, green and blue. None are sRGB's."""

    @classmethod
    def named(cls, primaries: int, transfer: int) -> "Light":
        """Return the colour space of two code points. Unknown ones are taken for sRGB's."""
        known = transfer in _GAMMAS or transfer in (_LINEAR, _PQ, _HLG)
        return cls(transfer if known else None, _PRIMARIES.get(primaries))

    @classmethod
    def of_gamma(cls, gamma: float | None, chromaticities: tuple[float, ...] | None) -> "Light":
        """Return the colour space of PNG's gAMA and cHRM chunks. What is nearly sRGB is taken for it."""
        near = gamma is None or abs(gamma - 0.45455) < 0.02
        if chromaticities and max(abs(a - b) for a, b in zip(chromaticities, _SRGB, strict=True)) < 0.02:
            chromaticities = None
        return cls(None if near or gamma is None else 1 / gamma, chromaticities)

    @property
    def is_srgb(self) -> bool:
        """Whether no conversion is needed."""
        return self.transfer is None and self.chromaticities is None


def in_srgb(image: Image.Image, light: Light) -> Image.Image:
    """Return an RGB image in sRGB. High dynamic range is scaled so that the brightest surface is white."""
    matrix = _matrix(light.chromaticities) if light.chromaticities else None
    if light.is_srgb or (matrix is None and light.transfer is None):
        return image
    values = np.asarray(image)
    linear = _to_light(light.transfer)[values]
    if matrix is not None:
        linear = linear @ matrix.T.astype(np.float32)
    if light.transfer in (_PQ, _HLG):
        linear /= np.clip(np.percentile(linear.max(axis=2), 99.5), 0.2, 20.0)
    steps = np.sqrt(linear.clip(0.0, 1.0)) * (_STEPS - 1)
    return Image.fromarray(_from_light()[steps.astype(np.uint16)])


def _to_light(transfer: int | float | None) -> NDArray[np.float32]:
    """Return the light of each value from 0 to 255. White is 1; of high dynamic range 203 cd/m² is (ITU-R BT.2408)."""
    value = np.linspace(0.0, 1.0, 256)
    if transfer is None:
        light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    elif isinstance(transfer, float):
        light = value**transfer
    elif transfer == _PQ:  # SMPTE ST 2084
        root = value ** (1 / 78.84375)
        light = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        light *= 10_000 / 203
    elif transfer == _HLG:  # ITU-R BT.2100, with the system gamma of a display of 1000 cd/m²
        scene = np.where(value <= 0.5, value**2 / 3, (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        light = scene**1.2 * 1000 / 203
    else:
        light = value ** _GAMMAS.get(int(transfer), 1.0)
    return light.astype(np.float32)


def _from_light() -> NDArray[np.uint8]:
    """Return the sRGB value of each square root of light, in 4096 steps."""
    light = np.linspace(0.0, 1.0, _STEPS) ** 2
    value = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return (value * 255.0 + 0.5).astype(np.uint8)


def _matrix(chromaticities: tuple[float, ...]) -> NDArray[np.float64] | None:
    """Return the matrix from linear RGB of these primaries to that of sRGB, white kept as white. None if singular."""
    try:
        matrix: NDArray[np.float64] = np.linalg.inv(_to_xyz(_SRGB)) @ _white_kept(chromaticities)
    except np.linalg.LinAlgError:
        return None
    return matrix if np.isfinite(matrix).all() and np.abs(matrix).max() < 10 else None


def _to_xyz(chromaticities: tuple[float, ...]) -> NDArray[np.float64]:
    points = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in _pairs(chromaticities)]).T
    scale = np.linalg.solve(points[:, 1:], points[:, 0])
    return np.asarray(points[:, 1:] * scale)


def _white_kept(chromaticities: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the matrix to XYZ under sRGB's white. Simple scaling is enough for whites that are close."""
    matrix = _to_xyz(chromaticities)
    white = _to_xyz(_SRGB).sum(axis=1)
    return np.asarray(matrix * (white / matrix.sum(axis=1))[:, np.newaxis])


def _pairs(chromaticities: tuple[float, ...]) -> list[tuple[float, float]]:
    return [(chromaticities[at], max(chromaticities[at + 1], 1e-6)) for at in range(0, 8, 2)]
