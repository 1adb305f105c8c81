"""A service whose gRPC server ends unasked ends too, with an error: somebody can then start it again."""

import asyncio
import signal
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from sameface import service
from sameface.api.admission import Admission, Limits
from sameface.api.health import HealthServicer
from sameface.api.server import ApiServer
from sameface.errors import ServerEnded
from sameface.service import run_service


class Failing:
    """Does as gRPC's server does after a failure while a call is open: a wait for its end raises once it times out."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        await asyncio.sleep(3600 if timeout is None else timeout)
        if self.failure:
            raise self.failure
        return True

    async def stop(self, grace: float | None) -> None:
        pass


def opened(monkeypatch: pytest.MonkeyPatch, server: Any) -> None:
    """Let services open nothing but this server."""

    async def opening(*_: object) -> tuple[ApiServer, object]:
        admission = Admission(Limits(4, 1 << 20, 4, stream_idle_s=60.0))
        return ApiServer(0, admission, server, HealthServicer(dict)), object()

    monkeypatch.setattr(service, "_open", opening)


@pytest.fixture(autouse=True)
async def _signals() -> AsyncIterator[None]:
    yield
    # A service listens to these for as long as its process lives, which here goes on without it.
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


SETTINGS: Any = SimpleNamespace(drain_s=0.0)


async def test_a_server_that_was_stopped_unasked_ends_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    opened(monkeypatch, server)
    stopping: list[asyncio.Task[None]] = []

    def stop(_: object) -> None:
        stopping.append(asyncio.create_task(server.stop(None)))

    async with asyncio.timeout(5):
        with pytest.raises(ServerEnded):
            await run_service(SETTINGS, stop)


async def test_a_server_that_failed_while_a_call_is_open_ends_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sameface.api.server.LOOK_S", 0.01, raising=False)
    server = Failing()
    opened(monkeypatch, server)

    def fail(_: object) -> None:
        server.failure = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    async with asyncio.timeout(5):
        with pytest.raises(ServerEnded, match="invalid start byte"):
            await run_service(SETTINGS, fail)


async def test_a_signal_ends_the_service_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    server = grpc.aio.server()
    await server.start()
    opened(monkeypatch, server)
    async with asyncio.timeout(5):
        await run_service(SETTINGS, lambda _: signal.raise_signal(signal.SIGTERM))
