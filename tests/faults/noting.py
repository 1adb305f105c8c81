"""The client of the package, which tells of every attempt that it makes."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from sameface.client import AsyncClient
from sameface.client.errors import ServiceError
from tests.faults.attempts import OK, Attempt, Road

ROADS = {"VerifyFace": Road.PHOTO, "EnrollTemplate": Road.PHOTO}


class NotingClient(AsyncClient):
    """The client of the package. It tells of each attempt."""

    def __init__(self, address: str, note: Callable[[Attempt], None], timeout_s: float) -> None:
        super().__init__(address, timeout_s=timeout_s)
        self._note = note

    @property
    def _channel(self) -> Any:
        return _NotingChannel(super()._channel, self._note)


class _NotingChannel:
    def __init__(self, channel: grpc.aio.Channel, note: Callable[[Attempt], None]) -> None:
        self._opened, self._note = channel, note

    async def close(self) -> None:
        await self._opened.close()

    def unary_unary(self, path: str, **serializers: Any) -> Callable[..., Awaitable[Any]]:
        rpc: Any = self._opened.unary_unary(path, **serializers)
        road = ROADS.get(path.rpartition("/")[2], Road.STORE)

        async def attempt(request: Any, **options: Any) -> Any:
            began = time.monotonic()
            try:
                answer = await rpc(request, **options)
            except grpc.RpcError as failed:
                error = ServiceError.of(failed)
                # That somebody is not there is an answer like any other.
                told = OK if error.reason == "IDENTITY_NOT_FOUND" else f"{error.code.name} {error.reason}".strip()
                self._note(Attempt(road, began, time.monotonic(), told))
                raise
            self._note(Attempt(road, began, time.monotonic(), OK))
            return answer

        return attempt
