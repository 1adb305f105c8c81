"""A caller is known by its key, over whichever connection it calls."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from sameface.access.roles import Role
from sameface.client import ServiceError
from sameface.v1 import face_service_pb2, face_service_pb2_grpc
from tests.access.conftest import Guarded

Request = face_service_pb2.StreamIdentifyFacesRequest


async def opened(service: Guarded, channel: grpc.aio.Channel, key: str) -> ServiceError | None:
    """Open a stream that stays open, and return the error if it is refused."""

    async def messages() -> AsyncIterator[Request]:
        yield Request(settings=Request.Settings(gallery="galleries/staff"))
        await asyncio.Event().wait()

    faces: Any = face_service_pb2_grpc.FaceServiceStub(channel)
    stream = faces.StreamIdentifyFaces(messages(), metadata=[("authorization", f"Bearer {key}")])
    try:
        await stream.initial_metadata()
        if not stream.done():
            return None
        await stream.read()
    except grpc.aio.AioRpcError as failed:
        return ServiceError.of(failed)
    return None


async def test_connections_of_one_caller_share_its_streams_and_leave_one_to_another(service: Guarded) -> None:
    greedy, other = service.key(Role.IDENTIFIER), service.key(Role.IDENTIFIER)
    credentials = service.channel_credentials()
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        grpc.aio.secure_channel(service.address, credentials, options) as one,
        grpc.aio.secure_channel(service.address, credentials, options) as two,
    ):
        # The service allows four streams.
        assert [await opened(service, channel, greedy) for channel in (one, two, one)] == [None, None, None]
        refused = await opened(service, two, greedy)
        assert refused is not None
        assert (refused.reason, refused.retry_after_s) == ("SERVER_BUSY", 1.0)
        assert await opened(service, two, other) is None
