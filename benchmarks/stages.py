"""Measures the stages of one verification in process, and the whole of it beside the bare models.

The stages run one after another, as for a real photo, so each finds the caches as the stage before left them. The bare
models take turns with whole verifications, in the same process and with the same threads.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sameface.inference.cards import EMBEDDER, read_cards
from sameface.inference.onnx import OnnxInference, open_session
from sameface.pipeline.detector import DETECTOR, DETECTOR_VERSION
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.pipeline.samples import PhotoSample
from sameface.settings import model_repository_source
from sameface.vision import ImageLimits, Pixels, align, assess_quality, decode_faces, decode_image, detector_input
from sameface_qdrant.store.store import Store
from sameface_qdrant.values.decision import Probe
from sameface_qdrant.values.gallery import Gallery, Policy

WARM_UP = 10
STAGES = ("decode", "detect", "post-process", "align", "quality", "embed", "search")
LONGEST_SIDE, USUAL_SIDE = 640, 320
"""Longest side of the detector's input, and the side at which the bare detector is usually measured."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """Medians of one stage in milliseconds."""

    wall_ms: float
    cpu_ms: float
    """Processor time of the calling thread. What the store's own threads take is not in it."""


@dataclass(slots=True)
class _Clock:
    """Collects the times of named stages."""

    wall: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        self.cpu.setdefault(name, []).append((time.thread_time() - cpu) * 1e3)
        self.wall.setdefault(name, []).append((time.perf_counter() - wall) * 1e3)

    def medians(self) -> dict[str, StageTime]:
        return {
            stage: StageTime(
                statistics.median(self.wall[stage][WARM_UP:]), statistics.median(self.cpu[stage][WARM_UP:])
            )
            for stage in self.wall
        }


def measure_stages(photo: bytes, calls: int = 50) -> dict[str, StageTime]:
    """Return the times of each of `STAGES` for a photo with one upright face, by stage. Models run on one thread."""
    return asyncio.run(_measure_stages(photo, calls))


async def _measure_stages(photo: bytes, calls: int) -> dict[str, StageTime]:
    async with _operations() as (operations, repository):
        gallery = await _enrolled(operations, photo)
        contract = gallery.contract
        detector = open_session(repository / DETECTOR / str(DETECTOR_VERSION) / "model.onnx", 1)
        embedder = open_session(repository / EMBEDDER / str(contract.version) / "model.onnx", 1)
        limits, clock = ImageLimits(), _Clock()
        for _ in range(WARM_UP + calls):
            with clock.stage("decode"):
                image = decode_image(photo, limits)
            with clock.stage("detect"):
                tensor, scale = detector_input(image.pixels, LONGEST_SIDE)
                (raw,) = detector.run(None, {"images": tensor})
            with clock.stage("post-process"):
                (face, *_) = decode_faces(raw[0], (tensor.shape[3], tensor.shape[2]), scale)
            with clock.stage("align"):
                crop = align(image.pixels, face.landmarks)
            with clock.stage("quality"):
                assess_quality(image, face, crop)
            with clock.stage("embed"):
                batch = np.ascontiguousarray(crop.transpose(2, 0, 1)[np.newaxis])
                (vectors,) = embedder.run(None, {"images": batch})
            with clock.stage("search"):
                await operations.store.verify(gallery, "someone", Probe(vectors[0], contract))
        return clock.medians()


@dataclass(frozen=True, slots=True)
class InProcess:
    """Medians in milliseconds of one verification in process, and of the bare models in the same run."""

    verify_ms: float
    verify_cpu_ms: float
    """Processor time of all threads of the process."""
    bare_ms: float
    """The embedder, and the detector at the side that the photo needs."""
    bare_320_ms: float
    """The embedder, and the detector at 320²."""

    @property
    def ratio(self) -> float:
        """One verification divided by the bare models with the detector at 320²."""
        return self.verify_ms / self.bare_320_ms


def measure_in_process(photo: bytes, calls: int = 100) -> InProcess:
    """Measure verifications of a photo in process, alternately with the bare models. Models run on one thread."""
    return asyncio.run(_measure_in_process(photo, calls))


async def _measure_in_process(photo: bytes, calls: int) -> InProcess:
    async with _operations() as (operations, repository):
        gallery = await _enrolled(operations, photo)
        image = decode_image(photo, ImageLimits())
        tensor, _ = detector_input(image.pixels, LONGEST_SIDE)
        usual = np.zeros((1, 3, USUAL_SIDE, USUAL_SIDE), dtype=np.uint8)
        crops = np.zeros((1, 3, 112, 112), dtype=np.uint8)
        detector = open_session(repository / DETECTOR / str(DETECTOR_VERSION) / "model.onnx", 1)
        embedder = open_session(repository / EMBEDDER / str(gallery.contract.version) / "model.onnx", 1)

        def bare(images: Pixels) -> None:
            detector.run(None, {"images": images})
            embedder.run(None, {"images": crops})

        times: dict[str, list[float]] = {name: [] for name in ("verify", "cpu", "bare", "bare_320")}
        for _ in range(WARM_UP + calls):
            began, cpu = time.perf_counter(), time.process_time()
            await operations.verify(
                "bench", "someone", PhotoSample(photo), scope=None, threshold=None, margin=None, selection=None
            )
            times["verify"].append(time.perf_counter() - began)
            times["cpu"].append(time.process_time() - cpu)
            for name, images in (("bare", tensor), ("bare_320", usual)):
                began = time.perf_counter()
                bare(images)
                times[name].append(time.perf_counter() - began)
        medians = {name: statistics.median(values[WARM_UP:]) * 1e3 for name, values in times.items()}
        return InProcess(medians["verify"], medians["cpu"], medians["bare"], medians["bare_320"])


@asynccontextmanager
async def _operations() -> AsyncIterator[tuple[FaceOperations, Path]]:
    """Open the operations of the service on an empty embedded store, with models in process on one thread."""
    repository = model_repository_source()
    with TemporaryDirectory(prefix="sameface-bench-") as folder:
        store = await Store.open(f"edge://{folder}/store")
        inference = OnnxInference(repository, threads=1)
        yield FaceOperations(PhotoPipeline(inference), store, read_cards(repository)), repository
        await inference.aclose()
        await store.aclose()


async def _enrolled(operations: FaceOperations, photo: bytes) -> Gallery:
    """Create a gallery with one identity, whose template comes from the photo."""
    gallery = await operations.create_gallery(
        "bench", embedder_version=None, display_name="", policy=Policy(), request_id=""
    )
    await operations.enroll(
        "bench",
        "someone",
        PhotoSample(photo),
        allow_missing=True,
        display_name="",
        selection=None,
        expire_time=None,
        request_id="",
        validate_only=False,
    )
    return gallery
