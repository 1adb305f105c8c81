"""Measures one verification of a 250×250 photo: alternately over gRPC with Triton, and the same stages in process."""

import asyncio
import io
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from sameface.client import connect
from sameface.inference.cards import read_cards
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.pipeline.samples import PhotoSample
from sameface.settings import Settings
from sameface.v1 import face_pb2, face_service_pb2, gallery_service_pb2
from sameface_qdrant.store.store import Store
from sameface_qdrant.values.gallery import Policy

WARM_UP = 10


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds of every call, by side."""

    over_grpc: list[float]
    in_process: list[float]

    @property
    def ratio(self) -> float:
        """Median over gRPC divided by median in process."""
        return statistics.median(self.over_grpc) / statistics.median(self.in_process)

    def summary(self) -> dict[str, Any]:
        """Return medians and ratio, rounded."""
        return {
            "verify_over_grpc_ms": round(statistics.median(self.over_grpc), 2),
            "verify_in_process_ms": round(statistics.median(self.in_process), 2),
            "ratio": round(self.ratio, 3),
            "calls": len(self.over_grpc),
        }


def photo_250(path: Path) -> bytes:
    """Return a portrait as a 250×250 JPEG, the size of an LFW photo."""
    with Image.open(path) as image:
        side = min(image.size)
        left = (image.width - side) // 2
        square = image.convert("RGB").crop((left, 0, left + side, side)).resize((250, 250), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    square.save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


async def measure_verification(address: str, portraits: Path, calls: int) -> Latencies:
    """Enrol one portrait on both sides, then verify another one ``calls`` times on each side, alternately."""
    reference = photo_250(portraits / "jacinda_ardern_2018.jpg")
    probe = photo_250(portraits / "jacinda_ardern_2022.jpg")
    repository = Settings().model_repository
    name = "galleries/bench/identities/someone"
    with TemporaryDirectory(prefix="sameface-bench-") as folder, connect(address) as connection:
        store = await Store.open(f"edge://{folder}/store")
        inference = OnnxInference(repository, threads=1)
        operations = FaceOperations(PhotoPipeline(inference), store, read_cards(repository))
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
        connection.galleries.CreateGallery(gallery_service_pb2.CreateGalleryRequest(gallery_id="bench"))
        connection.faces.EnrollTemplate(
            face_service_pb2.EnrollTemplateRequest(
                parent=name, sample=face_pb2.Sample(photo=reference), allow_missing=True
            )
        )
        request = face_service_pb2.VerifyFaceRequest(name=name, sample=face_pb2.Sample(photo=probe))

        async def once_in_process() -> float:
            began = time.perf_counter()
            await operations.verify(
                "bench", "someone", PhotoSample(probe), scope=None, threshold=None, margin=None, selection=None
            )
            return (time.perf_counter() - began) * 1e3

        def once_over_grpc() -> float:
            began = time.perf_counter()
            connection.faces.VerifyFace(request)
            return (time.perf_counter() - began) * 1e3

        over_grpc, in_process = [], []
        for number in range(WARM_UP + calls):
            pair = await asyncio.to_thread(once_over_grpc), await once_in_process()
            if number >= WARM_UP:
                over_grpc.append(pair[0])
                in_process.append(pair[1])
        await inference.aclose()
        await store.aclose()
    return Latencies(over_grpc, in_process)
