"""The asynchronous client."""

import asyncio
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

from sameface.client import calls
from sameface.client.calls import Call
from sameface.client.connection import CHANNEL_OPTIONS
from sameface.client.errors import ServiceError
from sameface.client.options import (
    CalibrateOptions,
    CompareOptions,
    EnrollOptions,
    IdentifyOptions,
    IdentityOptions,
    OperationName,
    PolicyOptions,
    SearchOptions,
    VerifyOptions,
    WhatIfOptions,
)
from sameface.client.retries import Attempts
from sameface.client.samples import Photo, SampleLike, as_sample
from sameface.v1 import face_service_pb2, gallery_pb2, gallery_service_pb2, system_service_pb2

Answer = TypeVar("Answer", bound=Message)


class AsyncClient:
    """Calls a sameface service from one event loop; see `sameface.client.Client` for every method.

    Photos are read and encoded in threads.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 30.0,
        unreachable_s: float = 5.0,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        """See `Client`."""
        self._channel = (
            grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS)
            if credentials
            else grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        )
        self._timeout_s = timeout_s
        self._unreachable_s = unreachable_s
        self._metadata = tuple(metadata)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the channel."""
        await self._channel.close()

    # Faces

    async def enroll(
        self, gallery: str, identity: str, sample: SampleLike, **options: Unpack[EnrollOptions]
    ) -> face_service_pb2.EnrollTemplateResponse:
        """See `Client`."""
        return await self._call(await asyncio.to_thread(calls.enroll, gallery, identity, sample, **options))

    async def verify(
        self, gallery: str, identity: str, sample: SampleLike, **options: Unpack[VerifyOptions]
    ) -> face_service_pb2.VerifyFaceResponse:
        """See `Client`."""
        return await self._call(await asyncio.to_thread(calls.verify, gallery, identity, sample, **options))

    async def identify(
        self, gallery: str, sample: SampleLike, **options: Unpack[IdentifyOptions]
    ) -> face_service_pb2.IdentifyFacesResponse:
        """See `Client`."""
        return await self._call(await asyncio.to_thread(calls.identify, gallery, sample, **options))

    async def identify_stream(
        self,
        gallery: str,
        samples: AsyncIterable[SampleLike] | Iterable[SampleLike],
        **options: Unpack[IdentifyOptions],
    ) -> AsyncIterator[face_service_pb2.StreamIdentifyFacesResponse]:
        """See `Client`; samples may come from an asynchronous source."""
        settings = calls.stream_settings(gallery, **options)
        failed: list[Exception] = []

        async def requests() -> AsyncIterator[face_service_pb2.StreamIdentifyFacesRequest]:
            yield settings
            # What is written into a stream that the server has just ended costs grpc.aio the server's reason.
            await answers.initial_metadata()
            try:
                async for sample in _each(samples):
                    read = await asyncio.to_thread(as_sample, sample)
                    yield face_service_pb2.StreamIdentifyFacesRequest(sample=read)
            except Exception as error:
                failed.append(error)

        stream: Any = self._channel.stream_stream(
            f"/sameface.v1.{calls.FACES}/StreamIdentifyFaces",
            request_serializer=face_service_pb2.StreamIdentifyFacesRequest.SerializeToString,
            response_deserializer=face_service_pb2.StreamIdentifyFacesResponse.FromString,
        )
        answers = stream(requests(), metadata=self._metadata)
        try:
            async for answer in answers:
                yield answer
            if failed:
                raise failed[0]
        except grpc.RpcError as error:
            raise ServiceError.of(error) from None
        finally:
            answers.cancel()

    async def compare(
        self, first: SampleLike, second: SampleLike, **options: Unpack[CompareOptions]
    ) -> face_service_pb2.CompareFacesResponse:
        """See `Client`."""
        return await self._call(await asyncio.to_thread(calls.compare, first, second, **options))

    async def detect(self, photo: Photo) -> face_service_pb2.DetectFacesResponse:
        """See `Client`."""
        return await self._call(await asyncio.to_thread(calls.detect, photo))

    async def embed(self, photo: Photo, *, embedder_version: int = 0) -> face_service_pb2.EmbedFacesResponse:
        """See `Client`."""
        return await self._call(await asyncio.to_thread(calls.embed, photo, embedder_version))

    async def search(
        self, gallery: str, sample: SampleLike, **options: Unpack[SearchOptions]
    ) -> face_service_pb2.SearchTemplatesResponse:
        """See `Client`."""
        return await self._call(await asyncio.to_thread(calls.search, gallery, sample, **options))

    # Galleries

    async def create_gallery(
        self,
        gallery: str,
        *,
        display_name: str = "",
        embedder_version: int = 0,
        **policy: Unpack[PolicyOptions],
    ) -> gallery_pb2.Gallery:
        """See `Client`."""
        return await self._call(calls.create_gallery(gallery, display_name, embedder_version, **policy))

    async def get_gallery(self, gallery: str) -> gallery_pb2.Gallery:
        """See `Client`."""
        return await self._call(calls.get_gallery(gallery))

    def galleries(self) -> AsyncIterator[gallery_pb2.Gallery]:
        """See `Client`."""
        return self._pages(calls.list_galleries, "galleries")

    async def update_gallery(
        self,
        gallery: str,
        *,
        display_name: str | None = None,
        etag: str = "",
        **policy: Unpack[PolicyOptions],
    ) -> gallery_pb2.Gallery:
        """See `Client`."""
        return await self._call(calls.update_gallery(gallery, display_name, etag, **policy))

    def policy_revisions(self, gallery: str) -> AsyncIterator[gallery_pb2.Policy]:
        """See `Client`."""
        return self._pages(lambda token: calls.list_policy_revisions(gallery, token), "policies")

    async def calibrate_gallery(
        self, gallery: str, **options: Unpack[CalibrateOptions]
    ) -> gallery_service_pb2.CalibrateGalleryResponse:
        """See `Client`."""
        return await self._call(calls.calibrate_gallery(gallery, **options))

    async def what_if_gallery(
        self, gallery: str, operation: OperationName, **options: Unpack[WhatIfOptions]
    ) -> gallery_service_pb2.WhatIfGalleryResponse:
        """See `Client`."""
        return await self._call(calls.what_if_gallery(gallery, operation, **options))

    async def delete_gallery(self, gallery: str, *, force: bool = False, etag: str = "") -> gallery_pb2.ErasureReceipt:
        """See `Client`."""
        answer = await self._call(calls.delete_gallery(gallery, force, etag))
        return answer.receipt

    # Identities

    async def create_identity(
        self, gallery: str, identity: str, **fields: Unpack[IdentityOptions]
    ) -> gallery_pb2.Identity:
        """See `Client`."""
        return await self._call(calls.create_identity(gallery, identity, **fields))

    async def get_identity(self, gallery: str, identity: str) -> gallery_pb2.Identity:
        """See `Client`."""
        return await self._call(calls.get_identity(gallery, identity))

    def identities(
        self, gallery: str, *, labels: Mapping[str, str] | None = None
    ) -> AsyncIterator[gallery_pb2.Identity]:
        """See `Client`."""
        return self._pages(lambda token: calls.list_identities(gallery, labels or {}, token), "identities")

    async def update_identity(
        self, gallery: str, identity: str, *, etag: str = "", **fields: Unpack[IdentityOptions]
    ) -> gallery_pb2.Identity:
        """See `Client`."""
        return await self._call(calls.update_identity(gallery, identity, etag, **fields))

    async def move_identity(
        self, gallery: str, identity: str, new_id: str, *, merge: bool = False
    ) -> gallery_pb2.Identity:
        """See `Client`."""
        return await self._call(calls.move_identity(gallery, identity, new_id, merge))

    async def delete_identity(
        self, gallery: str, identity: str, *, force: bool = False, etag: str = ""
    ) -> gallery_pb2.ErasureReceipt:
        """See `Client`."""
        answer = await self._call(calls.delete_identity(gallery, identity, force, etag))
        return answer.receipt

    # Templates

    async def get_template(self, gallery: str, identity: str, template: str) -> gallery_pb2.Template:
        """See `Client`."""
        return await self._call(calls.get_template(gallery, identity, template))

    def templates(self, gallery: str, identity: str) -> AsyncIterator[gallery_pb2.Template]:
        """See `Client`."""
        return self._pages(lambda token: calls.list_templates(gallery, identity, token), "templates")

    async def update_template(
        self, gallery: str, identity: str, template: str, *, expire_time: datetime | None
    ) -> gallery_pb2.Template:
        """See `Client`."""
        return await self._call(calls.update_template(gallery, identity, template, expire_time))

    async def delete_template(self, gallery: str, identity: str, template: str) -> gallery_pb2.ErasureReceipt:
        """See `Client`."""
        answer = await self._call(calls.delete_template(gallery, identity, template))
        return answer.receipt

    async def erasure_receipt(self, receipt: str) -> gallery_pb2.ErasureReceipt:
        """See `Client`."""
        return await self._call(calls.get_erasure_receipt(receipt))

    def erasure_receipts(self, gallery: str = "") -> AsyncIterator[gallery_pb2.ErasureReceipt]:
        """See `Client`."""
        return self._pages(lambda token: calls.list_erasure_receipts(gallery, token), "erasure_receipts")

    async def server_info(self) -> system_service_pb2.GetServerInfoResponse:
        """See `Client`."""
        return await self._call(calls.server_info())

    async def _pages(self, page: Callable[[str], Call[Any]], items: str) -> AsyncIterator[Any]:
        token = ""
        while True:
            answer = await self._call(page(token))
            for item in getattr(answer, items):
                yield item
            token = answer.next_page_token
            if not token:
                return

    async def _call(self, call: Call[Answer]) -> Answer:
        rpc: Any = self._channel.unary_unary(
            f"/sameface.v1.{call.service}/{call.rpc}",
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.answer.FromString,
        )
        attempts = Attempts(call, time.monotonic() + self._timeout_s, self._unreachable_s)
        while True:
            try:
                left_s = max(0.0, attempts.deadline - time.monotonic())
                answer: Answer = await rpc(call.request, timeout=left_s, metadata=self._metadata)
                return answer
            except grpc.RpcError as failed:
                error = ServiceError.of(failed)
            if attempts.already_done(error):
                return call.answer()
            pause = attempts.pause(error, time.monotonic(), random.random())  # noqa: S311  # spreads, guards nothing
            if pause is None:
                raise error
            await asyncio.sleep(pause)


async def _each(samples: AsyncIterable[SampleLike] | Iterable[SampleLike]) -> AsyncIterator[SampleLike]:
    if isinstance(samples, AsyncIterable):
        async for sample in samples:
            yield sample
    else:
        for sample in samples:
            yield sample
