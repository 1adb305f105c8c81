"""A collector: a gRPC server with OTLP's service of traces, which keeps what it is sent."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
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


class _Service(services.TraceServiceServicer):
    def __init__(self, collected: Collected, answer: Callable[[Any], Response]) -> None:
        self._collected, self._answer = collected, answer

    def Export(self, request: Request, context: Any) -> Response:  # noqa: N802  # of the protos
        """Keep the spans."""
        answer = self._answer(context)
        self._collected.metadata.append(dict(context.invocation_metadata()))
        self._collected.requests.append(request)
        self._collected.came.set()
        return answer


@contextmanager
def collecting(answer: Callable[[Any], Response] = lambda context: Response(), port: int = 0) -> Iterator[Collected]:
    """Serve on a free loopback port. ``answer`` makes the answer to an export, or ends it with a status."""
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    collected = Collected()
    services.add_TraceServiceServicer_to_server(_Service(collected, answer), server)
    collected.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    try:
        yield collected
    finally:
        server.stop(None)


def attributes_of(span: trace_pb2.Span) -> dict[str, str | int]:
    """Return the attributes of a span."""
    return {
        one.key: one.value.int_value if one.value.HasField("int_value") else one.value.string_value
        for one in span.attributes
    }
