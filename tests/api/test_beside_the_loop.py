"""Long work runs in threads, not on the event loop, and counts as in flight until its thread has ended."""

import asyncio
import hmac
import io
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from sameface.api import calibrations
from sameface.api.admission import Admission, Limits
from sameface.api.server import start_server
from sameface.api.system_service import ServedParts
from sameface.client import ServiceError
from sameface.inference.cards import read_cards
from sameface.inference.defaults import ChosenVersion
from sameface.inference.onnx import OnnxInference
from sameface.pipeline import detector, photos, turning
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline, all_of
from sameface.settings import model_repository_source
from sameface.v1 import (
    calibration_pb2,
    face_pb2,
    face_service_pb2,
    face_service_pb2_grpc,
    gallery_service_pb2,
    gallery_service_pb2_grpc,
)
from sameface.vision import ImageLimits, PhotoWork
from sameface_qdrant import Store
from sameface_qdrant.calibration import gallery as gallery_calibration
from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.engines.edge.engine import EdgeEngine
from tests.plugin.simulated import people
from tests.vision.hostile import jpeg, refinement

GALLERY = "galleries/people"


class GatedEngine:
    """Makes a write wait until its gate is open."""

    def __init__(self, engine: EdgeEngine) -> None:
        self._engine = engine
        self.gate, self.waiting = asyncio.Event(), asyncio.Event()
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def upsert(self, *arguments: Any, **options: Any) -> None:
        self.waiting.set()
        await self.gate.wait()
        await self._engine.upsert(*arguments, **options)


class Server:
    """A server in this process, with one vision thread and room for two requests."""

    def __init__(self, channel: grpc.aio.Channel, engine: GatedEngine, admission: Admission) -> None:
        self.engine, self.admission = engine, admission
        self.faces: Any = face_service_pb2_grpc.FaceServiceStub(channel)
        self.galleries: Any = gallery_service_pb2_grpc.GalleryServiceStub(channel)

    async def get_gallery(self) -> None:
        await self.galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name=GALLERY))

    async def is_full(self) -> bool:
        """Whether a request is refused. The server gets it after everything that was sent before."""
        try:
            await self.get_gallery()
        except grpc.aio.AioRpcError as failed:
            return ServiceError.of(failed).reason == "SERVER_BUSY"
        return False

    async def until_in_flight(self, count: int) -> None:
        while self.admission.in_flight != count:  # noqa: ASYNC110  # it is a number, not an event
            await asyncio.sleep(0.001)

    async def ended(self) -> None:
        await self.admission.idle(0.0)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    repository = model_repository_source()
    cards = read_cards(repository)
    inference = OnnxInference(repository)
    engine = GatedEngine(await EdgeEngine.open(tmp_path / "store"))
    store = await Store.over(engine)
    with ThreadPoolExecutor(1, thread_name_prefix="vision") as threads:
        pipeline = PhotoPipeline(inference, ImageLimits(max_cpu_s=1e6), threads=threads)
        api = await start_server(
            "127.0.0.1:0",
            operations=FaceOperations(pipeline, store, cards),
            parts=ServedParts("onnxruntime", "", "", store.description, cards, ChosenVersion(1, "settings", "")),
            limits=Limits(requests=2, request_bytes=64 << 20, streams=2, stream_idle_s=60),
            max_message_bytes=32 << 20,
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{api.port}") as channel:
            served = Server(channel, engine, api.admission)
            await served.galleries.CreateGallery(gallery_service_pb2.CreateGalleryRequest(gallery_id="people"))
            yield served
        await api.drain(0.0)
        await store.aclose()
        await inference.aclose()


class Watched:
    """A function that records its threads and its parallel calls. With a gate, it waits at the gate."""

    def __init__(self, call: Callable[..., Any], gate: threading.Event | None = None) -> None:
        self._call, self._gate, self._lock = call, gate, threading.Lock()
        self.threads: list[str] = []
        self.begun = threading.Event()
        self.running = self.most = 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            self.threads.append(threading.current_thread().name)
            self.running += 1
            self.most = max(self.most, self.running)
        self.begun.set()
        try:
            if self._gate is not None:
                self._gate.wait(30)
            return self._call(*arguments, **options)
        finally:
            with self._lock:
                self.running -= 1


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watched]:
    def run(where: Any, name: str, gate: threading.Event | None = None) -> Watched:
        watched = Watched(getattr(where, name), gate)
        # A method must be a function, because only a function binds.
        stand_in = (lambda *given, **options: watched(*given, **options)) if isinstance(where, type) else watched
        monkeypatch.setattr(where, name, stand_in)
        return watched

    return run


def tilted(portraits: Path) -> bytes:
    with Image.open(portraits / "barack_obama.jpg") as image:
        turned = image.convert("RGB").rotate(30, expand=True)
    buffer = io.BytesIO()
    turned.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def enrolment_of(photo: bytes) -> face_service_pb2.EnrollTemplateRequest:
    return face_service_pb2.EnrollTemplateRequest(
        parent=f"{GALLERY}/identities/obama", sample=face_pb2.Sample(photo=photo), allow_missing=True
    )


async def test_pixels_and_digests_of_a_photo_are_worked_on_in_threads(
    server: Server, portraits: Path, watch: Callable[..., Watched]
) -> None:
    places = {
        photos: ("decode_image", "align", "batches_of", "checked_embeddings"),
        turning: ("small_views", "upright_view"),
    }
    places |= {detector: ("detector_input", "decode_faces")}
    steps = [(module, step) for module, names in places.items() for step in names]
    vision = [watch(module, step) for module, step in steps]
    digests = watch(hmac, "digest")
    answer = await server.faces.EnrollTemplate(enrolment_of(tilted(portraits)))
    assert answer.template.name
    for step, watched in zip(steps, vision, strict=True):
        assert watched.threads, step
        assert all(name.startswith("vision") for name in watched.threads), step
        assert watched.most == 1, step
    assert digests.threads
    assert threading.main_thread().name not in digests.threads


async def test_when_a_caller_leaves_the_decoding_of_its_photo_ends(
    server: Server, portraits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halfway, works = threading.Event(), list[Any]()

    class Paused(PhotoWork):
        """Waits halfway through the scans of a hostile photo until the caller has left."""

        def __init__(self, max_cpu_s: float) -> None:
            super().__init__(max_cpu_s)
            self.checks, self.left = 0, threading.Event()
            works.append(self)

        def stop(self) -> None:
            super().stop()
            self.left.set()

        def check(self) -> None:
            self.checks += 1
            if self.checks == 150:
                halfway.set()
                self.left.wait(30)
            super().check()

    hostile = jpeg(640, 640, 98, entropy=refinement(640, 640))
    with monkeypatch.context() as patched:
        patched.setattr(photos, "PhotoWork", Paused)
        call = server.faces.DetectFaces(face_service_pb2.DetectFacesRequest(photo=hostile))
        waiting = asyncio.ensure_future(call)
        await asyncio.to_thread(halfway.wait)
        assert server.admission.in_flight == 1
        call.cancel()
        await asyncio.wait([waiting])
        await server.ended()
    assert [work.checks for work in works] == [150]
    # The only vision thread is free for the next caller.
    photo = (portraits / "barack_obama.jpg").read_bytes()
    found = await server.faces.DetectFaces(face_service_pb2.DetectFacesRequest(photo=photo))
    assert len(found.faces) == 1


async def test_a_photo_that_waits_for_a_thread_is_dropped_with_its_caller(
    server: Server, portraits: Path, watch: Callable[..., Watched]
) -> None:
    gate = threading.Event()
    decoding = watch(photos, "decode_image", gate)
    photo = (portraits / "barack_obama.jpg").read_bytes()
    first = server.faces.DetectFaces(face_service_pb2.DetectFacesRequest(photo=photo))
    running = asyncio.ensure_future(first)
    await asyncio.to_thread(decoding.begun.wait)
    second = server.faces.DetectFaces(face_service_pb2.DetectFacesRequest(photo=photo))
    waiting = asyncio.ensure_future(second)
    await server.until_in_flight(2)
    second.cancel()
    await asyncio.wait([waiting])
    await server.until_in_flight(1)
    gate.set()
    assert (await running).faces
    assert len(decoding.threads) == 1


async def test_cancelled_photos_count_until_their_thread_is_free(
    server: Server, portraits: Path, watch: Callable[..., Watched]
) -> None:
    gate = threading.Event()
    decoding = watch(photos, "decode_image", gate)
    photo = (portraits / "barack_obama.jpg").read_bytes()
    calls = [server.faces.DetectFaces(face_service_pb2.DetectFacesRequest(photo=photo)) for _ in range(2)]
    waiting = [asyncio.ensure_future(call) for call in calls]
    await asyncio.to_thread(decoding.begun.wait)
    await server.until_in_flight(2)
    for call in calls:
        call.cancel()
    await asyncio.wait(waiting)
    # The call that had not begun is gone. The call on the thread counts until its photo is freed.
    await server.until_in_flight(1)
    for _ in range(10):
        await server.get_gallery()
        assert (server.admission.in_flight, decoding.running) == (1, 1)
    gate.set()
    await server.ended()
    assert decoding.running == 0


async def test_a_cancelled_enrolment_counts_until_it_is_written(server: Server, portraits: Path) -> None:
    photo = (portraits / "barack_obama.jpg").read_bytes()
    server.engine.gate.clear()
    server.engine.waiting.clear()
    call = server.faces.EnrollTemplate(enrolment_of(photo))
    leaving = asyncio.ensure_future(call)
    await server.engine.waiting.wait()
    call.cancel()
    await asyncio.wait([leaving])
    for _ in range(10):
        await server.get_gallery()  # arrives after the cancellation
        assert server.admission.in_flight == 1
    server.engine.gate.set()
    await server.ended()
    listed = await server.galleries.ListIdentities(gallery_service_pb2.ListIdentitiesRequest(parent=GALLERY))
    assert [one.template_count for one in listed.identities] == [1]


async def calibration(server: Server, **fields: Any) -> gallery_service_pb2.CalibrateGalleryRequest:
    gallery = await server.galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name=GALLERY))
    vectors, names = people(np.random.default_rng(5), 60, 1, dimension=128, prefix="other ")
    members = [
        calibration_pb2.Cohort.Member(identity=name, values=vector) for name, vector in zip(names, vectors, strict=True)
    ]
    cohort = calibration_pb2.Cohort(contract=gallery.contract, members=members)
    return gallery_service_pb2.CalibrateGalleryRequest(name=GALLERY, validate_only=True, cohort=cohort, **fields)


async def fill(server: Server) -> None:
    gallery = await server.galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name=GALLERY))
    vectors, _ = people(np.random.default_rng(1), 20, 1, dimension=128)
    for number, vector in enumerate(vectors):
        await server.faces.EnrollTemplate(
            face_service_pb2.EnrollTemplateRequest(
                parent=f"{GALLERY}/identities/p{number}",
                sample=face_pb2.Sample(embedding=face_pb2.Embedding(values=vector, contract=gallery.contract)),
                allow_missing=True,
            )
        )


async def test_a_calibration_is_calculated_in_a_thread_of_its_own(
    server: Server, watch: Callable[..., Watched]
) -> None:
    await fill(server)
    steps = (
        (calibrations, "_cohort"),
        (Cohort, "units"),
        (gallery_calibration, "compare_cohort"),
        (gallery_calibration, "calibrate"),
        (calibrations, "curves"),
    )
    watched = [watch(*step) for step in steps]
    answer = await server.galleries.CalibrateGallery(await calibration(server))
    assert answer.calibration.comparisons == 20 * 60
    for step, seen in zip(steps, watched, strict=True):
        assert len(seen.threads) == 1, step
        assert seen.threads[0].startswith("calibration"), step


async def test_the_next_calibration_begins_when_a_cancelled_one_has_ended(
    server: Server, watch: Callable[..., Watched]
) -> None:
    await fill(server)
    request = await calibration(server)
    gate = threading.Event()
    calculating = watch(gallery_calibration, "calibrate", gate)
    first = server.galleries.CalibrateGallery(request)
    leaving = asyncio.ensure_future(first)
    await asyncio.to_thread(calculating.begun.wait)
    first.cancel()
    await asyncio.wait([leaving])
    second = asyncio.ensure_future(server.galleries.CalibrateGallery(request))
    await server.until_in_flight(2)
    for _ in range(10):
        assert await server.is_full()
    assert len(calculating.threads) == 1
    gate.set()
    assert (await second).calibration.comparisons == 20 * 60
    assert (len(calculating.threads), calculating.most) == (2, 1)
    await server.ended()


async def test_where_one_of_two_works_fails_the_other_has_ended() -> None:
    steps = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            steps.append("ended")

    with pytest.raises(ValueError, match="broken"):
        await all_of(work(), fail())
    assert steps == ["ended"]
