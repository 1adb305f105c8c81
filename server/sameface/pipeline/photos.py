"""The steps of one photo: bytes → decode → detector → faces with quality → 112×112 crop → embedder → unit vector."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import cv2
import numpy as np

from sameface.inference.base import Inference
from sameface.inference.cards import EMBEDDER, ModelCard
from sameface.observation.stages import stage
from sameface.pipeline.batches import batches_of, checked_embeddings
from sameface.pipeline.detector import Detector, DetectorSettings
from sameface.pipeline.finding import coarse_faces, faces_beside, finer_faces
from sameface.pipeline.off_loop import OffLoop, off_loop
from sameface.pipeline.presentation_attacks import AttackDetector, PadResult
from sameface.pipeline.turning import faces_at_any_turn, upright_face
from sameface.vision import (
    DecodedImage,
    Detection,
    FaceSelection,
    ImageLimits,
    PhotoWork,
    Pixels,
    QualityComponent,
    QualityLimits,
    Sighting,
    align,
    assess_quality,
    decode_image,
    finer_looks,
    fit_whole_image,
    head_pose,
    largest_first,
    quality_issues,
    select_face,
)
from sameface.vision.turns import seen_upright
from sameface_qdrant.concurrency import ended
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.vectors import Vector

Result = TypeVar("Result")

# Photos are processed beside each other. OpenCV's own threads would only add changes of threads.
cv2.setNumThreads(1)

MOST_FOUND = 1000
"""Most faces of a photo that are examined and returned. A photo of 50 megapixels holds some 8,000 of the smallest."""
AT_ONCE = 4
"""Faces of a photo that are examined at the same time. More would delay the photos of others."""
ENOUGH_EYES = 40.0
"""Pixels between the eyes from which a reduced photo is enough for the crop, whose eyes are 35 px apart."""
ENOUGH_AT_FIRST = 30.0
"""The same for the first look at a large JPEG. There, at a quarter of 12 megapixels, a face of 300 px has 32 to 37 px.

Measured on 12-megapixel photos made from 26 photos of 24 people, with faces 280 px wide: 24 mated and 1146 non-mated
scores with other photos have means of 0.875 and 0.049, and 0.878 and 0.051 with crops from the full size (d′ 8.1 both).
"""


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
    """Faces of a photo, largest first, how many were found in all, and the photo's size in pixels."""

    faces: tuple[FoundFace, ...]
    found: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PhotoPipeline:
    """Processes photos: image processing in a bounded pool of threads, models through `Inference`.

    A thread keeps a photo until the photo waits for a model, so that few changes of threads are needed (see
    `sameface.pipeline.off_loop`).
    """

    inference: Inference
    image_limits: ImageLimits = field(default_factory=ImageLimits)
    quality_limits: QualityLimits = field(default_factory=QualityLimits)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    # Each thread decodes one photo at a time, so the size of the pool bounds the memory of photos.
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="vision"))
    embedders: Mapping[int, str] = field(default_factory=dict)
    """Version of the embedder → the model that runs it; `face_embedder` runs all others."""
    large_photos: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Places for photos at their full size. Each takes up to 490 MiB while it is decoded, then up to 150 MiB until its
    faces are examined."""

    async def find_faces(self, photo: bytes, most: int, attacks: AttackDetector | None = None) -> FoundFaces:
        """Return at most ``most`` faces of a photo with quality and crops, largest first.

        If there are more, those that pass the quality gate go before the others, and large ones before small ones.
        ``attacks`` also examines each face for a presentation attack.

        Raises:
            ImageUndecodable, ImageTooLarge: see `sameface.vision.decode_image`.
            ModelUnavailable: a model does not answer at the moment.
        """

        async def first(place: OffLoop) -> tuple["_Seen", list[Detection], list[FoundFace]]:
            seen = await self._see(place, places, photo, every=True)
            ranked = largest_first(seen.faces, seen.width, seen.height)
            alone = ranked if len(ranked) == 1 else []
            return seen, ranked, [await self._examine(place, seen, face, attacks) for face in alone]

        async def examined(face: Detection) -> FoundFace:
            return await self._off_loop(lambda place: self._examine(place, seen, face, attacks))

        async with AsyncExitStack() as places:
            seen, ranked, faces = await self._off_loop(first)
            for start in range(len(faces), min(len(ranked), MOST_FOUND), AT_ONCE):
                some = ranked[start : min(start + AT_ONCE, MOST_FOUND)]
                faces += await all_of(*(examined(face) for face in some))
        chosen = sorted(range(len(faces)), key=lambda index: bool(faces[index].issues))[:most]
        return FoundFaces(tuple(faces[index] for index in sorted(chosen)), len(ranked), seen.width, seen.height)

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
        async with AsyncExitStack() as places:
            return await self._off_loop(lambda place: self._select(place, places, photo, selection, attacks))

    async def embed_face(
        self, photo: bytes, selection: FaceSelection, version: int, attacks: AttackDetector | None = None
    ) -> tuple[FoundFace, Vector]:
        """Return the selected face of a photo and its unit embedding from one version of the embedder.

        It is `select_face` and `embed` without a change of threads between them.

        Raises:
            Whatever these raise.
        """

        async def work(place: OffLoop) -> tuple[FoundFace, Vector]:
            face = await self._select(place, places, photo, selection, attacks)
            (vector,) = await self._embed(place, [face.crop], version)
            return face, vector

        async with AsyncExitStack() as places:
            return await self._off_loop(work)

    async def embed_image(self, photo: bytes, card: ModelCard) -> tuple[Vector, tuple[int, int]]:
        """Return the unit embedding of a whole image, and the image's width and height. No face is looked for.

        Raises:
            ImageUndecodable, ImageTooLarge: see `sameface.vision.decode_image`.
            ModelNotFound, ModelUnavailable: the version is not served, or does not answer at the moment.
            ModelCheckFailed: the model returned a value that is not finite, or a vector without unit norm.
        """
        taken = card.whole_image
        assert taken is not None, "the card is one of whole images"

        async def work(place: OffLoop) -> tuple[Vector, tuple[int, int]]:
            image = self._decode(place, photo, self.image_limits, for_faces=False)
            images = fit_whole_image(image.pixels, shape=taken.shape, fit=taken.fit, strokes=taken.strokes)[np.newaxis]
            with stage("embed"):
                output = await place.run(card.model, card.version, {"images": images}, brief=True)
            (vector,) = checked_embeddings([output["embedding"]], card.model, card.version)
            return vector, (image.original_width, image.original_height)

        return await self._off_loop(work)

    async def embed(self, crops: Sequence[Pixels], version: int) -> tuple[Vector, ...]:
        """Return the unit embedding of each aligned crop from one version of the embedder.

        Raises:
            ModelNotFound, ModelUnavailable: the version is not served, or does not answer at the moment.
            ModelCheckFailed: the model returned a value that is not finite, or a vector without unit norm.
        """
        return await self._off_loop(lambda place: self._embed(place, crops, version)) if crops else ()

    async def _off_loop(self, work: Callable[[OffLoop], Coroutine[Any, Any, Result]]) -> Result:
        return await off_loop(self.threads, self.inference, work)

    async def _select(
        self,
        place: OffLoop,
        places: AsyncExitStack,
        photo: bytes,
        selection: FaceSelection,
        attacks: AttackDetector | None,
    ) -> FoundFace:
        seen = await self._see(place, places, photo, every=selection is not FaceSelection.LARGEST)
        selected = select_face(seen.faces, selection, seen.width, seen.height)
        face = await self._examine(place, seen, selected, attacks)
        if seen.whole is not seen.reduced:
            await place.on_loop(places.aclose)
        if face.issues:
            raise face.issues[0]
        return face

    async def _embed(self, place: OffLoop, crops: Sequence[Pixels], version: int) -> tuple[Vector, ...]:
        brief, model = len(crops) == 1, self.embedders.get(version, EMBEDDER)
        with stage("embed"):
            outputs = [await place.run(model, version, {"images": batch}, brief=brief) for batch in batches_of(crops)]
        return checked_embeddings([output["embedding"] for output in outputs], EMBEDDER, version)

    async def _see(self, place: OffLoop, places: AsyncExitStack, photo: bytes, *, every: bool) -> "_Seen":
        """Find the faces of a photo: at least the largest one, or ``every`` one.

        The photo is decoded at its full size only for faces that are too small for a reduced one. Then it occupies one
        of the places for large photos, until ``places`` is closed. If the largest face alone is wanted, a large JPEG is
        first decoded no larger than the detector needs, which is enough for an upright face of some 300 pixels in a
        photo of 12 megapixels.
        """
        detector = Detector(place, self.detector)
        search = partial(coarse_faces, detector=detector)
        image = self._decode(place, photo, self.image_limits, None if every else self.detector.longest_side)
        known, enough = None, ENOUGH_EYES
        if image.scale < 1.0 and max(image.pixels.shape[:2]) < self.image_limits.max_side:
            # The detector sees as much in an image of this size. A large face is also large enough for the crop.
            known = await search(image.pixels)
            if seen_upright(known) and _eyes(_largest(known, image).face) >= ENOUGH_AT_FIRST:
                enough = ENOUGH_AT_FIRST
            else:
                image, known = self._decode(place, photo, self.image_limits), None
        width, height = image.original_width, image.original_height
        glance = partial(faces_beside, image.pixels, detector=detector)
        turn, coarse = await faces_at_any_turn(image.pixels, search, known=known, glance=glance)
        finer = (every or not coarse) and bool(finer_looks(width, height, self.detector.longest_side))
        examined = coarse if every else [_largest(coarse, image)] if coarse else ()
        found = tuple(Sighting(one.face.scaled(1 / image.scale), one.scale * image.scale) for one in coarse)
        whole = image
        if image.scale < 1.0 and (finer or any(_eyes(one.face) < enough for one in examined)):
            await place.on_loop(partial(places.enter_async_context, self.large_photos))
            whole = self._decode(place, photo, replace(self.image_limits, max_side=max(width, height)))
        if finer:
            found = await finer_faces(whole.pixels, turn, found, detector, every=every)
        return _Seen(tuple(one.face for one in found), image, whole)

    def _decode(
        self, place: OffLoop, photo: bytes, limits: ImageLimits, enough: int | None = None, *, for_faces: bool = True
    ) -> DecodedImage:
        work = PhotoWork(limits.max_cpu_s)
        place.stop_with(work.stop)
        with stage("decode"):
            return decode_image(photo, limits, work, enough, for_faces=for_faces)

    async def _examine(
        self, place: OffLoop, seen: "_Seen", found: Detection, attacks: AttackDetector | None
    ) -> FoundFace:
        image = seen.image_for(found)
        upright = await upright_face(image.pixels, found.scaled(image.scale), Detector(place, self.detector))
        face = self._judge(image, upright)
        if attacks is None:
            return face
        result = await replace(attacks, inference=place).examine(image.pixels, upright)
        refused = (result.refusal(),) if attacks.rejects and result.suspected else ()
        return replace(face, pad=result, issues=(*face.issues, *refused))

    def _judge(self, image: DecodedImage, face: Detection) -> FoundFace:
        with stage("quality"):
            crop = align(image.pixels, face.landmarks)
            quality = assess_quality(image, face, crop)
            return FoundFace(
                detection=face.scaled(1 / image.scale),
                crop=crop,
                quality=quality,
                issues=quality_issues(quality, self.quality_limits),
            )


@dataclass(frozen=True, slots=True)
class _Seen:
    """The faces of a photo in its pixels, and the photo reduced and, where that was needed, whole."""

    faces: tuple[Detection, ...]
    reduced: DecodedImage
    whole: DecodedImage

    @property
    def width(self) -> int:
        return self.reduced.original_width

    @property
    def height(self) -> int:
        return self.reduced.original_height

    def image_for(self, face: Detection) -> DecodedImage:
        """Return the image for the crop of a face: the reduced one if it has enough pixels."""
        return (
            self.reduced
            if self.whole is self.reduced or _eyes(face) * self.reduced.scale >= ENOUGH_EYES
            else self.whole
        )


def _eyes(face: Detection) -> float:
    return head_pose(face).inter_eye_distance


def _largest(found: Sequence[Sighting], image: DecodedImage) -> Sighting:
    height, width = image.pixels.shape[:2]
    return max(found, key=lambda one: one.face.area_inside(width, height))


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
