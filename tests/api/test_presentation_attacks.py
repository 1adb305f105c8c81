"""A gallery may examine photos for presentation attacks, and never does without the model in silence."""

import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from sameface.access.access import Access
from sameface.access.caller import Caller, Grant
from sameface.access.roles import Role
from sameface.api.admission import Limits
from sameface.api.server import start_server
from sameface.api.system_service import ServedParts
from sameface.client import ServiceError
from sameface.client.connection import MAX_MESSAGE_BYTES
from sameface.inference.cards import PAD, read_cards
from sameface.inference.defaults import ChosenVersion
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.v1 import (
    face_pb2,
    face_service_pb2,
    face_service_pb2_grpc,
    gallery_pb2,
    gallery_service_pb2,
    gallery_service_pb2_grpc,
)
from sameface_qdrant import Store
from tests.toy_pad import tinted, with_toy_pad

OFF = gallery_pb2.PRESENTATION_ATTACK_ACTION_OFF
REPORT = gallery_pb2.PRESENTATION_ATTACK_ACTION_REPORT
REJECT = gallery_pb2.PRESENTATION_ATTACK_ACTION_REJECT
ADA = "galleries/people/identities/ada"


@dataclass
class Server:
    """A server in this process with the toy model, and what it is made of."""

    faces: Any
    galleries: Any
    operations: FaceOperations

    async def policy(self, **fields: Any) -> gallery_pb2.Gallery:
        """Change the policy of the gallery ``people``."""
        gallery = gallery_pb2.Gallery(name="galleries/people", policy=gallery_pb2.Policy(**fields))
        answer: gallery_pb2.Gallery = await self.galleries.UpdateGallery(
            gallery_service_pb2.UpdateGalleryRequest(gallery=gallery)
        )
        return answer

    def without_model(self) -> None:
        """Forget the model, as a service that was started without it."""
        kept = tuple(card for card in self.operations.cards if card.model != PAD)
        object.__setattr__(self.operations, "cards", kept)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_toy_pad(tmp_path_factory.mktemp("toy"))[0]


@pytest.fixture(scope="module")
async def inference(repository: Path) -> AsyncIterator[OnnxInference]:
    opened = OnnxInference(repository)
    yield opened
    await opened.aclose()


@pytest.fixture
async def server(repository: Path, inference: OnnxInference) -> AsyncIterator[Server]:
    cards = read_cards(repository)
    store = await Store.open(":memory:")
    with ThreadPoolExecutor(2) as threads:
        operations = FaceOperations(PhotoPipeline(inference, threads=threads), store, cards)
        api = await start_server(
            "127.0.0.1:0",
            operations=operations,
            parts=ServedParts("onnxruntime", "", "", store.description, cards, ChosenVersion(1, "settings", "")),
            limits=Limits(requests=8, request_bytes=64 << 20, streams=2, stream_idle_s=60.0),
            max_message_bytes=MAX_MESSAGE_BYTES,
        )
        options = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{api.port}", options=options) as channel:
            made = Server(
                face_service_pb2_grpc.FaceServiceStub(channel),
                gallery_service_pb2_grpc.GalleryServiceStub(channel),
                operations,
            )
            await made.galleries.CreateGallery(gallery_service_pb2.CreateGalleryRequest(gallery_id="people"))
            yield made
        await api.drain(0.0)
    await store.aclose()


@pytest.fixture(scope="module")
def real(portraits: Path) -> face_pb2.Sample:
    """A photo that the toy takes for bona fide."""
    return face_pb2.Sample(photo=tinted(portraits / "barack_obama.jpg", 50))


@pytest.fixture(scope="module")
def attack(portraits: Path) -> face_pb2.Sample:
    """The same photo, which the toy takes for an attack."""
    return face_pb2.Sample(photo=tinted(portraits / "barack_obama.jpg", -50))


def enrolment(sample: face_pb2.Sample, **fields: Any) -> face_service_pb2.EnrollTemplateRequest:
    return face_service_pb2.EnrollTemplateRequest(parent=ADA, sample=sample, allow_missing=True, **fields)


def claim(sample: face_pb2.Sample) -> face_service_pb2.VerifyFaceRequest:
    return face_service_pb2.VerifyFaceRequest(name=ADA, sample=sample)


def probe(sample: face_pb2.Sample, **fields: Any) -> face_service_pb2.IdentifyFacesRequest:
    return face_service_pb2.IdentifyFacesRequest(gallery="galleries/people", sample=sample, **fields)


def search(sample: face_pb2.Sample) -> face_service_pb2.SearchTemplatesRequest:
    return face_service_pb2.SearchTemplatesRequest(gallery="galleries/people", sample=sample)


async def refusal(call: Any) -> ServiceError:
    with pytest.raises(grpc.RpcError) as failure:
        await call
    return ServiceError.of(failure.value)


def every_use(server: Server, sample: face_pb2.Sample) -> dict[str, Callable[[], Any]]:
    """Return every rpc that compares a sample with a gallery or adds it to one."""
    return {
        "enrol": lambda: server.faces.EnrollTemplate(enrolment(sample)),
        "validate only": lambda: server.faces.EnrollTemplate(enrolment(sample, validate_only=True)),
        "verify": lambda: server.faces.VerifyFace(claim(sample)),
        "identify": lambda: server.faces.IdentifyFaces(probe(sample)),
        "search": lambda: server.faces.SearchTemplates(search(sample)),
    }


async def test_a_new_gallery_examines_nothing(server: Server, real: face_pb2.Sample, attack: face_pb2.Sample) -> None:
    gallery = await server.galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name="galleries/people"))
    assert (gallery.policy.presentation_attack, gallery.policy.presentation_attack_threshold) == (OFF, 0.5)
    enrolled = await server.faces.EnrollTemplate(enrolment(real))
    assert not enrolled.face.HasField("presentation_attack_detection")
    answer = await server.faces.VerifyFace(claim(attack))
    assert not answer.face.HasField("presentation_attack_detection")


async def test_report_scores_each_face_and_refuses_nothing(
    server: Server, real: face_pb2.Sample, attack: face_pb2.Sample
) -> None:
    await server.policy(presentation_attack=REPORT, presentation_attack_threshold=0.75)
    enrolled = await server.faces.EnrollTemplate(enrolment(real))
    verified = await server.faces.VerifyFace(claim(attack))
    identified = (await server.faces.IdentifyFaces(probe(attack))).faces[0]
    found = await server.faces.SearchTemplates(search(attack))
    good = enrolled.face.presentation_attack_detection
    assert (good.threshold, good.model_version) == (0.75, 1)
    assert good.score > 0.9
    for face in (verified.face, identified.face, found.face):
        assert face.presentation_attack_detection.score < 0.1
        assert face.presentation_attack_detection.threshold == 0.75
        assert not face.issues
    assert verified.HasField("decision")


async def test_reject_refuses_an_attack_in_every_use(
    server: Server, real: face_pb2.Sample, attack: face_pb2.Sample
) -> None:
    await server.policy(presentation_attack=REJECT)
    await server.faces.EnrollTemplate(enrolment(real))
    answer = await server.faces.VerifyFace(claim(real))
    assert answer.decision.outcome == 1
    assert answer.face.presentation_attack_detection.score > 0.9
    for name, use in every_use(server, attack).items():
        error = await refusal(use())
        assert (error.reason, error.code) == (
            "PRESENTATION_ATTACK_SUSPECTED",
            grpc.StatusCode.INVALID_ARGUMENT,
        ), name
        assert error.metadata["threshold"] == "0.5"
        assert float(error.metadata["score"]) < 0.1
        assert (error.metadata["model"], error.metadata["version"]) == (PAD, "1")


async def test_the_threshold_decides(server: Server, real: face_pb2.Sample, attack: face_pb2.Sample) -> None:
    await server.policy(presentation_attack=REPORT)
    await server.faces.EnrollTemplate(enrolment(real))
    score = (await server.faces.VerifyFace(claim(attack))).face.presentation_attack_detection.score
    await server.policy(presentation_attack=REJECT, presentation_attack_threshold=score / 2)
    await server.faces.VerifyFace(claim(attack))
    await server.policy(presentation_attack_threshold=min(1.0, score * 2))
    assert (await refusal(server.faces.VerifyFace(claim(attack)))).reason == "PRESENTATION_ATTACK_SUSPECTED"
    await server.policy(presentation_attack_threshold=0.0)
    await server.faces.VerifyFace(claim(attack))
    await server.policy(presentation_attack=OFF, presentation_attack_threshold=1.0)
    await server.faces.VerifyFace(claim(attack))


async def test_among_all_faces_an_attack_is_an_issue_of_its_face(
    server: Server, real: face_pb2.Sample, attack: face_pb2.Sample
) -> None:
    await server.policy(presentation_attack=REJECT)
    (bad,) = (await server.faces.IdentifyFaces(probe(attack, all_faces=True))).faces
    assert not bad.HasField("decision")
    assert [issue.reason for issue in bad.face.issues] == ["PRESENTATION_ATTACK_SUSPECTED"]
    assert bad.face.presentation_attack_detection.score < 0.1
    (good,) = (await server.faces.IdentifyFaces(probe(real, all_faces=True))).faces
    assert good.HasField("decision")
    assert not good.face.issues


async def test_a_stream_refuses_an_attack_and_goes_on(
    server: Server, real: face_pb2.Sample, attack: face_pb2.Sample
) -> None:
    await server.policy(presentation_attack=REJECT)

    async def samples() -> AsyncIterator[face_service_pb2.StreamIdentifyFacesRequest]:
        settings = face_service_pb2.StreamIdentifyFacesRequest.Settings(gallery="galleries/people")
        yield face_service_pb2.StreamIdentifyFacesRequest(settings=settings, sample=attack)
        yield face_service_pb2.StreamIdentifyFacesRequest(sample=real)

    first, second = [answer async for answer in server.faces.StreamIdentifyFaces(samples())]
    assert first.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert second.faces[0].face.presentation_attack_detection.score > 0.9


async def test_an_embedding_is_refused_where_attacks_are_rejected(server: Server, real: face_pb2.Sample) -> None:
    embedded = await server.faces.EmbedFaces(face_service_pb2.EmbedFacesRequest(photo=real.photo))
    sample = face_pb2.Sample(embedding=embedded.faces[0].embedding)
    assert not embedded.faces[0].face.HasField("presentation_attack_detection")
    await server.policy(presentation_attack=REPORT)
    answer = await server.faces.EnrollTemplate(enrolment(sample))
    assert not answer.HasField("face")
    await server.policy(presentation_attack=REJECT)
    for name, use in every_use(server, sample).items():
        error = await refusal(use())
        assert (error.reason, error.code) == ("PHOTO_REQUIRED", grpc.StatusCode.FAILED_PRECONDITION), name
        assert error.metadata == {"gallery": "people"}
    everyone = await refusal(server.faces.IdentifyFaces(probe(sample, all_faces=True)))
    assert everyone.reason == "PHOTO_REQUIRED"


async def test_detect_scores_every_face_without_a_gallery(
    server: Server, real: face_pb2.Sample, attack: face_pb2.Sample
) -> None:
    scores = []
    for sample in (real, attack):
        (face,) = (await server.faces.DetectFaces(face_service_pb2.DetectFacesRequest(photo=sample.photo))).faces
        assert not face.presentation_attack_detection.HasField("threshold")
        scores.append(face.presentation_attack_detection.score)
    assert scores[0] > 0.9 > 0.1 > scores[1]
    compared = await server.faces.CompareFaces(face_service_pb2.CompareFacesRequest(first=real, second=attack))
    assert not compared.second_face.HasField("presentation_attack_detection")
    server.without_model()
    (face,) = (await server.faces.DetectFaces(face_service_pb2.DetectFacesRequest(photo=real.photo))).faces
    assert not face.HasField("presentation_attack_detection")


@pytest.mark.parametrize("action", [REPORT, REJECT])
async def test_a_policy_that_needs_a_missing_model_is_refused(server: Server, action: Any) -> None:
    server.without_model()
    error = await refusal(server.policy(presentation_attack=action))
    assert (error.reason, error.metadata) == ("MODEL_NOT_FOUND", {"model": PAD})
    assert "sameface model add" in error.message
    policy = gallery_pb2.Policy(presentation_attack=action)
    request = gallery_service_pb2.CreateGalleryRequest(gallery_id="other", gallery=gallery_pb2.Gallery(policy=policy))
    assert (await refusal(server.galleries.CreateGallery(request))).reason == "MODEL_NOT_FOUND"
    await server.policy(presentation_attack=OFF, presentation_attack_threshold=0.9)


@pytest.mark.parametrize("action", [REPORT, REJECT])
async def test_nothing_passes_once_the_model_is_gone(server: Server, real: face_pb2.Sample, action: Any) -> None:
    await server.policy(presentation_attack=action)
    await server.faces.EnrollTemplate(enrolment(real))
    server.without_model()
    for name, use in every_use(server, real).items():
        error = await refusal(use())
        assert (error.reason, error.metadata) == ("MODEL_NOT_FOUND", {"model": PAD}), name
    await server.policy(runner_up_margin=0.1)
    await server.policy(presentation_attack=OFF)
    await server.faces.VerifyFace(claim(real))


async def test_only_who_may_know_scores_learns_the_bona_fide_score(
    server: Server, real: face_pb2.Sample, attack: face_pb2.Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.policy(presentation_attack=REPORT, presentation_attack_threshold=0.5)
    await server.faces.EnrollTemplate(enrolment(real))
    simple = Caller("key:door", (Grant("*", frozenset({Role.VERIFIER, Role.ENROLLER})),))

    async def who(*_: Any) -> Caller:
        return simple

    for knows in (True, False):
        await server.policy(presentation_attack=REPORT, presentation_attack_threshold=0.5)
        with monkeypatch.context() as patch:
            if not knows:
                patch.setattr(Access, "caller", who)
            faces = [
                (await server.faces.VerifyFace(claim(real))).face,
                (await server.faces.EnrollTemplate(enrolment(real))).face,
                *(await server.faces.DetectFaces(face_service_pb2.DetectFacesRequest(photo=real.photo))).faces,
            ]
            assert [face.HasField("presentation_attack_detection") for face in faces] == [knows] * 3
        await server.policy(presentation_attack=REJECT, presentation_attack_threshold=0.5)
        with monkeypatch.context() as patch:
            if not knows:
                patch.setattr(Access, "caller", who)
            for call in (server.faces.VerifyFace(claim(attack)), server.faces.EnrollTemplate(enrolment(attack))):
                refused = await refusal(call)
                assert refused.reason == "PRESENTATION_ATTACK_SUSPECTED"
                assert ("score" in refused.metadata) is knows
                assert re.findall(r"\d+\.?\d*", refused.message) == ["0.5"]
