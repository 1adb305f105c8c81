"""The road of one photo: bytes → decode → detector → faces with quality → 112×112 crop → embedder → unit vector."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, TypeVar

import numpy as np

from sameface.errors import ModelCheckFailed
from sameface.inference.base import Inference
from sameface.inference.cards import EMBEDDER
from sameface.vision import (
    VIEW_SIDE,
    DecodedImage,
    Detection,
    FaceSelection,
    ImageLimits,
    Pixels,
    QualityComponent,
    QualityLimits,
    align,
    assess_quality,
    decode_faces,
    decode_image,
    detector_input,
    look_again,
    needs_second_look,
    quality_issues,
    select_face,
    upright_view,
)
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.vectors import Vector

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

DETECTOR = "face_detector"
DETECTOR_VERSION = 1
LARGEST_BATCH = 32
"""``max_batch_size`` of the embedder's Triton config."""
SMALLEST_SIDE = 80
MOST_SECOND_LOOKS = 4
"""Each look finds about half of the tilt that is left; four are enough up to 60°."""


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """How faces are looked for."""

    longest_side: int = 640
    """Pixels of the detector's input; photos are shrunk to it, never enlarged."""
    score_threshold: float = 0.7


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face in a photo. Coordinates are pixels of the photo as sent, after EXIF orientation."""

    detection: Detection
    crop: Pixels
    """Aligned, shape [112, 112, 3], RGB."""
    quality: tuple[QualityComponent, ...]
    issues: tuple[InvalidArgument, ...]
    """What the quality gate objects to; empty where it passes."""


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """All faces of a photo, largest first, and the photo's size in pixels."""

    faces: tuple[FoundFace, ...]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PhotoPipeline:
    """Runs photos through vision (in a bounded pool of threads) and models (through `Inference`)."""

    inference: Inference
    image_limits: ImageLimits = field(default_factory=ImageLimits)
    quality_limits: QualityLimits = field(default_factory=QualityLimits)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    # A thread decodes one photo at a time, so the pool's size bounds the memory that photos take.
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="vision"))

    async def find_faces(self, photo: bytes, most: int) -> FoundFaces:
        """Return the faces of a photo with quality and crops, largest first, at most ``most``.

        Raises:
            ImageUndecodable, ImageTooLarge: see `sameface.vision.decode_image`.
            ModelUnavailable: the detector does not answer just now.
        """
        image, detections = await self._detect(photo)
        ranked = sorted(detections, key=lambda face: face.box[2] * face.box[3], reverse=True)[:most]
        faces = await asyncio.gather(*(self._examine(image, face) for face in ranked))
        return FoundFaces(tuple(faces), image.original_width, image.original_height)

    async def select_face(self, photo: bytes, selection: FaceSelection) -> FoundFace:
        """Return the one face that is meant, after the quality gate.

        Raises:
            ImageUndecodable, ImageTooLarge, FaceNotFound, MultipleFaces: as the photo deserves.
            FaceTooSmall, QualityTooLow, ExtremePose: the quality gate; measured values and limits are in the metadata.
            ModelUnavailable: the detector does not answer just now.
        """
        image, detections = await self._detect(photo)
        chosen = select_face(detections, selection, image.pixels.shape[1], image.pixels.shape[0])
        face = await self._examine(image, chosen)
        if face.issues:
            raise face.issues[0]
        return face

    async def embed(self, crops: Sequence[Pixels], version: int) -> tuple[Vector, ...]:
        """Return the unit embedding of each aligned crop, under one version of the embedder.

        Raises:
            ModelNotFound, ModelUnavailable: the version is not served, or does not answer just now.
            ModelCheckFailed: the model gave a value that is not finite or a vector that is not of unit norm.
        """
        if not crops:
            return ()
        images = np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))
        batches = [images[start : start + LARGEST_BATCH] for start in range(0, len(images), LARGEST_BATCH)]
        outputs = [await self.inference.run(EMBEDDER, version, {"images": batch}) for batch in batches]
        vectors = np.concatenate([output["embedding"] for output in outputs]).astype(np.float32, copy=False)
        norms = np.linalg.norm(vectors, axis=1)
        if not (np.isfinite(vectors).all() and (np.abs(norms - 1.0) < 1e-3).all()):
            raise ModelCheckFailed(
                f"{EMBEDDER} version {version} gave norms {norms.round(4).tolist()}; unit norm was expected",
                metadata={"model": EMBEDDER, "version": version},
            )
        return tuple(vectors)

    async def _detect(self, photo: bytes) -> tuple[DecodedImage, tuple[Detection, ...]]:
        image, (tensor, scale) = await self._in_thread(self._prepare, photo)
        side = min(self.detector.longest_side, max(image.pixels.shape[:2]))
        while True:
            detections = await self._run_detector(tensor, scale)
            # A face that fills the picture is larger than what the detector was trained on: look again from afar.
            side //= 2
            if detections or side < SMALLEST_SIDE:
                return image, detections
            tensor, scale = await self._in_thread(detector_input, image.pixels, side)

    def _prepare(self, photo: bytes) -> tuple[DecodedImage, tuple[Pixels, float]]:
        image = decode_image(photo, self.image_limits)
        return image, detector_input(image.pixels, self.detector.longest_side)

    async def _run_detector(self, tensor: Pixels, scale: float) -> tuple[Detection, ...]:
        outputs = await self.inference.run(DETECTOR, DETECTOR_VERSION, {"images": tensor})
        size = (tensor.shape[3], tensor.shape[2])
        return decode_faces(outputs["faces"][0], size, scale, score_threshold=self.detector.score_threshold)

    async def _examine(self, image: DecodedImage, face: Detection) -> FoundFace:
        tilted = needs_second_look(face)
        for _ in range(MOST_SECOND_LOOKS):
            if not tilted:
                break
            view, matrix = await self._in_thread(upright_view, image.pixels, face)
            seen = await self._run_detector(*detector_input(view, VIEW_SIDE))
            face, tilted = look_again(face, seen, matrix)
        return await self._in_thread(self._judge, image, face)

    def _judge(self, image: DecodedImage, face: Detection) -> FoundFace:
        crop = align(image.pixels, face.landmarks)
        quality = assess_quality(image, face, crop)
        return FoundFace(
            detection=face.scaled(1 / image.scale),
            crop=crop,
            quality=quality,
            issues=quality_issues(quality, self.quality_limits),
        )

    async def _in_thread(
        self,
        call: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.threads, partial(call, *args, **kwargs))
