"""What the clients do after failures, with a server that fails on request."""

import asyncio
import dataclasses
import inspect
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from sameface.api.status import rich_status
from sameface.client import AsyncClient, Client, ServiceError
from sameface.client.connection import CHANNEL_OPTIONS
from sameface.client.retries import LONGEST_PAUSE_S, SPREAD, Attempts
from sameface.client.rpc import Call
from sameface.errors import FaceNotFound, ModelUnavailable, ServerBusy
from sameface.v1 import (
    face_pb2,
    face_service_pb2,
    face_service_pb2_grpc,
    gallery_pb2,
    gallery_service_pb2,
    gallery_service_pb2_grpc,
)
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    GalleryAlreadyExists,
    GalleryNotFound,
    IdentityNotFound,
    SamefaceError,
)

DOWN = ModelUnavailable("down", retry_after_s=0.02)
BUSY = ServerBusy("busy", retry_after_s=0.02)


class Scripted:
    """Answers each call with the next entry of the script: an error, or None for success."""

    def __init__(self) -> None:
        self.script: list[SamefaceError | grpc.StatusCode | None] = []
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.left_s: list[float] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def answer(self, request: Any, context: Any, answer: Any) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.left_s.append(context.time_remaining())
        self.may_answer.wait(timeout=10)
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

        def GetGallery(self, request: Any, context: Any) -> Any:  # noqa: N802
            return script.answer(request, context, gallery_pb2.Gallery(display_name="as it is"))

        def UpdateGallery(self, request: Any, context: Any) -> Any:  # noqa: N802
            return script.answer(request, context, gallery_pb2.Gallery())

        def DeleteIdentity(self, request: Any, context: Any) -> Any:  # noqa: N802
            return script.answer(request, context, gallery_service_pb2.DeleteIdentityResponse())

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


def test_a_call_that_reaches_a_server_which_begins_to_stop_is_repeated(
    run: Callable[..., Any], scripted: tuple[Scripted, str]
) -> None:
    script, _ = scripted
    script.script = [grpc.StatusCode.CANCELLED, grpc.StatusCode.CANCELLED, None]
    run(lambda client: client.verify("g", "i", b"photo"))
    assert len(script.requests) == 3


def test_a_call_whose_channel_is_closed_here_is_not_repeated(scripted: tuple[Scripted, str]) -> None:
    script, address = scripted
    script.may_answer.clear()
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=10)
        rpc: Any = channel.unary_unary("/sameface.v1.FaceService/VerifyFace")
        calls = [rpc.future(b"", timeout=10), rpc.future(b"", timeout=10)]
        calls[0].cancel()
    script.may_answer.set()
    assert [ServiceError.of(call).code for call in calls] == [grpc.StatusCode.CANCELLED] * 2


def test_a_retried_enrolment_is_recognised_by_its_photo(
    run: Callable[..., Any], scripted: tuple[Scripted, str]
) -> None:
    script, _ = scripted
    script.script = [DOWN, ConcurrentUpdate("overtaken"), None]
    run(lambda client: client.enroll("g", "i", b"photo"))
    assert len(script.requests) == 3
    assert {(request.request_id, request.sample.photo) for request in script.requests} == {("", b"photo")}
    script.requests.clear()
    run(lambda client: client.enroll("g", "i", b"photo", request_id=None))
    assert script.requests[0].request_id == ""


def test_a_retried_creation_keeps_its_request_id(run: Callable[..., Any], scripted: tuple[Scripted, str]) -> None:
    script, _ = scripted
    script.script = [DOWN, grpc.StatusCode.UNAVAILABLE, None]
    run(lambda client: client.create_gallery("g"))
    assert len(script.requests) == 3
    assert len({request.request_id for request in script.requests} - {""}) == 1
    run(lambda client: client.create_gallery("g"))
    assert len({request.request_id for request in script.requests}) == 2


def test_what_exists_is_read_within_the_deadline_of_its_creation(
    run: Callable[..., Any], scripted: tuple[Scripted, str]
) -> None:
    script, _ = scripted
    script.script = [DOWN, GalleryAlreadyExists("there"), DOWN, None]
    assert run(lambda client: client.create_gallery("g", exist_ok=True)).display_name == "as it is"
    assert [type(request).__name__ for request in script.requests] == ["CreateGalleryRequest"] * 2 + [
        "GetGalleryRequest"
    ] * 2
    assert script.requests[-1].name == "galleries/g"
    script.script = [ModelUnavailable("down", retry_after_s=0.5), GalleryAlreadyExists("there")]
    run(lambda client: client.create_gallery("g", exist_ok=True), timeout_s=5.0)
    refused, read = script.left_s[-2:]
    assert read < refused + 0.2  # gRPC rounds it up; a deadline of its own would be 5 s again


@pytest.mark.parametrize("exist_ok", [False, True])
def test_only_what_exists_already_stands_in_for_a_creation(
    run: Callable[..., Any], scripted: tuple[Scripted, str], exist_ok: bool
) -> None:
    script, _ = scripted
    script.script = [IdentityNotFound("other") if exist_ok else GalleryAlreadyExists("there")]
    with pytest.raises(ServiceError):
        run(lambda client: client.create_gallery("g", exist_ok=exist_ok))
    assert len(script.requests) == 1


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
    script.script = [ModelUnavailable("down", retry_after_s=0.5)] * 50
    with pytest.raises(ServiceError, match="MODEL_UNAVAILABLE"):
        run(lambda client: client.verify("g", "i", b"photo"), timeout_s=2.5)
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


@pytest.mark.parametrize(
    "metadata", [{"Authorization": "Bearer x"}, [("AUTHORIZATION", "Bearer x")], [["authorization", b"Bearer x"]]]
)
def test_metadata_is_a_mapping_or_pairs_with_keys_in_any_case(
    run: Callable[..., Any], scripted: tuple[Scripted, str], metadata: Any
) -> None:
    script, _ = scripted
    run(lambda client: client.verify("g", "i", b"photo"), metadata=metadata)
    run(lambda client: client.verify("g", "i", b"photo"), metadata={"Trace-Bin": b"\xff", "x.y_z-0": ""})
    assert script.metadata[0]["authorization"] == "Bearer x"
    later: dict[str, Any] = dict(script.metadata[1])
    assert (later["trace-bin"], later["x.y_z-0"]) == (b"\xff", "")


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"x key": "secret"}, "key 'x key'; expected letters"),
        ({":path": "secret"}, "key ':path'; expected letters"),
        ({"schlüssel": "secret"}, "expected letters"),
        ({"": "secret"}, "key ''; expected letters"),
        ({"grpc-timeout": "secret"}, "'grpc-timeout', which gRPC keeps"),
        ({"GRPC-Foo": "secret"}, "'GRPC-Foo', which gRPC keeps"),
        ({"Content-Type": "secret"}, "'Content-Type', which gRPC keeps"),
        ({"user-agent": "secret"}, "'user-agent', which gRPC keeps"),
        ({"authorization": "Bearer secret\n"}, "'authorization' has a line break"),
        ({"authorization": "Bearer sécret"}, "'authorization' has a character that is not printable ASCII"),
        ({"authorization": b"Bearer s\xe9cret"}, "'authorization' has a character that is not printable ASCII"),
        ({"authorization": None}, "'authorization' is NoneType; expected text"),
        ({"trace-bin": "secret"}, "'trace-bin' is str; a key in -bin takes bytes"),
        ([("authorization", "secret", "more")], "entry 0 is not a pair"),
        ([("a", "b"), "secret"], "entry 1 is not a pair"),
        ([(1, "secret")], "entry 0 is not a pair"),
        ("authorization: secret", "mapping, or pairs of key and value; got str"),
        (7, "got int"),
    ],
)
def test_metadata_that_cannot_be_sent_is_refused_by_its_name_and_not_quoted(metadata: Any, told: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match=re.escape(told)) as refused:
            kind("127.0.0.1:9", metadata=metadata)
        assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["Tls handshake failed: WRONG_VERSION_NUMBER", "CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed."],
)
def test_a_connection_that_can_never_be_made_is_not_tried_again(text: str) -> None:
    unreachable = grpc.StatusCode.UNAVAILABLE
    own = ServiceError(unreachable, "", f"connections to all backends failing; last error: {text}", {}, None)
    # A proxy may tell of its own connections.
    proxys = ServiceError(unreachable, "", f"upstream connect error: {text}", {}, None)
    call: Call[Any] = Call(face_service_pb2.VerifyFaceRequest())
    assert Attempts(call, deadline=100.0, unreachable_s=100.0).pause(own, 0.0, 0.0) is None
    assert Attempts(call, deadline=100.0, unreachable_s=100.0).pause(proxys, 0.0, 0.0) is not None


def test_a_deletion_is_not_done_because_the_server_was_busy(
    run: Callable[..., Any], scripted: tuple[Scripted, str]
) -> None:
    script, _ = scripted
    script.script = [BUSY, IdentityNotFound("never was")]
    with pytest.raises(ServiceError, match="IDENTITY_NOT_FOUND"):
        run(lambda client: client.delete_identity("g", "i"))
    script.script = [grpc.StatusCode.UNAVAILABLE, GalleryNotFound("another thing")]
    with pytest.raises(ServiceError, match="GALLERY_NOT_FOUND"):
        run(lambda client: client.delete_identity("g", "i"))


def test_a_server_without_room_is_asked_again_but_not_with_what_is_too_large(
    run: Callable[..., Any], scripted: tuple[Scripted, str]
) -> None:
    script, _ = scripted
    script.script = [grpc.StatusCode.RESOURCE_EXHAUSTED, None]
    run(lambda client: client.verify("g", "i", b"photo"))
    assert len(script.requests) == 2
    with pytest.raises(ServiceError, match="larger than max"):
        run(lambda client: client.create_identity("g", "i", display_name="x" * (37 << 20)))
    assert len(script.requests) == 2


def test_a_photo_beyond_the_messages_of_a_server_has_the_reason_of_every_large_photo(
    run: Callable[..., Any], scripted: tuple[Scripted, str]
) -> None:
    script, _ = scripted
    for use in (lambda client: client.verify("g", "i", bytes(5 << 20)), lambda client: client.detect(bytes(5 << 20))):
        with pytest.raises(ServiceError, match="larger than max") as error:
            run(use)
        assert error.value.reason == "IMAGE_TOO_LARGE"
    with pytest.raises(ServiceError, match="larger than max") as error:
        run(lambda client: client.enroll("g", "i", face_pb2.Embedding(), display_name="x" * (5 << 20)))
    assert error.value.reason == ""
    assert script.requests == []


def test_a_request_id_is_the_callers_to_choose_or_to_leave_out(
    run: Callable[..., Any], scripted: tuple[Scripted, str]
) -> None:
    script, _ = scripted
    for chosen in ("", "5f7d6c9e-4f8b-4b57-9d4e-0a9a2f5c1d11"):
        run(lambda client, chosen=chosen: client.enroll("g", "i", b"photo", request_id=chosen))
        assert script.requests[-1].request_id == chosen


MISSPELT = [
    lambda client: client.enroll("g", "i", b"photo", displayname="Ada"),
    lambda client: client.verify("g", "i", b"photo", treshold=0.5),
    lambda client: client.identify("g", b"photo", verify_threshold=0.5),
    lambda client: client.compare(b"one", b"two", threshold=0.5),
    lambda client: client.search("g", b"photo", label={}),
    lambda client: client.create_gallery("g", margin=0.1),
    lambda client: client.update_gallery("g", margin=0.1),
    lambda client: client.create_identity("g", "i", name="Ada"),
    lambda client: client.update_identity("g", "i", name="Ada"),
]


@pytest.mark.parametrize("call", MISSPELT)
def test_a_misspelt_option_is_refused_before_anything_is_sent(
    call: Use, run: Callable[..., Any], scripted: tuple[Scripted, str]
) -> None:
    with pytest.raises(TypeError, match="there is no option"):
        run(call)
    assert scripted[0].requests == []


def test_a_time_in_no_time_zone_is_refused(run: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="time zone"):
        run(lambda client: client.enroll("g", "i", b"photo", expire_time=datetime(2030, 1, 1)))


def test_an_error_survives_the_way_between_processes() -> None:
    error = ServiceError(grpc.StatusCode.NOT_FOUND, "GALLERY_NOT_FOUND", "none", {"gallery": "g"}, 1.5)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "GALLERY_NOT_FOUND: none"
    assert vars(again) == vars(error)


def test_a_code_of_a_later_grpc_is_unknown_and_nothing_worse() -> None:
    assert ServiceError.of_status(status_pb2.Status(code=99, message="new")).code is grpc.StatusCode.UNKNOWN


VERIFY: Call[Any] = Call(face_service_pb2.VerifyFaceRequest())
REASONS = ["", "MODEL_UNAVAILABLE", "CONCURRENT_UPDATE", "FACE_NOT_FOUND", "STORE_FULL"]


def test_an_address_that_goes_silent_is_tried_from_then_on() -> None:
    silent = ServiceError(grpc.StatusCode.UNAVAILABLE, "", "", {}, None)
    down = ServiceError(grpc.StatusCode.UNAVAILABLE, "MODEL_UNAVAILABLE", "", {}, 1.0)
    attempts = Attempts(VERIFY, deadline=30.0, unreachable_s=5.0)
    assert attempts.pause(down, 19.0, 0.0)
    assert attempts.pause(silent, 20.0, 0.0)
    assert attempts.pause(silent, 24.0, 0.0) is not None
    assert attempts.pause(silent, 24.9, 0.0) is None
    # Any other answer in between restarts the count.
    assert attempts.pause(down, 26.0, 0.0)
    assert attempts.pause(silent, 27.0, 0.0)


@given(
    errors=st.lists(
        st.builds(
            ServiceError,
            st.sampled_from(list(grpc.StatusCode)),
            st.sampled_from(REASONS),
            st.just(""),
            st.just({}),
            st.none() | st.floats(0, 100),
        ),
        max_size=12,
    ),
    timeout_s=st.floats(0, 100),
    dice=st.floats(0, 0.999),
    repeat_lost_races=st.booleans(),
)
def test_pauses_fit_into_the_time_that_is_left(
    errors: list[ServiceError], timeout_s: float, dice: float, repeat_lost_races: bool
) -> None:
    call = dataclasses.replace(VERIFY, repeat_lost_races=repeat_lost_races)
    attempts, now = Attempts(call, timeout_s, unreachable_s=5.0), 0.0
    for error in errors:
        pause = attempts.pause(error, now, dice)
        if pause is None:
            break
        assert 0 <= pause < timeout_s - now
        assert error.retry_after_s is not None or pause <= LONGEST_PAUSE_S * (1 + SPREAD)
        assert error.retry_after_s is not None or error.reason in ("", "CONCURRENT_UPDATE")
        now += pause


def test_a_service_that_was_away_for_long_is_found_within_seconds() -> None:
    """gRPC's own pause between attempts to connect grows up to two minutes."""
    longest_ms = dict(CHANNEL_OPTIONS)["grpc.max_reconnect_backoff_ms"]
    assert isinstance(longest_ms, int)
    assert longest_ms <= 2_000
