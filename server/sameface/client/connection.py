"""One channel with the stubs of the three services, and message limits that are large enough for photos."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import grpc

from sameface.addresses import check_target, proxy_options
from sameface.client.errors import NotAnAddress, ServiceError
from sameface.client.forks import check_usable, use_asynchronously
from sameface.client.hints import why_unreachable
from sameface.v1 import (
    face_service_pb2_grpc,
    gallery_service_pb2_grpc,
    migration_service_pb2_grpc,
    system_service_pb2_grpc,
)

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
    # A service that is started again is found within two seconds. By default gRPC pauses up to two minutes between
    # attempts, and longer the longer nothing answered.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


Metadata = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]
"""Sent with every call: ``{"authorization": "Bearer …"}``, or pairs."""

OF_GRPC = frozenset(
    ("connection", "content-length", "content-type", "keep-alive", "te", "transfer-encoding", "upgrade", "user-agent")
)
"""Keys that gRPC sets itself, or that HTTP/2 does not have. What is given under them would be lost."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a service is, and how it is reached."""

    address: str
    credentials: grpc.ChannelCredentials | None = None
    """None: without encryption."""
    server_name: str = ""
    """The name to expect in the service's certificate; empty: that of the address."""

    def __post_init__(self) -> None:
        """Raise NotAnAddress."""
        check_address(self.address)

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        """The options of a channel."""
        name = (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()
        return (*CHANNEL_OPTIONS, *proxy_options(self.address), *name)

    def open(self, *further: tuple[str, Any]) -> grpc.Channel:
        """Return a channel with further options. Raises RuntimeError as `check_usable` does."""
        check_usable()
        options = (*self.options, *further)
        if self.credentials:
            return grpc.secure_channel(self.address, self.credentials, options=options)
        return grpc.insecure_channel(self.address, options=options)

    def open_asynchronously(self) -> grpc.aio.Channel:
        """Return a channel of the running event loop. Raises RuntimeError as `check_usable` does."""
        use_asynchronously()
        if self.credentials:
            return grpc.aio.secure_channel(self.address, self.credentials, options=self.options)
        return grpc.aio.insecure_channel(self.address, options=self.options)

    def explained(self, error: ServiceError) -> ServiceError:
        """Return an error that ends a call with what to do about it. May look at the port, for a second at most."""
        hint = why_unreachable(error, self.address, encrypted=self.credentials is not None)
        if not hint:
            return error
        return ServiceError(error.code, error.reason, f"{error.message}; {hint}", error.metadata, error.retry_after_s)


def check_address(address: str) -> str:
    """Return ``address`` if it is one.

    Raises:
        NotAnAddress: it is not. The message says what to write.
    """
    try:
        return check_target(address)
    except ValueError as error:
        raise NotAnAddress(str(error)) from None


def checked_metadata(metadata: Metadata) -> tuple[tuple[str, str | bytes], ...]:
    """Return pairs that gRPC can send, with keys in lower case.

    Raises:
        ValueError: a key or value cannot be sent. The message names the key, and never quotes a value.
    """
    if isinstance(metadata, str | bytes) or not isinstance(metadata, Iterable):
        raise ValueError(f"metadata is a mapping, or pairs of key and value; got {type(metadata).__name__}")
    pairs = list(metadata.items() if isinstance(metadata, Mapping) else metadata)
    for number, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ValueError(f"metadata is a mapping, or pairs of key and value; entry {number} is not a pair")
    return tuple((_checked_key(key), _checked_value(key, value)) for key, value in pairs)


def _checked_key(key: str) -> str:
    lower = key.lower()
    if not re.fullmatch(r"[0-9a-z_.-]+", lower):
        raise ValueError(f"metadata has the key {key!r}; expected letters, digits, hyphens, underscores and dots")
    if lower.startswith("grpc-") or lower in OF_GRPC:
        raise ValueError(f"metadata has the key {key!r}, which gRPC keeps for itself; leave it out")
    return lower


def _checked_value(key: str, value: str | bytes) -> str | bytes:
    if key.lower().endswith("-bin"):
        if not isinstance(value, bytes):
            raise ValueError(f"the value of metadata {key!r} is {type(value).__name__}; a key in -bin takes bytes")
        return value
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise ValueError(f"the value of metadata {key!r} is {type(value).__name__}; expected text")
    if not (text.isascii() and text.isprintable()):
        what = "a line break" if "\n" in text or "\r" in text else "a character that is not printable ASCII"
        raise ValueError(f"the value of metadata {key!r} has {what}; remove it, or send bytes under a key in -bin")
    return text


def checked_photo_bytes(limit: int) -> int:
    """Return a limit of the bytes of a photo.

    Raises:
        ValueError: it is not 1 to `MAX_MESSAGE_BYTES`.
    """
    if not 1 <= limit <= MAX_MESSAGE_BYTES:
        raise ValueError(f"max_photo_bytes is {limit}; expected 1 to {MAX_MESSAGE_BYTES}, which a message may have")
    return limit


def tls_credentials(
    ca: str | PathLike[str] | None = None,
    certificate: str | PathLike[str] | None = None,
    private_key: str | PathLike[str] | None = None,
) -> grpc.ChannelCredentials:
    """Return credentials for TLS from the paths of PEM files.

    Args:
        ca: the authority that signed the service's certificate; None takes gRPC's own list of public ones.
        certificate: the client's certificate, for a service that asks for one; with ``private_key``.
        private_key: its key, without a passphrase.

    Raises:
        OSError: a file cannot be read.
    """
    return grpc.ssl_channel_credentials(
        *(Path(file).read_bytes() if file else None for file in (ca, private_key, certificate)),
    )


@dataclass(frozen=True, slots=True)
class Connection:
    """Stubs of the services on one channel."""

    channel: grpc.Channel
    faces: Any
    galleries: Any
    migrations: Any
    system: Any


@contextmanager
def connect(address: str, *, ready_s: float = 10.0) -> Iterator[Connection]:
    """Open a channel to ``host:port`` and close it at the end.

    Raises:
        NotAnAddress: ``address`` is something else.
        grpc.FutureTimeoutError: there is no answer within ``ready_s`` seconds.
    """
    with Target(address).open() as channel:
        grpc.channel_ready_future(channel).result(timeout=ready_s)
        yield Connection(
            channel=channel,
            faces=face_service_pb2_grpc.FaceServiceStub(channel),
            galleries=gallery_service_pb2_grpc.GalleryServiceStub(channel),
            migrations=migration_service_pb2_grpc.MigrationServiceStub(channel),
            system=system_service_pb2_grpc.SystemServiceStub(channel),
        )
