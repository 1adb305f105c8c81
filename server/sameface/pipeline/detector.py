"""Runs the face detector on images: pixels in, faces out."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from sameface.inference.base import FloatArray, Inference
from sameface.vision import Detection, Pixels, decode_faces, detector_input
from sameface_qdrant.concurrency import in_thread

DETECTOR = "face_detector"
DETECTOR_VERSION = 1


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Settings of the face detector."""

    longest_side: int = 640
    """Longest side of the detector's input in pixels. Larger photos are reduced to it."""
    score_threshold: float = 0.7


@dataclass(frozen=True, slots=True)
class Detector:
    """The detector model. Its input and output are processed in ``threads``."""

    inference: Inference
    threads: ThreadPoolExecutor
    settings: DetectorSettings = field(default_factory=DetectorSettings)

    async def faces_in(self, pixels: Pixels, longest_side: int) -> tuple[Detection, ...]:
        """Return the faces of an image, best score first, in its pixels. It is reduced to ``longest_side`` first.

        Raises:
            ModelUnavailable: the detector does not answer at the moment.
        """
        tensor, scale = await in_thread(self.threads, detector_input, pixels, longest_side)
        outputs = await self.inference.run(DETECTOR, DETECTOR_VERSION, {"images": tensor})
        return await in_thread(self.threads, self._decoded, outputs["faces"][0], tensor, scale)

    async def faces_in_views(self, views: Pixels) -> list[tuple[Detection, ...]]:
        """Return the faces of each of up to eight views, in its pixels, from one run of the detector.

        ``views`` has shape [N, H, W, 3], H and W multiples of 32.

        Raises:
            ModelUnavailable: the detector does not answer at the moment.
        """
        tensor = await in_thread(self.threads, lambda: np.ascontiguousarray(views.transpose(0, 3, 1, 2)))
        outputs = await self.inference.run(DETECTOR, DETECTOR_VERSION, {"images": tensor})
        return await in_thread(self.threads, lambda: [self._decoded(raw, tensor, 1.0) for raw in outputs["faces"]])

    def _decoded(self, raw: FloatArray, tensor: Pixels, scale: float) -> tuple[Detection, ...]:
        size = (tensor.shape[3], tensor.shape[2])
        return decode_faces(raw, size, scale, score_threshold=self.settings.score_threshold)
