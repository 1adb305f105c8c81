"""Makes spans of calls and their stages, as an observer of the service, see `sameface.observation`."""

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from sameface.observation.current import CURRENT
from sameface.observation.observers import Details, End, Metadata, StageName
from sameface.tracing.context import TraceContext, context_in
from sameface_qdrant.errors import SamefaceError

if TYPE_CHECKING:
    # Only then: they load numpy, which commands that write a log do not need.
    from sameface_qdrant.values.contract import Contract
    from sameface_qdrant.values.decision import Decision

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

    __slots__ = (
        "above",
        "attributes",
        "call",
        "end_ns",
        "error",
        "id",
        "kind",
        "name",
        "parent",
        "start_ns",
        "state",
        "trace",
    )

    def __init__(self, name: str, kind: Kind, context: "TraceContext | Span", above: object, call: "CallSpans") -> None:
        """Begin a span below ``context``: that of the caller, or the span around it.

        ``above`` is the current one after its end.
        """
        self.name, self.kind, self.above, self.call = name, kind, above, call
        self.trace: int = context.trace
        self.parent: int = context.id
        self.state: str = context.state
        self.id: int = _random.getrandbits(64) or 1
        self.attributes: Attributes = {}
        self.error = False
        self.start_ns, self.end_ns = time.time_ns(), 0

    @property
    def context(self) -> TraceContext:
        """What a call to another part carries."""
        return TraceContext(self.trace, self.id, True, self.state)

    def end(self, error: BaseException | None) -> None:
        """End the span of a stage. See `End`."""
        CURRENT.set(self.above)
        self.end_ns = time.time_ns()
        if error is not None:
            self.attributes["error.type"] = reason_of(error)
            self.error = not isinstance(error, SamefaceError) or self.call.code_of(error.reason) in SERVER_FAULTS
        self.call.sink.add(self)


class Sink(Protocol):
    """Takes spans that have ended."""

    def add(self, span: Span) -> None:
        """Take a span. Neither waits nor raises."""
        ...


class CallSpans:
    """The spans of one call. Implements `ObservedCall`."""

    __slots__ = ("_before", "answers", "code_of", "made", "root", "sink")

    def __init__(self, sink: Sink, code_of: Callable[[str], str]) -> None:
        self.sink, self.code_of = sink, code_of
        self._before = CURRENT.get()
        self.made = self.answers = 0
        self.root: Span | TraceContext | None = None

    @property
    def over(self) -> bool:
        """Whether the call has ended."""
        return isinstance(self.root, Span) and self.root.end_ns != 0

    def answered(self, reason: str, answer: Any) -> None:
        """See `ObservedCall.answered`."""
        self.answers += 1

    def decided(self, decision: "Decision", contract: "Contract") -> None:
        """See `ObservedCall.decided`. Spans have no score."""

    def ended(self, reason: str) -> None:
        """See `ObservedCall.ended`."""
        CURRENT.set(self._before)
        root = self.root
        if not isinstance(root, Span):
            return
        code = self.code_of(reason)
        root.attributes["rpc.response.status_code"] = code
        if reason:
            root.attributes["error.type"] = reason
            root.error = code in SERVER_FAULTS
        if self.answers > 1:
            root.attributes["sameface.answers"] = self.answers
        if self.made > MOST_SPANS:
            root.attributes["sameface.dropped_spans"] = self.made - MOST_SPANS
        root.end_ns = time.time_ns()
        self.sink.add(root)


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
        context = context_in(metadata()) if self._follow else None
        if context is None:
            trace = _random.getrandbits(128) or 1
            # As OpenTelemetry's samplers decide, so that several services keep the same traces.
            context = TraceContext(trace, 0, (trace & ((1 << 64) - 1)) < self._below)
        if context.sampled:
            method = self._methods.get(rpc, rpc)
            call.root = Span(method, "server", context, None, call)
            call.root.attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        else:
            call.root = TraceContext(context.trace, _random.getrandbits(64) or 1, False, context.state)
        CURRENT.set(call.root)
        return call

    def begin_stage(self, name: StageName, details: Details) -> End:
        """See `Observer.begin_stage`. A stage outside of a call, such as the check of a model, has no span."""
        above = _present()
        if not isinstance(above, Span):
            return _nothing
        call = above.call
        call.made += 1
        if call.made > MOST_SPANS:
            return _nothing
        span = Span(name, "internal", above, above, call)
        if name == "inference":
            self._describe_inference(span, details)
        elif name == "store":
            _describe_store(span, details)
        CURRENT.set(span)
        return span.end

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


def _present() -> object:
    """Return the present span; None in what a call has begun and left behind, such as a task for all callers."""
    current = CURRENT.get()
    return None if isinstance(current, Span) and current.call.over else current


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
    current = _present()
    if isinstance(current, Span):
        return current.context.metadata()
    return current.metadata() if isinstance(current, TraceContext) else ()


def present_ids() -> dict[str, str]:
    """Return ``trace_id`` and ``span_id`` of the present span, for a line of the log; empty without."""
    current = _present()
    context = current.context if isinstance(current, Span) else current
    if not isinstance(context, TraceContext):
        return {}
    return {"trace_id": f"{context.trace:032x}", "span_id": f"{context.id:016x}"}


def exemplar() -> dict[str, str] | None:
    """Return the ids of the present span for an exemplar of a metric; None where no trace is kept."""
    return present_ids() if isinstance(_present(), Span) else None
