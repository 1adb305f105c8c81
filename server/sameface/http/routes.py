"""Which HTTP requests Envoy passes on, and what it answers to the others."""

from pathlib import Path
from typing import Any, TypeAlias

from sameface.http.options import HttpOptions

Config: TypeAlias = dict[str, Any]

PEER_HEADER = "x-sameface-peer"
"""The header that tells the service a caller's connection, see `sameface.api.connections`."""
HEADER_KIB = 16
OPENAPI_BYTES = 1 << 20

HTTP_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
CORS = "envoy.filters.http.cors"
BUFFER = "envoy.filters.http.buffer"
_JSON, _GRPC_WEB = "json", "grpc-web|grpc-web-text"
_STREAM = "/sameface.v1.FaceService/StreamIdentifyFaces"
"""A stream in both directions, which gRPC-Web does not have."""
_ALLOWED_HEADERS = "authorization,content-type,grpc-timeout,traceparent,tracestate,x-grpc-web,x-user-agent"
_EXPOSED_HEADERS = "grpc-status,grpc-message,grpc-status-details-bin"

_LOCAL_ERRORS = {
    400: (3, "%LOCAL_REPLY_BODY%"),
    404: (5, "nothing has this path, or this host is not one of http.hosts"),
    408: (4, "the request took too long to arrive"),
    411: (3, "send Content-Length: a body without it is not read"),
    413: (8, "the body is larger than http.max_body_bytes; GET and DELETE take none"),
    415: (3, "send Content-Type: application/json"),
    431: (3, f"the header is larger than {HEADER_KIB} KiB"),
    503: (14, "the service is starting, stopping or overloaded; repeat the request later"),
    504: (4, "the request took too long"),
}
"""What Envoy itself answers: HTTP status → canonical code and message."""


def routes(options: HttpOptions, openapi: Path) -> Config:
    """Return the routes: by host, path, method and type of the body."""
    to_service = {
        "cluster": "grpc",
        "timeout": "0s",  # the service has timeouts of its own
        "max_stream_duration": {"grpc_timeout_header_max": "0s"},
    }
    # A web page may send other types without asking first. So only these can change something. Bodies have announced
    # lengths, because the transcoder would collect one without an end.
    announced = {"name": "content-length", "present_match": True}
    short = {"name": "content-length", "range_match": {"start": 0, "end": options.max_body_bytes + 1}}
    without_body = {
        "match": _all("/v1/", _matches(":method", "GET|DELETE")),
        "route": to_service,
        # No header tells of a body that comes in chunks. So it is counted.
        "typed_per_filter_config": {
            BUFFER: {"@type": f"{HTTP_FILTERS}.buffer.v3.BufferPerRoute", "buffer": {"max_request_bytes": 1}}
        },
    }
    found: list[Config] = [{**_refusal(404), "match": {"path": _STREAM}}, without_body]
    for prefix, kind in (("/v1/", _is_type(_JSON)), ("/sameface.v1.", _is_type(_GRPC_WEB))):
        found.append({"match": _all(prefix, kind, short), "route": to_service})
        found += [_refusal(413, kind, announced, prefix=prefix), _refusal(411, kind, prefix=prefix)]
    other_type = {**_is_type(f"{_JSON}|{_GRPC_WEB}"), "invert_match": True, "treat_missing_header_as_empty": True}
    found += [_refusal(415, _matches(":method", "POST|PATCH|PUT"), other_type), _refusal(404)]
    if options.origins:
        # Only what is routed to the service is asked for its origins first.
        asking = [{"name": name, "present_match": True} for name in ("origin", "access-control-request-method")]
        found.insert(0, {"match": _all("/", _matches(":method", "OPTIONS"), *asking), "route": to_service})
    if options.openapi:
        document = {
            "match": {"path": "/openapi.yaml", "headers": [_matches(":method", "GET")]},
            "direct_response": {"status": 200, "body": {"filename": str(openapi)}},
            "response_headers_to_add": [_set_header("content-type", "application/yaml")],
            **_without_transcoder(),
        }
        found.insert(0, document)
    host: Config = {
        "name": "service",
        "domains": list(options.served_hosts),
        # Answers tell who is enrolled, and how alike people are.
        "response_headers_to_add": [
            _set_header("cache-control", "no-store"),
            _set_header("x-content-type-options", "nosniff"),
            _set_header("cross-origin-resource-policy", "same-origin"),
        ],
        "request_headers_to_add": [_set_header(PEER_HEADER, "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%")],
        "routes": found,
    }
    if options.origins:
        host["typed_per_filter_config"] = {
            CORS: {
                "@type": f"{HTTP_FILTERS}.cors.v3.CorsPolicy",
                "allow_origin_string_match": [{"exact": origin} for origin in options.origins],
                "allow_methods": "GET, POST, PATCH, DELETE",
                "allow_headers": _ALLOWED_HEADERS,
                "expose_headers": _EXPOSED_HEADERS,
                "forward_not_matching_preflights": False,
                "max_age": "7200",
            }
        }
    return {"max_direct_response_body_size_bytes": OPENAPI_BYTES, "virtual_hosts": [host]}


def _all(prefix: str, *headers: Config) -> Config:
    return {"prefix": prefix, "headers": list(headers)}


def _matches(name: str, pattern: str) -> Config:
    return {"name": name, "string_match": {"safe_regex": {"regex": pattern}}}


def _is_type(kinds: str) -> Config:
    return _matches("content-type", f"application/({kinds})([+;].*)?")


def _refusal(status: int, *headers: Config, prefix: str = "/") -> Config:
    return {"match": _all(prefix, *headers), "direct_response": {"status": status}, **_without_transcoder()}


def buffer(most_bytes: int) -> Config:
    """Return the filter that reads whole bodies first, and refuses longer ones."""
    return {"@type": f"{HTTP_FILTERS}.buffer.v3.Buffer", "max_request_bytes": most_bytes}


def _set_header(name: str, value: str) -> Config:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _without_transcoder() -> Config:
    off = {"@type": f"{HTTP_FILTERS}.grpc_json_transcoder.v3.GrpcJsonTranscoder", "proto_descriptor_bin": ""}
    return {"typed_per_filter_config": {TRANSCODER: off}}


def local_errors() -> Config:
    """Return how Envoy words its own errors: as the service does."""
    return {"mappers": [_local_error(*one) for one in _LOCAL_ERRORS.items()]}


def _local_error(status: int, error: tuple[int, str]) -> Config:
    code, message = error
    compared = {"op": "EQ", "value": {"default_value": status, "runtime_key": f"sameface.status_{status}"}}
    return {
        "filter": {"status_code_filter": {"comparison": compared}},
        "body_format_override": {"json_format": {"code": code, "message": message}},
    }
