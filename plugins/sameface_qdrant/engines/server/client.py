"""Connects to a Qdrant server: address, certificate, retries and keepalive.

gRPC itself retries calls (gRFC A6), with backoff and jitter, within the call's deadline. It retries calls that may be
applied twice: reads and upserts. The store's upserts to a server insert only or depend on a revision, so a repeat finds
its own work. Deletes and overwritten payloads are not retried. After a lost answer another service may have enrolled
again, and a second delete would remove templates that it has acknowledged.
"""

import json
from urllib.parse import urlsplit

from qdrant_client import AsyncQdrantClient

from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import InvalidArgument

DEFAULT_GRPC_PORT = 6334
SAFE_TO_REPEAT = (
    ("qdrant.Points", ("Get", "Scroll", "Query", "QueryBatch", "Count", "Facet", "UpdateBatch", "CreateFieldIndex")),
    ("qdrant.Collections", ("Get", "CollectionExists")),
    ("qdrant.Qdrant", ("HealthCheck",)),
)


def connect(url: str, api_key: str | None, options: ServerOptions) -> AsyncQdrantClient:
    """Return a client of ``http(s)://host:port``. The port is the gRPC port, by default 6334. Nothing is sent yet.

    qdrant-client warns if it would send an API key unencrypted.

    Raises:
        InvalidArgument: the certificate cannot be read, or the URL has no valid port.
    """
    try:
        port = urlsplit(url).port or DEFAULT_GRPC_PORT
    except ValueError as error:
        raise InvalidArgument(
            f"{url!r} has no valid port: {error}; expected http(s)://host:port", metadata={"field": "url"}
        ) from error
    return AsyncQdrantClient(
        url=url,
        grpc_port=port,
        api_key=api_key,
        prefer_grpc=True,
        timeout=whole_seconds(options),
        pool_size=options.pool_size,
        # The check would need the REST port, which may be closed.
        check_compatibility=False,
        grpc_options=_channel_options(options),
    )


def whole_seconds(options: ServerOptions) -> int:
    """Return the time-out of a call, rounded up: the client's type allows whole seconds only."""
    return max(1, -int(-options.timeout_s // 1))


def _channel_options(options: ServerOptions) -> dict[str, object]:
    chosen: dict[str, object] = {
        # Notices a server that vanished silently, and finds soon one that is back: by default gRPC waits up to two
        # minutes between attempts to connect.
        "grpc.keepalive_time_ms": 30_000,
        "grpc.keepalive_timeout_ms": 5_000,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 2_000,
        # Without it all channels of the pool would share one connection.
        "grpc.use_local_subchannel_pool": 1,
    }
    if options.retries:
        chosen["grpc.service_config"] = json.dumps({"methodConfig": [_retried(options.retries)]})
    if options.ca_certificate is not None:
        try:
            chosen["root_certificates"] = options.ca_certificate.read_bytes()
        except OSError as error:
            raise InvalidArgument(
                f"the CA certificate cannot be read: {error}; expected a PEM file", metadata={"field": "ca_certificate"}
            ) from error
    return chosen


def _retried(retries: int) -> dict[str, object]:
    return {
        "name": [{"service": service, "method": method} for service, methods in SAFE_TO_REPEAT for method in methods],
        "retryPolicy": {
            "maxAttempts": retries + 1,
            "initialBackoff": "0.1s",
            "maxBackoff": "1s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        },
    }
