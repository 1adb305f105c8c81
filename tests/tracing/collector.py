"""Collectors: servers of OTLP's traces, over gRPC and over HTTP, which keep what they are sent."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services
from opentelemetry.proto.trace.v1 import trace_pb2

Request: TypeAlias = messages.ExportTraceServiceRequest
Response: TypeAlias = messages.ExportTraceServiceResponse


@dataclass(slots=True)
class Collected:
    """What was sent."""

    address: str = ""
    requests: list[Request] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)

    @property
    def spans(self) -> list[trace_pb2.Span]:
        """Every span so far."""
        return [
            span
            for request in self.requests
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]

    def of_trace(self, trace: int, enough: Callable[[list[trace_pb2.Span]], bool]) -> list[trace_pb2.Span]:
        """Wait until the spans of a trace are enough, and return them."""
        deadline = time.monotonic() + 20
        while True:
            found = [span for span in self.spans if int.from_bytes(span.trace_id, "big") == trace]
            if enough(found):
                return found
            assert time.monotonic() < deadline, [span.name for span in found]
            self.came.wait(0.2)
            self.came.clear()

    def take(self, request: Request, metadata: dict[str, str | bytes]) -> None:
        """Keep a request."""
        self.metadata.append(metadata)
        self.requests.append(request)
        self.came.set()


class _Service(services.TraceServiceServicer):
    def __init__(self, collected: Collected, answer: Callable[[Any], Response]) -> None:
        self._collected, self._answer = collected, answer

    def Export(self, request: Request, context: Any) -> Response:  # noqa: N802  # of the protos
        """Keep the spans."""
        answer = self._answer(context)
        self._collected.take(request, dict(context.invocation_metadata()))
        return answer


@contextmanager
def collecting(
    answer: Callable[[Any], Response] = lambda context: Response(),
    port: int = 0,
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[Collected]:
    """Serve gRPC on a free loopback port. ``answer`` makes the answer to an export, or ends it with a status."""
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    collected = Collected()
    register: Any = services.add_TraceServiceServicer_to_server
    register(_Service(collected, answer), server)
    wanted = f"127.0.0.1:{port}"
    got = server.add_secure_port(wanted, credentials) if credentials else server.add_insecure_port(wanted)
    collected.address = f"127.0.0.1:{got}"
    server.start()
    try:
        yield collected
    finally:
        server.stop(None)


def _from_json(content: bytes) -> Request:
    """Read OTLP in JSON, which has ids in hexadecimal; protobuf has bytes in base64 there."""

    def as_base64(found: dict[str, Any]) -> dict[str, Any]:
        ids = {name: found[name] for name in ("traceId", "spanId", "parentSpanId") if name in found}
        return {**found, **{name: base64.b64encode(bytes.fromhex(one)).decode() for name, one in ids.items()}}

    return json_format.ParseDict(json.loads(content, object_hook=as_base64), Request(), ignore_unknown_fields=True)


@contextmanager
def collecting_over_http(status: Callable[[], int] = lambda: 200) -> Iterator[Collected]:
    """Serve HTTP on a free loopback port. ``status`` returns the status of the next answer."""
    collected = Collected()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            read = {"application/x-protobuf": Request.FromString, "application/json": _from_json}
            if (code := status()) == 200:
                collected.take(read[self.headers["content-type"]](content), dict(self.headers.items()))
            answer = Response().SerializeToString()
            self.send_response(code)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collected.address = f"127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    serving.start()
    try:
        yield collected
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def attributes_of(span: trace_pb2.Span) -> dict[str, str | int]:
    """Return the attributes of a span."""
    return {
        one.key: one.value.int_value if one.value.HasField("int_value") else one.value.string_value
        for one in span.attributes
    }
