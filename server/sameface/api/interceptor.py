"""The interceptor of every call: asks who calls and what they may, limits the requests in flight, and turns exceptions
into statuses.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from sameface.access.access import Access
from sameface.access.caller import Caller, begin_call
from sameface.access.rates import Rates
from sameface.access.roles import RULES, gallery_of
from sameface.access.tls import certificate_names
from sameface.api.admission import Admission
from sameface.api.status import ERRORS, UnexpectedError, reason_in, rich_status
from sameface.audit.recorder import Recorder
from sameface.errors import ServerStopping, StreamIdle
from sameface_qdrant.errors import InvalidArgument, SamefaceError

log = logging.getLogger(__name__)

# Health checks and reflection must answer even if the server is busy, and to everybody.
_ALWAYS_ANSWERED = ("/grpc.",)

CANCELLED = "CANCELLED"
MOST_OPEN = 48
CHECKED_AGAIN_S = 5.0
"""The credentials of an open stream are checked so often, while it sends something."""
RECEIVE_S = 60.0
"""Seconds that a request may take to arrive. It counts against the limits meanwhile."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


class RequestGuard(grpc.aio.ServerInterceptor):
    """Admits calls that callers may make, up to the limits. Every exception becomes a status of the error table."""

    def __init__(self, admission: Admission, access: Access, rates: Rates, recorder: Recorder | None) -> None:
        self._admission = admission
        self._access = access
        self._rates = rates
        self._recorder = recorder
        self._open = 0
        """Health watches and reflections."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Wrap the handler of one call, either unary or a bidirectional stream."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return None
        if method.startswith(_ALWAYS_ANSWERED):
            return self._bounded(handler)
        # Any: grpc types these for the threaded server.
        unary: Any = handler.unary_unary
        stream: Any = handler.stream_stream
        parse: Any = handler.request_deserializer
        rpc = method.rpartition("/")[2]
        metadata = handler_call_details.invocation_metadata or ()

        async def caller_of(context: Context) -> Caller:
            return await self._access.caller(metadata, certificate_names(context.auth_context()))

        # We parse messages here, because gRPC would answer UNKNOWN to a malformed one. We also receive them here,
        # because gRPC would receive the messages of refused calls too.
        async def guarded_unary(requests: AsyncIterator[bytes], context: Context) -> Any:
            caller = message = None
            try:
                self._check_audit()
                caller = await caller_of(context)
                with self._admission.receiving():
                    request = await _received(requests)
                with self._admission.request(len(request)):
                    message = _parsed(parse, request)
                    self._rates.check(caller, rpc, message)
                    caller.check(rpc, message)
                    begin_call(caller)
                    answer = await unary(message, context)
                if self._record(caller, rpc, message, "", answer):
                    await self._settle()
                return answer
            except asyncio.CancelledError:
                # The caller has gone. What the call changed may be done nevertheless.
                self._record(caller, rpc, message, CANCELLED)
                raise
            except StopAsyncIteration:
                failure: SamefaceError = InvalidArgument(
                    "the call has no request message; send exactly one", metadata={"field": "request"}
                )
            except Exception as error:
                failure = _failure(method, error)
            self._record(caller, rpc, message, failure.reason)
            if caller is not None and message is not None and not caller.may_know(gallery_of(RULES[rpc], message)):
                failure.metadata.pop("score", None)
            failure = await self._without_names(failure, rpc, message)
            # Outside of the except clause and with the request cleared, so that a refused photo is freed at once.
            request, message = b"", None
            return await context.abort_with_status(rich_status(failure))

        async def guarded_stream(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            caller = first = None
            try:
                self._check_audit()
                caller = await caller_of(context)
                with self._admission.stream():
                    begin_call(caller)
                    messages = (_parsed(parse, request) async for request in self._messages(requests))
                    async for message in messages:
                        # Only the first one names a gallery, see StreamIdentifyFaces.
                        caller.check(rpc, first := message)
                        break
                    if first is None:
                        return
                    answers = 0
                    paced = self._paced(caller, rpc, first, messages, lambda: caller_of(context))
                    async for answer in stream(paced, context):
                        self._record(caller, rpc, first, reason_in(answer), answer)
                        answers += 1
                        yield answer
                        self._check_audit()
                    if not answers:
                        self._record(caller, rpc, first, "")
                return
            except (asyncio.CancelledError, GeneratorExit):
                self._record(caller, rpc, first, CANCELLED)
                raise
            except Exception as error:
                failure = _failure(method, error)
            self._record(caller, rpc, first, failure.reason)
            failure = await self._without_names(failure, rpc, first)
            await context.abort_with_status(rich_status(failure))

        serializer = handler.response_serializer
        if stream is not None:
            return grpc.stream_stream_rpc_method_handler(cast(Any, guarded_stream), response_serializer=serializer)
        return grpc.stream_unary_rpc_method_handler(cast(Any, guarded_unary), response_serializer=serializer)

    def _bounded(self, handler: Handler) -> Handler:
        """Let only so many health watches and reflections be open, as they need no credentials and end when they like.

        Health checks, which end at once, are always answered.
        """
        watch: Any = handler.unary_stream
        stream: Any = handler.stream_stream
        if watch is None and stream is None:
            return handler

        async def bounded(request: Any, context: Context) -> AsyncIterator[Any]:
            if self._open >= MOST_OPEN:
                await context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_OPEN} watches are open; try again later"
                )
            self._open += 1
            try:
                if watch is not None:
                    await watch(request, context)
                else:
                    async for answer in stream(request, context):
                        yield answer
            finally:
                self._open -= 1

        make: Any = grpc.unary_stream_rpc_method_handler if watch else grpc.stream_stream_rpc_method_handler
        bounded_handler: Handler = make(
            bounded,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return bounded_handler

    async def _paced(
        self,
        caller: Caller,
        rpc: str,
        first: Any,
        others: AsyncIterator[Any],
        again: Callable[[], Awaitable[Caller]],
    ) -> AsyncIterator[Any]:
        """Yield the messages of a stream, no faster than its caller may send them, and while it still may.

        Raises:
            CredentialsRefused, PermissionDenied: the credentials have ended since, or the role was taken away.
        """
        message, checked = first, time.monotonic()
        while True:
            if time.monotonic() - checked > CHECKED_AGAIN_S:
                caller, checked = await again(), time.monotonic()
                caller.check(rpc, first)
            while wait := self._rates.wait_s(caller, rpc, message):  # noqa: ASYNC110  # only time brings more
                await asyncio.sleep(wait)
            yield message
            try:
                message = await anext(others)
            except StopAsyncIteration:
                return

    def _check_audit(self) -> None:
        """Raise AuditUnavailable if the call that begins could get no entry."""
        if self._recorder is not None:
            self._recorder.check()

    def _record(self, caller: Caller | None, rpc: str, message: Any, reason: str, answer: Any = None) -> bool:
        """Write the call's entry. Return whether it forgets somebody."""
        return self._recorder is not None and self._recorder.record(caller, rpc, message, reason, answer)

    async def _settle(self) -> None:
        """Return when whoever was erased is forgotten: an answer says that it is done."""
        if self._recorder is not None:
            await self._recorder.settle()

    async def _without_names(self, failure: SamefaceError, rpc: str, message: Any) -> SamefaceError:
        return failure if self._recorder is None else await self._recorder.without_names(failure, rpc, message)

    async def _messages(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the messages of a stream until it ends.

        Raises:
            StreamIdle: the client sent nothing for too long.
            ServerStopping: the server stops.
        """
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
                        f"the client sent nothing for {idle_s:g} s; open a new stream when there is something to send",
                        metadata={"limit": f"{idle_s:g}"},
                    )
                try:
                    message = reading.result()
                except StopAsyncIteration:
                    return
                yield message
        finally:
            draining.cancel()


async def _received(requests: AsyncIterator[bytes]) -> bytes:
    """Return the message of a unary call.

    Raises:
        StreamIdle: it did not arrive in time. A `TimeoutError` of a handler or of the connection is not taken for that.
    """
    limit = asyncio.timeout(RECEIVE_S)
    try:
        async with limit:
            return await anext(requests)
    except TimeoutError:
        if not limit.expired():
            raise
        raise StreamIdle(
            f"the request did not arrive within {RECEIVE_S:g} s; send it again", metadata={"limit": RECEIVE_S}
        ) from None


def _parsed(parse: Callable[[bytes], Any], request: bytes) -> Any:
    try:
        return parse(request)
    except DecodeError:
        raise InvalidArgument(
            f"the {len(request)} bytes of the request are not a message of this rpc; use the protos of this version",
            metadata={"field": "request"},
        ) from None


def as_typed(method: str, error: Exception) -> SamefaceError:
    """Return a typed error unchanged. Log any other error as a defect, and return an error without its details."""
    if isinstance(error, SamefaceError) and error.reason in ERRORS:
        return error
    # Log only the type and the traceback: the message of the error may quote the caller's input.
    placeholder = RuntimeError("details withheld")
    log.error(
        "%s failed: %s", method, type(error).__name__, exc_info=(type(placeholder), placeholder, error.__traceback__)
    )
    return UnexpectedError("the server has a defect and could not answer; the request may be correct")


def _failure(method: str, error: Exception) -> SamefaceError:
    """Return the typed error that ends a call, without the traceback, whose frames hold the request."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    failure = as_typed(method, error)
    failure.__cause__ = failure.__context__ = None
    return failure.with_traceback(None)
