"""Finds every face of a photo: which parts of it the detector sees, and at which sizes."""

from collections.abc import Sequence

from sameface.pipeline.detector import Detector
from sameface.vision import Look, Pixels, Sighting, has_room, merge
from sameface_qdrant.concurrency import in_thread

SMALLEST_SIDE = 80
"""Longest side in pixels of the smallest look."""


async def coarse_faces(pixels: Pixels, detector: Detector) -> tuple[Sighting, ...]:
    """Return the faces that a look at the whole image shows, in its pixels.

    A face may be too large for that look. So where there is room for such a face, a smaller look follows, and where
    nothing was found, up to three.

    Raises:
        ModelUnavailable: the detector does not answer at the moment.
    """
    height, width = pixels.shape[:2]
    side = min(detector.settings.longest_side, max(width, height))
    found = await _seen(pixels, side, detector)
    if not found:
        while not found and side // 2 >= SMALLEST_SIDE:
            side //= 2
            found = await _seen(pixels, side, detector)
        return found
    scale = side / max(width, height)
    faces = [one.face.scaled(scale) for one in found]
    if has_room(round(width * scale), round(height * scale), faces):
        found += await _seen(pixels, max(SMALLEST_SIDE, side // 4), detector)
    return await in_thread(detector.threads, merge, found)


async def fine_faces(
    pixels: Pixels, looks: Sequence[Look], known: Sequence[Sighting], detector: Detector, *, every: bool
) -> tuple[Sighting, ...]:
    """Return the ``known`` faces and those that finer looks at an image show, in its pixels.

    Without ``every`` it ends at the first look that shows a face: finer ones show only smaller faces.

    Raises:
        ModelUnavailable: the detector does not answer at the moment.
    """
    found = list(known)
    for look in looks:
        for tile in look.tiles:
            faces = await detector.faces_in_tile(pixels, look, tile)
            found += [Sighting(face, look.scale) for face in faces]
        if found and not every:
            break
    return await in_thread(detector.threads, merge, found)


async def _seen(pixels: Pixels, side: int, detector: Detector) -> tuple[Sighting, ...]:
    scale = min(1.0, side / max(pixels.shape[:2]))
    return tuple(Sighting(face, scale) for face in await detector.faces_in(pixels, side))
