"""Degrades photos of faces, to measure how well quality predicts errors. Pure and seeded; nothing is written.

Sizes are relative to the face, so a degradation is as strong for a small face as for a large one. The drawn glasses and
masks are flat shapes. They hide what real ones hide, but they are easier to see.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.errors import InvalidArgument

Pixels: TypeAlias = NDArray[np.uint8]
"""RGB, shape [height, width, 3]."""
Landmarks: TypeAlias = NDArray[np.float64]
"""Shape [5, 2], x and y in pixels: right eye (on the left of the image), left eye, nose tip, mouth corners."""
LARGEST_CUT = 0.6
"""Most of a face that a cut takes away, as a share of its width or height."""


@dataclass(frozen=True, slots=True)
class DegradedPhoto:
    """A degraded copy of a photo."""

    pixels: Pixels
    landmarks: Landmarks
    """Where the landmarks are in the copy. They may be outside it."""


Degradation: TypeAlias = Callable[[Pixels, Landmarks, float, np.random.Generator], Pixels | DegradedPhoto]
"""Degrades a photo with a strength of 0 (weak) to 1 (strong)."""


def degrade(kind: str, pixels: Pixels, landmarks: Landmarks, strength: float, seed: int) -> DegradedPhoto:
    """Return a degraded copy of a photo. The same arguments give the same copy.

    Args:
        kind: one of `DEGRADATIONS`.
        pixels: RGB, uint8 [height, width, 3].
        landmarks: of the face, [5, 2].
        strength: 0 (weak) to 1 (strong).
        seed: of every random choice.

    Raises:
        InvalidArgument: the kind is unknown, or the strength is out of range.
    """
    if kind not in DEGRADATIONS or not 0.0 <= strength <= 1.0:
        raise InvalidArgument(
            f"the degradation is {kind!r} with strength {strength}; expected a strength from 0 to 1 and one of "
            f"{', '.join(DEGRADATIONS)}",
            metadata={"field": "degrade"},
        )
    points = landmarks.astype(np.float64)
    copy = DEGRADATIONS[kind](pixels, points, strength, np.random.default_rng(seed))
    return copy if isinstance(copy, DegradedPhoto) else DegradedPhoto(copy, points)


def _blur(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> Pixels:
    return _bytes(cv2.GaussianBlur(pixels, (0, 0), _unit(landmarks) * (0.03 + 0.15 * strength)))


def _motion(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> Pixels:
    length = max(3, round(_unit(landmarks) * (0.15 + 0.6 * strength)))
    centre = (length - 1) / 2
    turn = cv2.getRotationMatrix2D((centre, centre), float(rng.uniform(0, 180)), 1.0)
    line = np.zeros((length, length), np.float32)
    line[int(centre)] = 1.0
    kernel = cv2.warpAffine(line, turn, (length, length))
    return _bytes(cv2.filter2D(pixels, -1, kernel / kernel.sum()))


def _noise(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> Pixels:
    return _bytes(pixels + rng.normal(0.0, 12 + 60 * strength, pixels.shape))


def _dark(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> Pixels:
    return _bytes(pixels * (0.25 - 0.22 * strength) + rng.normal(0.0, 1.0, pixels.shape))


def _night(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> Pixels:
    """Too little light, amplified: shot noise and read noise are amplified with it."""
    gain = 1 / (0.2 - 0.17 * strength)
    light = pixels / gain
    return _bytes(np.round(light + rng.normal(0.0, 1.0, light.shape) * np.sqrt(1.0 + 0.15 * light)) * gain)


def _bright(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> Pixels:
    return _bytes(pixels * (1.6 + 3.4 * strength))


def _low_resolution(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> Pixels:
    height, width = pixels.shape[:2]
    shrink = min(1.0, (20 - 14 * strength) / _unit(landmarks))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return _bytes(
        cv2.resize(
            cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC
        )
    )


def _compression(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> Pixels:
    quality = round(12 - 10 * strength)
    _, coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _bytes(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[..., ::-1])


def _occlusion(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> Pixels:
    """A flat patch somewhere on the face, like a hand or a phone."""
    unit = _unit(landmarks)
    side = unit * (0.7 + 0.9 * strength)
    centre = landmarks.mean(axis=0) + rng.uniform(-0.7, 0.7, 2) * unit
    corners = centre + np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * side
    return _filled(pixels, corners, rng.integers(20, 236, 3))


def _cropped(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> DegradedPhoto:
    """The photo ends inside the face."""
    left, top, right, bottom = _cut(pixels, landmarks, strength, rng)
    return DegradedPhoto(np.ascontiguousarray(pixels[top:bottom, left:right]), landmarks - [left, top])


def _padded(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> Pixels:
    """The photo ends inside the face, and bars make up its former size: black, white, or a repetition of its edge."""
    left, top, right, bottom = _cut(pixels, landmarks, strength, rng)
    height, width = pixels.shape[:2]
    border = (top, height - bottom, left, width - right)
    inside = pixels[top:bottom, left:right]
    kind = int(rng.integers(3))
    if kind == 2:
        return _bytes(cv2.copyMakeBorder(inside, *border, cv2.BORDER_REPLICATE))
    return _bytes(cv2.copyMakeBorder(inside, *border, cv2.BORDER_CONSTANT, value=[255 * kind] * 3))


def _glasses(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> Pixels:
    """Dark glasses: two lenses and a bridge, weak ones half transparent."""
    shade, unit = rng.integers(5, 45, 3), _unit(landmarks)
    right_eye, left_eye = landmarks[0], landmarks[1]
    along, across = _axes(landmarks)
    drawn = pixels
    for eye in (right_eye, left_eye):
        middle = eye + 0.05 * unit * across
        angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        lens = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        # Between an ellipse and a rectangle.
        lens = np.sign(lens) * np.abs(lens) ** 0.6
        drawn = _filled(drawn, middle + unit * (0.42 * lens[:, :1] * along + 0.30 * lens[:, 1:] * across), shade)
    bar = [right_eye - 0.9 * unit * along, left_eye + 0.9 * unit * along]
    width = 0.05 * unit * across
    drawn = _filled(drawn, np.stack([bar[0] - width, bar[1] - width, bar[1] + width, bar[0] + width]), shade)
    opacity = 0.75 + 0.25 * strength
    return _bytes(opacity * drawn.astype(np.float64) + (1 - opacity) * pixels)


def _mask(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> Pixels:
    """A mask from the nose to below the chin, white, light blue or black."""
    shade = np.array([(235, 235, 235), (150, 190, 215), (25, 25, 28)])[int(rng.integers(3))]
    unit = _unit(landmarks)
    along, across = _axes(landmarks)
    nose = landmarks[:2].mean(axis=0) + unit * (0.75 - 0.35 * strength) * across
    outline = np.array([[0, 0], [0.55, 0.2], [1.0, 0.25], [0.9, 1.1], [0.45, 1.7], [0, 1.8]])
    outline = np.concatenate([outline, outline[::-1] * [-1, 1]])
    return _filled(pixels, nose + unit * (outline[:, :1] * along + outline[:, 1:] * across), shade)


DEGRADATIONS: MappingProxyType[str, Degradation] = MappingProxyType(
    {
        "blur": _blur,
        "motion": _motion,
        "noise": _noise,
        "dark": _dark,
        "night": _night,
        "bright": _bright,
        "low-resolution": _low_resolution,
        "compression": _compression,
        "occlusion": _occlusion,
        "cropped": _cropped,
        "padded": _padded,
        "glasses": _glasses,
        "mask": _mask,
    }
)
"""Every degradation by its name."""


def _cut(pixels: Pixels, landmarks: Landmarks, strength: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a photo that lacks 25 to 60 % of the face on one of the four sides."""
    height, width = pixels.shape[:2]
    unit, middle = _unit(landmarks), landmarks.mean(axis=0)
    share = 0.25 + (LARGEST_CUT - 0.25) * strength
    # The face reaches about 1.1 distances between the eyes to each side of its middle, and 1.4 up and down.
    x, y = (middle - np.array([1.1, 1.4]) * unit * (1 - 2 * share)).round().astype(int)
    far_x, far_y = (middle + np.array([1.1, 1.4]) * unit * (1 - 2 * share)).round().astype(int)
    left, top, right, bottom = 0, 0, width, height
    match int(rng.integers(4)):
        case 0:
            left = int(np.clip(x, 0, width - 1))
        case 1:
            right = int(np.clip(far_x, 1, width))
        case 2:
            top = int(np.clip(y, 0, height - 1))
        case _:
            bottom = int(np.clip(far_y, 1, height))
    return left, top, right, bottom


def _unit(landmarks: Landmarks) -> float:
    """Return the size of the face: the distance between the eyes, or that from eyes to mouth if it is longer."""
    eyes = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    height = float(np.linalg.norm(landmarks[3:].mean(axis=0) - landmarks[:2].mean(axis=0)))
    return max(eyes, height, 1.0)


def _axes(landmarks: Landmarks) -> tuple[Landmarks, Landmarks]:
    """Return the directions from eye to eye and from forehead to chin, unit vectors."""
    along = landmarks[1] - landmarks[0]
    along = along / max(float(np.linalg.norm(along)), 1e-6)
    return along, np.array([-along[1], along[0]])


def _filled(pixels: Pixels, corners: Landmarks, colour: NDArray[np.integer]) -> Pixels:
    drawn = pixels.copy()
    cv2.fillPoly(drawn, [corners.round().astype(np.int32)], [int(value) for value in colour], lineType=cv2.LINE_AA)
    return drawn


def _bytes(values: NDArray[np.generic]) -> Pixels:
    return np.clip(np.round(np.asarray(values, np.float64)), 0, 255).astype(np.uint8)
