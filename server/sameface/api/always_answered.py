"""Health checks, health watches and reflection.

They need no credentials and are answered whatever the load is. So their number, the time that their requests take to
arrive, and the size of these are limited for themselves.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any, TypeAlias, cast

import grpc

from sameface.api.admission import OpenStream, busy
from sameface.api.answers import Answers
from sameface.api.arrivals import Arrivals
from sameface.api.connections import connection_of
from sameface.api.failures import failure_of
from sameface.api.receiving import SMALL_BYTES, Parser, messages_of, only_message
from sameface.api.status import rich_status
from sameface_qdrant.errors import InvalidArgument

PREFIX = "/grpc."
ARRIVE_S = 5.0
TURNS, SLOW, TURN_S = 256, 4, 0.05
"""Requests that arrive at a time. gRPC lets a message in up to the size that it announces, but not much in one turn."""
MOST_WATCHES, WATCHES_PER_CONNECTION = 256, 8
LOOK_S = 0.2
"""A watch looks so often whether the status has changed."""
MOST_REFLECTIONS, REFLECTIONS_PER_CONNECTION = 4, 2
REFLECTION_IDLE_S = 60.0

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class AlwaysAnswered:
    """Guards the handlers of health and reflection."""

    def __init__(self, parser: Parser, answers: Answers) -> None:
        self._parser, self._answers = parser, answers
        self._arrivals = Arrivals(TURNS + SLOW, ARRIVE_S, turns=TURNS, turn_s=TURN_S)
        self._watches = _Open("health watches", MOST_WATCHES, WATCHES_PER_CONNECTION)
        self._reflections = _Open("reflections", MOST_REFLECTIONS, REFLECTIONS_PER_CONNECTION)

    def guarded(self, method: str, handler: Handler) -> Handler:
        """Return the handler with its limits."""
        # Any: grpc types these for the threaded server.
        check: Any = handler.unary_unary
        watch: Any = handler.unary_stream
        reflection: Any = handler.stream_stream
        parse: Any = handler.request_deserializer

        async def received(requests: AsyncIterator[bytes], connection: str) -> Any:
            async with self._arrivals.place(connection):
                content = await only_message(requests)
            return await self._small(parse, content)

        async def checking(requests: AsyncIterator[bytes], context: Context) -> Any:
            connection = connection_of(context)
            try:
                answer = await check(await received(requests, connection), context)
                self._answers.sent_last(connection, answer.ByteSize())
                return answer
            except Exception as error:
                failure = failure_of(method, error)
            return await context.abort_with_status(rich_status(failure))

        async def watching(requests: AsyncIterator[bytes], context: Context) -> None:
            connection = connection_of(context)
            try:
                request = await received(requests, connection)
                with self._watches.one(connection) as place:
                    await _watched(watch.__self__, request, context, place)
                raise busy("health watches", MOST_WATCHES, MOST_WATCHES)
            except Exception as error:
                failure = failure_of(method, error)
            await context.abort_with_status(rich_status(failure))

        async def reflecting(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            connection = connection_of(context)
            try:
                with self._reflections.one(connection) as place:
                    contents = messages_of(requests, REFLECTION_IDLE_S, place, asyncio.Event())
                    messages = (await self._small(parse, content) async for content in contents)
                    async with aclosing(reflection(messages, context)) as answering:
                        async for answer in answering:
                            with self._answers.being_sent(connection, answer.ByteSize()):
                                yield answer
                return
            except Exception as error:
                failure = failure_of(method, error)
            await context.abort_with_status(rich_status(failure))

        serializer = handler.response_serializer
        if check is not None:
            return grpc.stream_unary_rpc_method_handler(cast(Any, checking), response_serializer=serializer)
        streaming: Any = watching if watch is not None else reflecting
        return grpc.stream_stream_rpc_method_handler(streaming, response_serializer=serializer)

    async def _small(self, parse: Any, content: bytes) -> Any:
        if len(content) > SMALL_BYTES:
            raise InvalidArgument(
                f"the request has {len(content)} bytes; expected at most {SMALL_BYTES}", metadata={"field": "request"}
            )
        return await self._parser.parsed(parse, content)


async def _watched(servicer: Any, request: Any, context: Context, place: OpenStream) -> None:
    """Write the status of a service, and again when it has changed, until the watch gives way.

    A service that does not exist ends the watch with NOT_FOUND, as it ends a check. The watch of grpc_health would keep
    it, and a watch that ends there keeps later changes from the others.
    """
    last = None
    while not place.gave_way.is_set():
        answer = await servicer.Check(request, context)
        if answer.status != last:
            await context.write(answer)
            last = answer.status
        with suppress(TimeoutError):
            await asyncio.wait_for(place.gave_way.wait(), LOOK_S)


class _Open:
    """Counts open calls of one kind. Where they are short, connections share them."""

    def __init__(self, what: str, most: int, per_connection: int) -> None:
        self._what, self._most, self._per_connection = what, most, per_connection
        self._open: dict[str, dict[OpenStream, None]] = {}
        """The calls of each connection, oldest first."""

    @contextmanager
    def one(self, connection: str) -> Iterator[OpenStream]:
        """Count one. If there is no room, the oldest of a connection that has more gives way.

        Raises:
            ServerBusy: too many are open.
        """
        own = len(self._open.get(connection, ()))
        if own >= self._per_connection:
            raise busy(f"{self._what} of this connection", own, self._per_connection)
        if (count := sum(map(len, self._open.values()))) >= self._most:
            most = max(self._open, key=lambda one: len(self._open[one]))
            if len(self._open[most]) <= own:
                raise busy(self._what, count, self._most)
            oldest = next(iter(self._open[most]))
            self._remove(most, oldest)
            oldest.gave_way.set()
        place = OpenStream()
        self._open.setdefault(connection, {})[place] = None
        try:
            yield place
        finally:
            self._remove(connection, place)

    def _remove(self, connection: str, place: OpenStream) -> None:
        calls = self._open.get(connection, {})
        calls.pop(place, None)
        if not calls:
            self._open.pop(connection, None)
