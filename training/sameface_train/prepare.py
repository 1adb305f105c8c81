"""Raw photos to training images, by the code that serves them: the service's detector, alignment and quality gate."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sameface.errors import FaceNotFound
from sameface.evaluation.dataset import read_photos
from sameface.inference.base import Inference
from sameface.pipeline.photos import FoundFaces, PhotoPipeline
from sameface.vision import align, decode_image
from sameface_qdrant.errors import SamefaceError

SLACK = 8
"""Pixels on each side of the 112×112 crop, for augmentation: images of 128×128."""
IN_FLIGHT = 4
MOST_FACES = 8


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of the photos."""

    written: int
    refused: dict[str, list[str]]
    """Photos that were left out, by the service's reason (``FACE_NOT_FOUND``, ``IMAGE_UNDECODABLE``, …)."""
    identities: int
    alone: tuple[str, ...]
    """Identities that are left with one image: they can only be negatives."""


def prepare(
    root: Path,
    target: Path,
    inference: Inference,
    *,
    enforce_quality: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Write ``target/<identity>/<photo>.png``, 128×128, for every photo of ``root/<identity>/`` that shows a face.

    Of several faces the one nearest to the middle is taken, as `sameface evaluate` does. ``enforce_quality`` leaves out
    what the service's quality gate would refuse. Images that are there already are kept.

    Raises:
        InvalidArgument: ``root`` holds no photo.
        ModelUnavailable: the detector does not answer.
    """
    photos = list(read_photos(root))
    pipeline = PhotoPipeline(inference)
    refused: dict[str, list[str]] = {}
    done = 0

    async def work(queue: "asyncio.Queue[Path]") -> None:
        nonlocal done
        while not queue.empty():
            photo = queue.get_nowait()
            name = photo.relative_to(root)
            aim = target / name.parent / f"{name.name}.png"
            if not aim.is_file():
                try:
                    await _prepare_one(pipeline, photo, aim, enforce_quality)
                except SamefaceError as error:
                    if error.retry_after_s is not None:
                        raise
                    refused.setdefault(error.reason, []).append(name.as_posix())
            done += 1
            if progress is not None:
                progress(done, len(photos))

    async def run() -> None:
        queue: asyncio.Queue[Path] = asyncio.Queue()
        for photo in photos:
            queue.put_nowait(photo)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT):
                    group.create_task(work(queue))
        finally:
            await inference.aclose()

    asyncio.run(run())
    counts = Counter(path.parent.name for path in target.glob("*/*.png"))
    return Prepared(
        written=counts.total(),
        refused=refused,
        identities=len(counts),
        alone=tuple(sorted(name for name, count in counts.items() if count == 1)),
    )


async def _prepare_one(pipeline: PhotoPipeline, photo: Path, aim: Path, enforce_quality: bool) -> None:
    content = await asyncio.to_thread(photo.read_bytes)
    found = await pipeline.find_faces(content, MOST_FACES)
    if not found.faces:
        raise FaceNotFound(f"{photo.name} shows no face", metadata={"photo": photo.name})
    face = min(found.faces, key=lambda face: _off_centre(face.detection.box, found))
    if enforce_quality and face.issues:
        raise face.issues[0]
    image = decode_image(content, pipeline.image_limits)
    crop = align(image.pixels, face.detection.scaled(image.scale).landmarks, SLACK)
    aim.parent.mkdir(parents=True, exist_ok=True)
    written, encoded = cv2.imencode(".png", np.ascontiguousarray(crop[:, :, ::-1]))
    assert written, "a picture of bytes can always be written as PNG"
    partial = aim.with_suffix(".partial")
    partial.write_bytes(encoded.tobytes())
    partial.replace(aim)


def _off_centre(box: tuple[float, float, float, float], found: FoundFaces) -> float:
    x, y, width, height = box
    return (x + width / 2 - found.width / 2) ** 2 + (y + height / 2 - found.height / 2) ** 2
