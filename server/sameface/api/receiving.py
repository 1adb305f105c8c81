"""Receives and parses the messages of calls."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google.protobuf.message import DecodeError

from sameface.api.admission import OpenStream
from sameface.api.wire import MOST_FIELDS, MOST_PACKED, count_fields
from sameface.errors import ServerStopping, StreamIdle
from sameface_qdrant.concurrency import in_thread
from sameface_qdrant.errors import InvalidArgument

SMALL_BYTES = 64 << 10
"""A message up to this size is parsed at once: it has at most half as many fields, which take some milliseconds."""

Parse = Callable[[bytes], Any]


async def only_message(requests: AsyncIterator[bytes]) -> bytes:
    """Return the message of a unary call.

    Raises:
        InvalidArgument: there is none.
    """
    messages: Any = requests.__aiter__()
    try:
        received: bytes = await anext(messages)
    except StopAsyncIteration:
        raise InvalidArgument(
            "the call has no request message; send exactly one", metadata={"field": "request"}
        ) from None
    finally:
        # Otherwise the generator and the call refer to each other, and both stay until the next garbage collection.
        await messages.aclose()
    return received


async def messages_of(
    requests: AsyncIterator[bytes], idle_s: float, stream: OpenStream, draining: asyncio.Event
) -> AsyncIterator[bytes]:
    """Yield the messages of a stream until it ends.

    Raises:
        StreamIdle: no whole message came for too long, or for less if another stream needed the place.
        ServerStopping: the server stops.
    """
    messages: Any = requests.__aiter__()
    loop = asyncio.get_running_loop()
    reading: asyncio.Future[bytes] | None = None
    stopping, giving_way = (asyncio.ensure_future(event.wait()) for event in (draining, stream.gave_way))
    try:
        while True:
            reading = asyncio.ensure_future(anext(messages))
            stream.silent_since = loop.time()
            ends = [reading, stopping, giving_way]
            await asyncio.wait(ends, timeout=idle_s, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                if stopping.done():
                    raise ServerStopping("the server is stopping; open the stream again", retry_after_s=1.0)
                silent_s = loop.time() - stream.silent_since
                raise StreamIdle(
                    f"no whole message came for {silent_s:.0f} s"
                    f"{', and another stream needed the place' if giving_way.done() else ''}; open a new stream when "
                    "there is something to send",
                    metadata={"limit": f"{idle_s:g}"},
                )
            stream.silent_since = None
            try:
                message = reading.result()
            except StopAsyncIteration:
                return
            yield message
    finally:
        stream.silent_since = None
        unfinished: list[asyncio.Future[Any]] = [stopping, giving_way, *([reading] if reading else [])]
        for one in unfinished:
            one.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        await messages.aclose()  # as in `only_message`


class Parser:
    """Parses messages, large ones in a thread of its own. A message with too many fields is not parsed."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parsing")

    async def parsed(self, parse: Parse, content: bytes) -> Any:
        """Return the message.

        Raises:
            InvalidArgument: it is malformed, or has too many fields.
        """
        if len(content) <= SMALL_BYTES:
            return _parsed(parse, content)
        return await in_thread(self._thread, _counted_and_parsed, parse, content)


def _counted_and_parsed(parse: Any, content: bytes) -> Any:
    counts = count_fields(parse.__self__.DESCRIPTOR, content)
    if counts.fields > MOST_FIELDS or counts.packed > MOST_PACKED:
        raise InvalidArgument(
            f"the {len(content)} bytes of the request have more than {MOST_FIELDS:,} fields or {MOST_PACKED:,} numbers "
            "in lists; send fewer at a time",
            metadata={"field": "request"},
        )
    return _parsed(parse, content)


def _parsed(parse: Parse, content: bytes) -> Any:
    try:
        return parse(content)
    except DecodeError:
        raise InvalidArgument(
            f"the {len(content)} bytes of the request are not a message of this rpc; use the protos of this version",
            metadata={"field": "request"},
        ) from None
