"""Tells observers of calls. Handlers are wrapped while somebody observes, so otherwise a call does nothing more."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, TypeAlias, cast

from sameface.observation.observers import Metadata, ObservedCall, observers
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Decision

CANCELLED = "CANCELLED"
Unary: TypeAlias = Callable[..., Awaitable[Any]]
Streaming: TypeAlias = Callable[..., AsyncIterator[Any]]


class CallInWork:
    """The present call, for its observers."""

    __slots__ = ("_observed", "_reason")

    def __init__(self, rpc: str, metadata: Metadata) -> None:
        self._observed: list[ObservedCall] = [one.begin_call(rpc, metadata) for one in observers()]
        self._reason: str | None = None

    def note(self, reason: str, answer: Any) -> None:
        """Take an answer, or the reason of the error that ends the call; empty reason for success."""
        if answer is None:
            self._reason = reason
            return
        for one in self._observed:
            one.answered(reason, answer)

    def decided(self, decision: Decision, contract: Contract) -> None:
        """Take a decision, see `ObservedCall.decided`."""
        for one in self._observed:
            one.decided(decision, contract)

    def end(self, *, complete: bool) -> None:
        """Take the end. ``complete``: the handler has returned. If not, and without a reason, the caller has left."""
        reason = ("" if complete else CANCELLED) if self._reason is None else self._reason
        for one in reversed(self._observed):
            one.ended(reason)


PRESENT: ContextVar[CallInWork | None] = ContextVar("observed call", default=None)
"""The present call; None while nobody observes."""


def observed_unary(rpc: str, handler: Unary, metadata_of: Callable[[Any], Metadata]) -> Unary:
    """Return the handler of a unary call, observed. ``metadata_of`` returns the metadata of its context."""

    async def observed(requests: Any, context: Any) -> Any:
        call, complete = CallInWork(rpc, metadata_of(context)), False
        PRESENT.set(call)
        try:
            answer = await handler(requests, context)
            complete = True
        finally:
            call.end(complete=complete)
        return answer

    return observed


def observed_stream(rpc: str, handler: Streaming, metadata_of: Callable[[Any], Metadata]) -> Streaming:
    """Return the handler of a stream, observed. ``metadata_of`` returns the metadata of its context."""

    async def observed(requests: Any, context: Any) -> AsyncIterator[Any]:
        call, complete = CallInWork(rpc, metadata_of(context)), False
        PRESENT.set(call)
        try:
            async with aclosing(cast(Any, handler(requests, context))) as answers:
                async for answer in answers:
                    yield answer
            complete = True
        finally:
            call.end(complete=complete)

    return observed
