"""Makes training images from raw photos, with the detector, alignment and quality gate of the service."""

import asyncio
import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sameface.errors import FaceNotFound
from sameface.evaluation.dataset import files_passed_over, read_photos
from sameface.evaluation.leakage import Digest, digest
from sameface.inference.base import Inference
from sameface.pipeline.photos import FoundFaces, PhotoPipeline
from sameface.vision import align, decode_image
from sameface_qdrant.errors import InvalidArgument, SamefaceError
from sameface_train.data_folder import check_folder
from sameface_train.errors import UnreadablePhoto, UnusableData

SLACK = 8
"""Pixels on each side of the 112×112 crop, for augmentation: images of 128×128."""
IN_FLIGHT = 4
SOURCES = "sources.csv"
MOST_FACES = 8


@dataclass(frozen=True, slots=True)
class Prepared:
    """The result of `prepare`."""

    written: int
    refused: dict[str, list[str]]
    """Photos that were left out, by the service's reason (``FACE_NOT_FOUND``, ``IMAGE_UNDECODABLE``, …), and files that
    are no photos by their content or place (``PASSED_OVER``)."""
    identities: int
    alone: tuple[str, ...]
    """Identities with only one image."""


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
    what the service's quality gate would refuse. Images that are there already are kept unless their photo has changed.
    ``target/sources.csv`` keeps the digests of the photos, because a crop does not show which photo it is from. Entries
    of images from earlier calls stay.

    Raises:
        UnusableData: ``root`` holds no ``<identity>/<photo>``, or not one photo shows a face that can be used.
        ModelUnavailable, ModelNotFound: the detector does not answer, or does not exist.
    """
    check_folder(root, field="photos", deeper=False)
    photos = list(read_photos(root))
    pipeline = PhotoPipeline(inference)
    refused: dict[str, list[str]] = {}
    if passed_over := files_passed_over(root):
        refused["PASSED_OVER"] = [one.path.relative_to(root).as_posix() for one in passed_over]
    known, sources = _read_rows(target), dict[str, Digest]()
    done = 0

    async def work(queue: "asyncio.Queue[Path]") -> None:
        nonlocal done
        while not queue.empty():
            photo = queue.get_nowait()
            name = photo.relative_to(root)
            crop_path = target / name.parent / f"{name.name}.png"
            image = crop_path.relative_to(target).as_posix()
            try:
                source = await asyncio.to_thread(_digest_of, photo)
                if not crop_path.is_file() or known.get(image, source) != source:
                    crop_path.unlink(missing_ok=True)
                    await _prepare_one(pipeline, photo, crop_path, enforce_quality)
                sources[image] = source
            except InvalidArgument as error:  # a problem of this photo; any other error ends the work
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
        except* SamefaceError as errors:
            raise errors.exceptions[0] from None
        finally:
            await inference.aclose()

    asyncio.run(run())
    counts = Counter(path.parent.name for path in target.glob("*/*.png"))
    if not counts:
        counts_by_reason = ", ".join(f"{reason} {len(names)}" for reason, names in sorted(refused.items()))
        raise UnusableData(f"none of the {len(photos)} photos in {root} could be used: {counts_by_reason}")
    write_sources(target, {image: one for image, one in (known | sources).items() if (target / image).is_file()})
    return Prepared(
        written=counts.total(),
        refused=refused,
        identities=len(counts),
        alone=tuple(sorted(name for name, count in counts.items() if count == 1)),
    )


def _digest_of(photo: Path) -> Digest:
    try:
        return digest(photo)
    except OSError as error:
        raise UnreadablePhoto(f"{photo.name} cannot be read: {error.strerror}") from error


async def _prepare_one(pipeline: PhotoPipeline, photo: Path, crop_path: Path, enforce_quality: bool) -> None:
    content = await asyncio.to_thread(photo.read_bytes)
    found = await pipeline.find_faces(content, MOST_FACES)
    if not found.faces:
        raise FaceNotFound(f"{photo.name} shows no face", metadata={"photo": photo.name})
    face = min(found.faces, key=lambda face: _off_centre(face.detection.box, found))
    if enforce_quality and face.issues:
        raise face.issues[0]
    image = decode_image(content, pipeline.image_limits)
    crop = align(image.pixels, face.detection.scaled(image.scale).landmarks, SLACK)
    crop_path.parent.mkdir(parents=True, exist_ok=True)
    written, encoded = cv2.imencode(".png", np.ascontiguousarray(crop[:, :, ::-1]))
    assert written, "a picture of bytes can always be written as PNG"
    partial = crop_path.with_suffix(".partial")
    partial.write_bytes(encoded.tobytes())
    partial.replace(crop_path)


def _off_centre(box: tuple[float, float, float, float], found: FoundFaces) -> float:
    x, y, width, height = box
    return (x + width / 2 - found.width / 2) ** 2 + (y + height / 2 - found.height / 2) ** 2


def write_sources(target: Path, sources: dict[str, Digest]) -> None:
    """Write ``sources.csv``: the digest of each image's photo."""
    with (target / SOURCES).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "sha256", "dhash", "thumbnail"))
        for name, one in sorted(sources.items()):
            writer.writerow((name, one.sha256, "" if one.dhash is None else one.dhash, one.thumbnail.hex()))


def read_sources(target: Path) -> dict[Path, Digest]:
    """Return the digests that `prepare` wrote beside its images; none for another folder."""
    return {target / image / "source": one for image, one in _read_rows(target).items()}


def _read_rows(target: Path) -> dict[str, Digest]:
    path = target / SOURCES
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["image"]: Digest(
                row["sha256"], int(row["dhash"]) if row["dhash"] else None, bytes.fromhex(row["thumbnail"])
            )
            for row in csv.DictReader(file)
        }
