"""The interceptor of every call: asks who calls and what they may, limits the requests in flight, and turns exceptions
into statuses.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, TypeAlias, cast

import grpc

from sameface.access.access import Access
from sameface.access.caller import Caller, begin_call
from sameface.access.rates import Rates
from sameface.access.roles import RULES, gallery_of
from sameface.access.tls import certificate_names
from sameface.api.admission import Admission
from sameface.api.always_answered import PREFIX, AlwaysAnswered
from sameface.api.answers import Answers
from sameface.api.arrivals import Arrivals
from sameface.api.connections import connection_of
from sameface.api.failures import failure_of, reason_in
from sameface.api.receiving import Parser, messages_of, only_message
from sameface.api.refusals import Refusals, end_call
from sameface.api.status import rich_status
from sameface.audit.recorder import Recorder
from sameface.deadline import set_time_left
from sameface.errors import ServerBusy
from sameface.observation.calls import CANCELLED, PRESENT, observed_stream, observed_unary
from sameface.observation.observers import Metadata, observers
from sameface.observation.renewals import begin_renewals
from sameface_qdrant.errors import SamefaceError

FEWEST_PLACES = 4
CHECKED_AGAIN_S = 5.0
"""The credentials of an open stream are checked so often, while it sends something."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


class RequestGuard(grpc.aio.ServerInterceptor):
    """Admits calls that callers may make, up to the limits. Every exception becomes a status of the error table."""

    def __init__(
        self, admission: Admission, access: Access, rates: Rates, recorder: Recorder | None, max_message_bytes: int
    ) -> None:
        """Take what the calls share. Create it in the loop that serves."""
        self._admission = admission
        self._access = access
        self._rates = rates
        self._recorder = recorder
        limits = admission.limits
        places = max(FEWEST_PLACES, min(2 * limits.requests, limits.arriving_bytes // max_message_bytes))
        self._arrivals = Arrivals(places, limits.arrive_s)
        self._answers = Answers(limits.unread_bytes, limits.unread_s)
        self._parser = Parser()
        self._always = AlwaysAnswered(self._parser, self._answers)
        self._refusals = Refusals()
        self._guarded: dict[str, Handler] = {}
        """By method. A caller cannot add to them: methods without a handler have none here."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Return the wrapped handler of a method, which is made with its first call."""
        method = handler_call_details.method
        if (guarded := self._guarded.get(method)) is not None:
            return guarded
        if (handler := await continuation(handler_call_details)) is None:
            return None
        guard = self._always.guarded if method.startswith(PREFIX) else self._wrapped
        return self._guarded.setdefault(method, guard(method, handler))

    def _wrapped(self, method: str, handler: Handler) -> Handler:
        """Wrap a handler, either unary or a bidirectional stream."""
        # Any: grpc types these for the threaded server.
        unary: Any = handler.unary_unary
        stream: Any = handler.stream_stream
        parse: Any = handler.request_deserializer
        rpc = method.rpartition("/")[2]

        # We parse messages here, because gRPC would answer UNKNOWN to a malformed one. We also receive them here,
        # because gRPC would receive the messages of refused calls too.
        async def guarded_unary(requests: AsyncIterator[bytes], context: Context) -> Any:
            caller = message = None
            recorded = False
            try:
                self._check_audit()
                caller = await self._caller_of(context)
                share = share_of(caller, context)
                if (busy := self._admission.refusal(share, rpc, context.time_remaining())) is not None:
                    recorded = True
                    return await self._refuse(caller, rpc, busy, context)
                async with self._arrivals.place(share):
                    request = await only_message(requests)
                with self._admission.request(len(request), share):
                    message = await self._parser.parsed(parse, request)
                    self._rates.check(caller, rpc, message)
                    caller.check(rpc, message)
                    begin_call(caller)
                    begin_renewals()
                    set_time_left(left_s := context.time_remaining())
                    async with self._admission.turn(share, rpc, message, left_s):
                        answer = await unary(message, context)
                recorded = True
                if self._record(caller, rpc, message, "", answer):
                    await self._settle()
                self._answers.sent_last(share, answer.ByteSize())
                return answer
            except asyncio.CancelledError:
                # The caller has gone. What the call changed may be done nevertheless.
                if not recorded:
                    self._record(caller, rpc, message, CANCELLED)
                raise
            except grpc.aio.AbortError:  # of `_refuse`
                raise
            except Exception as error:
                failure = failure_of(method, error)
            self._record(caller, rpc, message, failure.reason)
            if caller is not None and message is not None and not caller.may_know(gallery_of(RULES[rpc], message)):
                failure.metadata.pop("score", None)
            failure = await self._without_names(failure, rpc, message)
            # Outside of the except clause and with the request cleared, so that a refused photo is freed at once.
            request, message = b"", None
            return await end_call(context, failure)

        async def guarded_stream(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            caller = first = None
            idle_s, draining = self._admission.limits.stream_idle_s, self._admission.draining
            try:
                self._check_audit()
                caller = await self._caller_of(context)
                share = share_of(caller, context)
                with self._admission.stream(share) as opened:
                    begin_call(caller)
                    begin_renewals()
                    contents = messages_of(requests, idle_s, opened, draining)
                    messages = (await self._parser.parsed(parse, content) async for content in contents)
                    async for message in messages:
                        # Only the first one names a gallery, see StreamIdentifyFaces.
                        caller.check(rpc, first := message)
                        break
                    if first is None:
                        return
                    answers = 0
                    paced = self._paced(caller, rpc, first, messages, lambda: self._caller_of(context))
                    async with aclosing(stream(paced, context)) as answering:
                        async for answer in answering:
                            self._record(caller, rpc, first, reason_in(answer), answer)
                            answers += 1
                            with self._answers.being_sent(share, answer.ByteSize()):
                                yield answer
                            self._check_audit()
                    if not answers:
                        self._record(caller, rpc, first, "")
                return
            except (asyncio.CancelledError, GeneratorExit):
                self._record(caller, rpc, first, CANCELLED)
                raise
            except Exception as error:
                failure = failure_of(method, error)
            self._record(caller, rpc, first, failure.reason)
            failure = await self._without_names(failure, rpc, first)
            await context.abort_with_status(rich_status(failure))

        serializer = handler.response_serializer
        if stream is not None:
            streaming = observed_stream(rpc, guarded_stream, metadata_of) if observers() else guarded_stream
            return grpc.stream_stream_rpc_method_handler(cast(Any, streaming), response_serializer=serializer)
        answering_once = observed_unary(rpc, guarded_unary, metadata_of) if observers() else guarded_unary
        return grpc.stream_unary_rpc_method_handler(cast(Any, answering_once), response_serializer=serializer)

    async def _caller_of(self, context: Context) -> Caller:
        return await self._access.caller(_metadata(context), certificate_names(context.auth_context))

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

    async def _refuse(self, caller: Caller, rpc: str, busy: ServerBusy, context: Context) -> None:
        """End a call for which there is no room, before its message is received."""
        self._record(caller, rpc, None, busy.reason)
        await self._refusals.pace(connection_of(context), context.time_remaining())
        await end_call(context, busy)

    def _check_audit(self) -> None:
        """Raise AuditUnavailable if the call that begins could get no entry."""
        if self._recorder is not None:
            self._recorder.check()

    def _record(self, caller: Caller | None, rpc: str, message: Any, reason: str, answer: Any = None) -> bool:
        """Write the call's entry, and tell observers. Return whether the entry forgets somebody."""
        if (observed := PRESENT.get()) is not None:
            observed.note(reason, answer)
        return self._recorder is not None and self._recorder.record(caller, rpc, message, reason, answer)

    async def _settle(self) -> None:
        """Return when whoever was erased is forgotten: an answer says that it is done."""
        if self._recorder is not None:
            await self._recorder.settle()

    async def _without_names(self, failure: SamefaceError, rpc: str, message: Any) -> SamefaceError:
        return failure if self._recorder is None else await self._recorder.without_names(failure, rpc, message)


def _metadata(context: Context) -> Iterator[tuple[str, str | bytes]]:
    """Yield the metadata of a call. gRPC copies it, so it is asked for only where somebody reads it."""
    yield from context.invocation_metadata() or ()


def metadata_of(context: Context) -> Metadata:
    """Return what asks a call for its metadata."""
    return partial(_metadata, context)


def share_of(caller: Caller, context: Context) -> str:
    """Return the name under which a caller takes its share: its own, or that of its connection if it has none."""
    return caller.name or connection_of(context)
