"""Changes of a face photo that another photo of the same person could show: pose, light, detail and compression.

They are made image by image with OpenCV. Training with few people and the fit of a template map use them.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Pixels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Changes:
    """How far a photo is changed. Rates are shares of the copies, 0..1."""

    degrees: float = 5.0
    """Rotation, up to this much either way."""
    shift: float = 0.03
    """Translation as a share of the side."""
    scale: float = 0.06
    """Size, 1 ± scale."""
    squeeze: float = 0.10
    """Width, up to this share less or more: a turned head is narrower between the eyes."""
    tilt: float = 0.06
    """How far each corner moves, as a share of the side (perspective)."""
    gamma: float = 0.45
    """Brightness to the power of exp(±gamma)."""
    side_light: float = 0.5
    """How much darker one side of the picture is than the other, up to this share."""
    colour: float = 0.15
    """Gain of each colour, 1 ± colour."""
    grey: float = 0.08
    """Rate of copies without colour."""
    small: float = 0.4
    """Rate of copies that lose detail: reduced to between a fifth and nine tenths of the side, and enlarged."""
    blur: float = 0.2
    """Rate of copies blurred, by a radius of up to 1.5 pixels or in one direction by up to 7 pixels."""
    noise: float = 6.0
    """Largest standard deviation of noise, in grey values; half of the copies have none."""
    compressed: float = 0.6
    """Rate of copies compressed as JPEG, at a quality of 15 to 80."""
    hidden: float = 0.15
    """Rate of copies with a rectangle of up to a quarter of the picture hidden."""


def changed(photo: Images, changes: Changes, rng: np.random.Generator, side: int) -> Images:
    """Return a changed copy uint8 [3, side, side] of a photo uint8 [3, H, W], H and W at least ``side``.

    The photo's border outside the middle ``side`` pixels is room for rotation and shift.
    """
    picture = np.ascontiguousarray(photo.transpose(1, 2, 0))
    picture = _moved(picture, changes, rng)
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    pixels = picture[top : top + side, left : left + side].astype(np.float32)
    pixels = _lit(pixels, changes, rng)
    pixels = _hidden(pixels, changes.hidden, rng)
    pixels = _coarser(pixels, changes, rng)
    return np.ascontiguousarray(_compressed(pixels, changes.compressed, rng).transpose(2, 0, 1))


def _moved(picture: Images, changes: Changes, rng: np.random.Generator) -> Images:
    height, width = picture.shape[:2]
    angle = np.radians(rng.uniform(-1, 1) * changes.degrees)
    size = 1.0 + rng.uniform(-1, 1) * changes.scale
    wide = size * (1.0 + rng.uniform(-1, 1) * changes.squeeze)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([wide, size])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (width / 2, height / 2)
    centre = np.array([width / 2, height / 2])
    moved = corners @ turn.T + rng.uniform(-1, 1, 2) * changes.shift * width
    moved = moved + rng.uniform(-1, 1, (4, 2)) * changes.tilt * width
    to_target = cv2.getPerspectiveTransform((corners + centre).astype(np.float32), (moved + centre).astype(np.float32))
    found = cv2.warpPerspective(picture, to_target, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(found, np.uint8)


def _lit(pixels: Pixels, changes: Changes, rng: np.random.Generator) -> Pixels:
    pixels = 255.0 * (pixels / 255.0) ** np.float32(np.exp(rng.uniform(-1, 1) * changes.gamma))
    gain = 1.0 + rng.uniform(-1, 1, 3) * changes.colour
    direction = rng.uniform(0, 2 * np.pi)
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    slope = rng.uniform(0, changes.side_light)
    light = 1.0 + slope * (np.cos(direction) * columns + np.sin(direction) * rows) / 2
    pixels = pixels * (light[..., np.newaxis] * gain).astype(np.float32)
    if rng.random() < changes.grey:
        pixels = np.repeat(pixels @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    return pixels.clip(0, 255).astype(np.float32)


def _hidden(pixels: Pixels, rate: float, rng: np.random.Generator) -> Pixels:
    if rng.random() >= rate:
        return pixels
    height, width = pixels.shape[:2]
    size = (rng.uniform(0.1, 0.5, 2) * (height, width)).astype(int)
    top, left = (int(rng.integers(0, whole - part + 1)) for whole, part in zip((height, width), size, strict=True))
    pixels = pixels.copy()
    pixels[top : top + size[0], left : left + size[1]] = rng.uniform(0, 255, 3)
    return pixels


def _coarser(pixels: Pixels, changes: Changes, rng: np.random.Generator) -> Pixels:
    height, width = pixels.shape[:2]
    if rng.random() < changes.small:
        share = rng.uniform(0.2, 0.9)
        small = cv2.resize(
            pixels, (max(8, round(width * share)), max(8, round(height * share))), interpolation=cv2.INTER_AREA
        )
        pixels = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    if rng.random() < changes.blur:
        if rng.random() < 0.5:
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.5)), np.float32)
        else:
            length = int(rng.integers(2, 8))
            kernel = np.eye(length, dtype=np.float32) if rng.random() < 0.5 else np.ones((1, length), np.float32)
            pixels = np.asarray(cv2.filter2D(pixels, -1, kernel / kernel.sum()), np.float32)
    noise = max(0.0, rng.uniform(-changes.noise, changes.noise))
    return (pixels + rng.normal(0.0, 1.0, pixels.shape).astype(np.float32) * np.float32(noise)).clip(0, 255)


def _compressed(pixels: Pixels, rate: float, rng: np.random.Generator) -> Images:
    picture = pixels.round().astype(np.uint8)
    if rng.random() >= rate:
        return picture
    quality = int(rng.integers(15, 81))
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)
