"""One channel with the three services, limits that fit photos, and errors that programs can act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from sameface.v1 import face_service_pb2_grpc, gallery_service_pb2_grpc, system_service_pb2_grpc

MAX_MESSAGE_BYTES = 36 << 20


@dataclass(frozen=True, slots=True)
class Connection:
    """Stubs of the services on one channel."""

    channel: grpc.Channel
    faces: Any
    galleries: Any
    system: Any


@dataclass(frozen=True, slots=True)
class ServiceError:
    """The machine-readable part of a failed call."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: dict[str, str]
    retry_after_s: float | None

    @classmethod
    def of(cls, error: grpc.RpcError) -> "ServiceError":
        """Read ErrorInfo and RetryInfo out of a failed call; ``reason`` is empty where the server sent none."""
        info, retry = error_details_pb2.ErrorInfo(), None
        status = rpc_status.from_call(cast(grpc.Call, error))
        for detail in status.details if status else ():
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                detail.Unpack(info)
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                wait = error_details_pb2.RetryInfo()
                detail.Unpack(wait)
                retry = wait.retry_delay.ToNanoseconds() / 1e9
        return cls(error.code(), info.reason, error.details() or "", dict(info.metadata), retry)


@contextmanager
def connect(address: str, *, ready_s: float = 10.0) -> Iterator[Connection]:
    """Open a channel to ``host:port`` and close it at the end.

    Raises:
        grpc.FutureTimeoutError: nothing answered within ``ready_s`` seconds.
    """
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    with grpc.insecure_channel(address, options=options) as channel:
        grpc.channel_ready_future(channel).result(timeout=ready_s)
        yield Connection(
            channel=channel,
            faces=face_service_pb2_grpc.FaceServiceStub(channel),
            galleries=gallery_service_pb2_grpc.GalleryServiceStub(channel),
            system=system_service_pb2_grpc.SystemServiceStub(channel),
        )
