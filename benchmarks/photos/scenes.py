"""Composes photos with faces of known place and size, and photos without faces. Everything follows from the seed."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sameface.vision import Detection, Pixels, head_pose

WORDS = ("exit", "Platform 9", "coffee", "OPEN", "1984", "no parking", "library", "gate B12", "%&/()", "oOo o_O")


@dataclass(frozen=True, slots=True)
class Head:
    """A head cut from a photo: RGB pixels, a soft mask 0..1 of the same size, and the face in them."""

    pixels: Pixels
    mask: NDArray[np.float32]
    face: Detection

    @property
    def eyes(self) -> float:
        """Distance between the eyes in pixels, as if the face were turned to the camera."""
        return head_pose(self.face).inter_eye_distance


@dataclass(frozen=True, slots=True)
class Placed:
    """A face that was pasted: the middle of its landmarks, the distance of its eyes and its width, in pixels."""

    x: float
    y: float
    eyes: float
    width: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A photo as a file, with the faces that it shows."""

    kind: str
    content: bytes
    width: int
    height: int
    faces: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a scene shows: its size and, for each face, the smallest and largest distance of its eyes in pixels."""

    kind: str
    width: int
    height: int
    eyes: tuple[tuple[float, float], ...]
    lossless: bool = False


def cut_head(pixels: Pixels, face: Detection) -> Head:
    """Cut the head around a face, with a soft elliptical mask."""
    x, y, width, height = face.box
    left, top = max(0, round(x - 0.35 * width)), max(0, round(y - 0.35 * height))
    right, bottom = round(x + 1.35 * width), round(y + 1.25 * height)
    part = pixels[top:bottom, left:right]
    rows, columns = np.mgrid[: part.shape[0], : part.shape[1]].astype(np.float32)
    centre = (x - left + width / 2, y - top + height / 2)
    radius = np.hypot((columns - centre[0]) / (0.8 * width), (rows - centre[1]) / (0.72 * height))
    mask = np.clip((1.0 - radius) / 0.2, 0.0, 1.0).astype(np.float32)
    landmarks = face.landmarks - np.array([left, top], dtype=np.float32)
    return Head(part, mask, Detection((x - left, y - top, width, height), landmarks, face.score))


def plans(rng: np.random.Generator, most_pixels: int) -> list[Plan]:
    """Return the plans of one round of scenes with faces; scenes of more than ``most_pixels`` are left out."""

    def some(count: int, low: float, high: float) -> tuple[tuple[float, float], ...]:
        return ((low, high),) * count

    found = [
        Plan("small", 320, 240, some(1, 20, 60), lossless=True),
        Plan("small", 640, 480, some(int(rng.integers(2, 7)), 20, 60)),
        Plan("middle", 1600, 1200, some(1, 20, 400)),
        Plan("middle", 1280, 1600, some(int(rng.integers(3, 25)), 20, 120), lossless=True),
        Plan("phone", 4000, 3000, some(1, 20, 900)),
        Plan("phone", 3024, 4032, some(int(rng.integers(2, 40)), 20, 300)),
        Plan("close-up", 1200, 1200, some(1, 300, 400)),
        Plan("close-up", 640, 640, some(1, 160, 220), lossless=True),
        Plan("close-up and head", 1600, 1200, (*some(1, 300, 380), *some(1, 30, 60))),
        Plan("close-up and head", 4000, 3000, (*some(1, 800, 1000), *some(1, 20, 150))),
        Plan("sheet", 1500, 1200, some(60, 20, 36)),
        Plan("sheet", 3000, 2400, some(300, 20, 40)),
        Plan("sheet", 5000, 5000, some(300, 20, 70), lossless=True),
        Plan("panorama", 8000, 1500, some(int(rng.integers(1, 30)), 20, 200)),
        Plan("panorama", 12000, 2000, some(int(rng.integers(1, 60)), 20, 400)),
        Plan("50 megapixels", 8160, 6120, some(int(rng.integers(1, 100)), 20, 400)),
        Plan("50 megapixels", 8160, 6120, some(1, 20, 60)),
        Plan("50 megapixels", 6120, 8160, some(1, 1000, 2000)),
    ]
    return [plan for plan in found if plan.width * plan.height <= most_pixels]


def compose(plan: Plan, heads: Sequence[Head], rng: np.random.Generator) -> Scene:
    """Paste heads into a background, and save it as JPEG of quality 85 to 95 or PNG."""
    pixels = background(plan.width, plan.height, rng)
    taken = np.zeros((-(-plan.height // 8), -(-plan.width // 8)), dtype=bool)
    placed = []
    for low, high in sorted(plan.eyes, reverse=True):
        head = heads[int(rng.integers(len(heads)))]
        eyes = float(np.exp(rng.uniform(math.log(low), math.log(high))))
        face = _paste(pixels, taken, head, eyes, rng)
        if face is not None:
            placed.append(face)
    return Scene(plan.kind, saved(pixels, plan.lossless, rng), plan.width, plan.height, tuple(placed))


def _paste(
    pixels: Pixels, taken: NDArray[np.bool_], head: Head, eyes: float, rng: np.random.Generator
) -> Placed | None:
    """Paste a head where none is yet; None if there is no room. A face as large as the frame may lose its hair."""
    height, width = pixels.shape[:2]
    _, _, face_width, face_height = head.face.box
    factor = min(eyes / head.eyes, 0.95 * width / face_width, 0.95 * height / face_height)
    size = (round(head.pixels.shape[1] * factor), round(head.pixels.shape[0] * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    x, y, face_width, face_height = (factor * value for value in head.face.box)
    for _ in range(200):
        # The face stays inside; the rest of the head may be cut by the border.
        left = round(float(rng.uniform(0, width - face_width)) - x)
        top = round(float(rng.uniform(0, height - face_height)) - y)
        rows = slice(max(0, top), min(height, top + size[1]))
        columns = slice(max(0, left), min(width, left + size[0]))
        place = (
            slice(rows.start // 8, -(-rows.stop // 8)),
            slice(columns.start // 8, -(-columns.stop // 8)),
        )
        if not taken[place].any():
            break
    else:
        return None
    taken[place] = True
    inner = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    part = cv2.resize(head.pixels, size, interpolation=method)[inner].astype(np.float32)
    mask = cv2.resize(head.mask, size, interpolation=cv2.INTER_LINEAR)[inner][:, :, np.newaxis]
    under = pixels[rows, columns].astype(np.float32)
    pixels[rows, columns] = np.clip(part * mask + under * (1 - mask), 0, 255).astype(np.uint8)
    middle = head.face.landmarks.mean(axis=0) * factor + np.array([left, top])
    return Placed(float(middle[0]), float(middle[1]), head.eyes * factor, face_width)


def background(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Return a scene without faces, RGB [height, width, 3]: noise of several octaves, stripes, shapes and text."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:] = rng.integers(40, 200, 3)
    for _ in range(int(rng.integers(1, 5))):
        cell = float(np.exp(rng.uniform(math.log(3), math.log(max(width, height)))))
        grid = (max(2, round(height / cell)), max(2, round(width / cell)), int(rng.choice((1, 3))))
        noise = rng.integers(0, 256, grid).astype(np.uint8)
        grown = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, -1)
        grown = np.broadcast_to(grown, pixels.shape)
        pixels = cv2.addWeighted(pixels, 0.6, np.ascontiguousarray(grown), 0.4, 0)
    if rng.random() < 0.3:
        period = float(rng.uniform(4, 80))
        angle = float(rng.uniform(0, math.pi))
        rows = np.arange(height, dtype=np.float32)[:, np.newaxis] * np.float32(math.sin(angle))
        columns = np.arange(width, dtype=np.float32) * np.float32(math.cos(angle))
        wave = (np.sin((rows + columns) * np.float32(2 * math.pi / period)) * 60).astype(np.int8)
        pixels = np.clip(pixels.astype(np.int16) + wave[:, :, np.newaxis], 0, 255).astype(np.uint8)
    side = math.sqrt(width * height)
    for _ in range(int(rng.integers(0, 60))):
        _draw(pixels, side, rng)
    return pixels


def _draw(pixels: Pixels, side: float, rng: np.random.Generator) -> None:
    height, width = pixels.shape[:2]
    colour = [int(value) for value in rng.integers(0, 256, 3)]
    x, y = int(rng.integers(width)), int(rng.integers(height))
    length = max(3, int(np.exp(rng.uniform(math.log(4), math.log(side / 3)))))
    shape = rng.integers(4)
    if shape == 0:
        cv2.rectangle(pixels, (x, y), (x + length, y + int(length * rng.uniform(0.2, 3))), colour, -1)
    elif shape == 1:
        axes = (length, max(1, int(length * rng.uniform(0.3, 1))))
        cv2.ellipse(pixels, (x, y), axes, float(rng.uniform(0, 360)), 0, 360, colour, int(rng.choice((-1, 2, 5))))
    elif shape == 2:
        end = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.line(pixels, (x, y), end, colour, max(1, length // 20))
    else:
        word = WORDS[int(rng.integers(len(WORDS)))]
        cv2.putText(
            pixels, word, (x, y), cv2.FONT_HERSHEY_SIMPLEX, length / 40, colour, max(1, length // 25), cv2.LINE_AA
        )


def saved(pixels: Pixels, lossless: bool, rng: np.random.Generator) -> bytes:
    """Return the pixels as a PNG, or as a JPEG of quality 85 to 95."""
    file = io.BytesIO()
    if lossless:
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    else:
        Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(85, 96)))
    return file.getvalue()


def sources(folder: Path, count: int, rng: np.random.Generator) -> list[Path]:
    """Choose photos of one clear face each: half London, not in profile, and half LFW."""
    london = sorted(path for path in folder.glob("london/*/*.jpg") if "profile" not in path.name)
    lfw = sorted(folder.glob("lfw_devtest/*/*.jpg"))
    return [group[index] for group in (london, lfw) for index in rng.permutation(len(group))[: count // 2]]
