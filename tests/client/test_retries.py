"""What the clients do about failures, against a server that fails as it is told to."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from hypothesis import given
from hypothesis import strategies as st

from sameface.api.status import rich_status
from sameface.client import AsyncClient, Client, ServiceError
from sameface.client.retries import LONGEST_PAUSE_S, pause_before_retry
from sameface.errors import FaceNotFound, ModelUnavailable, ServerBusy
from sameface.v1 import (
    face_service_pb2,
    face_service_pb2_grpc,
    gallery_pb2,
    gallery_service_pb2,
    gallery_service_pb2_grpc,
)
from sameface_qdrant.errors import ConcurrentUpdate, IdentityNotFound, SamefaceError

DOWN = ModelUnavailable("down", retry_after_s=0.02)
BUSY = ServerBusy("busy", retry_after_s=0.02)


class Scripted:
    """Answers each call with the next entry of the script: an error, or None for success."""

    def __init__(self) -> None:
        self.script: list[SamefaceError | grpc.StatusCode | None] = []
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []

    def answer(self, request: Any, context: Any, answer: Any) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        step = self.script.pop(0) if self.script else None
        if isinstance(step, SamefaceError):
            context.abort_with_status(rich_status(step))
        if isinstance(step, grpc.StatusCode):
            context.abort(step, "as told")
        return answer


@pytest.fixture
def scripted() -> Iterator[tuple[Scripted, str]]:
    script = Scripted()

    class Faces(face_service_pb2_grpc.FaceServiceServicer):  # type: ignore[misc]
        def EnrollTemplate(self, request: Any, context: Any) -> Any:  # noqa: N802
            return script.answer(request, context, face_service_pb2.EnrollTemplateResponse())

        def VerifyFace(self, request: Any, context: Any) -> Any:  # noqa: N802
            return script.answer(request, context, face_service_pb2.VerifyFaceResponse())

    class Galleries(gallery_service_pb2_grpc.GalleryServiceServicer):  # type: ignore[misc]
        def CreateGallery(self, request: Any, context: Any) -> Any:  # noqa: N802
            return script.answer(request, context, gallery_pb2.Gallery())

        def UpdateGallery(self, request: Any, context: Any) -> Any:  # noqa: N802
            return script.answer(request, context, gallery_pb2.Gallery())

        def DeleteIdentity(self, request: Any, context: Any) -> Any:  # noqa: N802
            return script.answer(request, context, empty_pb2.Empty())

    server = grpc.server(ThreadPoolExecutor(2))
    face_service_pb2_grpc.add_FaceServiceServicer_to_server(Faces(), server)
    gallery_service_pb2_grpc.add_GalleryServiceServicer_to_server(Galleries(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield script, f"127.0.0.1:{port}"
    server.stop(0)


Use = Callable[[Any], Any]


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest, scripted: tuple[Scripted, str]) -> Callable[..., Any]:
    """Open a client of either kind, use it once, close it."""

    def use(call: Use, **options: Any) -> Any:
        if request.param == "sync":
            with Client(scripted[1], **options) as client:
                return call(client)

        async def asynchronously() -> Any:
            async with AsyncClient(scripted[1], **options) as client:
                result = call(client)
                return await result if inspect.isawaitable(result) else result

        return asyncio.run(asynchronously())

    return use


def test_a_service_that_says_when_to_come_back_is_asked_again(
    run: Callable[..., Any], scripted: tuple[Scripted, str]
) -> None:
    script, _ = scripted
    script.script = [DOWN, BUSY, grpc.StatusCode.UNAVAILABLE, None]
    run(lambda client: client.verify("g", "i", b"photo"))
    assert len(script.requests) == 4


def test_a_retried_enrolment_keeps_its_request_id(run: Callable[..., Any], scripted: tuple[Scripted, str]) -> None:
    script, _ = scripted
    script.script = [DOWN, ConcurrentUpdate("overtaken"), None]
    run(lambda client: client.enroll("g", "i", b"photo"))
    assert len(script.requests) == 3
    assert len({request.request_id for request in script.requests}) == 1
    run(lambda client: client.enroll("g", "i", b"photo"))
    assert len({request.request_id for request in script.requests}) == 2
    run(lambda client: client.create_gallery("g"))
    assert script.requests[-1].request_id


@pytest.mark.parametrize(
    "final", [FaceNotFound("no face"), IdentityNotFound("nobody"), grpc.StatusCode.UNAUTHENTICATED]
)
def test_what_a_repeat_cannot_mend_is_not_repeated(
    run: Callable[..., Any], scripted: tuple[Scripted, str], final: Any
) -> None:
    script, _ = scripted
    script.script = [final]
    with pytest.raises(ServiceError):
        run(lambda client: client.verify("g", "i", b"photo"))
    assert len(script.requests) == 1


def test_a_lost_race_of_an_update_is_the_callers_to_decide(
    run: Callable[..., Any], scripted: tuple[Scripted, str]
) -> None:
    script, _ = scripted
    script.script = [ConcurrentUpdate("stale")]
    with pytest.raises(ServiceError, match="CONCURRENT_UPDATE"):
        run(lambda client: client.update_gallery("g", etag="old", verify_threshold=0.5))
    assert isinstance(script.requests[0], gallery_service_pb2.UpdateGalleryRequest)
    assert len(script.requests) == 1


def test_a_repeated_deletion_that_finds_nothing_was_done_before(
    run: Callable[..., Any], scripted: tuple[Scripted, str]
) -> None:
    script, _ = scripted
    script.script = [grpc.StatusCode.UNAVAILABLE, IdentityNotFound("gone")]
    run(lambda client: client.delete_identity("g", "i"))
    script.script = [IdentityNotFound("never was")]
    with pytest.raises(ServiceError, match="IDENTITY_NOT_FOUND"):
        run(lambda client: client.delete_identity("g", "i"))


def test_the_deadline_holds_for_all_attempts_together(run: Callable[..., Any], scripted: tuple[Scripted, str]) -> None:
    script, _ = scripted
    script.script = [ModelUnavailable("down", retry_after_s=0.3)] * 50
    with pytest.raises(ServiceError, match="MODEL_UNAVAILABLE"):
        run(lambda client: client.verify("g", "i", b"photo"), timeout_s=1.0)
    assert 1 < len(script.requests) < 10


def test_nothing_listening_is_a_service_error() -> None:
    with Client("127.0.0.1:9", timeout_s=0.5) as client, pytest.raises(ServiceError) as refused:
        client.server_info()
    assert refused.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert refused.value.reason == ""


def test_metadata_goes_with_every_call(run: Callable[..., Any], scripted: tuple[Scripted, str]) -> None:
    script, _ = scripted
    run(lambda client: client.verify("g", "i", b"photo"), metadata=[("authorization", "Bearer x")])
    assert script.metadata[0]["authorization"] == "Bearer x"


@given(
    attempt=st.integers(0, 50),
    left_s=st.floats(0, 100),
    retry_after_s=st.none() | st.floats(0, 100),
    reason=st.sampled_from(["", "MODEL_UNAVAILABLE", "CONCURRENT_UPDATE", "FACE_NOT_FOUND", "STORE_FULL"]),
    code=st.sampled_from(list(grpc.StatusCode)),
    repeat_lost_races=st.booleans(),
)
def test_a_pause_fits_into_the_time_that_is_left(
    attempt: int,
    left_s: float,
    retry_after_s: float | None,
    reason: str,
    code: grpc.StatusCode,
    repeat_lost_races: bool,
) -> None:
    error = ServiceError(code, reason, "", {}, retry_after_s)
    pause = pause_before_retry(error, attempt=attempt, left_s=left_s, repeat_lost_races=repeat_lost_races)
    if pause is not None:
        assert 0 <= pause < left_s
        assert retry_after_s is not None or pause <= LONGEST_PAUSE_S
        assert retry_after_s is not None or reason in ("", "CONCURRENT_UPDATE")
