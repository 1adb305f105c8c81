"""Measures the longest pause of the event loop, in milliseconds, during each kind of long work."""

import asyncio
import io
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from sameface.inference.cards import read_cards
from sameface.inference.local.runtime import require_runtime
from sameface.inference.local.server import LocalTriton
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.pipeline.samples import PhotoSample
from sameface.settings import Settings
from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.store.store import Store
from sameface_qdrant.values.gallery import Policy
from sameface_qdrant.values.template import NewTemplate

TICK_S = 0.001
WATCHED_S = 2.0
ENROLLED = 100


async def longest_pause(work: Coroutine[Any, Any, Any]) -> float:
    """Run ``work`` beside a task that sleeps 1 ms at a time; return the longest delay of that task in milliseconds."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK_S)
            longest = max(longest, time.perf_counter() - began - TICK_S)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    try:
        await work
        await asyncio.sleep(TICK_S)
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
    return longest * 1e3


async def measure_pauses(portraits: Path, megapixels: int, cohort: int) -> dict[str, float]:
    """Return the longest pause by kind of work: one large photo, eight photos, an enrolment, a calibration, /proc."""
    settings = Settings()
    portrait = (portraits / "barack_obama.jpg").read_bytes()
    cards = read_cards(settings.model_repository)
    inference = OnnxInference(settings.model_repository)
    local = LocalTriton(settings.model_repository, require_runtime(settings.cache_dir), cards)
    rng = np.random.default_rng(1)
    pauses = {"nothing": await longest_pause(asyncio.sleep(WATCHED_S))}
    with TemporaryDirectory(prefix="sameface-bench-") as folder:
        store = await Store.open(f"edge://{folder}/store")
        operations = FaceOperations(PhotoPipeline(inference), store, cards)
        gallery = await operations.create_gallery(
            "bench", embedder_version=None, display_name="", policy=Policy(), request_id=""
        )

        async def enroll(identity: str, photo: bytes) -> None:
            await operations.enroll(
                "bench",
                identity,
                PhotoSample(photo),
                allow_missing=True,
                display_name="",
                selection=None,
                expire_time=None,
                request_id="",
                validate_only=False,
            )

        async def eight() -> None:
            await asyncio.gather(*(operations.detect(portrait) for _ in range(8)))

        large = _large(portrait, megapixels)
        await operations.detect(portrait)  # loads the models
        pauses[f"one photo of {megapixels} megapixels"] = await longest_pause(operations.detect(large))
        pauses["eight photos at once"] = await longest_pause(eight())
        pauses[f"enrolment of a photo of {len(large) / 1e6:.0f} MB"] = await longest_pause(enroll("large", large))
        for number in range(ENROLLED):
            template = NewTemplate(rng.normal(size=gallery.contract.dimension).astype(np.float32), gallery.contract)
            await store.enroll("bench", f"p{number}", [template])
        vectors = rng.normal(size=(cohort, gallery.contract.dimension)).astype(np.float32)
        others = Cohort(vectors, tuple(f"other {number}" for number in range(cohort)))
        pauses[f"calibration with a cohort of {cohort:,}"] = await longest_pause(
            store.calibrate("bench", cohort=others)
        )
        await local.start()
        try:
            pauses["watching the local Triton"] = await longest_pause(asyncio.sleep(WATCHED_S))
        finally:
            await local.stop()
        await store.aclose()
    await inference.aclose()
    return pauses


def print_pauses(pauses: dict[str, float]) -> None:
    """Print one row per kind of work."""
    table = Table(title="Longest pause of the event loop", title_justify="left")
    table.add_column("while")
    table.add_column("ms", justify="right")
    for work, milliseconds in pauses.items():
        table.add_row(work, f"{milliseconds:.1f}")
    Console(width=120 if not Console().is_terminal else None).print(table)


def _large(portrait: bytes, megapixels: int) -> bytes:
    with Image.open(io.BytesIO(portrait)) as image:
        factor = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        enlarged = image.convert("RGB").resize((int(image.width * factor), int(image.height * factor)))
    buffer = io.BytesIO()
    enlarged.save(buffer, "JPEG", quality=95, progressive=True)
    return buffer.getvalue()
