"""Trace contexts are read and written as W3C Trace Context has them: as OpenTelemetry's own propagator does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sameface.tracing.context import TraceContext, context_in

PROPAGATOR = TraceContextTextMapPropagator()
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


@st.composite
def parents(draw: st.DrawFn) -> str:
    """A header that is valid, or nearly."""
    version = draw(st.sampled_from(["00", "00", "01", "cc", "ff", "0", "G0"]))
    trace_id = draw(st.sampled_from([TRACE, TRACE.upper(), "0" * 32, TRACE[1:]]))
    span_id = draw(st.sampled_from([SPAN, "0" * 16, SPAN[1:], f"{SPAN}0"]))
    flags = draw(st.sampled_from(["00", "01", "03", "ff", "1"]))
    more = draw(st.sampled_from(["", "", "-more", "more"]))
    return f"{version}-{trace_id}-{span_id}-{flags}{more}"


def by_opentelemetry(parent: str, state: str = "") -> TraceContext | None:
    context = PROPAGATOR.extract({"traceparent": parent, **({"tracestate": state} if state else {})})
    found = trace.get_current_span(context).get_span_context()
    if not found.is_valid:
        return None
    return TraceContext(found.trace_id, found.span_id, found.trace_flags.sampled, found.trace_state.to_header())


@settings(max_examples=60)
@given(parents() | st.text("0123456789abcdef-", max_size=60))
def test_a_parent_is_read_as_opentelemetry_reads_it(parent: str) -> None:
    assert context_in([("other", "x"), ("traceparent", parent)]) == by_opentelemetry(parent)


@settings(max_examples=60)
@given(st.lists(st.from_regex(r"[a-z][a-z0-9@_*/-]{0,4}=[!-+\--<>-~]{1,4}", fullmatch=True), max_size=4))
def test_a_valid_state_is_passed_on(members: list[str]) -> None:
    state = ",".join(members)
    read = context_in([("traceparent", VALID), ("tracestate", state)])
    theirs = by_opentelemetry(VALID, state)
    assert read is not None
    assert theirs is not None
    assert read.state in ("", theirs.state)
    if len({member.partition("=")[0] for member in members}) == len(members) and not any("@" in one for one in members):
        assert read.state == state == theirs.state


@pytest.mark.parametrize(
    "state",
    ["a=1,a=2", "A=1", "a", "a=", "a=é", "a=b=c", "a=1\n", "x" * 600 + "=1", ",".join(f"k{n}=1" for n in range(33))],
)
def test_a_state_that_is_malformed_or_too_long_is_left_out_and_the_parent_kept(state: str) -> None:
    assert context_in([("traceparent", VALID), ("tracestate", state)]) == context_in([("traceparent", VALID)])


def test_states_in_several_headers_are_one() -> None:
    read = context_in([("tracestate", "a=1"), ("traceparent", VALID), ("tracestate", "b=2")])
    assert read is not None
    assert read.state == "a=1,b=2"


def test_two_parents_are_none() -> None:
    assert context_in([("traceparent", VALID), ("traceparent", VALID)]) is None
    assert context_in([("traceparent-bin", VALID.encode())]) is None
    assert context_in([]) is None


@settings(max_examples=30)
@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans(), st.sampled_from(["", "a=1,b=2"]))
def test_what_is_written_is_read_again(trace_id: int, span_id: int, sampled: bool, state: str) -> None:
    context = TraceContext(trace_id, span_id, sampled, state)
    assert context_in(context.metadata()) == context
    assert by_opentelemetry(context.header, state) == context
