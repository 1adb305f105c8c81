"""Corrects the landmarks of a turned face by looking at it upright."""

from sameface.pipeline.detector import Detector
from sameface.vision import VIEW_SIDE, Detection, Pixels, look_again, needs_second_look, upright_view
from sameface_qdrant.concurrency import in_thread

MAX_SECOND_LOOKS = 4
"""Each look corrects about half of the remaining tilt. Four looks are enough up to 60°."""


async def upright_face(pixels: Pixels, face: Detection, detector: Detector) -> Detection:
    """Return the same face with landmarks that were found in an upright view of it.

    Raises:
        ModelUnavailable: the detector does not answer at the moment.
    """
    tilted = needs_second_look(face)
    for _ in range(MAX_SECOND_LOOKS):
        if not tilted:
            break
        view, matrix = await in_thread(detector.threads, upright_view, pixels, face)
        face, tilted = look_again(face, await detector.faces_in(view, VIEW_SIDE), matrix)
    return face
