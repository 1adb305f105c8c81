"""Composes scenes from heads of known place and size, and counts which are found, and what else is."""

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.photos.scenes import Head, Placed, Plan, compose, cut_head, plans, sources
from sameface.inference.base import Tensors
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.detector import DETECTOR, Detector
from sameface.pipeline.photos import FoundFace, PhotoPipeline
from sameface.settings import model_repository_source
from sameface.vision import ImageLimits, decode_image
from sameface_qdrant.metrics.intervals import wilson_interval

SEED = 20261129
SIZES = (0, 20, 25, 40, 80, 160, 400, 1000, 2001)
COUNTS = (1, 2, 10, 60, 301)
EMPTY = ((320, 240), (640, 480), (1024, 768), (1600, 1200), (2400, 1800), (4000, 3000), (8000, 1500))
HEADS = 120


class CountingInference(OnnxInference):
    """Counts the images that the detector is given."""

    passes = 0

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        """See `OnnxInference.run`."""
        if model == DETECTOR:
            self.passes += len(inputs["images"])
        return await super().run(model, version, inputs)


@dataclass
class Tally:
    """Of some faces or scenes: how many, how many of them found, false ones, detector passes and seconds."""

    shown: int = 0
    found: int = 0
    false: int = 0
    passes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


async def print_faces(data: Path, rounds: int, empty: int, most_pixels: int, most: int, seed: int) -> None:
    """Look for the faces of composed scenes, and print what was found.

    Args:
        data: folder with london/ and lfw_devtest/, whose heads are pasted into the scenes.
        rounds: of scenes with faces.
        empty: scenes without a face.
        most_pixels: of a scene.
        most: faces asked for.
        seed: of heads and scenes.
    """
    inference = CountingInference(model_repository_source())
    # Noise compresses badly: the composed photos are longer than real ones of their size.
    pipeline = PhotoPipeline(inference, ImageLimits(max_bytes=1 << 30))
    rng = np.random.default_rng(seed)
    heads = await cut_heads(pipeline, data, rng)
    wanted = [plan for _ in range(rounds) for plan in plans(rng, most_pixels)]
    sizes = [size for size in EMPTY if size[0] * size[1] <= most_pixels]
    wanted += [Plan("without a face", *sizes[number % len(sizes)], ()) for number in range(empty)]
    by_kind: dict[str, Tally] = defaultdict(Tally)
    by_size: dict[int, Tally] = defaultdict(Tally)
    by_count: dict[int, Tally] = defaultdict(Tally)
    progress = track(enumerate(wanted), "scenes", len(wanted), console=Console(stderr=True), transient=True)
    for number, plan in progress:
        # A generator for each scene, so that a shorter run sees the same scenes.
        scene = compose(plan, heads, np.random.default_rng([seed, number, plan.width]))
        before, began = inference.passes, time.perf_counter()
        found = (await pipeline.find_faces(scene.content, most)).faces
        kind = by_kind[plan.kind]
        kind.seconds.append(time.perf_counter() - began)
        kind.passes.append(inference.passes - before)
        hits, false = match(scene.faces, found)
        kind.false += false
        for face, hit in zip(scene.faces, hits, strict=True):
            size = SIZES[int(np.searchsorted(SIZES, face.eyes, "right")) - 1]
            count = COUNTS[int(np.searchsorted(COUNTS, len(scene.faces), "right")) - 1]
            for tally in (kind, by_size[size], by_count[count]):
                tally.shown += 1
                tally.found += hit
    await inference.aclose()
    report(by_kind, by_size, by_count)


async def cut_heads(pipeline: PhotoPipeline, folder: Path, rng: np.random.Generator) -> list[Head]:
    """Cut heads from photos that show one face in full."""
    detector = Detector(pipeline.inference)
    heads = []
    for path in sources(folder, HEADS, rng):
        pixels = decode_image(path.read_bytes(), ImageLimits()).pixels
        faces = await detector.faces_in(pixels, 320)
        if len(faces) == 1 and faces[0].score > 0.85:
            heads.append(cut_head(pixels, faces[0]))
    return heads


def match(placed: Sequence[Placed], found: Sequence[FoundFace]) -> tuple[list[bool], int]:
    """Return for each pasted face whether it was found, and how many found faces are none of them.

    A face is found if the middle of its landmarks is right within half the distance of the eyes, and its width within a
    factor of 1.6. Each found face counts once, so a double is a false face.
    """
    left = list(found)
    hits = []
    for face in placed:
        near = [one for one in left if _is(one, face)]
        hits.append(bool(near))
        if near:
            left.remove(near[0])
    return hits, len(left)


def _is(found: FoundFace, face: Placed) -> bool:
    landmarks = found.detection.landmarks
    middle = landmarks.mean(axis=0)
    ratio = found.detection.box[2] / face.width
    return bool(np.hypot(middle[0] - face.x, middle[1] - face.y) < face.eyes / 2 and 1 / 1.6 < ratio < 1.6)


def report(by_kind: dict[str, Tally], by_size: dict[int, Tally], by_count: dict[int, Tally]) -> None:
    """Print three tables: by kind of scene, by size of face, by number of faces."""
    console = Console(width=120)
    table = Table("scenes", "faces", "found", "95 % interval", "false", "passes", "median s", title_justify="left")
    for kind, tally in by_kind.items():
        scenes = f"{len(tally.seconds)} {kind}"
        row = [str(tally.shown), *share(tally)] if tally.shown else ["0", "", ""]
        table.add_row(
            scenes,
            *row,
            str(tally.false),
            f"{statistics.median(tally.passes):g}",
            f"{statistics.median(tally.seconds):.2f}",
        )
    console.print(table)
    for title, bounds, tallies in (("eyes, px", SIZES, by_size), ("faces a photo", COUNTS, by_count)):
        table = Table(title, "faces", "found", "95 % interval")
        for low, high in pairwise(bounds):
            if low in tallies:
                table.add_row(f"{low} to {high - 1}", str(tallies[low].shown), *share(tallies[low]))
        console.print(table)
    total = Tally(sum(tally.shown for tally in by_size.values()), sum(tally.found for tally in by_size.values()))
    if total.shown:
        console.print(f"recall {' '.join(share(total))}, {total.found} of {total.shown}")


def share(tally: Tally) -> tuple[str, str]:
    """Return the share that was found, and its Wilson interval."""
    interval = wilson_interval(tally.found, tally.shown)
    return f"{tally.found / tally.shown:.3f}", f"{interval.low:.3f} to {interval.high:.3f}"
