"""The trace context of a call, as W3C Trace Context writes it: the headers ``traceparent`` and ``tracestate``. Pure.

https://www.w3.org/TR/trace-context/. Over gRPC the headers are metadata of the same names.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

PARENT, STATE = "traceparent", "tracestate"
SAMPLED = 1
MOST_STATE_CHARACTERS, MOST_STATE_MEMBERS = 512, 32
"""A longer ``tracestate`` is left out: the recommendation asks for no more."""

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY = r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_MEMBER = re.compile(rf"({_KEY})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where a span belongs: its trace, and which span called."""

    trace: int
    """128 bits, not 0."""
    id: int
    """Of the span: 64 bits, not 0 but for the caller of a trace that begins here."""
    sampled: bool
    """Whether whoever called keeps the trace."""
    state: str = ""
    """``tracestate``: what other systems add to the trace. It is passed on as it came."""

    @property
    def header(self) -> str:
        """The value of ``traceparent``."""
        return f"00-{self.trace:032x}-{self.id:016x}-{self.sampled:02x}"

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the context as metadata of a gRPC call."""
        parent = ((PARENT, self.header),)
        return (*parent, (STATE, self.state)) if self.state else parent


def context_in(metadata: Iterable[tuple[str, str | bytes]]) -> TraceContext | None:
    """Return the context that metadata names; None if there is none, or several, or if it is malformed.

    >>> context_in([("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]).header
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    """
    parents: list[str | bytes] = []
    states: list[str] = []
    for key, value in metadata:
        if key == PARENT:
            parents.append(value)
        elif key == STATE and isinstance(value, str):
            states.append(value)
    if len(parents) != 1 or not isinstance(parents[0], str):
        return None
    found = _PARENT.fullmatch(parents[0])
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    # A later version may have more fields. 255 is no version.
    if version == "ff" or (version == "00" and more is not None) or not int(trace, 16) or not int(span, 16):
        return None
    return TraceContext(int(trace, 16), int(span, 16), bool(int(flags, 16) & SAMPLED), _state(",".join(states)))


def _state(text: str) -> str:
    """Return a ``tracestate`` that may be passed on; empty for one that is malformed or too long."""
    if not text or len(text) > MOST_STATE_CHARACTERS:
        return ""
    members = [member for one in text.split(",") if (member := one.strip(" \t"))]
    matched = [_MEMBER.fullmatch(member) for member in members]
    keys = {one[1] for one in matched if one is not None}
    return ",".join(members) if len(keys) == len(members) <= MOST_STATE_MEMBERS else ""
