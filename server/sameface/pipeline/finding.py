"""Finds every face of a photo: which parts of it the detector sees, and at which sizes."""

from sameface.pipeline.detector import Detector
from sameface.pipeline.turning import faces_at_any_turn
from sameface.vision import DecodedImage, Detection, Pixels

SMALLEST_SIDE = 80


async def find_faces(image: DecodedImage, detector: Detector) -> tuple[Detection, ...]:
    """Return the faces of a decoded photo, in its pixels.

    Raises:
        ModelUnavailable: the detector does not answer at the moment.
    """
    return await faces_at_any_turn(image.pixels, lambda pixels: _search(pixels, detector), detector.threads)


async def _search(pixels: Pixels, detector: Detector) -> tuple[Detection, ...]:
    side = min(detector.settings.longest_side, max(pixels.shape[:2]))
    while True:
        detections = await detector.faces_in(pixels, side)
        # The detector was trained on faces that do not fill the image. Try again with a smaller image.
        side //= 2
        if detections or side < SMALLEST_SIDE:
            return detections
