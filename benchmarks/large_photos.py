"""Measures what the pipeline spends on decoding large JPEGs, beside decoding them at their full size."""

import asyncio
import io
import statistics
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.verification import PROBE
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.off_loop import OffLoop
from sameface.pipeline.photos import PhotoPipeline
from sameface.settings import model_repository_source
from sameface.vision import DecodedImage, FaceSelection, ImageLimits, decode_image

WIDTHS = (300, 500, 800)
"""Widths of the face in pixels: that of the detector's box."""
KINDS = {"baseline": False, "progressive": True}
SIZE = (3000, 4000)
GOAL = 1 / 3


@dataclass(frozen=True)
class _Timed(PhotoPipeline):
    """Notes the processor time of each decoding in seconds."""

    times: list[float] = field(default_factory=list)

    def _decode(
        self, place: OffLoop, photo: bytes, limits: ImageLimits, enough: int | None = None, *, for_faces: bool = True
    ) -> DecodedImage:
        began = time.thread_time()
        image = PhotoPipeline._decode(self, place, photo, limits, enough, for_faces=for_faces)
        self.times.append(time.thread_time() - began)
        return image


def measure_large_photos(portraits: Path, rounds: int) -> dict[str, Any]:
    """Return medians by kind of JPEG and width of the face: processor time in ms, and the ratio of the same round."""
    return asyncio.run(_measure(portraits / PROBE, rounds))


async def _measure(path: Path, rounds: int) -> dict[str, Any]:
    inference = OnnxInference(model_repository_source(), threads=1)
    pipeline, whole = _Timed(inference), replace(ImageLimits(), max_side=max(SIZE))
    with Image.open(path) as image:
        portrait = image.convert("RGB")
    buffer = io.BytesIO()
    portrait.save(buffer, "PNG")
    x, y, width, height = (await pipeline.select_face(buffer.getvalue(), FaceSelection.LARGEST)).detection.box
    centre = (x + width / 2, y + height / 2)
    photos = {
        (kind, wide): _photo(portrait, centre, wide / width, progressive)
        for kind, progressive in KINDS.items()
        for wide in WIDTHS
    }
    spent: dict[tuple[str, int], list[tuple[float, float, int]]] = {name: [] for name in photos}
    for _ in range(rounds):
        for name, photo in photos.items():
            pipeline.times.clear()
            await pipeline.select_face(photo, FaceSelection.LARGEST)
            began = time.thread_time()
            decode_image(photo, whole)
            spent[name].append((sum(pipeline.times), time.thread_time() - began, len(pipeline.times)))
    await inference.aclose()
    return {
        f"{kind}, face {wide} px wide": {
            "decode_ms": round(statistics.median(one for one, _, _ in turns) * 1e3, 1),
            "whole_ms": round(statistics.median(one for _, one, _ in turns) * 1e3, 1),
            "ratio": round(statistics.median(one / other for one, other, _ in turns), 3),
            "decodings": max(count for _, _, count in turns),
        }
        for (kind, wide), turns in spent.items()
    }


def _photo(portrait: Image.Image, centre: tuple[float, float], scale: float, progressive: bool) -> bytes:
    """Return a JPEG of 12 megapixels, 4:2:0, quality 92, that shows the portrait around ``centre`` at a scale."""
    sized = portrait.resize((round(portrait.width * scale), round(portrait.height * scale)), Image.Resampling.LANCZOS)
    # The rest is the portrait itself, enlarged: a photo has detail everywhere.
    photo = portrait.resize(SIZE, Image.Resampling.LANCZOS).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    photo.paste(sized, (round(SIZE[0] / 2 - centre[0] * scale), round(SIZE[1] / 2 - centre[1] * scale)))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=92, subsampling="4:2:0", progressive=progressive)
    return buffer.getvalue()
