"""The asynchronous client."""

import asyncio
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any, Unpack

import grpc

from sameface.client.answer import read
from sameface.client.answers.decisions import StreamAnswer
from sameface.client.calls import Calls
from sameface.client.connection import MAX_PHOTO_BYTES, Metadata, Target, checked_metadata, checked_photo_bytes
from sameface.client.errors import ServiceError
from sameface.client.faces import stream_settings
from sameface.client.forks import check_usable
from sameface.client.frames import AsyncFrames
from sameface.client.options import IdentifyOptions
from sameface.client.retries import Attempts
from sameface.client.rpc import Call, Item, Pages, Result
from sameface.client.samples import SampleLike, as_sample, check_many, fitting, holds_photo
from sameface.client.tracing import Pairs, calling, with_context
from sameface.v1 import face_service_pb2


class AsyncClient(Calls):
    """Calls a sameface service from one event loop; the methods are those of `sameface.client.Client`.

    It may be made anywhere, and belongs to the event loop of its first call. When that loop is closed, the next one may
    use it. Photos are read and encoded in threads.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 30.0,
        unreachable_s: float = 5.0,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Metadata = (),
        server_name: str = "",
        max_photo_bytes: int = MAX_PHOTO_BYTES,
    ) -> None:
        """See `Client`."""
        self.max_photo_bytes = checked_photo_bytes(max_photo_bytes)
        self._target = Target(address, credentials, server_name)
        self._timeout_s = timeout_s
        self._unreachable_s = unreachable_s
        self._metadata = checked_metadata(metadata)
        self._opened: tuple[asyncio.AbstractEventLoop, grpc.aio.Channel] | None = None
        self._closed = False

    @property
    def _channel(self) -> grpc.aio.Channel:
        if self._closed:
            raise RuntimeError("this AsyncClient is closed; make another one")
        check_usable()
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError("an AsyncClient is used from a coroutine; elsewhere, use Client") from None
        if self._opened is None or (self._opened[0] is not running and self._opened[0].is_closed()):
            self._opened = running, self._target.open_asynchronously()
        loop, channel = self._opened
        if loop is not running:
            raise RuntimeError("this AsyncClient belongs to another event loop, which is open; make one for each loop")
        return channel

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the channel. Do so in the event loop that used the client."""
        if not self._closed and self._opened is not None and not self._opened[0].is_closed():
            await self._channel.close()
        self._closed = True

    async def identify_stream(
        self,
        gallery: str,
        samples: AsyncIterable[SampleLike] | Iterable[SampleLike],
        *,
        drop_late: bool = False,
        **options: Unpack[IdentifyOptions],
    ) -> AsyncIterator[StreamAnswer]:
        """See `Client`; samples may come from an asynchronous source."""
        settings = stream_settings(gallery, options)
        check_many(samples, asynchronous=True)
        failed: list[Exception] = []
        frames = AsyncFrames(_each(samples)) if drop_late else None

        async def requests() -> AsyncIterator[face_service_pb2.StreamIdentifyFacesRequest]:
            yield settings
            # If grpc.aio writes into a stream that the server has just ended, it loses the server's reason.
            await answers.initial_metadata()
            try:
                numbered = _numbered(_each(samples)) if frames is None else frames
                async for number, sample in numbered:
                    request = face_service_pb2.StreamIdentifyFacesRequest(
                        sample=await asyncio.to_thread(as_sample, sample, self.max_photo_bytes),
                        tag="" if frames is None else str(number),
                    )
                    yield fitting(request)
            except Exception as error:
                failed.append(error)

        stream: Any = self._channel.stream_stream(
            "/sameface.v1.FaceService/StreamIdentifyFaces",
            request_serializer=face_service_pb2.StreamIdentifyFacesRequest.SerializeToString,
            response_deserializer=face_service_pb2.StreamIdentifyFacesResponse.FromString,
        )
        answers = stream(requests(), metadata=with_context(self._metadata))
        try:
            async for answer in answers:
                if frames is not None:
                    frames.answered()
                yield read(StreamAnswer, answer)
            if failed:
                raise failed[0]
        except grpc.RpcError as error:
            failure = ServiceError.of(error, with_photo=True)
            raise await asyncio.to_thread(self._target.explained, failure) from None
        finally:
            answers.cancel()

    async def _list(self, build: Callable[[], Pages[Item]]) -> AsyncIterator[Item]:
        pages, token = build(), ""
        while True:
            answer = await self._answer(pages.page(token))
            for item in pages.of_page(answer):
                yield item
            token = answer.next_page_token
            if not token:
                return

    async def _send(self, build: Callable[[], Call[Result]]) -> Result:
        check_usable()
        # In a thread, because some requests read and encode a photo.
        return await self._answer(await asyncio.to_thread(build))

    async def _answer(self, call: Call[Result], deadline: float | None = None) -> Result:
        with calling(call.path, self._metadata) as metadata:
            return await self._answer_with(metadata, call, deadline)

    async def _answer_with(self, metadata: Pairs, call: Call[Result], deadline: float | None) -> Result:
        rpc: Any = self._channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.answer.FromString,
        )
        attempts = Attempts(call, deadline or time.monotonic() + self._timeout_s, self._unreachable_s)
        while True:
            try:
                left_s = max(0.0, attempts.deadline - time.monotonic())
                return call.result(await rpc(call.request, timeout=left_s, metadata=metadata))
            except grpc.RpcError as failed:
                error = ServiceError.of(failed, with_photo=holds_photo(call.request))
            if attempts.already_done(error):
                return call.result(call.answer())
            if call.instead is not None and error.reason == call.exists:
                return await self._answer(call.instead, attempts.deadline)
            pause = attempts.pause(error, time.monotonic(), random.random())  # noqa: S311  # spreads, guards nothing
            if pause is None:
                raise await asyncio.to_thread(self._target.explained, error)
            await asyncio.sleep(pause)


async def _each(samples: AsyncIterable[SampleLike] | Iterable[SampleLike]) -> AsyncIterator[SampleLike]:
    if isinstance(samples, AsyncIterable):
        async for sample in samples:
            yield sample
    else:
        for sample in samples:
            yield sample


async def _numbered(samples: AsyncIterator[SampleLike]) -> AsyncIterator[tuple[int, SampleLike]]:
    number = 0
    async for sample in samples:
        yield number, sample
        number += 1
