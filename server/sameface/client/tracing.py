"""Continues the trace of the program that calls: where OpenTelemetry is in use and a span is active.

The package opentelemetry-api is not imported here. In a program that has not imported it, no span is active.
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias

from sameface.client.errors import ServiceError
from sameface.tracing.context import PARENT, TraceContext

Pairs: TypeAlias = tuple[tuple[str, str | bytes], ...]


def calling(path: str, metadata: Pairs) -> AbstractContextManager[Pairs]:
    """Make a call inside the block with the metadata that it yields, as a span of its own below the active one.

    Without an active span, or where ``metadata`` already has a ``traceparent``, that is ``metadata`` itself.
    """
    api = _api(metadata)
    return nullcontext(metadata) if api is None else _span(api, path, metadata)


def with_context(metadata: Pairs) -> Pairs:
    """Return the metadata of a call that continues the active span itself. For a stream, which outlives the block."""
    api = _api(metadata)
    return metadata if api is None else _added(metadata, api.get_current_span())


def _api(metadata: Pairs) -> Any:
    """Return the module `opentelemetry.trace` if a span is active that ``metadata`` does not say already."""
    api = sys.modules.get("opentelemetry.trace")
    current = getattr(api, "get_current_span", None)  # another thread may still import it
    if current is None or not current().get_span_context().is_valid or any(key == PARENT for key, _ in metadata):
        return None
    return api


@contextmanager
def _span(api: Any, path: str, metadata: Pairs) -> Iterator[Pairs]:
    method = path.removeprefix("/")
    attributes = {"rpc.system.name": "grpc", "rpc.method": method}
    with api.get_tracer("sameface.client").start_as_current_span(
        method,
        kind=api.SpanKind.CLIENT,
        attributes=attributes,
        # The message of an error may name people.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield _added(metadata, span)
        except ServiceError as error:
            span.set_attribute("rpc.response.status_code", error.code.name)
            span.set_attribute("error.type", error.reason or error.code.name)
            span.set_status(api.StatusCode.ERROR)
            raise
        span.set_attribute("rpc.response.status_code", "OK")


def _added(metadata: Pairs, span: Any) -> Pairs:
    known = span.get_span_context()
    context = TraceContext(
        known.trace_id, known.span_id, bool(known.trace_flags.sampled), known.trace_state.to_header()
    )
    return (*metadata, *context.metadata())
