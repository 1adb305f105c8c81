"""Spans of calls: their parents, which calls have some, how many, and what they say."""

import asyncio
import random
from collections.abc import Iterable, Mapping
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.semconv._incubating.attributes import rpc_attributes
from opentelemetry.semconv.attributes import db_attributes, error_attributes

from sameface.api.server import METHODS
from sameface.api.status import ERRORS, code_of
from sameface.errors import ModelUnavailable
from sameface.observation.observers import STAGE_NAMES
from sameface.tracing.context import TraceContext
from sameface.tracing.spans import MOST_SPANS, Span, Tracer, exemplar, outgoing, present_ids
from sameface_qdrant.errors import IdentityNotFound

CALLER = TraceContext(0xA1, 0xB2, True, "vendor=1")
NAME = "Ada Lovelace"


class Kept:
    """Keeps the spans that have ended."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def add(self, span: Span) -> None:
        self.spans.append(span)

    def named(self, name: str) -> Span:
        (found,) = (span for span in self.spans if span.name == name)
        return found


def tracer(kept: Kept, *, ratio: float = 1.0, follow: bool = True, on_triton: bool = True) -> Tracer:
    return Tracer(
        kept, sample_ratio=ratio, follow_callers=follow, methods=METHODS, code_of=code_of, on_triton=on_triton
    )


def sent(context: TraceContext) -> Iterable[tuple[str, str | bytes]]:
    return context.metadata()


def test_a_stage_is_below_its_call_and_the_call_below_its_caller() -> None:
    kept = Kept()
    ours = tracer(kept)
    call = ours.begin_call("VerifyFace", lambda: sent(CALLER))
    end_detect = ours.begin_stage("detect", {})
    end_run = ours.begin_stage("inference", {"model": "face_detector", "version": 1})
    inside = outgoing()
    end_run(None)
    end_detect(None)
    end_store = ours.begin_stage("store", {"operation": "nearest", "engine": "server"})
    end_store(None)
    call.answered("", object())
    call.ended("")
    root, run = kept.named("sameface.v1.FaceService/VerifyFace"), kept.named("infer face_detector")
    detect, store = kept.named("detect"), kept.named("qdrant nearest")
    assert (root.parent, detect.parent, run.parent, store.parent) == (
        CALLER.id,
        root.id,
        detect.id,
        root.id,
    )
    assert {span.trace for span in kept.spans} == {CALLER.trace}
    assert [(span.kind) for span in (root, detect, run, store)] == ["server", "internal", "client", "client"]
    assert dict(inside) == {"traceparent": run.context.header, "tracestate": "vendor=1"}
    assert all(0 < span.start_ns <= span.end_ns for span in kept.spans)
    assert (outgoing(), present_ids()) == ((), {})


@pytest.mark.parametrize(("ratio", "sampled"), [(0.0, True), (1.0, False)])
def test_a_callers_trace_is_kept_or_left_out_as_the_caller_says(ratio: float, sampled: bool) -> None:
    kept = Kept()
    ours = tracer(kept, ratio=ratio)
    call = ours.begin_call("VerifyFace", lambda: sent(TraceContext(7, 8, sampled)))
    (header,) = outgoing()
    assert exemplar() == (present_ids() if sampled else None)
    ours.begin_stage("decode", {})(None)
    call.ended("")
    assert len(kept.spans) == (2 if sampled else 0)
    assert header[1].startswith(f"00-{7:032x}-")
    assert header[1].endswith("01" if sampled else "00")


def test_a_caller_that_is_not_followed_has_no_say() -> None:
    kept = Kept()
    call = tracer(kept, follow=False).begin_call("VerifyFace", lambda: sent(TraceContext(7, 8, False, "a=1")))
    call.ended("")
    (span,) = kept.spans
    assert (span.parent, span.state) == (0, "")
    assert span.trace != 7


@settings(max_examples=40)
@given(st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_the_ratio_keeps_the_traces_that_opentelemetry_keeps(ratio: float, seed: int) -> None:
    kept = Kept()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sameface.tracing.spans._random.getrandbits", random.Random(seed).getrandbits)
        call = tracer(kept, ratio=ratio).begin_call("VerifyFace", lambda: ())
        root = call.root
        call.ended("")
    assert root is not None
    decision: Any = TraceIdRatioBased(ratio).should_sample(None, root.trace, "").decision
    assert bool(kept.spans) is decision.is_sampled()


def test_spans_of_a_call_are_bounded_and_the_others_counted() -> None:
    kept = Kept()
    ours = tracer(kept)
    call = ours.begin_call("StreamIdentifyFaces", lambda: ())
    for _ in range(MOST_SPANS + 7):
        ours.begin_stage("decode", {})(None)
        call.answered("", object())
    call.ended("")
    assert len(kept.spans) == MOST_SPANS + 1
    assert kept.spans[-1].attributes["sameface.dropped_spans"] == 7
    assert kept.spans[-1].attributes["sameface.answers"] == MOST_SPANS + 7


def test_what_a_call_leaves_behind_has_no_part_in_its_trace() -> None:
    kept = Kept()
    ours = tracer(kept)
    call = ours.begin_call("EnrollFace", lambda: ())
    left_behind = copy_context()
    call.ended("")
    assert (left_behind.run(outgoing), left_behind.run(present_ids), left_behind.run(exemplar)) == ((), {}, None)
    left_behind.run(ours.begin_stage, "store", {"operation": "upsert", "engine": "edge"})(None)
    assert [span.name for span in kept.spans] == ["EnrollFace"]


def test_an_error_has_its_reason_and_status_and_never_its_message() -> None:
    kept = Kept()
    ours = tracer(kept)
    for reason in [*ERRORS, "CANCELLED"]:
        ours.begin_call("VerifyFace", lambda: ()).ended(reason)
    said = {span.attributes["error.type"]: span for span in kept.spans}
    assert {reason: span.attributes["rpc.response.status_code"] for reason, span in said.items()} == {
        **{reason: row.code.name for reason, row in ERRORS.items()},
        "CANCELLED": "CANCELLED",
    }
    assert said["MODEL_UNAVAILABLE"].error
    assert said["INTERNAL"].error
    assert not said["IDENTITY_NOT_FOUND"].error

    kept.spans.clear()
    call = ours.begin_call("VerifyFace", lambda: ())
    for error in (IdentityNotFound(NAME), ModelUnavailable(NAME), KeyError(NAME)):
        ours.begin_stage("decide", {})(error)
    call.ended("")
    assert [(span.attributes.get("error.type"), span.error) for span in kept.spans] == [
        ("IDENTITY_NOT_FOUND", False),
        ("MODEL_UNAVAILABLE", True),
        ("KeyError", True),
        (None, False),
    ]
    assert NAME not in str([(span.name, span.attributes, span.state) for span in kept.spans])


def test_attributes_are_those_of_the_conventions_or_of_sameface() -> None:
    kept = Kept()
    ours = tracer(kept)
    details: Mapping[str, Mapping[str, str | int]] = {
        "inference": {"model": "face_embedder", "version": 2},
        "store": {"operation": "get", "engine": "edge"},
    }
    call = ours.begin_call("VerifyFace", lambda: ())
    for name in STAGE_NAMES:
        ours.begin_stage(name, details.get(name, {}))(KeyError())
    call.ended("INTERNAL")
    known = {
        value
        for module in (rpc_attributes, db_attributes, error_attributes)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    used = {name for span in kept.spans for name in span.attributes}
    assert {name for name in used if not name.startswith("sameface.")} <= known
    assert used >= {"rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type", "db.system.name"}


async def test_calls_at_the_same_time_keep_their_own_spans() -> None:
    kept = Kept()
    ours = tracer(kept)

    async def call(trace: int) -> None:
        one = ours.begin_call("VerifyFace", lambda: sent(TraceContext(trace, 1, True)))
        for _ in range(3):
            end = ours.begin_stage("queue", {})
            await asyncio.sleep(0)
            end(None)
        one.ended("")

    await asyncio.gather(*(asyncio.create_task(call(trace)) for trace in range(1, 6)))
    for trace in range(1, 6):
        *stages, root = (span for span in kept.spans if span.trace == trace)
        assert [stage.parent for stage in stages] == [root.id] * 3
