"""What one photo costs, in counts: changes of threads, runs of models, decodings and their sizes."""

import asyncio
import io
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.photos.turns import CountingInference
from benchmarks.verification import photo_250
from sameface.inference.base import Tensors
from sameface.inference.onnx import OnnxInference
from sameface.pipeline import photos
from sameface.pipeline.off_loop import OffLoop, off_loop
from sameface.pipeline.photos import PhotoPipeline
from sameface.settings import model_repository_source
from sameface.vision import DecodedImage, FaceSelection, WorkStopped, decode_image
from tests.conftest import default_version

RUNS = {"jacinda_ardern_2022.jpg": 1, "barack_obama.jpg": 2}
"""Runs of the detector by photo. A tilted head takes a second one, which shows how far it is tilted."""
WIDTH, HEIGHT = 4000, 3000


class CountingThreads(ThreadPoolExecutor):
    """Counts how often work is given to a thread."""

    hops = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.hops += 1
        return super().submit(fn, *args, **kwargs)


class CountingRuns(OnnxInference):
    """Counts the runs of each model."""

    def __init__(self, repository: Path) -> None:
        super().__init__(repository)
        self.runs: list[str] = []

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        self.runs.append(model)
        return await super().run(model, version, inputs)


@pytest.fixture(scope="module")
def inference() -> CountingRuns:
    return CountingRuns(model_repository_source())


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[DecodedImage]:
    """Every image that is decoded."""
    made: list[DecodedImage] = []

    def noted(*given: Any, **options: Any) -> DecodedImage:
        made.append(decode_image(*given, **options))
        return made[-1]

    monkeypatch.setattr(photos, "decode_image", noted)
    return made


def twelve_megapixels(portrait: Path, face: int, orientation: int = 1) -> bytes:
    """A JPEG of 4000×3000 with a portrait on grey noise. The portrait's face is about ``face`` pixels wide."""
    noise = np.random.default_rng(1).integers(90, 110, (HEIGHT // 50, WIDTH // 50, 3), dtype=np.uint8)
    scene = Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    with Image.open(portrait) as image:
        # A face is about 0.4 as wide as these portraits.
        side = round(face / 0.4)
        scene.paste(image.convert("RGB").resize((side, side * image.height // image.width)), (1200, 300))
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    undone = {1: scene, 6: scene.rotate(90, expand=True)}[orientation]
    undone.save(buffer, "JPEG", quality=85, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("name", RUNS)
async def test_a_photo_changes_threads_once_in_process_and_runs_few_models(
    inference: CountingRuns, portraits: Path, decodings: list[DecodedImage], name: str
) -> None:
    inference.runs.clear()
    with CountingThreads(1) as threads:
        pipeline = PhotoPipeline(inference, threads=threads)
        await pipeline.embed_face(photo_250(portraits / name), FaceSelection.LARGEST, default_version())
        assert threads.hops == 1
    assert inference.runs == ["face_detector"] * RUNS[name] + ["face_embedder"]
    assert len(decodings) == 1


@pytest.mark.parametrize("name", RUNS)
async def test_a_photo_changes_threads_once_before_each_model_that_the_loop_runs(
    inference: CountingRuns, portraits: Path, name: str
) -> None:
    with CountingThreads(1) as threads:
        pipeline = PhotoPipeline(CountingInference(inference), threads=threads)
        photo = photo_250(portraits / name)
        _, vector = await pipeline.embed_face(photo, FaceSelection.LARGEST, default_version())
        assert threads.hops == RUNS[name] + 1
        face = await pipeline.select_face(photo, FaceSelection.LARGEST)
        (again,) = await pipeline.embed([face.crop], default_version())
    np.testing.assert_array_equal(again, vector)


@pytest.mark.parametrize(("orientation", "size"), [(1, 600), (6, 600), (1, 300)])
async def test_a_large_face_of_a_large_photo_needs_no_large_decoding(
    inference: CountingRuns, portraits: Path, decodings: list[DecodedImage], orientation: int, size: int
) -> None:
    path = portraits / "jacinda_ardern_2022.jpg"
    pipeline = PhotoPipeline(inference)
    content = twelve_megapixels(path, size, orientation)
    face, vector = await pipeline.embed_face(content, FaceSelection.LARGEST, default_version())
    (image,) = decodings
    assert image.pixels.shape[:2] == (HEIGHT // 4, WIDTH // 4)
    assert 2 / 3 * size < face.detection.box[2] < 3 / 2 * size
    _, alone = await pipeline.embed_face(path.read_bytes(), FaceSelection.LARGEST, default_version())
    assert float(vector @ alone) > 0.9
    # A look at every face, also at small ones, still sees the whole photo.
    decodings.clear()
    assert (await pipeline.find_faces(content, 10)).found == 1
    assert max(max(one.pixels.shape) for one in decodings) == WIDTH


async def test_a_small_face_of_a_large_photo_is_cropped_from_the_whole_photo(
    inference: CountingRuns, portraits: Path, decodings: list[DecodedImage]
) -> None:
    path = portraits / "jacinda_ardern_2022.jpg"
    pipeline = PhotoPipeline(inference)
    _, vector = await pipeline.embed_face(twelve_megapixels(path, 70), FaceSelection.LARGEST, default_version())
    assert max(max(one.pixels.shape) for one in decodings) == WIDTH
    _, alone = await pipeline.embed_face(path.read_bytes(), FaceSelection.LARGEST, default_version())
    assert float(vector @ alone) > 0.8


async def test_the_work_gets_errors_of_models_and_results_of_the_loop(inference: CountingRuns) -> None:
    async def work(place: OffLoop) -> list[str]:
        seen = [threading.current_thread().name[:6]]
        for model in ("missing", "face_detector"):
            try:
                await place.run(model, 1, {"images": np.zeros((1, 3, 32, 32), np.uint8)})
                seen.append("ran")
            except Exception as error:
                seen.append(type(error).__name__)

        async def where() -> str:
            return threading.current_thread().name

        return [*seen, await place.on_loop(where), threading.current_thread().name[:6]]

    with ThreadPoolExecutor(1, thread_name_prefix="vision") as threads:
        for either in (inference, CountingInference(inference)):
            found = await off_loop(threads, either, work)
            assert found == ["vision", "ModelNotFound", "ran", threading.main_thread().name, "vision"]


async def test_work_ends_at_its_next_model_once_its_caller_has_left(inference: CountingRuns) -> None:
    begun, left, ended = threading.Event(), threading.Event(), list[str]()

    async def work(place: OffLoop) -> None:
        place.stop_with(left.set)
        begun.set()
        left.wait(30)
        try:
            await place.run("face_detector", 1, {"images": np.zeros((1, 3, 32, 32), np.uint8)})
            await place.run("face_detector", 1, {"images": np.zeros((1, 3, 32, 32), np.uint8)})
            ended.append("ran on")
        finally:
            ended.append("ended")

    with ThreadPoolExecutor(1) as threads:
        caller = asyncio.create_task(off_loop(threads, inference, work))
        await asyncio.to_thread(begun.wait)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    assert ended == ["ended"]
    stopped = OffLoop(inference)
    stopped.stop()
    with pytest.raises(WorkStopped):
        stopped.check()
