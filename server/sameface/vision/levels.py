"""Plans the looks at a photo: at which sizes, and in which tiles, the detector sees all of its faces.

In a look the detector finds faces of about 10 to 140 px between the eyes, its useful range. A photo with smaller and
larger faces needs several looks at different sizes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sameface.vision.detection import MULTIPLE, Detection
from sameface.vision.pixels import Pixels

FINEST = 0.5
"""Scale of the finest look, relative to the photo: eyes that are 20 px apart are 10 px apart in it."""
LARGEST_STEP = 8.0
"""Largest ratio of the scales of two looks. With the useful range above, the ranges of the two still overlap."""
LARGEST_TILE = 1280
"""Longest side of a tile in pixels of the look. It bounds the memory and the time of one run of the detector."""
SMALLEST_FACE = 32
"""Height in pixels of the smallest face box that every look finds (10 to 11 px between the eyes)."""
UNSEEN_FACE = (230, 310)
"""A face that is too large for a look shows at least this width and height in it, in pixels: 60 % of the box of a face
with 180 px between the eyes."""
LARGEST_BESIDE = 130
"""Width in pixels of a face that leaves no room beside it for one so large that a look at the whole photo misses it."""
CELL = 10
NEAR = 0.12
"""A face whose box is nearer than this share of its height to the border of a tile may be cut by it."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a look, in its pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Look:
    """A photo at a scale, in overlapping tiles of one size."""

    scale: float
    """Relative to the photo, below 1."""
    width: int
    height: int
    tiles: tuple[Tile, ...]


def finer_looks(width: int, height: int, longest_side: int) -> tuple[Look, ...]:
    """Return the looks that a photo of this size needs after the one at ``longest_side``, coarse to fine.

    Tiles overlap by the largest face for which the look is responsible, so that each is whole in a tile. The looks have
    together at most about half as many pixels as the photo.
    """
    first = longest_side / max(width, height)
    if first >= FINEST or min(width, height) * FINEST < SMALLEST_FACE:
        return ()
    steps = math.ceil(math.log(FINEST / first) / math.log(LARGEST_STEP))
    ratio = (FINEST / first) ** (1 / steps)
    overlap = math.ceil(SMALLEST_FACE * ratio * (1 + 2 * NEAR))
    return tuple(_look(width, height, FINEST / ratio ** (steps - 1 - step), overlap) for step in range(steps))


def _look(width: int, height: int, scale: float, overlap: int) -> Look:
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    (columns, tile_width), (rows, tile_height) = _cut(width, overlap), _cut(height, overlap)
    tiles = tuple(Tile(x, y, tile_width, tile_height) for y in rows for x in columns)
    return Look(scale, width, height, tiles)


def _cut(length: int, overlap: int) -> tuple[list[int], int]:
    """Return the starts of the fewest overlapping parts of a length, and the size of the parts."""
    if length <= LARGEST_TILE:
        return [0], length
    parts = math.ceil((length - overlap) / (LARGEST_TILE - overlap))
    size = math.ceil((length + (parts - 1) * overlap) / parts / MULTIPLE) * MULTIPLE
    return [round(part * (length - size) / (parts - 1)) for part in range(parts)], size


def tile_pixels(pixels: Pixels, look: Look, tile: Tile) -> Pixels:
    """Return one tile of a look at an image, RGB [tile height, tile width, 3]."""
    left, top = (round(start / look.scale) for start in (tile.x, tile.y))
    right, bottom = round((tile.x + tile.width) / look.scale), round((tile.y + tile.height) / look.scale)
    part = pixels[top:bottom, left:right]
    shrunk: Pixels = cv2.resize(part, (tile.width, tile.height), interpolation=cv2.INTER_AREA).astype(
        np.uint8, copy=False
    )
    return shrunk


def faces_of_tile(faces: Sequence[Detection], look: Look, tile: Tile) -> tuple[Detection, ...]:
    """Return the faces that were found in a tile, in pixels of the image, without those that the tile cuts.

    A face that the tile's border inside the image cuts is whole in the next tile, or so large that a coarser look finds
    it.
    """
    return tuple(face.moved(tile.x, tile.y).scaled(1 / look.scale) for face in faces if _is_whole(face, look, tile))


def _is_whole(face: Detection, look: Look, tile: Tile) -> bool:
    x, y, width, height = face.box
    near = NEAR * height
    return (
        (tile.x == 0 or x >= near)
        and (tile.y == 0 or y >= near)
        and (tile.x + tile.width >= look.width or x + width <= tile.width - near)
        and (tile.y + tile.height >= look.height or y + height <= tile.height - near)
    )


def has_room_for_larger(width: int, height: int, faces: Sequence[Detection]) -> bool:
    """Whether a face that is too large for a look may be in it, beside the ``faces`` that it found.

    Sizes and faces are in pixels of the look.
    """
    return all(face.box[2] <= LARGEST_BESIDE for face in faces) and has_room(width, height, faces, UNSEEN_FACE)


def has_room(width: int, height: int, faces: Sequence[Detection], size: tuple[float, float]) -> bool:
    """Whether a picture has a rectangle of this width and height, to a cell of 10 pixels, without one of its faces."""
    rows, columns = -(-height // CELL), -(-width // CELL)
    taken = np.zeros((rows + 1, columns + 1), dtype=np.int32)
    for face in faces:
        x, y, face_width, face_height = face.box
        top, left = max(0, int(y // CELL)), max(0, int(x // CELL))
        taken[1 + top : 1 + math.ceil((y + face_height) / CELL), 1 + left : 1 + math.ceil((x + face_width) / CELL)] = 1
    sums = taken.cumsum(axis=0).cumsum(axis=1)
    across, down = max(1, int(size[0] // CELL)), max(1, int(size[1] // CELL))
    if rows < down or columns < across:
        return False
    counts = sums[down:, across:] - sums[:-down, across:] - sums[down:, :-across] + sums[:-down, :-across]
    return bool((counts == 0).any())
