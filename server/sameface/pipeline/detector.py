"""Runs the face detector on images: pixels in, faces out."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from sameface.inference.base import FloatArray, Inference
from sameface.vision import Detection, Look, Pixels, Tile, decode_faces, detector_input, faces_of_tile, tile_pixels
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

    async def faces_in_tile(self, pixels: Pixels, look: Look, tile: Tile) -> tuple[Detection, ...]:
        """Return the faces that are whole in one tile of a look at an image, in the image's pixels.

        Raises:
            ModelUnavailable: the detector does not answer at the moment.
        """
        part = await in_thread(self.threads, tile_pixels, pixels, look, tile)
        return await in_thread(self.threads, faces_of_tile, await self.faces_in(part, max(part.shape[:2])), look, tile)

    def _decoded(self, raw: FloatArray, tensor: Pixels, scale: float) -> tuple[Detection, ...]:
        size = (tensor.shape[3], tensor.shape[2])
        return decode_faces(raw, size, scale, score_threshold=self.settings.score_threshold)
