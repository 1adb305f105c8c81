"""The configuration of Envoy, as a dict for a JSON file."""

from dataclasses import dataclass
from pathlib import Path

from sameface.http.options import HttpOptions
from sameface.http.routes import (
    BUFFER,
    CORS,
    HEADER_KIB,
    HTTP_FILTERS,
    TRANSCODER,
    Config,
    buffer,
    local_errors,
    routes,
)

MOST_HEAP_BYTES = 512 << 20
"""Beyond nine tenths of this memory Envoy refuses new requests, and then ends those that hold most."""
STREAM_IDLE_S = 300.0
"""Seconds without a byte in either direction after which a request is ended. Calls may take as long to work."""
MOST_CONNECTION_S = 600.0
"""Age of a connection after which it is closed once it has no request, so that nobody holds one for good."""

_EXTENSIONS = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True, slots=True)
class Places:
    """Files and sockets of one Envoy: in a folder that no other user can enter, but for the package's own files."""

    grpc: Path
    """Socket of the service."""
    admin: Path
    """Socket of Envoy's own state."""
    descriptor: Path
    openapi: Path
    secrets: Path | None
    """Folder of the files that name certificate and key; None without TLS."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits that are those of the gRPC port."""

    arrive_s: float
    calls_per_connection: int


def envoy_config(options: HttpOptions, port: int, places: Places, bounds: Bounds, services: tuple[str, ...]) -> Config:
    """Return the configuration: one listener, one way to the service, and nothing else."""
    return {
        "node": {"id": "sameface", "cluster": "sameface"},
        "admin": {"address": {"pipe": {"path": str(places.admin), "mode": 0o600}}},
        "overload_manager": _overload(options),
        "static_resources": {
            "listeners": [_listener(options, port, places, bounds, services)],
            "clusters": [_cluster(options, places)],
        },
    }


def secrets(certificate: Path, private_key: Path, client_ca: Path | None) -> dict[str, Config]:
    """Return the files in which Envoy finds certificate, key and authority, by their names below `Places.secrets`."""
    found: dict[str, Config] = {
        "server": {
            "tls_certificate": {
                "certificate_chain": {"filename": str(certificate)},
                "private_key": {"filename": str(private_key)},
            }
        }
    }
    if client_ca is not None:
        found["clients"] = {"validation_context": {"trusted_ca": {"filename": str(client_ca)}}}
    kind = f"{_EXTENSIONS}.transport_sockets.tls.v3.Secret"
    return {f"{name}.json": {"resources": [{"@type": kind, "name": name, **secret}]} for name, secret in found.items()}


def _listener(options: HttpOptions, port: int, places: Places, bounds: Bounds, services: tuple[str, ...]) -> Config:
    host = options.address[0]
    chain: Config = {"transport_socket_connect_timeout": _seconds(options.header_s)}
    chain["filters"] = [_connection_manager(options, places, bounds, services)]
    if places.secrets is not None:
        ask_clients = options.tls is not None and options.tls.client_ca is not None
        chain["transport_socket"] = _tls(places.secrets, ask_clients=ask_clients)
    return {
        "name": "http",
        "address": _address("127.0.0.1" if host == "localhost" else host, port),
        # Without this, a second service could share the port unnoticed.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": options.max_body_bytes,
        "filter_chains": [chain],
    }


def _address(host: str, port: int) -> Config:
    return {"socket_address": {"address": host, "port_value": port, "ipv4_compat": host == "::"}}


def _connection_manager(options: HttpOptions, places: Places, bounds: Bounds, services: tuple[str, ...]) -> Config:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "http",
            "codec_type": "AUTO",
            "server_name": "sameface",
            # Callers are strangers: Envoy drops the headers with which they could steer it.
            "use_remote_address": True,
            "internal_address_config": {"unix_sockets": False},
            "generate_request_id": False,
            "strip_any_host_port": True,
            "max_request_headers_kb": HEADER_KIB,
            "request_headers_timeout": _seconds(options.header_s),
            "request_timeout": _seconds(bounds.arrive_s),
            "stream_idle_timeout": _seconds(STREAM_IDLE_S),
            "common_http_protocol_options": {
                "idle_timeout": _seconds(options.idle_s),
                "max_connection_duration": _seconds(MOST_CONNECTION_S),
                "headers_with_underscores_action": "REJECT_REQUEST",
            },
            # HTTP/1.1: with the next answer, because a request may be on its way.
            "http1_safe_max_connection_duration": True,
            "http2_protocol_options": {
                # No more than one connection to the service carries, so that each has one of its own.
                "max_concurrent_streams": bounds.calls_per_connection,
                "initial_stream_window_size": 256 << 10,
                "initial_connection_window_size": 1 << 20,
            },
            "route_config": routes(options, places.openapi),
            "http_filters": [
                {"name": CORS, "typed_config": {"@type": f"{HTTP_FILTERS}.cors.v3.Cors"}},
                {
                    "name": "envoy.filters.http.grpc_web",
                    "typed_config": {"@type": f"{HTTP_FILTERS}.grpc_web.v3.GrpcWeb"},
                },
                # Only where a route asks for it.
                {"name": BUFFER, "typed_config": buffer(1), "disabled": True},
                {"name": TRANSCODER, "typed_config": _transcoder(options, places, services)},
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": f"{HTTP_FILTERS}.router.v3.Router",
                        "suppress_envoy_headers": True,
                    },
                },
            ],
            "local_reply_config": local_errors(),
        },
    }


def _transcoder(options: HttpOptions, places: Places, services: tuple[str, ...]) -> Config:
    return {
        "@type": f"{HTTP_FILTERS}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor": str(places.descriptor),
        "services": list(services),
        # By the request as it came, so that what routes refuse stays refused.
        "match_incoming_request_route": True,
        "convert_grpc_status": True,
        "max_request_body_size": options.max_body_bytes,
        "max_response_body_size": options.max_body_bytes,
        "request_validation_options": {
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        "print_options": {"always_print_primitive_fields": True},
    }


def _cluster(options: HttpOptions, places: Places) -> Config:
    most = 1 << 20  # the listener and the service have limits
    return {
        "name": "grpc",
        "type": "STATIC",
        "connect_timeout": "5s",
        # One connection to the service for each connection of a caller, so that limits of connections hold for callers.
        "connection_pool_per_downstream_connection": True,
        "per_connection_buffer_limit_bytes": options.max_body_bytes,
        "circuit_breakers": {
            "thresholds": [
                {"max_connections": most, "max_pending_requests": most, "max_requests": most},
            ]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": "grpc",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(places.grpc)}}}}]}],
        },
    }


def _overload(options: HttpOptions) -> Config:
    monitors = f"{_EXTENSIONS}.resource_monitors"
    heap = "envoy.resource_monitors.fixed_heap"
    return {
        "refresh_interval": "0.25s",
        # Requests below the smallest class are never ended for their memory.
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
        "resource_monitors": [
            {
                "name": heap,
                "typed_config": {
                    "@type": f"{monitors}.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": MOST_HEAP_BYTES,
                },
            },
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": options.max_connections,
                },
            },
        ],
        "actions": [
            {"name": "envoy.overload_actions.shrink_heap", "triggers": [_at(heap, 0.8)]},
            {"name": "envoy.overload_actions.stop_accepting_requests", "triggers": [_at(heap, 0.9)]},
            {
                "name": "envoy.overload_actions.reset_high_memory_stream",
                "triggers": [
                    {"name": heap, "scaled": {"scaling_threshold": 0.9, "saturation_threshold": 0.98}},
                ],
            },
        ],
    }


def _at(monitor: str, value: float) -> Config:
    return {"name": monitor, "threshold": {"value": value}}


def _tls(folder: Path, *, ask_clients: bool) -> Config:
    context: Config = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": [_secret(folder, "server")],
    }
    if ask_clients:
        context["validation_context_sds_secret_config"] = _secret(folder, "clients")
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": ask_clients,
            "common_tls_context": context,
        },
    }


def _secret(folder: Path, name: str) -> Config:
    source = {"path_config_source": {"path": str(folder / f"{name}.json")}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def _seconds(value: float) -> str:
    return f"{value:.3f}s"
