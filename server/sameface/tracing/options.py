"""Settings of traces."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from sameface.addresses import Server, check_target

GRPC_PORT, HTTP_PORT, HTTP_PATH = 4317, 4318, "/v1/traces"
LONGEST_FLUSH_S = 60.0
"""A stop waits no longer for the collector."""
_HEADER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_OF_THE_CONNECTION = frozenset(
    ("accept-encoding", "connection", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade", "user-agent")
)
_COLLECTOR = Server("collector:4317", "write https:// instead of http://")


@dataclass(frozen=True, slots=True)
class TracesOptions:
    """Traces: spans of calls, sent to an OpenTelemetry collector (OTLP). Without `endpoint` there are none."""

    endpoint: str = ""
    """URL of the collector, for instance http://collector:4317; https encrypts."""
    protocol: Literal["grpc", "http"] = "grpc"
    """How to send: OTLP over gRPC (port 4317 by default), or over HTTP in protobuf (port 4318, path /v1/traces)."""
    sample_ratio: float = 1.0
    """Share of the calls that are traced, 0 to 1, where the caller has no trace. A caller's trace is continued or left
    out as the caller says."""
    follow_callers: bool = True
    """Continue the traces of callers (traceparent). If false, each call begins a trace of its own."""
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    """Sent with every export, for instance a key of the collector."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Attributes of the resource, for instance {"deployment.environment.name": "staging"}."""
    ca: Path | None = None
    """PEM file of the authority that signed the collector's certificate; None takes the public ones."""
    certificate: Path | None = None
    """PEM file of this service's certificate, for a collector that asks for one."""
    private_key: Path | None = None
    """PEM file of its key, without a passphrase."""
    max_queue: int = 8192
    """Most spans that wait to be sent, some kilobyte each. Further ones are dropped and counted."""
    flush_s: float = 2.0
    """Seconds that the last spans may take to leave when the service stops, 60 at most."""

    def __post_init__(self) -> None:
        """Raise ValueError if a value is not allowed."""
        if not math.isfinite(self.sample_ratio) or not 0 <= self.sample_ratio <= 1:
            raise ValueError(f"sample_ratio is {self.sample_ratio}; expected 0 (no call) to 1 (every call)")
        if self.max_queue < 1:
            raise ValueError(f"max_queue is {self.max_queue}; expected 1 or more spans")
        if not 0 <= self.flush_s <= LONGEST_FLUSH_S:
            raise ValueError(f"flush_s is {self.flush_s}; expected 0 or more seconds, {LONGEST_FLUSH_S:g} at most")
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key go together; give both, or neither")
        for name, value in self.headers.items():
            _check_header(name, value.get_secret_value())
        if not self.endpoint:
            return
        _check_endpoint(self.endpoint, self.protocol)
        if (self.ca or self.certificate) and not self.encrypted:
            raise ValueError(
                f"endpoint is {self.endpoint}, so the connection is not encrypted; write https, or no files"
            )

    @property
    def encrypted(self) -> bool:
        """Whether the connection is encrypted."""
        return self.endpoint.startswith("https://")

    @property
    def target(self) -> str:
        """``host:port`` of the collector."""
        return _target(self.endpoint, self.protocol)

    @property
    def path(self) -> str:
        """The path of the URL over HTTP."""
        path = urlsplit(self.endpoint).path
        return path if path.strip("/") else HTTP_PATH


def _target(endpoint: str, protocol: str) -> str:
    url = urlsplit(endpoint)
    host = url.netloc if url.port is None else url.netloc.rpartition(":")[0]
    usual = GRPC_PORT if protocol == "grpc" else HTTP_PORT
    return f"{host.rstrip(':')}:{usual if url.port is None else url.port}"


def _check_endpoint(endpoint: str, protocol: str) -> None:
    example = "http://collector:4317" if protocol == "grpc" else "http://collector:4318/v1/traces"
    url = urlsplit(endpoint)
    if "@" in url.netloc:
        raise ValueError(f"endpoint holds a user or a password; put a key into headers, and write {example}")
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"endpoint is {endpoint!r}; expected a URL such as {example}")
    if url.query or url.fragment:
        raise ValueError(f"endpoint has a query or a fragment; expected a URL such as {example}")
    if protocol == "grpc" and url.path.strip("/"):
        raise ValueError(
            f"endpoint has the path {url.path!r}, which gRPC does not take; leave it out, or set protocol=http"
        )
    try:
        check_target(_target(endpoint, protocol), _COLLECTOR)
    except ValueError as error:
        raise ValueError(f"endpoint: {error}") from None


def _check_header(name: str, value: str) -> None:
    if not name or not set(name) <= _HEADER or name.startswith("grpc-") or name.endswith("-bin"):
        raise ValueError(
            f"headers has the name {name!r}; expected lower-case letters, digits, hyphens, underscores and dots"
        )
    if name.startswith("content-") or name in _OF_THE_CONNECTION:
        raise ValueError(f"headers has the name {name!r}, which the service sets itself for each export; remove it")
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"the value of header {name!r} has characters that are not printable ASCII; remove them")
