"""Makes spans of calls and their stages, as an observer of the service, see `sameface.observation`."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from sameface.observation.current import CURRENT
from sameface.observation.observers import Details, End, Metadata, StageName
from sameface.tracing.context import TraceContext, context_in
from sameface_qdrant.errors import SamefaceError

Kind: TypeAlias = Literal["internal", "server", "client"]
Attributes: TypeAlias = dict[str, str | int]

MOST_SPANS = 1000
"""Most spans of one call. A stream may stay open for days; further spans of it are only counted."""
SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes with which the span of a call is an error. The others are the caller's, by OpenTelemetry's conventions."""
TRITON_METHOD = "inference.GRPCInferenceService/ModelInfer"

_random = random.Random()  # noqa: S311  # ids of spans guard nothing


class Span:
    """One span. It is written to until it ends, by one task or thread at a time."""

    __slots__ = ("attributes", "call", "context", "ended_ns", "error", "kind", "name", "parent", "started_ns")

    def __init__(
        self, name: str, kind: Kind, context: TraceContext, parent: int, call: "CallSpans", attributes: Attributes
    ) -> None:
        self.name, self.kind, self.context, self.parent, self.call = name, kind, context, parent, call
        self.attributes = attributes
        self.error = False
        self.started_ns, self.ended_ns = time.time_ns(), 0


class Sink(Protocol):
    """Takes spans that have ended."""

    def add(self, span: Span) -> None:
        """Take a span. Neither waits nor raises."""
        ...


class CallSpans:
    """The spans of one call. Implements `ObservedCall`."""

    __slots__ = ("_before", "_code_of", "_sink", "answers", "made", "root")

    def __init__(self, sink: Sink, code_of: Callable[[str], str]) -> None:
        self._sink, self._code_of = sink, code_of
        self._before = CURRENT.get()
        self.made = self.answers = 0
        self.root: Span | TraceContext | None = None

    def answered(self, reason: str, answer: Any) -> None:
        """See `ObservedCall.answered`."""
        self.answers += 1

    def ended(self, reason: str) -> None:
        """See `ObservedCall.ended`."""
        CURRENT.set(self._before)
        root = self.root
        if not isinstance(root, Span):
            return
        code = self._code_of(reason)
        root.attributes["rpc.response.status_code"] = code
        if reason:
            root.attributes["error.type"] = reason
            root.error = code in SERVER_FAULTS
        if self.answers > 1:
            root.attributes["sameface.answers"] = self.answers
        if self.made > MOST_SPANS:
            root.attributes["sameface.dropped_spans"] = self.made - MOST_SPANS
        root.ended_ns = time.time_ns()
        self._sink.add(root)

    def end_of(self, span: Span, before: object) -> End:
        """Return what ends the span of a stage."""

        def end(error: BaseException | None) -> None:
            CURRENT.set(before)
            span.ended_ns = time.time_ns()
            if error is not None:
                span.attributes["error.type"] = reason_of(error)
                span.error = not isinstance(error, SamefaceError) or self._code_of(error.reason) in SERVER_FAULTS
            self._sink.add(span)

        return end


class Tracer:
    """Makes the spans. Implements `Observer`."""

    def __init__(
        self,
        sink: Sink,
        *,
        sample_ratio: float,
        follow_callers: bool,
        methods: Mapping[str, str],
        code_of: Callable[[str], str],
        on_triton: bool,
    ) -> None:
        """Take where spans go.

        Args:
            sink: takes the spans that have ended.
            sample_ratio: share of the calls without a caller's trace that are traced.
            follow_callers: whether to continue callers' traces.
            methods: the full name of each rpc, ``sameface.v1.FaceService/VerifyFace``.
            code_of: returns the gRPC status code of a reason, OK for an empty one.
            on_triton: whether a Triton runs the models, and not this process.
        """
        self._sink, self._follow, self._methods, self._code_of = sink, follow_callers, methods, code_of
        self._below = round(sample_ratio * (1 << 64))
        self._on_triton = on_triton

    def begin_call(self, rpc: str, metadata: Metadata) -> CallSpans:
        """See `Observer.begin_call`."""
        call = CallSpans(self._sink, self._code_of)
        caller = context_in(metadata()) if self._follow else None
        if caller is None:
            trace = _random.getrandbits(128) or 1
            # As OpenTelemetry's samplers decide, so that several services keep the same traces.
            context = TraceContext(trace, _random.getrandbits(64) or 1, (trace & ((1 << 64) - 1)) < self._below)
        else:
            context = TraceContext(caller.trace, _random.getrandbits(64) or 1, caller.sampled, caller.state)
        if context.sampled:
            method = self._methods.get(rpc, rpc)
            attributes: Attributes = {"rpc.system.name": "grpc", "rpc.method": method}
            call.root = Span(method, "server", context, caller.span if caller else 0, call, attributes)
        else:
            call.root = context
        CURRENT.set(call.root)
        return call

    def begin_stage(self, name: StageName, details: Details) -> End:
        """See `Observer.begin_stage`. A stage outside of a call, such as the check of a model, has no span."""
        above = CURRENT.get()
        if not isinstance(above, Span):
            return _nothing
        call = above.call
        call.made += 1
        if call.made > MOST_SPANS:
            return _nothing
        context = TraceContext(above.context.trace, _random.getrandbits(64) or 1, True, above.context.state)
        span = Span(name, "internal", context, above.context.span, call, {})
        if name == "inference":
            self._describe_inference(span, details)
        elif name == "store":
            _describe_store(span, details)
        CURRENT.set(span)
        return call.end_of(span, above)

    def _describe_inference(self, span: Span, details: Details) -> None:
        model, version = details.get("model", ""), details.get("version", 0)
        span.name = f"infer {model}"
        span.attributes = {"sameface.model.name": model, "sameface.model.version": version}
        if self._on_triton:
            span.kind = "client"
            span.attributes["rpc.system.name"] = "grpc"
            span.attributes["rpc.method"] = TRITON_METHOD


def _describe_store(span: Span, details: Details) -> None:
    operation = details.get("operation", "")
    span.name = f"qdrant {operation}"
    span.attributes = {"db.system.name": "qdrant", "db.operation.name": operation}
    if details.get("engine") == "server":
        span.kind = "client"


def _nothing(error: BaseException | None) -> None:
    """End a stage that has no span."""


def reason_of(error: BaseException) -> str:
    """Return the reason of a typed error, or the name of another one's type. Never its message, which may name people.

    >>> reason_of(ValueError("Ada"))
    'ValueError'
    """
    return error.reason if isinstance(error, SamefaceError) else type(error).__name__


def outgoing() -> tuple[tuple[str, str], ...]:
    """Return the metadata with which a call to another part continues the present trace; empty if there is none."""
    current = CURRENT.get()
    if isinstance(current, Span):
        return current.context.metadata()
    return current.metadata() if isinstance(current, TraceContext) else ()


def present_ids() -> dict[str, str]:
    """Return ``trace_id`` and ``span_id`` of the present span, for a line of the log; empty without."""
    current = CURRENT.get()
    context = current.context if isinstance(current, Span) else current
    if not isinstance(context, TraceContext):
        return {}
    return {"trace_id": f"{context.trace:032x}", "span_id": f"{context.span:016x}"}
