"""Connects to the nodes of a Qdrant server or cluster: addresses, certificate, keepalive, and gRPC's own retries.

`Nodes` repeats the store's calls. An attached collection has one connection, and gRPC itself retries its calls (gRFC
A6), with backoff and jitter, within the call's deadline. Both repeat only calls that may be applied twice: reads and
upserts. The store's upserts to a server insert only or depend on a revision, so a repeat finds its own work. Receipts
of erasures and notes of imports are the exception: a repeat may set back what was written since, and that is then done
again. Deletes and overwritten payloads are not retried. After a lost answer another service may have enrolled again,
and a second delete would remove templates that it has acknowledged.
"""

import json

from qdrant_client import AsyncQdrantClient

from sameface_qdrant.engines.server.addresses import addresses as addresses
from sameface_qdrant.engines.server.addresses import is_here, port_of
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import InvalidArgument

KEEPALIVE_S, KEEPALIVE_PATIENCE_S = 1.0, 2.0
"""A call that has waited for so long asks whether the node is still there, and how long it waits for that."""
SAFE_TO_REPEAT = (
    ("qdrant.Points", ("Get", "Scroll", "Query", "QueryBatch", "Count", "Facet", "UpdateBatch", "CreateFieldIndex")),
    ("qdrant.Collections", ("Get", "CollectionExists")),
    ("qdrant.Qdrant", ("HealthCheck",)),
)


def connect(url: str, api_key: str | None, options: ServerOptions) -> AsyncQdrantClient:
    """Return a client of one address ``http(s)://host:port``. The port is the gRPC port, by default 6334.

    Nothing is sent yet. If a name has several addresses, gRPC uses one that answers. qdrant-client warns if it would
    send an API key unencrypted.

    Raises:
        InvalidArgument: the certificate cannot be read, or the URL has no valid port.
    """
    return AsyncQdrantClient(
        url=url,
        grpc_port=port_of(url),
        api_key=api_key,
        prefer_grpc=True,
        timeout=whole_seconds(options),
        pool_size=options.pool_size,
        # The check would need the REST port, which may be closed.
        check_compatibility=False,
        grpc_options=_channel_options(options, url),
    )


def whole_seconds(options: ServerOptions) -> int:
    """Return the time-out of a call, rounded up: the client's type allows whole seconds only."""
    return max(1, -int(-options.timeout_s // 1))


def _channel_options(options: ServerOptions, url: str) -> dict[str, object]:
    chosen: dict[str, object] = {
        # A node that is paused or cut off still has connections, but answers no ping. One that is only slow does. Pings
        # are sent while a call waits.
        "grpc.keepalive_time_ms": int(1000 * KEEPALIVE_S),
        "grpc.keepalive_timeout_ms": int(1000 * KEEPALIVE_PATIENCE_S),
        # gRPC also measures the connection with pings, and sends no other one while such a ping is under way.
        "grpc.http2.ping_timeout_ms": int(1000 * KEEPALIVE_PATIENCE_S),
        # By default gRPC refuses to send more than two pings without data between them.
        "grpc.http2.max_pings_without_data": 0,
        # Finds soon a node that is back, and gives up soon on one that accepts connections without answering: by
        # default gRPC waits up to two minutes between attempts to connect, and 20 s in each.
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.min_reconnect_backoff_ms": 1_000,
        "grpc.max_reconnect_backoff_ms": 2_000,
        # Without it all channels of the pool would share one connection.
        "grpc.use_local_subchannel_pool": 1,
    }
    if is_here(url):
        # A proxy of the environment does not reach this machine.
        chosen["grpc.enable_http_proxy"] = 0
    if options.retries:
        chosen["grpc.service_config"] = json.dumps({"methodConfig": [_retried(options.retries)]})
    if options.client_certificate is not None and not url.startswith("https://"):
        raise InvalidArgument(
            "a client certificate is set, but the URL begins with http, so it would not be used; use https",
            metadata={"field": "client_certificate"},
        )
    if options.server_name:
        chosen["grpc.ssl_target_name_override"] = options.server_name
    for name, path in (
        ("root_certificates", options.ca_certificate),
        ("certificate_chain", options.client_certificate),
        ("private_key", options.client_private_key),
    ):
        if path is not None:
            try:
                chosen[name] = path.read_bytes()
            except OSError as error:
                raise InvalidArgument(
                    f"a certificate cannot be read: {error}; expected a PEM file", metadata={"field": name}
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
