"""Every request gets a response or a status of the error table, never UNKNOWN and never INTERNAL."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sameface.api.status import ERRORS
from sameface.client import ServiceError, connect
from sameface.client.connection import Connection
from sameface.launcher import served
from sameface.v1 import face_service_pb2, gallery_service_pb2, migration_service_pb2, system_service_pb2
from tests.vision.hostile import jpeg

PHOTO = Path("tests/data/portraits/emmanuel_macron_2014.jpg").read_bytes()
METHODS = [
    method
    for module in (face_service_pb2, gallery_service_pb2, migration_service_pb2, system_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
# Texts with a valid form, beside arbitrary ones.
TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            "galleries/a",
            "galleries/a/identities/b",
            "galleries/a/identities/b/templates/00000000-0000-0000-0000-000000000000",
            "a",
            "00000000-0000-4000-8000-000000000000",
            "policy.verify_threshold",
            "labels",
            "../../etc/passwd",
            "\x00",
            "%s%n{}",
            "\U0001f600" * 300,
            "x" * 70_000,
        ]
    ),
    st.text(max_size=40),
)
NUMBERS = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0, -1.0, 2.0, float("nan"), float("inf"), float("-inf"), 3e38, 1e-45]),
    st.floats(width=32),
)
BYTES = st.one_of(st.sampled_from([b"", PHOTO, PHOTO[:4000], b"\xff\xd8\xff", b"GIF89a"]), st.binary(max_size=300))


def integers(bits: int) -> st.SearchStrategy[int]:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return st.one_of(st.sampled_from([0, 1, -1, 100, low, high]), st.integers(low, high))


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return TEXTS
        case FieldDescriptor.TYPE_BYTES:
            return BYTES
        case FieldDescriptor.TYPE_FLOAT | FieldDescriptor.TYPE_DOUBLE:
            return NUMBERS
        case FieldDescriptor.TYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.TYPE_ENUM:
            return st.sampled_from([0, 1, 2, 3, 99, -1])
        case FieldDescriptor.TYPE_INT32:
            return integers(32)
        case FieldDescriptor.TYPE_INT64:
            return integers(64)
        case _:
            assert field.message_type is not None
            return messages(field.message_type, depth - 1)


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 5) -> Message:
    """Build any message of a type, with some fields set, some not, and lists of awkward lengths."""
    message = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if (depth == 0 and field.message_type) or not draw(st.booleans()):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            pairs = draw(st.dictionaries(st.text(max_size=80), st.text(max_size=300), max_size=40))
            getattr(message, field.name).update(pairs)
        elif field.is_repeated:
            count = draw(st.sampled_from([0, 1, 2, 128, 2000] if not field.message_type else [0, 1, 2]))
            one = [draw(values(field, depth)) for _ in range(min(count, 3))]
            getattr(message, field.name).extend((one * (count // max(1, len(one)) + 1))[:count] if one else [])
        elif field.message_type:
            getattr(message, field.name).CopyFrom(draw(values(field, depth)))
        else:
            setattr(message, field.name, draw(values(field, depth)))
    return message


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A separate server with a gallery."""
    folder = tmp_path_factory.mktemp("hostile")
    with (
        served(folder / "data", folder / "log", ["--inference", "onnx"]) as service,
        connect(service.address) as connection,
    ):
        connection.galleries.CreateGallery(gallery_service_pb2.CreateGalleryRequest(gallery_id="a"))
        connection.galleries.CreateIdentity(
            gallery_service_pb2.CreateIdentityRequest(parent="galleries/a", identity_id="b")
        )
        yield connection
        assert "Traceback" not in (folder / "log").read_text()


def call(connection: Connection, method: MethodDescriptor, requests: list[Any]) -> None:
    """Send a request. An error must be one of the table."""
    stubs = {
        "FaceService": connection.faces,
        "GalleryService": connection.galleries,
        "MigrationService": connection.migrations,
        "SystemService": connection.system,
    }
    rpc = getattr(stubs[method.containing_service.name], method.name)
    try:
        if method.client_streaming:
            for answer in rpc(iter(requests)):
                if answer.HasField("error"):
                    assert answer.error.code not in (
                        grpc.StatusCode.UNKNOWN.value[0],
                        grpc.StatusCode.INTERNAL.value[0],
                    )
        else:
            rpc(requests[0])
    except grpc.RpcError as failed:
        error = ServiceError.of(failed)
        if error.too_large:
            return
        assert error.reason in ERRORS, f"{method.name}: {error}"
        assert error.reason != "INTERNAL", f"{method.name}: {error}"
        assert error.code == ERRORS[error.reason].code
        assert "Traceback" not in error.message
        assert 'File "' not in error.message


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_any_message_has_an_answer_of_the_contract(hostile: Connection, method: MethodDescriptor) -> None:
    count = 3 if method.client_streaming else 1

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(requests=st.lists(messages(method.input_type), min_size=count, max_size=count))
    def send(requests: list[Any]) -> None:
        call(hostile, method, requests)

    send()


cut_photos = st.builds(lambda cut, tail: PHOTO[:cut] + tail, st.integers(0, len(PHOTO)), st.binary(max_size=50))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(photo=st.one_of(st.binary(max_size=2000), cut_photos))
def test_any_bytes_as_a_photo_have_an_answer_of_the_contract(hostile: Connection, photo: bytes) -> None:
    method = face_service_pb2.DESCRIPTOR.services_by_name["FaceService"].methods_by_name["DetectFaces"]
    call(hostile, method, [face_service_pb2.DetectFacesRequest(photo=photo)])


def test_a_photo_of_many_empty_scans_is_refused_with_its_limit(hostile: Connection) -> None:
    photo = jpeg(4000, 3000, 2999)
    with pytest.raises(grpc.RpcError) as failed:
        hostile.faces.DetectFaces(face_service_pb2.DetectFacesRequest(photo=photo))
    error = ServiceError.of(failed.value)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "IMAGE_TOO_LARGE")
    assert error.metadata == {"scans": "more than 100", "limit": "100"}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_bytes_that_are_no_message_are_refused_by_their_field(hostile: Connection, method: MethodDescriptor) -> None:
    path, broken = f"/{method.containing_service.full_name}/{method.name}", b"\xff\xff\xff\xff"
    channel: Any = hostile.channel
    send = (
        (lambda: list(channel.stream_stream(path)(iter([broken]))))
        if method.client_streaming
        else (lambda: channel.unary_unary(path)(broken))
    )
    with pytest.raises(grpc.RpcError) as failed:
        send()
    error = ServiceError.of(failed.value)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert error.metadata["field"] == "request"


def test_a_message_beyond_the_limit_is_refused(hostile: Connection) -> None:
    channel: Any = hostile.channel
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary("/sameface.v1.FaceService/DetectFaces")(bytes(40 << 20))
    assert ServiceError.of(failed.value).code == grpc.StatusCode.RESOURCE_EXHAUSTED
