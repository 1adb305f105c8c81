"""One verification in process, and the photos that it takes."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from sameface.inference.base import Inference
from sameface.inference.cards import read_cards
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.pipeline.samples import PhotoSample
from sameface.settings import Settings
from sameface_qdrant.store.store import Store
from sameface_qdrant.values.gallery import Policy

WARM_UP = 10
REFERENCE, PROBE = "jacinda_ardern_2018.jpg", "jacinda_ardern_2022.jpg"
SIZES = {"250×250": 0.0625, "1 MP": 1.0, "12 MP": 12.0}
"""Megapixels of the photos by their name in tables."""


def photo_250(path: Path) -> bytes:
    """Return a portrait as a 250×250 JPEG, the size of an LFW photo."""
    return photo_of(path, SIZES["250×250"])


def photo_of(path: Path, megapixels: float) -> bytes:
    """Return the middle of a portrait as a square JPEG of so many million pixels, quality 95."""
    with Image.open(path) as image:
        side, wanted = min(image.size), round((megapixels * 1e6) ** 0.5)
        left = (image.width - side) // 2
        square = image.convert("RGB").crop((left, 0, left + side, side))
    buffer = io.BytesIO()
    square.resize((wanted, wanted), Image.Resampling.LANCZOS).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


@asynccontextmanager
async def verification_in_process(
    inference: Inference, reference: bytes, probe: bytes
) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Yield a call that verifies ``probe`` in this process, against ``reference`` in a gallery on disk."""
    with TemporaryDirectory(prefix="sameface-bench-") as folder:
        store = await Store.open(f"edge://{folder}/store")
        operations = FaceOperations(PhotoPipeline(inference), store, read_cards(Settings().model_repository))
        await operations.create_gallery("bench", embedder_version=None, display_name="", policy=Policy(), request_id="")
        await operations.enroll(
            "bench",
            "someone",
            PhotoSample(reference),
            allow_missing=True,
            display_name="",
            expire_time=None,
            request_id="",
            validate_only=False,
            selection=None,
        )
        yield lambda: operations.verify(
            "bench", "someone", PhotoSample(probe), scope=None, threshold=None, margin=None, selection=None
        )
        await store.aclose()
