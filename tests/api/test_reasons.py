"""A real cause produces every reason of the error table through the server, with status and metadata as documented."""

import asyncio
import io
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from google.protobuf import field_mask_pb2
from PIL import Image

from sameface.access.rates import RateOptions
from sameface.access.roles import Role
from sameface.access.tokens import Issuer
from sameface.api.admission import Admission, Limits
from sameface.api.server import start_server
from sameface.api.status import ERRORS
from sameface.api.system_service import ServedParts
from sameface.audit.log import AuditLog, AuditOptions
from sameface.audit.recorder import Recorder
from sameface.client import ServiceError
from sameface.client.connection import MAX_MESSAGE_BYTES
from sameface.errors import ModelUnavailable
from sameface.inference.base import Tensors
from sameface.inference.cards import EMBEDDER, read_card, read_cards
from sameface.inference.defaults import ChosenVersion
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.settings import model_repository_source
from sameface.v1 import (
    face_pb2,
    face_service_pb2,
    face_service_pb2_grpc,
    gallery_pb2,
    gallery_service_pb2,
    gallery_service_pb2_grpc,
    migration_service_pb2,
    migration_service_pb2_grpc,
)
from sameface.vision import QualityLimits
from sameface_qdrant import GuardAction, Policy, Quota, Store
from sameface_qdrant.engines.base import Where
from sameface_qdrant.engines.edge.engine import EdgeEngine
from sameface_qdrant.engines.server.error_mapping import typed_error
from sameface_qdrant.errors import SamefaceError, StoreCorrupt
from tests.access.conftest import Guarded, guarded
from tests.access.test_tokens import AUDIENCE, ISSUER, signed
from tests.template_maps import exact_map
from tests.toy_embedder import add_toy_embedder
from tests.toy_pad import tinted, with_toy_pad

GALLERY = "galleries/people"
OBAMA = f"{GALLERY}/identities/obama"


class Spoilt:
    """Passes calls on, or does what a test sets instead. It stands where disks and servers can fail."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self.instead: Callable[[str], Awaitable[Any]] | None = None

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._part, name)
        if self.instead is None or not asyncio.iscoroutinefunction(attribute) or name == "aclose":
            return attribute
        instead = self.instead

        async def call(*arguments: Any, **options: Any) -> Any:
            return await instead(name)

        return call


class Server:
    """A server in this process, with real models and a real Edge store that a test can make fail."""

    def __init__(
        self, channel: grpc.aio.Channel, engine: Spoilt, inference: Spoilt, store: Store, admission: Admission
    ) -> None:
        self.admission = admission
        self.channel = channel
        self.engine, self.inference, self.store = engine, inference, store
        self.faces: Any = face_service_pb2_grpc.FaceServiceStub(channel)
        self.galleries: Any = gallery_service_pb2_grpc.GalleryServiceStub(channel)
        self.migrations: Any = migration_service_pb2_grpc.MigrationServiceStub(channel)


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, portraits: Path) -> AsyncIterator[Server]:
    repository, _ = with_toy_pad(tmp_path_factory.mktemp("models"))
    add_toy_embedder(repository)
    # Galleries are migrated to version 4. No photo is embedded by it.
    newer = read_card(model_repository_source() / EMBEDDER / "4" / "card.json")
    cards = (*read_cards(repository), newer)
    engine = Spoilt(await EdgeEngine.open(tmp_path_factory.mktemp("reasons") / "store"))
    inference = Spoilt(OnnxInference(repository))
    store = await Store.over(engine)
    maps = {(1, 4): exact_map(next(card for card in cards if card.model == EMBEDDER), newer)}
    pipeline = PhotoPipeline(inference, quality_limits=QualityLimits(max_roll=60.0))
    api = await start_server(
        "127.0.0.1:0",
        operations=FaceOperations(pipeline, store, cards, maps=maps),
        parts=ServedParts("onnxruntime", "", "", store.description, cards, ChosenVersion(1, "settings", "")),
        limits=Limits(requests=2, request_bytes=64 << 20, streams=3, stream_idle_s=60.0, arrive_s=2.0),
        max_message_bytes=MAX_MESSAGE_BYTES,
    )
    options = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{api.port}", options=options) as channel:
        served = Server(channel, engine, inference, store, api.admission)
        await served.galleries.CreateGallery(gallery_service_pb2.CreateGalleryRequest(gallery_id="people"))
        await served.faces.EnrollTemplate(enrolment(sample(portraits), request_id=REQUEST))
        yield served
    await api.drain(0.0)
    await store.aclose()


REQUEST = str(uuid.UUID(int=7))


def sample(portraits: Path, name: str = "barack_obama.jpg") -> face_pb2.Sample:
    return face_pb2.Sample(photo=(portraits / name).read_bytes())


def picture(image: Image.Image) -> face_pb2.Sample:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="JPEG", quality=92)
    return face_pb2.Sample(photo=buffer.getvalue())


def opened(portraits: Path, name: str = "barack_obama.jpg") -> Image.Image:
    with Image.open(portraits / name) as image:
        return image.convert("RGB")


def enrolment(photo: face_pb2.Sample, parent: str = OBAMA, **fields: Any) -> face_service_pb2.EnrollTemplateRequest:
    return face_service_pb2.EnrollTemplateRequest(parent=parent, sample=photo, **{"allow_missing": True, **fields})


def search(photo: face_pb2.Sample, **fields: Any) -> face_service_pb2.IdentifyFacesRequest:
    return face_service_pb2.IdentifyFacesRequest(**{"gallery": GALLERY, "sample": photo, **fields})


def embedding(values: list[float], sha256: str = "") -> face_pb2.Sample:
    card = read_card(model_repository_source() / "face_embedder" / "1" / "card.json")
    contract = face_pb2.Contract(
        model=card.model,
        version=card.version,
        sha256=sha256 or card.sha256,
        dimension=128,
        preprocessing=card.preprocessing,
    )
    return face_pb2.Sample(embedding=face_pb2.Embedding(values=values, contract=contract))


Cause = Callable[[Server, Path], Awaitable[Any]]
CAUSES: dict[str, Cause] = {}


def cause(reason: str) -> Callable[[Cause], Cause]:
    def note(function: Cause) -> Cause:
        CAUSES[reason] = function
        return function

    return note


@cause("INVALID_ARGUMENT")
async def _(server: Server, portraits: Path) -> None:
    await server.galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name="nonsense"))


@cause("INVALID_EMBEDDING")
async def _(server: Server, portraits: Path) -> None:
    await server.faces.IdentifyFaces(search(embedding([float("nan")] * 128)))


@cause("CONTRACT_MISMATCH")
async def _(server: Server, portraits: Path) -> None:
    await server.faces.IdentifyFaces(search(embedding([1.0] * 128, sha256="0" * 64)))


@cause("IMAGE_UNDECODABLE")
async def _(server: Server, portraits: Path) -> None:
    await server.faces.IdentifyFaces(search(face_pb2.Sample(photo=b"no image")))


@cause("IMAGE_TOO_LARGE")
async def _(server: Server, portraits: Path) -> None:
    await server.faces.IdentifyFaces(search(face_pb2.Sample(photo=bytes((16 << 20) + 1))))


@cause("FACE_NOT_FOUND")
async def _(server: Server, portraits: Path) -> None:
    await server.faces.IdentifyFaces(search(picture(Image.new("RGB", (300, 200)))))


@cause("MULTIPLE_FACES")
async def _(server: Server, portraits: Path) -> None:
    one = opened(portraits)
    two = Image.new("RGB", (2 * one.width, one.height))
    two.paste(one, (0, 0))
    two.paste(one, (one.width, 0))
    await server.faces.IdentifyFaces(search(picture(two), face_selection=face_pb2.FACE_SELECTION_ERROR))


@cause("FACE_TOO_SMALL")
async def _(server: Server, portraits: Path) -> None:
    scene, one = Image.new("RGB", (600, 600), "grey"), opened(portraits)
    scene.paste(one.resize((60, one.height * 60 // one.width)), (270, 250))
    await server.faces.IdentifyFaces(search(picture(scene)))


@cause("QUALITY_TOO_LOW")
async def _(server: Server, portraits: Path) -> None:
    blurred = cv2.GaussianBlur(np.asarray(opened(portraits)), (0, 0), 9)
    await server.faces.IdentifyFaces(search(picture(Image.fromarray(blurred))))


@cause("EXTREME_POSE")
async def _(server: Server, portraits: Path) -> None:
    turned = opened(portraits, "rishi_sunak.jpg").rotate(72, expand=True, fillcolor="grey")
    await server.faces.IdentifyFaces(search(picture(turned)))


async def rejecting_attacks(server: Server, gallery: str) -> str:
    """Make a gallery that rejects presentation attacks, and return its name."""
    policy = gallery_pb2.Policy(presentation_attack=gallery_pb2.PRESENTATION_ATTACK_ACTION_REJECT)
    request = gallery_service_pb2.CreateGalleryRequest(gallery_id=gallery, gallery=gallery_pb2.Gallery(policy=policy))
    made: gallery_pb2.Gallery = await server.galleries.CreateGallery(request)
    return made.name


@cause("PRESENTATION_ATTACK_SUSPECTED")
async def _(server: Server, portraits: Path) -> None:
    photo = face_pb2.Sample(photo=tinted(portraits / "barack_obama.jpg", -50))
    await server.faces.IdentifyFaces(search(photo, gallery=await rejecting_attacks(server, "alive-1")))


@cause("PHOTO_REQUIRED")
async def _(server: Server, portraits: Path) -> None:
    gallery = await rejecting_attacks(server, "alive-2")
    await server.faces.IdentifyFaces(search(embedding([1.0] * 128), gallery=gallery))


@cause("GALLERY_NOT_FOUND")
async def _(server: Server, portraits: Path) -> None:
    await server.galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name="galleries/nobody"))


@cause("IDENTITY_NOT_FOUND")
async def _(server: Server, portraits: Path) -> None:
    await server.galleries.GetIdentity(gallery_service_pb2.GetIdentityRequest(name=f"{GALLERY}/identities/nobody"))


@cause("TEMPLATE_NOT_FOUND")
async def _(server: Server, portraits: Path) -> None:
    name = f"{OBAMA}/templates/{uuid.UUID(int=1)}"
    await server.galleries.GetTemplate(gallery_service_pb2.GetTemplateRequest(name=name))


@cause("FACES_NOT_SUPPORTED")
async def _(server: Server, portraits: Path) -> None:
    await server.galleries.CreateGallery(
        gallery_service_pb2.CreateGalleryRequest(gallery_id="shapes", embedder_model="toy-shapes")
    )
    one = enrolment(sample(portraits), "galleries/shapes/identities/box", face_selection=face_pb2.FACE_SELECTION_ERROR)
    await server.faces.EnrollTemplate(one)


@cause("MODEL_NOT_FOUND")
async def _(server: Server, portraits: Path) -> None:
    request = gallery_service_pb2.CreateGalleryRequest(gallery_id="new", embedder_version=99)
    await server.galleries.CreateGallery(request)


@cause("GALLERY_ALREADY_EXISTS")
async def _(server: Server, portraits: Path) -> None:
    await server.galleries.CreateGallery(gallery_service_pb2.CreateGalleryRequest(gallery_id="people"))


@cause("IDENTITY_ALREADY_EXISTS")
async def _(server: Server, portraits: Path) -> None:
    request = gallery_service_pb2.CreateIdentityRequest(parent=GALLERY, identity_id="obama")
    await server.galleries.CreateIdentity(request)


@cause("GALLERY_NOT_EMPTY")
async def _(server: Server, portraits: Path) -> None:
    await server.galleries.DeleteGallery(gallery_service_pb2.DeleteGalleryRequest(name=GALLERY))


@cause("IDENTITY_NOT_EMPTY")
async def _(server: Server, portraits: Path) -> None:
    await server.galleries.DeleteIdentity(gallery_service_pb2.DeleteIdentityRequest(name=OBAMA))


@cause("TEMPLATE_LIMIT_REACHED")
async def _(server: Server, portraits: Path) -> None:
    request = gallery_service_pb2.CreateGalleryRequest(
        gallery_id="narrow", gallery=gallery_pb2.Gallery(policy=gallery_pb2.Policy(max_templates=1))
    )
    await server.galleries.CreateGallery(request)
    for name in ("barack_obama.jpg", "rishi_sunak.jpg"):
        await server.faces.EnrollTemplate(enrolment(sample(portraits, name), "galleries/narrow/identities/one"))


@cause("QUOTA_EXCEEDED")
async def _(server: Server, portraits: Path) -> None:
    server.store.use_quotas([Quota("*", identities=1)])
    try:
        for name in ("one", "two"):
            request = gallery_service_pb2.CreateIdentityRequest(parent=GALLERY, identity_id=name)
            await server.galleries.CreateIdentity(request)
    finally:
        server.store.use_quotas([])


@cause("THRESHOLD_NOT_CALIBRATED")
async def _(server: Server, portraits: Path) -> None:
    # A gallery made with the plugin, without the operating points of a model card.
    card = read_card(model_repository_source() / "face_embedder" / "1" / "card.json")
    await server.store.galleries.create("bare", card.contract, policy=Policy())
    await server.faces.IdentifyFaces(search(sample(portraits), gallery="galleries/bare"))


@cause("MAP_MISMATCH")
async def _(server: Server, portraits: Path) -> None:
    request = migration_service_pb2.CreateMigrationRequest(parent=GALLERY, embedder_version=1)
    await server.migrations.CreateMigration(request)


@cause("MIGRATION_NOT_FOUND")
async def _(server: Server, portraits: Path) -> None:
    request = migration_service_pb2.GetMigrationRequest(name=f"{GALLERY}/migrations/0123456789abcdef")
    await server.migrations.GetMigration(request)


async def begun(server: Server, gallery: str) -> str:
    """Make a gallery that is in a migration, and return the name of that."""
    await server.galleries.CreateGallery(gallery_service_pb2.CreateGalleryRequest(gallery_id=gallery))
    request = migration_service_pb2.CreateMigrationRequest(parent=f"galleries/{gallery}", embedder_version=4)
    made: migration_service_pb2.CreateMigrationResponse = await server.migrations.CreateMigration(request)
    return made.migration.name


@cause("MIGRATION_IN_PROGRESS")
async def _(server: Server, portraits: Path) -> None:
    await begun(server, "moving")
    request = migration_service_pb2.CreateMigrationRequest(parent="galleries/moving", embedder_version=4)
    await server.migrations.CreateMigration(request)


@cause("MIGRATION_ENDED")
async def _(server: Server, portraits: Path) -> None:
    name = await begun(server, "moved")
    await server.migrations.CancelMigration(migration_service_pb2.CancelMigrationRequest(name=name))
    await server.migrations.PauseMigration(migration_service_pb2.PauseMigrationRequest(name=name))


@cause("REQUEST_ID_REUSED")
async def _(server: Server, portraits: Path) -> None:
    await server.faces.EnrollTemplate(enrolment(sample(portraits, "rishi_sunak.jpg"), request_id=REQUEST))


@cause("CONCURRENT_UPDATE")
async def _(server: Server, portraits: Path) -> None:
    request = gallery_service_pb2.DeleteGalleryRequest(name=GALLERY, etag="0123456789abcdef", force=True)
    await server.galleries.DeleteGallery(request)


@cause("CALIBRATION_NOT_SUPPORTED")
async def _(server: Server, portraits: Path) -> None:
    # Two people cannot support a rate of one false match in ten thousand.
    await server.galleries.CreateGallery(gallery_service_pb2.CreateGalleryRequest(gallery_id="pair"))
    for identity, name in (("one", "barack_obama.jpg"), ("other", "rishi_sunak.jpg")):
        await server.faces.EnrollTemplate(enrolment(sample(portraits, name), f"galleries/pair/identities/{identity}"))
    await server.galleries.CalibrateGallery(gallery_service_pb2.CalibrateGalleryRequest(name="galleries/pair"))


async def strict(server: Server, portraits: Path, gallery: str) -> None:
    """Make a gallery with one person, whose guards reject every finding."""
    reject = gallery_pb2.GUARD_ACTION_REJECT
    policy = gallery_pb2.Policy(on_collision=reject, on_duplicate=reject, on_outlier=reject)
    await server.galleries.CreateGallery(
        gallery_service_pb2.CreateGalleryRequest(gallery_id=gallery, gallery=gallery_pb2.Gallery(policy=policy))
    )
    await server.faces.EnrollTemplate(enrolment(sample(portraits), f"galleries/{gallery}/identities/obama"))


@cause("IDENTITY_COLLISION")
async def _(server: Server, portraits: Path) -> None:
    await strict(server, portraits, "strict-1")
    cropped = picture(opened(portraits).resize((600, 750)))
    await server.faces.EnrollTemplate(enrolment(cropped, "galleries/strict-1/identities/president"))


@cause("DUPLICATE_SAMPLE")
async def _(server: Server, portraits: Path) -> None:
    await strict(server, portraits, "strict-2")
    again = enrolment(sample(portraits), "galleries/strict-2/identities/obama", request_id=str(uuid.uuid4()))
    await server.faces.EnrollTemplate(again)


@cause("TEMPLATE_OUTLIER")
async def _(server: Server, portraits: Path) -> None:
    await strict(server, portraits, "strict-3")
    other = enrolment(sample(portraits, "rishi_sunak.jpg"), "galleries/strict-3/identities/obama")
    await server.faces.EnrollTemplate(other)


@cause("IDENTITY_EXPIRED")
async def _(server: Server, portraits: Path) -> None:
    await strict(server, portraits, "expiring")
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    await server.store.identities.update("expiring", "obama", {"expire_time": soon})
    await asyncio.sleep(0.4)
    other = enrolment(sample(portraits, "rishi_sunak.jpg"), "galleries/expiring/identities/obama")
    await server.faces.EnrollTemplate(other)


@cause("ERASURE_NOT_FOUND")
async def _(server: Server, portraits: Path) -> None:
    name = f"erasureReceipts/{'0' * 32}"
    await server.galleries.GetErasureReceipt(gallery_service_pb2.GetErasureReceiptRequest(name=name))


@cause("SERVER_BUSY")
async def _(server: Server, portraits: Path) -> None:
    calls = [server.faces.IdentifyFaces(search(sample(portraits))) for _ in range(8)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    raise next(result for result in results if isinstance(result, grpc.RpcError))


def streaming(server: Server, *messages: face_service_pb2.StreamIdentifyFacesRequest) -> Any:
    """Open a stream that sends these messages and then stays open. Only reading tells how it ended."""

    async def sent() -> AsyncIterator[face_service_pb2.StreamIdentifyFacesRequest]:
        for message in messages:
            yield message
        await asyncio.Event().wait()

    return server.faces.StreamIdentifyFaces(sent())


async def in_flight(server: Server, count: int) -> None:
    while server.admission.in_flight != count:  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.01)


SETTINGS = face_service_pb2.StreamIdentifyFacesRequest(
    settings=face_service_pb2.StreamIdentifyFacesRequest.Settings(gallery=GALLERY)
)


@cause("STREAM_IDLE")
async def _(server: Server, portraits: Path) -> None:
    with pytest.MonkeyPatch.context() as impatient:
        impatient.setattr(server.admission, "limits", replace(server.admission.limits, stream_idle_s=0.5))
        stream = streaming(server, SETTINGS, face_service_pb2.StreamIdentifyFacesRequest(sample=sample(portraits)))
        assert (await stream.read()).faces
        await stream.read()


@cause("SERVER_STOPPING")
async def _(server: Server, portraits: Path) -> None:
    stream = streaming(server, SETTINGS, face_service_pb2.StreamIdentifyFacesRequest(sample=sample(portraits)))
    assert (await stream.read()).faces
    server.admission.draining.set()
    try:
        await stream.read()
    finally:
        server.admission.draining.clear()


async def test_idle_streams_do_not_keep_others_out_and_are_bounded_themselves(server: Server, portraits: Path) -> None:
    await in_flight(server, 0)
    open_ones = [streaming(server, SETTINGS) for _ in range(2)]
    await in_flight(server, 2)
    answer = await server.faces.IdentifyFaces(search(sample(portraits)))
    assert answer.faces
    with pytest.raises(grpc.RpcError) as refused:
        await streaming(server, SETTINGS).read()
    assert ServiceError.of(refused.value).reason == "SERVER_BUSY"
    for stream in open_ones:
        stream.cancel()
    await in_flight(server, 0)


async def test_a_message_that_is_none_ends_a_stream_after_the_answers_before_it(
    server: Server, portraits: Path
) -> None:
    raw: Any = server.channel.stream_stream(
        "/sameface.v1.FaceService/StreamIdentifyFaces",
        response_deserializer=face_service_pb2.StreamIdentifyFacesResponse.FromString,
    )
    good = face_service_pb2.StreamIdentifyFacesRequest(sample=sample(portraits)).SerializeToString()

    async def messages() -> AsyncIterator[bytes]:
        yield SETTINGS.SerializeToString()
        yield good
        yield good
        yield b"\xff\xff\xff"

    stream = raw(messages())
    for index in range(2):
        answer = await stream.read()
        assert (answer.index, len(answer.faces)) == (index, 1)
    with pytest.raises(grpc.RpcError) as ended:
        await stream.read()
    assert ServiceError.of(ended.value).reason == "INVALID_ARGUMENT"


async def test_a_stream_that_is_cancelled_leaves_nothing_behind(server: Server, portraits: Path) -> None:
    message = face_service_pb2.StreamIdentifyFacesRequest(sample=sample(portraits))
    stream = streaming(server, SETTINGS, *[message] * 6)
    assert (await stream.read()).faces
    stream.cancel()
    await in_flight(server, 0)
    assert (await server.faces.IdentifyFaces(search(sample(portraits)))).faces


def failing(error: Exception) -> Callable[[str], Awaitable[Any]]:
    async def instead(name: str) -> Any:
        raise error

    return instead


@cause("STORE_FULL")
async def _(server: Server, portraits: Path) -> None:
    folder = Path(server.store.description.location) / "meta"
    original = folder.stat().st_mode

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as disk:
        disk.setattr("sameface_qdrant.engines.edge.collection.write_text", full)
        await server.galleries.DeleteIdentity(gallery_service_pb2.DeleteIdentityRequest(name=OBAMA, force=True))
    assert folder.stat().st_mode == original


@cause("STORE_UNAVAILABLE")
async def _(server: Server, portraits: Path) -> None:
    remote = "http://127.0.0.1:9"
    try:
        await Store.open(remote)
    except SamefaceError as down:
        server.engine.instead = failing(down)
    await server.galleries.GetIdentity(gallery_service_pb2.GetIdentityRequest(name=OBAMA))


@cause("STORE_TOO_NEW")
async def _(server: Server, portraits: Path) -> None:
    await server.store.identities.create("people", "written-later")
    tenant = await server.store.galleries.tenant("people")
    later = {"schema": {"version": 99, "least_reader": 99, "least_writer": 99}}
    where = Where({"gallery": tenant.uid, "identity": "written-later"})
    await server.store._engine.set_payload(tenant.collection, where, later)
    name = f"{GALLERY}/identities/written-later"
    await server.galleries.GetIdentity(gallery_service_pb2.GetIdentityRequest(name=name))


@cause("STORE_TOO_OLD")
async def _(server: Server, portraits: Path) -> None:
    server.engine.instead = failing(typed_error("http://qdrant:6334", "UNIMPLEMENTED", "unknown method QueryBatch"))
    await server.galleries.GetIdentity(gallery_service_pb2.GetIdentityRequest(name=OBAMA))


@cause("STORE_REFUSED")
async def _(server: Server, portraits: Path) -> None:
    server.engine.instead = failing(typed_error("http://qdrant:6334", "INVALID_ARGUMENT", "Limit exceeded 80 > 10"))
    await server.galleries.GetIdentity(gallery_service_pb2.GetIdentityRequest(name=OBAMA))


@cause("PROTECTION_KEY_REFUSED")
async def _(server: Server, portraits: Path) -> None:
    request = gallery_service_pb2.CreateGalleryRequest(gallery_id="hidden", protected=True)
    await server.galleries.CreateGallery(request)


@cause("STORE_CORRUPT")
async def _(server: Server, portraits: Path) -> None:
    server.engine.instead = failing(StoreCorrupt("the shard cannot be opened", metadata={"path": "store"}))
    await server.galleries.GetIdentity(gallery_service_pb2.GetIdentityRequest(name=OBAMA))


@cause("MODEL_UNAVAILABLE")
async def _(server: Server, portraits: Path) -> None:
    server.inference.instead = failing(ModelUnavailable("down", metadata={"model": "m"}, retry_after_s=1.0))
    await server.faces.IdentifyFaces(search(sample(portraits)))


@cause("MODEL_CHECK_FAILED")
async def _(server: Server, portraits: Path) -> None:
    run = OnnxInference.run

    async def of_no_unit_norm(inference: OnnxInference, model: str, version: int, inputs: Tensors) -> Tensors:
        answer = await run(inference, model, version, inputs)
        return {name: 3 * tensor for name, tensor in answer.items()} if model == EMBEDDER else answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnnxInference, "run", of_no_unit_norm)
        await server.faces.IdentifyFaces(search(sample(portraits)))


@cause("INTERNAL")
async def _(server: Server, portraits: Path) -> None:
    server.inference.instead = failing(ZeroDivisionError("a secret of the caller's"))
    await server.faces.IdentifyFaces(search(sample(portraits)))


async def get_gallery(service: Guarded, credentials: str = "") -> None:
    """Make a call, with an API key or token."""
    metadata = [("authorization", f"Bearer {credentials}")] if credentials else []
    async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as channel:
        galleries: Any = gallery_service_pb2_grpc.GalleryServiceStub(channel)
        await galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name="galleries/staff"), metadata=metadata)


@cause("CREDENTIALS_MISSING")
async def _(server: Server, portraits: Path) -> None:
    with TemporaryDirectory() as folder:
        async with guarded(Path(folder)) as service:
            await get_gallery(service)


@cause("CREDENTIALS_REFUSED")
async def _(server: Server, portraits: Path) -> None:
    with TemporaryDirectory() as folder:
        async with guarded(Path(folder)) as service:
            await get_gallery(service, "sameface_secret")


@cause("CREDENTIALS_UNCHECKABLE")
async def _(server: Server, portraits: Path) -> None:
    issuer = Issuer(ISSUER, AUDIENCE, "/nowhere/jwks.json")
    with TemporaryDirectory() as folder:
        async with guarded(Path(folder), issuers=(issuer,)) as service:
            await get_gallery(service, signed())


@cause("PERMISSION_DENIED")
async def _(server: Server, portraits: Path) -> None:
    with TemporaryDirectory() as folder:
        async with guarded(Path(folder)) as service:
            await get_gallery(service, service.key(Role.VERIFIER))


@cause("RATE_LIMITED")
async def _(server: Server, portraits: Path) -> None:
    with TemporaryDirectory() as folder:
        async with guarded(Path(folder), rates=RateOptions(requests_per_s=0.01)) as service:
            key = service.key(Role.READER)
            for _ in range(2):
                await get_gallery(service, key)


@cause("AUDIT_UNAVAILABLE")
async def _(server: Server, portraits: Path) -> None:
    with TemporaryDirectory() as folder:
        log = AuditLog(Path(folder) / "audit", AuditOptions())
        async with guarded(Path(folder), recorder=Recorder(log)) as service:
            log.close()
            await get_gallery(service, service.key(Role.READER))


@pytest.mark.parametrize("reason", sorted(ERRORS))
async def test_a_reason_is_reached_by_what_causes_it(server: Server, portraits: Path, reason: str) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        await CAUSES[reason](server, portraits)
    server.engine.instead = server.inference.instead = None
    error = ServiceError.of(failed.value)
    row = ERRORS[reason]
    assert (error.reason, error.code) == (reason, row.code)
    assert "secret" not in error.message
    assert "Traceback" not in error.message
    for group in [row.metadata] if "each" in row.metadata else row.metadata.split(";"):
        promised = set(re.findall(r"`(\w+)`", group))
        alternatives = " or " in group or "each" in group
        there = error.metadata.keys() & promised
        assert there if promised and alternatives else there == promised, error.metadata
    later = row.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    for_good = reason in ("STORE_FULL", "QUOTA_EXCEEDED", "MODEL_CHECK_FAILED")
    assert (error.retry_after_s is not None) == (later and not for_good)


async def test_a_time_out_inside_a_call_is_not_taken_for_a_request_that_never_came(
    server: Server, portraits: Path
) -> None:
    server.inference.instead = failing(TimeoutError("of a handler"))
    with pytest.raises(grpc.RpcError) as failed:
        await server.faces.IdentifyFaces(search(sample(portraits)))
    server.inference.instead = None
    assert ServiceError.of(failed.value).reason == "INTERNAL"


async def test_a_request_that_does_not_arrive_is_not_waited_for(server: Server) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(3600)
        yield b""

    raw: Any = server.channel.stream_unary("/sameface.v1.FaceService/IdentifyFaces")
    with pytest.raises(grpc.RpcError) as failed:
        await raw(nothing())
    assert ServiceError.of(failed.value).reason == "STREAM_IDLE"
    await in_flight(server, 0)


async def test_a_reset_gallery_without_thresholds_warns_of_collisions(server: Server, portraits: Path) -> None:
    card = read_card(model_repository_source() / "face_embedder" / "1" / "card.json")
    await server.store.galleries.create("unmeasured", card.contract, policy=Policy(on_collision=GuardAction.ALLOW))
    for mask in ("policy.on_collision", "policy"):
        request = gallery_service_pb2.UpdateGalleryRequest(
            gallery=gallery_pb2.Gallery(name="galleries/unmeasured"),
            update_mask=field_mask_pb2.FieldMask(paths=[mask]),
        )
        assert (await server.galleries.UpdateGallery(request)).policy.on_collision == gallery_pb2.GUARD_ACTION_WARN
    parent = "galleries/unmeasured/identities/obama"
    enrol = face_service_pb2.EnrollTemplateRequest(parent=parent, sample=sample(portraits), allow_missing=True)
    await server.faces.EnrollTemplate(enrol)
