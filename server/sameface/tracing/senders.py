"""Connections to a collector: OTLP over gRPC, and over HTTP in protobuf."""

import http.client
import ssl
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sameface import __version__
from sameface.addresses import proxy_options
from sameface.tracing.exporter import Sender, SendFailed
from sameface.tracing.options import TracesOptions
from sameface_qdrant.errors import InvalidArgument

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MAY_PASS = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"})
"""gRPC codes after which OTLP sends again; RESOURCE_EXHAUSTED only if the collector says when."""
MAY_PASS_HTTP = frozenset({429, 502, 503, 504})
MOST_ANSWER_BYTES = 1 << 20
CONNECT_S = 5.0


def sender_of(options: TracesOptions) -> Sender:
    """Return a connection to the collector; nothing is sent yet.

    Raises:
        InvalidArgument: a file of the settings cannot be used.
    """
    headers = {name: value.get_secret_value() for name, value in options.headers.items()}
    try:
        return _GrpcSender(options, headers) if options.protocol == "grpc" else _HttpSender(options, headers)
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(
            f"TLS to the collector of traces cannot be used: {error}; expected PEM files",
            metadata={"field": "traces"},
        ) from None


def _complaint(answer: bytes) -> str:
    """Return what the answer to an accepted export says; empty if nothing."""
    try:
        part = ExportTraceServiceResponse.FromString(answer).partial_success
    except DecodeError:
        return "its answer is no ExportTraceServiceResponse; check that it is a collector"
    rejected = f"{part.rejected_spans} spans rejected" if part.rejected_spans else ""
    return ", ".join(text for text in (rejected, part.error_message) if text)


class _GrpcSender:
    def __init__(self, options: TracesOptions, headers: Mapping[str, str]) -> None:
        channel_options: list[tuple[str, Any]] = [
            *proxy_options(options.target),
            # The exporter itself waits between attempts. By default gRPC would wait up to two minutes more.
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        if options.encrypted:
            ca, key, certificate = (
                None if path is None else path.read_bytes()
                for path in (options.ca, options.private_key, options.certificate)
            )
            credentials = grpc.ssl_channel_credentials(ca, key, certificate)
            self._channel = grpc.secure_channel(options.target, credentials, channel_options)
        else:
            self._channel = grpc.insecure_channel(options.target, channel_options)
        self._metadata = tuple(headers.items())
        self._export: Any = self._channel.unary_unary(EXPORT)

    def send(self, request: bytes, timeout_s: float) -> str:
        """See `Sender.send`."""
        try:
            return _complaint(self._export(request, timeout=timeout_s, metadata=self._metadata))
        except (grpc.RpcError, ValueError) as error:  # ValueError: the channel was closed meanwhile
            raise _failed(error) from None

    def close(self) -> None:
        """See `Sender.close`."""
        self._channel.close()


def _failed(error: Exception) -> SendFailed:
    if not isinstance(error, grpc.RpcError):
        return SendFailed("the connection is closed", may_pass=True)
    call: Any = error
    code, wait_s = call.code().name, _retry_after_s(call)
    may_pass = code in MAY_PASS or (code == "RESOURCE_EXHAUSTED" and wait_s > 0)
    return SendFailed(f"{code}, {call.details()}", may_pass=may_pass, retry_after_s=wait_s)


def _retry_after_s(call: Any) -> float:
    try:
        status = rpc_status.from_call(call)
    except (ValueError, DecodeError):
        return 0.0
    for detail in status.details if status is not None else ():
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return 0.0


class _HttpSender:
    def __init__(self, options: TracesOptions, headers: Mapping[str, str]) -> None:
        self._path = options.path
        self._headers = {
            **headers,
            "content-type": "application/x-protobuf",
            "user-agent": f"sameface/{__version__}",
        }
        if options.encrypted:
            context = ssl.create_default_context(cafile=options.ca)
            if options.certificate is not None:
                context.load_cert_chain(options.certificate, options.private_key)
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                options.target, timeout=CONNECT_S, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(options.target, timeout=CONNECT_S)

    def send(self, request: bytes, timeout_s: float) -> str:
        """See `Sender.send`. It never follows a redirect, which would lead elsewhere."""
        self._connection.timeout = timeout_s
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)
        try:
            self._connection.request("POST", self._path, request, self._headers)
            response = self._connection.getresponse()
            answer = response.read(MOST_ANSWER_BYTES)
        except (OSError, http.client.HTTPException, AttributeError) as error:  # AttributeError: closed meanwhile
            self._connection.close()
            raise SendFailed(f"{type(error).__name__}, {error}", may_pass=True) from None
        if response.status != 200:
            self._connection.close()
            raise SendFailed(
                f"HTTP {response.status} {response.reason}",
                may_pass=response.status in MAY_PASS_HTTP,
                retry_after_s=_seconds(response.headers.get("retry-after")),
            )
        if not response.isclosed():  # the answer is longer than was read
            self._connection.close()
        return _complaint(answer)

    def close(self) -> None:
        """See `Sender.close`."""
        self._connection.close()


def _seconds(text: str | None) -> float:
    """Return the seconds of a ``Retry-After``; 0 where it has another form."""
    return float(text) if text is not None and text.isdecimal() else 0.0
