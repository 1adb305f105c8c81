"""Writes spans as messages of OTLP 1. https://opentelemetry.io/docs/specs/otlp/."""

import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from sameface import __version__
from sameface.tracing.spans import Kind, Span

KINDS: Mapping[Kind, trace_pb2.Span.SpanKind.ValueType] = {
    "internal": trace_pb2.Span.SPAN_KIND_INTERNAL,
    "server": trace_pb2.Span.SPAN_KIND_SERVER,
    "client": trace_pb2.Span.SPAN_KIND_CLIENT,
}
NAME = "sameface"
SAMPLED = 1
MOST_KEPT = 1024
"""Attributes that are kept: most spans have the same."""
REMOTE_KNOWN, REMOTE = 0x100, 0x200
"""Bits of ``flags``: whether it is known that the parent is in another process, and whether it is."""


def resource_of(attributes: Mapping[str, str]) -> Resource:
    """Return what every span comes from: this process of the service, and what the operator adds or changes."""
    own = {
        "service.name": NAME,
        "service.version": __version__,
        "service.instance.id": str(uuid.uuid4()),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": NAME,
        "telemetry.sdk.version": __version__,
    }
    return Resource(attributes=[_attribute(name, value) for name, value in {**own, **attributes}.items()])


def encoded(spans: Sequence[Span], resource: Resource) -> bytes:
    """Return a serialized ExportTraceServiceRequest."""
    scope = trace_pb2.ScopeSpans(
        scope=InstrumentationScope(name=NAME, version=__version__), spans=[_span(span) for span in spans]
    )
    group = trace_pb2.ResourceSpans(resource=resource, scope_spans=[scope])
    return ExportTraceServiceRequest(resource_spans=[group]).SerializeToString()


def _span(span: Span) -> trace_pb2.Span:
    return trace_pb2.Span(
        trace_id=span.trace.to_bytes(16, "big"),
        span_id=span.id.to_bytes(8, "big"),
        parent_span_id=span.parent.to_bytes(8, "big") if span.parent else b"",
        trace_state=span.state,
        flags=SAMPLED | REMOTE_KNOWN | (REMOTE if span.kind == "server" and span.parent else 0),
        name=span.name,
        kind=KINDS[span.kind],
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=[_attribute(name, value) for name, value in span.attributes.items()],
        status=trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR) if span.error else None,
    )


@lru_cache(MOST_KEPT)
def _attribute(name: str, value: str | int) -> KeyValue:
    content = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
    return KeyValue(key=name, value=content)
