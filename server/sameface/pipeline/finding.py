"""Finds every face of a photo: which parts of it the detector sees, and at which sizes."""

from sameface.pipeline.detector import Detector
from sameface.vision import DecodedImage, Detection

SMALLEST_SIDE = 80


async def find_faces(image: DecodedImage, detector: Detector) -> tuple[Detection, ...]:
    """Return the faces of a decoded photo, in its pixels.

    Raises:
        ModelUnavailable: the detector does not answer at the moment.
    """
    side = min(detector.settings.longest_side, max(image.pixels.shape[:2]))
    while True:
        detections = await detector.faces_in(image.pixels, side)
        # The detector was trained on faces that do not fill the image. Try again with a smaller image.
        side //= 2
        if detections or side < SMALLEST_SIDE:
            return detections
