"""Runs the face detector on images: pixels in, faces out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sameface.inference.base import FloatArray, ModelRuns
from sameface.observation.stages import stage
from sameface.vision import (
    DOUBT,
    Detection,
    Look,
    Pixels,
    Tile,
    confirm_view,
    confirmed,
    decode_faces,
    detector_input,
    faces_of_tile,
    tile_pixels,
)

Matrix: TypeAlias = NDArray[np.float64]

DETECTOR = "face_detector"
DETECTOR_VERSION = 1
LARGEST_BATCH = 8
"""``max_batch_size`` of the detector's Triton config."""


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Settings of the face detector."""

    longest_side: int = 640
    """Longest side of the detector's input in pixels. Larger photos are reduced to it."""
    score_threshold: float = 0.7


@dataclass(frozen=True, slots=True)
class Detector:
    """The detector model."""

    inference: ModelRuns
    settings: DetectorSettings = field(default_factory=DetectorSettings)

    async def faces_in(self, pixels: Pixels, longest_side: int, *, doubtful: bool = False) -> tuple[Detection, ...]:
        """Return the faces of an image, best score first, in its pixels. It is reduced to ``longest_side`` first.

        With ``doubtful``, faces somewhat below the threshold are among them; `confirm` says which to keep.

        Raises:
            ModelUnavailable: the detector does not answer at the moment.
        """
        with stage("detect"):
            tensor, scale = detector_input(pixels, longest_side)
            outputs = await self.inference.run(DETECTOR, DETECTOR_VERSION, {"images": tensor})
            (faces,) = _decoded(outputs["faces"], tensor, scale, self._least(doubtful))
            return faces

    async def faces_in_tile(self, pixels: Pixels, look: Look, tile: Tile) -> tuple[Detection, ...]:
        """Return the faces that are whole in one tile of a look at an image, also doubtful ones, in the image's pixels.

        Raises:
            ModelUnavailable: the detector does not answer at the moment.
        """
        part = tile_pixels(pixels, look, tile)
        faces = await self.faces_in(part, max(part.shape[:2]), doubtful=True)
        return faces_of_tile(faces, look, tile)

    async def faces_in_views(self, views: Pixels, *, doubtful: bool = False) -> list[tuple[Detection, ...]]:
        """Return the faces of each of up to eight views, in its pixels, from one run of the detector.

        ``views`` has shape [N, H, W, 3], H and W multiples of 32. With ``doubtful``, see `faces_in`.

        Raises:
            ModelUnavailable: the detector does not answer at the moment.
        """
        with stage("detect"):
            tensor = _batch(views)
            outputs = await self.inference.run(DETECTOR, DETECTOR_VERSION, {"images": tensor})
            return _decoded(outputs["faces"], tensor, 1.0, self._least(doubtful))

    def _least(self, doubtful: bool) -> float:
        threshold = self.settings.score_threshold
        return max(0.0, threshold - DOUBT) if doubtful else threshold

    async def confirm(self, pixels: Pixels, faces: Sequence[Detection]) -> list[Detection | None]:
        """Return each face as a second look at it shows it, or None where that shows no face.

        Raises:
            ModelUnavailable: the detector does not answer at the moment.
        """
        kept: list[Detection | None] = []
        for start in range(0, len(faces), LARGEST_BATCH):
            batch = faces[start : start + LARGEST_BATCH]
            with stage("detect"):
                tensor, matrices = _views(pixels, batch)
                outputs = await self.inference.run(DETECTOR, DETECTOR_VERSION, {"images": tensor})
                least = self.settings.score_threshold
                kept += _confirmed(batch, outputs["faces"], tensor, matrices, least)
        return kept


def _views(pixels: Pixels, faces: Sequence[Detection]) -> tuple[Pixels, list[Matrix]]:
    views, matrices = zip(*(confirm_view(pixels, face) for face in faces), strict=True)
    return _batch(np.stack(views)), list(matrices)


def _batch(views: Pixels) -> Pixels:
    """Return images [N, H, W, 3] as the detector takes them, [N, 3, H, W]."""
    return np.ascontiguousarray(views.transpose(0, 3, 1, 2))


def _decoded(raw: FloatArray, tensor: Pixels, scale: float, least: float) -> list[tuple[Detection, ...]]:
    """Return the faces of each image of a batch."""
    size = (tensor.shape[3], tensor.shape[2])
    return [decode_faces(one, size, scale, score_threshold=least) for one in raw]


def _confirmed(
    faces: Sequence[Detection], raw: FloatArray, tensor: Pixels, matrices: Sequence[Matrix], least: float
) -> list[Detection | None]:
    seen = _decoded(raw, tensor, 1.0, least)
    return [confirmed(*one, least) for one in zip(faces, seen, matrices, strict=True)]
