"""Stands between gRPC and every handler: bounds what is in flight and turns exceptions into statuses."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import contextmanager
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from sameface.api.status import UnexpectedError, rich_status
from sameface.errors import ServerBusy
from sameface_qdrant.errors import InvalidArgument, SamefaceError

log = logging.getLogger(__name__)

# Health checks and reflection answer however busy the server is.
_ALWAYS_ANSWERED = ("/grpc.",)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


class RequestGuard(grpc.aio.ServerInterceptor):
    """Refuses requests beyond ``max_requests`` at once, and lets no exception leave as UNKNOWN."""

    def __init__(self, max_requests: int) -> None:
        self._max_requests = max_requests
        self._idle = asyncio.Event()
        self._idle.set()
        self.in_flight = 0

    async def idle(self, settle_s: float) -> None:
        """Return once nothing has been in flight for a while; a call that is received may not have begun yet."""
        while True:
            await self._idle.wait()
            await asyncio.sleep(settle_s)
            if self._idle.is_set():
                return

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
        async def guarded_one(request: bytes, context: Context) -> Any:
            try:
                with self._admitted():
                    return await one(_parsed(parse, request), context)
            except Exception as error:
                return await _abort(context, method, error)

        async def guarded_many(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            try:
                with self._admitted():
                    async for answer in many((_parsed(parse, request) async for request in requests), context):
                        yield answer
            except Exception as error:
                await _abort(context, method, error)

        serializer = handler.response_serializer
        if many is not None:
            return grpc.stream_stream_rpc_method_handler(cast(Any, guarded_many), response_serializer=serializer)
        return grpc.unary_unary_rpc_method_handler(cast(Any, guarded_one), response_serializer=serializer)

    @contextmanager
    def _admitted(self) -> Any:
        if self.in_flight >= self._max_requests:
            raise ServerBusy(
                f"{self.in_flight} requests are in flight, at most {self._max_requests} are allowed",
                metadata={"in_flight": self.in_flight, "limit": self._max_requests},
                retry_after_s=1.0,
            )
        self.in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()


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
    if isinstance(error, SamefaceError):
        return error
    # The type and place, never the values: a message may quote what the caller sent.
    blank = RuntimeError("details withheld")
    log.error("%s failed: %s", method, type(error).__name__, exc_info=(type(blank), blank, error.__traceback__))
    return UnexpectedError("the server failed to answer; nothing is known to be wrong with the request")


async def _abort(context: Context, method: str, error: Exception) -> Any:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    return await context.abort_with_status(rich_status(as_typed(method, error)))
