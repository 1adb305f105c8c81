"""The steps of one photo: bytes → decode → detector → faces with quality → 112×112 crop → embedder → unit vector."""

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from sameface.errors import ModelCheckFailed
from sameface.inference.base import Inference, Tensor
from sameface.inference.cards import EMBEDDER
from sameface.pipeline.detector import Detector, DetectorSettings
from sameface.pipeline.finding import find_faces
from sameface.pipeline.presentation_attacks import AttackDetector, PadResult
from sameface.pipeline.turning import upright_face
from sameface.vision import (
    DecodedImage,
    Detection,
    FaceSelection,
    ImageLimits,
    PhotoWork,
    Pixels,
    QualityComponent,
    QualityLimits,
    align,
    assess_quality,
    decode_image,
    quality_issues,
    select_face,
)
from sameface_qdrant.concurrency import ended, in_thread
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.vectors import Vector

Result = TypeVar("Result")

LARGEST_BATCH = 32
"""``max_batch_size`` of the embedder's Triton config."""


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face in a photo. Coordinates are pixels of the photo as sent, after EXIF orientation."""

    detection: Detection
    crop: Pixels
    """Aligned, shape [112, 112, 3], RGB."""
    quality: tuple[QualityComponent, ...]
    issues: tuple[InvalidArgument, ...]
    """Why the quality gate or the attack detector rejects the face; empty if the face passes."""
    pad: PadResult | None = None
    """What the attack detector found; None if it did not examine the face."""


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """All faces of a photo, largest first, and the photo's size in pixels."""

    faces: tuple[FoundFace, ...]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PhotoPipeline:
    """Processes photos: image processing in a bounded pool of threads, models through `Inference`."""

    inference: Inference
    image_limits: ImageLimits = field(default_factory=ImageLimits)
    quality_limits: QualityLimits = field(default_factory=QualityLimits)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    # Each thread decodes one photo at a time, so the size of the pool bounds the memory of photos.
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="vision"))

    async def find_faces(self, photo: bytes, most: int, attacks: AttackDetector | None = None) -> FoundFaces:
        """Return at most ``most`` faces of a photo with quality and crops, largest first.

        ``attacks`` also examines each face for a presentation attack.

        Raises:
            ImageUndecodable, ImageTooLarge: see `sameface.vision.decode_image`.
            ModelUnavailable: a model does not answer at the moment.
        """
        image, detections = await self._detect(photo)
        ranked = sorted(detections, key=lambda face: face.box[2] * face.box[3], reverse=True)[:most]
        faces = await all_of(*(self._examine(image, face, attacks) for face in ranked))
        return FoundFaces(tuple(faces), image.original_width, image.original_height)

    async def select_face(
        self, photo: bytes, selection: FaceSelection, attacks: AttackDetector | None = None
    ) -> FoundFace:
        """Return the selected face of a photo, if it passes the quality gate and is no suspected attack.

        ``attacks`` also examines the face for a presentation attack.

        Raises:
            ImageUndecodable, ImageTooLarge: see `sameface.vision.decode_image`.
            FaceNotFound, MultipleFaces: see `sameface.vision.select_face`.
            FaceTooSmall, QualityTooLow, ExtremePose: the quality gate rejects the face. The metadata holds the measured
                values and the limits.
            PresentationAttackSuspected: the attack detector rejects the face.
            ModelUnavailable: a model does not answer at the moment.
        """
        image, detections = await self._detect(photo)
        chosen = select_face(detections, selection, image.pixels.shape[1], image.pixels.shape[0])
        face = await self._examine(image, chosen, attacks)
        if face.issues:
            raise face.issues[0]
        return face

    async def embed(self, crops: Sequence[Pixels], version: int) -> tuple[Vector, ...]:
        """Return the unit embedding of each aligned crop from one version of the embedder.

        Raises:
            ModelNotFound, ModelUnavailable: the version is not served, or does not answer at the moment.
            ModelCheckFailed: the model returned a value that is not finite, or a vector without unit norm.
        """
        if not crops:
            return ()
        batches = await in_thread(self.threads, _batches, crops)
        outputs = [await self.inference.run(EMBEDDER, version, {"images": batch}) for batch in batches]
        return await in_thread(self.threads, _checked, [output["embedding"] for output in outputs], version)

    async def _detect(self, photo: bytes) -> tuple[DecodedImage, tuple[Detection, ...]]:
        work = PhotoWork(self.image_limits.max_cpu_s)
        image = await in_thread(self.threads, decode_image, photo, self.image_limits, work, stop=work.stop)
        return image, await find_faces(image, self._detector)

    @property
    def _detector(self) -> Detector:
        return Detector(self.inference, self.threads, self.detector)

    async def _examine(self, image: DecodedImage, face: Detection, attacks: AttackDetector | None) -> FoundFace:
        face = await upright_face(image.pixels, face, self._detector)
        found = await in_thread(self.threads, self._judge, image, face)
        if attacks is None:
            return found
        result = await attacks.examine(image.pixels, face)
        refused = (result.refusal(),) if attacks.rejects and result.suspected else ()
        return replace(found, pad=result, issues=(*found.issues, *refused))

    def _judge(self, image: DecodedImage, face: Detection) -> FoundFace:
        crop = align(image.pixels, face.landmarks)
        quality = assess_quality(image, face, crop)
        return FoundFace(
            detection=face.scaled(1 / image.scale),
            crop=crop,
            quality=quality,
            issues=quality_issues(quality, self.quality_limits),
        )


def _batches(crops: Sequence[Pixels]) -> list[Pixels]:
    """Return the crops as inputs of the embedder, each uint8 [up to 32, 3, 112, 112]."""
    images = np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))
    return [images[start : start + LARGEST_BATCH] for start in range(0, len(images), LARGEST_BATCH)]


def _checked(embeddings: Sequence[Tensor], version: int) -> tuple[Vector, ...]:
    vectors = np.concatenate(embeddings).astype(np.float32, copy=False)
    norms = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(vectors).all() and (np.abs(norms - 1.0) < 1e-3).all()):
        raise ModelCheckFailed(
            f"{EMBEDDER} version {version} returned vectors with norms {norms.round(4).tolist()}; expected unit norm; "
            "check the model with `sameface model check`",
            metadata={"model": EMBEDDER, "version": version},
        )
    return tuple(vectors)


async def all_of(*works: Coroutine[Any, Any, Result]) -> list[Result]:
    """Await several coroutines at once. If one fails, cancel the others, wait for them, and then raise its error.

    `asyncio.gather` alone would leave the others running, with their photos, after the call has ended.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            await ended(task)
