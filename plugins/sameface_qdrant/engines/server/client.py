"""A client of a Qdrant server: where it connects, with which certificate, and what its connections do by themselves.

Repeating calls is left to gRPC's own retries (gRFC A6), which back off with jitter and never outlast a call's deadline.
They cover what may be applied twice: reads, and upserts. The store's upserts to a server either insert only or are
bound to a revision, so that a repeat finds its own work. Deletes and overwritten payloads are not repeated: after a
lost answer another service may have enrolled again, and a second delete would remove what that one has acknowledged.
"""

import json
from urllib.parse import urlsplit

from qdrant_client import AsyncQdrantClient

from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import InvalidArgument

DEFAULT_GRPC_PORT = 6334
SAFE_TO_REPEAT = (
    ("qdrant.Points", ("Get", "Scroll", "Query", "Count", "Facet", "Upsert", "CreateFieldIndex")),
    ("qdrant.Collections", ("Get", "CollectionExists")),
    ("qdrant.Qdrant", ("HealthCheck",)),
)


def connect(url: str, api_key: str | None, options: ServerOptions) -> AsyncQdrantClient:
    """Return a client of ``http(s)://host:port``, the gRPC port, 6334 where none is named. Nothing is sent yet.

    qdrant-client warns where an API key would travel unencrypted.

    Raises:
        InvalidArgument: the certificate cannot be read, or the URL names no port that can be.
    """
    try:
        port = urlsplit(url).port or DEFAULT_GRPC_PORT
    except ValueError as error:
        raise InvalidArgument(f"{url!r} has no valid port: {error}", metadata={"field": "url"}) from error
    return AsyncQdrantClient(
        url=url,
        grpc_port=port,
        api_key=api_key,
        prefer_grpc=True,
        # It rounds up itself, yet is typed to take whole seconds.
        timeout=max(1, -int(-options.timeout_s // 1)),
        pool_size=options.pool_size,
        # It would ask the REST port, which a deployment need not open.
        check_compatibility=False,
        grpc_options=_channel_options(options),
    )


def _channel_options(options: ServerOptions) -> dict[str, object]:
    chosen: dict[str, object] = {
        # A peer that vanished without a word is noticed, and one that is back is found soon: gRPC would wait up to two
        # minutes between attempts to connect.
        "grpc.keepalive_time_ms": 30_000,
        "grpc.keepalive_timeout_ms": 5_000,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 2_000,
        # Channels that share subchannels would share one connection, whatever the size of the pool.
        "grpc.use_local_subchannel_pool": 1,
    }
    if options.retries:
        chosen["grpc.service_config"] = json.dumps({"methodConfig": [_retried(options.retries)]})
    if options.ca_certificate is not None:
        try:
            chosen["root_certificates"] = options.ca_certificate.read_bytes()
        except OSError as error:
            raise InvalidArgument(
                f"the CA certificate cannot be read: {error}", metadata={"field": "ca_certificate"}
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
