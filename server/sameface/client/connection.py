"""One channel with the stubs of the three services, and message limits that are large enough for photos."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from sameface.v1 import face_service_pb2_grpc, gallery_service_pb2_grpc, system_service_pb2_grpc

MAX_MESSAGE_BYTES = 36 << 20
MAX_PHOTO_BYTES = 16 << 20
"""What a service takes unless it is set otherwise (SAMEFACE_IMAGE__MAX_BYTES)."""
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Replicas behind a headless Service: spread calls over all of them.
    ("grpc.lb_policy_name", "round_robin"),
    # During a call or stream, a peer that disappears is noticed within 40 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def checked_photo_bytes(limit: int) -> int:
    """Return a limit of the bytes of a photo.

    Raises:
        ValueError: it is not 1 to `MAX_MESSAGE_BYTES`.
    """
    if not 1 <= limit <= MAX_MESSAGE_BYTES:
        raise ValueError(f"max_photo_bytes is {limit}; expected 1 to {MAX_MESSAGE_BYTES}, which a message may have")
    return limit


def channel_options(server_name: str = "") -> tuple[tuple[str, Any], ...]:
    """Return the options of a channel. ``server_name`` is the name to expect in the service's certificate."""
    return (*CHANNEL_OPTIONS, *((("grpc.ssl_target_name_override", server_name),) if server_name else ()))


def tls_credentials(
    ca: Path | None = None, certificate: Path | None = None, private_key: Path | None = None
) -> grpc.ChannelCredentials:
    """Return credentials for TLS from PEM files.

    Args:
        ca: the authority that signed the service's certificate; None takes gRPC's own list of public ones.
        certificate: the client's certificate, for a service that asks for one; with ``private_key``.
        private_key: its key, without a passphrase.

    Raises:
        OSError: a file cannot be read.
    """
    return grpc.ssl_channel_credentials(
        ca.read_bytes() if ca else None,
        private_key.read_bytes() if private_key else None,
        certificate.read_bytes() if certificate else None,
    )


@dataclass(frozen=True, slots=True)
class Connection:
    """Stubs of the services on one channel."""

    channel: grpc.Channel
    faces: Any
    galleries: Any
    system: Any


@contextmanager
def connect(address: str, *, ready_s: float = 10.0) -> Iterator[Connection]:
    """Open a channel to ``host:port`` and close it at the end.

    Raises:
        grpc.FutureTimeoutError: there is no answer within ``ready_s`` seconds.
    """
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        grpc.channel_ready_future(channel).result(timeout=ready_s)
        yield Connection(
            channel=channel,
            faces=face_service_pb2_grpc.FaceServiceStub(channel),
            galleries=gallery_service_pb2_grpc.GalleryServiceStub(channel),
            system=system_service_pb2_grpc.SystemServiceStub(channel),
        )
