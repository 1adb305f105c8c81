"""Stands between gRPC and every handler: bounds what is in flight and turns exceptions into statuses."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from sameface.api.admission import Admission
from sameface.api.status import ERRORS, UnexpectedError, rich_status
from sameface.errors import ServerStopping, StreamIdle
from sameface_qdrant.errors import InvalidArgument, SamefaceError

log = logging.getLogger(__name__)

# Health checks and reflection answer however busy the server is.
_ALWAYS_ANSWERED = ("/grpc.",)

RECEIVE_S = 60.0
"""How long a request may take to arrive; it holds a place meanwhile."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


class RequestGuard(grpc.aio.ServerInterceptor):
    """Admits what there is room for, and lets no exception leave as UNKNOWN."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Wrap the handler of one call: unary, or a stream both ways."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_ALWAYS_ANSWERED):
            return handler
        # Typed for the threaded server, so typed as anything here.
        one: Any = handler.unary_unary
        many: Any = handler.stream_stream
        parse: Any = handler.request_deserializer

        # Messages are parsed here and not by gRPC, which would answer UNKNOWN to one that cannot be.
        # And a message is received here and not by gRPC, which would receive those of refused calls as well.
        async def guarded_one(requests: AsyncIterator[bytes], context: Context) -> Any:
            try:
                with self._admission.receiving():
                    request = await asyncio.wait_for(anext(requests), RECEIVE_S)
                with self._admission.request(len(request)):
                    return await one(_parsed(parse, request), context)
            except StopAsyncIteration:
                failure: SamefaceError = InvalidArgument("the request is missing", metadata={"field": "request"})
            except TimeoutError:
                failure = StreamIdle(
                    f"the request did not arrive within {RECEIVE_S:g} s", metadata={"limit": RECEIVE_S}
                )
            except Exception as error:
                failure = _failure(method, error)
            # Out of the except clause and without the request: nothing of a refused photo outlives its answer.
            request = b""
            return await context.abort_with_status(rich_status(failure))

        async def guarded_many(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            try:
                with self._admission.stream():
                    parsed = (_parsed(parse, request) async for request in self._messages(requests))
                    async for answer in many(parsed, context):
                        yield answer
                return
            except Exception as error:
                failure = _failure(method, error)
            await context.abort_with_status(rich_status(failure))

        serializer = handler.response_serializer
        if many is not None:
            return grpc.stream_stream_rpc_method_handler(cast(Any, guarded_many), response_serializer=serializer)
        return grpc.stream_unary_rpc_method_handler(cast(Any, guarded_one), response_serializer=serializer)

    async def _messages(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield what a stream sends, until it ends, says nothing for too long, or the server stops."""
        draining = asyncio.ensure_future(self._admission.draining.wait())
        idle_s = self._admission.limits.stream_idle_s
        try:
            while True:
                reading = asyncio.ensure_future(anext(requests))
                await asyncio.wait([reading, draining], timeout=idle_s, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    if draining.done():
                        raise ServerStopping("the server is stopping; open the stream again", retry_after_s=1.0)
                    raise StreamIdle(
                        f"the stream sent nothing for {idle_s:g} s; open it again when there is something to send",
                        metadata={"limit": f"{idle_s:g}"},
                    )
                try:
                    message = reading.result()
                except StopAsyncIteration:
                    return
                yield message
        finally:
            draining.cancel()


def _parsed(parse: Callable[[bytes], Any], request: bytes) -> Any:
    try:
        return parse(request)
    except DecodeError:
        raise InvalidArgument(
            f"{len(request)} bytes are no message of this rpc; use the protos of this version",
            metadata={"field": "request"},
        ) from None


def as_typed(method: str, error: Exception) -> SamefaceError:
    """Return a typed error as it is; anything else is a defect, is logged, and says nothing of itself to callers."""
    if isinstance(error, SamefaceError) and error.reason in ERRORS:
        return error
    # The type and place, never the values: a message may quote what the caller sent.
    blank = RuntimeError("details withheld")
    log.error("%s failed: %s", method, type(error).__name__, exc_info=(type(blank), blank, error.__traceback__))
    return UnexpectedError("the server failed to answer; nothing is known to be wrong with the request")


def _failure(method: str, error: Exception) -> SamefaceError:
    """Return what a call is ended with, cut off from the frames that hold what was sent."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    failure = as_typed(method, error)
    failure.__cause__ = failure.__context__ = None
    return failure.with_traceback(None)
