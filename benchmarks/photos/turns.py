"""Turns whole photos in steps, and compares what the pipeline makes of them with the upright photos.

A photo is refused, or its face is compared: a photo that is refused accepts nobody. Every rate is a share of all
comparisons, so failures to acquire count as rejections.
"""

import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.dataset import read_photos
from sameface.inference.base import Inference, Tensors
from sameface.inference.cards import EMBEDDER, read_cards
from sameface.inference.defaults import chosen_version
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.detector import DETECTOR
from sameface.pipeline.photos import PhotoPipeline
from sameface.settings import Settings, model_repository_source
from sameface.vision import FaceSelection, Pixels
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.error_rates import Mask, fta
from sameface_qdrant.metrics.intervals import ConfidenceInterval, IdentityBootstrap, percentile_interval, rate_interval
from sameface_qdrant.policy import operating_threshold
from sameface_qdrant.values.gallery import Policy

Canvas: TypeAlias = Literal["enlarged", "cut"]
DATASETS = ("london", "lfw_devtest")
PHOTOS_PER_PERSON = 5
WARM_UP = 5
DIMENSION = 128
JPEG_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 95)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Accepted comparisons at one turn, and their rate relative to the upright photos."""

    accepted: int
    comparisons: int
    relative: float
    """1 for the upright photos; NaN where these accept nothing."""
    interval: ConfidenceInterval | None
    """95 %, over identities (`IdentityBootstrap`), turned and upright resampled together; None for the upright ones,
    and where too little is accepted."""


@dataclass(frozen=True, slots=True)
class TurnRow:
    """What the pipeline makes of one data set at one turn."""

    dataset: str
    degrees: int
    """Clockwise."""
    genuine: Acceptance
    """Mated: the turned photo against the upright photos of the same person."""
    non_mated: Acceptance
    """The turned photo against the upright photos of others."""
    non_mated_both: Acceptance
    """The turned photo against the photos of others, turned as far."""
    fta: float
    """Share of photos that gave no embedding."""
    fta_interval: ConfidenceInterval
    detector_passes: float
    """Mean of a photo."""


class CountingInference:
    """Passes everything on, and counts the runs of the detector and the pixels that it is given."""

    def __init__(self, inference: Inference) -> None:
        """Count the runs of ``inference``."""
        self._inference = inference
        self.detector_passes = 0
        self.detector_pixels = 0

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        """See `Inference.run`."""
        if model == DETECTOR:
            self.detector_pixels += inputs["images"][:, 0].size
            self.detector_passes += 1
        return await self._inference.run(model, version, inputs)

    async def server_version(self) -> str:
        """See `Inference.server_version`."""
        return await self._inference.server_version()

    async def aclose(self) -> None:
        """See `Inference.aclose`."""
        await self._inference.aclose()


def turned(pixels: Pixels, degrees: float, canvas: Canvas = "enlarged") -> Pixels:
    """Return a photo turned clockwise about its middle. The canvas grows so that nothing is cut, or stays and cuts."""
    height, width = pixels.shape[:2]
    if canvas == "enlarged" and degrees % 90 == 0:
        return np.rot90(pixels, -int(degrees // 90)).copy()
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1.0)
    size = (width, height)
    if canvas == "enlarged":
        cos, sin = abs(matrix[0, :2])
        size = (int(np.ceil(width * cos + height * sin)), int(np.ceil(width * sin + height * cos)))
        matrix[:, 2] += [(size[0] - width) / 2, (size[1] - height) / 2]
    image: Pixels = cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    return image


async def measure_turns(
    data: Path, *, photos: int | None = None, step: int = 15, canvas: Canvas = "enlarged"
) -> AsyncIterator[TurnRow]:
    """Yield a row for every data set and turn.

    Args:
        data: the folder with the data sets' folders.
        photos: how many of each data set; None for all. People are drawn at random, the same ones in every run.
        step: degrees between two turns.
        canvas: whether the canvas grows with the turn, or cuts the photo's corners off.
    """
    repository = Settings().model_repository
    version = chosen_version(None, repository, model_repository_source()).version
    (card,) = (card for card in read_cards(repository) if (card.model, card.version) == (EMBEDDER, version))
    threshold = operating_threshold(card.points, Policy().target_fmr)
    assert threshold is not None
    inference = CountingInference(OnnxInference(repository))
    pipeline = PhotoPipeline(inference)
    for dataset in DATASETS:
        chosen = _some(read_photos(data / dataset), photos)
        compared = _Compared(np.array(list(chosen.values())), threshold.value)
        for degrees in range(0, 360, step):
            before = inference.detector_passes
            vectors = np.stack([await _embedding(pipeline, path, degrees, canvas, version) for path in chosen])
            passes = (inference.detector_passes - before) / len(chosen)
            yield compared.row(dataset, degrees, vectors, passes)
    await inference.aclose()


async def measure_verification_ms(data: Path, photos: int) -> list[float]:
    """Return the milliseconds that reading and embedding take for each of ``photos`` upright photos of 250×250."""
    repository = Settings().model_repository
    version = chosen_version(None, repository, model_repository_source()).version
    inference = OnnxInference(repository)
    pipeline = PhotoPipeline(inference)
    times = []
    for number, path in enumerate(list(read_photos(data / "lfw_devtest"))[: WARM_UP + photos]):
        content = path.read_bytes()
        began = time.perf_counter()
        await _embedded(pipeline, content, version)
        if number >= WARM_UP:
            times.append((time.perf_counter() - began) * 1e3)
    await inference.aclose()
    return times


class _Compared:
    """Compares the photos of one data set with each other, turn by turn. The first turn must be 0."""

    def __init__(self, people: NDArray[np.str_], threshold: float) -> None:
        self._people = np.unique(people, return_inverse=True)[1].astype(np.int64)
        self._threshold = threshold
        same = self._people[:, None] == self._people[None]
        # A photo is not compared with itself.
        self._mated = same & ~np.eye(len(people), dtype=np.bool_)
        self._non_mated = ~same
        self._bootstraps = {id(pairs): self._bootstrap(pairs) for pairs in (self._mated, self._non_mated)}
        self._upright: NDArray[np.float32] | None = None

    def row(self, dataset: str, degrees: int, vectors: NDArray[np.float32], passes: float) -> TurnRow:
        """Return the row of embeddings [photos, dimension], NaN for photos without one."""
        failed = np.isnan(vectors[:, 0])
        first = self._upright is None
        upright = vectors if self._upright is None else self._upright
        self._upright = upright
        turned_to_upright = vectors @ upright.T >= self._threshold
        both = vectors @ vectors.T >= self._threshold
        before = upright @ upright.T >= self._threshold
        return TurnRow(
            dataset,
            degrees,
            self._acceptance(self._mated, turned_to_upright, before, first),
            self._acceptance(self._non_mated, turned_to_upright, before, first),
            self._acceptance(self._non_mated, both, before, first),
            fta(int(failed.sum()), failed.size),
            rate_interval(failed, self._people, self._people),
            passes,
        )

    def _bootstrap(self, pairs: Mask) -> IdentityBootstrap:
        first, second = np.nonzero(pairs)
        return IdentityBootstrap(self._people[first], self._people[second])

    def _acceptance(self, pairs: Mask, accepted: Mask, upright: Mask, first: bool) -> Acceptance:
        now, then = accepted[pairs], upright[pairs]
        count, reference = int(now.sum()), int(then.sum())
        interval = None
        if not first and reference:
            bootstrap = self._bootstraps[id(pairs)]
            rates, references = bootstrap.rates(now), bootstrap.rates(then)
            interval = percentile_interval(rates[references > 0] / references[references > 0])
        return Acceptance(count, now.size, count / reference if reference else float("nan"), interval)


async def _embedding(
    pipeline: PhotoPipeline, path: Path, degrees: int, canvas: Canvas, version: int
) -> NDArray[np.float32]:
    """Return the embedding of a turned photo, or NaN where it is refused."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert pixels is not None
    _, content = cv2.imencode(".jpg", turned(pixels.astype(np.uint8, copy=False), degrees, canvas), JPEG_QUALITY)
    try:
        return await _embedded(pipeline, content.tobytes(), version)
    except InvalidArgument:
        return np.full(DIMENSION, np.nan, dtype=np.float32)


async def _embedded(pipeline: PhotoPipeline, content: bytes, version: int) -> NDArray[np.float32]:
    face = await pipeline.select_face(content, FaceSelection.MOST_CENTRAL)
    (vector,) = await pipeline.embed([face.crop], version)
    return vector


def _some(photos: dict[Path, str], most: int | None) -> dict[Path, str]:
    """Return the photos of people drawn at random, up to `PHOTOS_PER_PERSON` each. People with several come first."""
    if most is None:
        return photos
    by_person: dict[str, list[Path]] = {}
    for path, person in photos.items():
        by_person.setdefault(person, []).append(path)
    rng = np.random.default_rng(0)
    order = [list(by_person)[place] for place in rng.permutation(len(by_person))]
    order.sort(key=lambda person: len(by_person[person]) == 1)
    chosen: dict[Path, str] = {}
    for person in order:
        for place in rng.permutation(len(by_person[person]))[:PHOTOS_PER_PERSON]:
            if len(chosen) < most:
                chosen[by_person[person][place]] = person
    return chosen


async def print_turns(data: Path, photos: int | None, step: int, canvas: Canvas) -> None:
    """Print a line for every data set and turn as it is measured, and the time of an upright photo."""
    print(
        f"{'canvas ' + canvas:17} {'mated: accepted, relative':33} {'non-mated, one turned':31} {'both turned':31} FTA"
        f"{'':18}passes"
    )
    async for row in measure_turns(data, photos=photos, step=step, canvas=canvas):
        accepted = " ".join(f"{_text(part):>31}" for part in (row.genuine, row.non_mated, row.non_mated_both))
        low, high = row.fta_interval.low, row.fta_interval.high
        print(
            f"{row.dataset:11} {row.degrees:4}° {accepted}  {row.fta:6.1%} ({low:.1%} to {high:.1%}) "
            f"{row.detector_passes:5.2f}",
            flush=True,
        )
    times = await measure_verification_ms(data, photos or 200)
    low_ms, middle_ms, high_ms = statistics.quantiles(times, n=4)
    print(f"reading and embedding an upright 250×250 photo: median {middle_ms:.1f} ms ({low_ms:.1f} to {high_ms:.1f})")


def _text(part: Acceptance) -> str:
    text = f"{part.accepted}/{part.comparisons} {part.relative:.3f}"
    return text if part.interval is None else f"{text} ({part.interval.low:.3f} to {part.interval.high:.3f})"
