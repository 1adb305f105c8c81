"""Health and reflection answer an honest connection, however many others hold on to them."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from sameface.api import always_answered
from sameface.api.always_answered import AlwaysAnswered
from sameface.api.answers import Answers
from sameface.api.receiving import Parser
from tests.transport.attacker import CHECK, WATCH, Attacker

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Guard(grpc.aio.ServerInterceptor):
    def __init__(self) -> None:
        self._always = AlwaysAnswered(Parser(), Answers(1 << 20, 30.0))

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], handler_call_details: Any) -> Any:
        return self._always.guarded(handler_call_details.method, await continuation(handler_call_details))


@dataclass(slots=True)
class Served:
    """A server with nothing but health and reflection."""

    address: str
    health: health.aio.HealthServicer

    def channel(self) -> grpc.aio.Channel:
        """A connection of its own."""
        return grpc.aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])


@pytest.fixture
async def start() -> AsyncIterator[Callable[[], Awaitable[Served]]]:
    servers: list[grpc.aio.Server] = []

    async def started() -> Served:
        server = grpc.aio.server(interceptors=[Guard()])
        servers.append(server)
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        reflection.enable_server_reflection((reflection.SERVICE_NAME,), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return Served(f"127.0.0.1:{port}", servicer)

    yield started
    for server in servers:
        await server.stop(0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # the server tells nobody
        await asyncio.sleep(0.01)


async def status_of_a_check(served: Served) -> str:
    """Return the status of a check that has a connection of its own, and shares no thread with the server."""
    caller = await Attacker.connect(served.address)
    stream = caller.call(CHECK)
    await caller.flush()
    await until(lambda: stream in caller.ended)
    await caller.close()
    return caller.answers[stream]["grpc-status"]


async def test_checks_without_a_message_hold_up_no_other(
    start: Callable[[], Awaitable[Served]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Even if a turn never ends.
    monkeypatch.setattr(always_answered, "TURN_S", 3600.0)
    served = await start()
    attackers = [await Attacker.connect(served.address) for _ in range(200)]
    for one in attackers:
        one.begin(CHECK)
        await one.flush()
    assert await status_of_a_check(served) == "0"
    assert not any(one.ended for one in attackers)
    for one in attackers:
        await one.close()


async def test_a_check_has_a_turn_among_more_than_there_are(start: Callable[[], Awaitable[Served]]) -> None:
    served = await start()
    flood = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.transport.flood", served.address, "150", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert flood.stdout is not None
        async with asyncio.timeout(60):
            assert await flood.stdout.readline() == b"flooded\n"
        for _ in range(5):
            assert await status_of_a_check(served) == "0"
        assert flood.returncode is None
    finally:
        flood.kill()
        await flood.wait()


async def test_the_oldest_watch_of_a_connection_with_more_gives_way(
    start: Callable[[], Awaitable[Served]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(always_answered, "MOST_WATCHES", 8)
    served = await start()
    attackers = [await Attacker.connect(served.address) for _ in range(2)]
    watches = [(one, one.call(WATCH)) for one in attackers for _ in range(4)]
    for one in attackers:
        await one.flush()
    await until(lambda: all(watch in one.answers for one, watch in watches))
    async with served.channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        honest = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        assert [(await watch.read()).status for watch in honest] == [SERVING, SERVING]
        await until(lambda: sum(len(one.ended) for one in attackers) == 2)
        assert {one.answers[watch]["grpc-status"] for one in attackers for watch in one.ended} == {"8"}
        # The oldest one of each: they have three left.
        assert [one.ended for one in attackers] == [{1}, {1}]
        # A watch that has ended keeps no change from the others.
        await served.health.set("", NOT_SERVING)
        assert [(await watch.read()).status for watch in honest] == [NOT_SERVING, NOT_SERVING]
    for one in attackers:
        await one.close()


async def test_a_watch_of_an_unknown_service_ends(start: Callable[[], Awaitable[Served]]) -> None:
    served = await start()
    async with served.channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for _ in range(20):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                async for _ in stub.Watch(health_pb2.HealthCheckRequest(service="nothing")):
                    pass
            assert failed.value.code() == grpc.StatusCode.NOT_FOUND


async def test_reflections_give_way_too(start: Callable[[], Awaitable[Served]]) -> None:
    served = await start()
    channels = [served.channel() for _ in range(3)]
    request = reflection_pb2.ServerReflectionRequest(list_services="")

    async def reflected(channel: grpc.aio.Channel) -> Any:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast(Any, channel))
        call = stub.ServerReflectionInfo()
        await call.write(request)
        assert (await call.read()).list_services_response.service
        return call

    held = [await reflected(channel) for channel in channels[:2] for _ in range(2)]
    honest = await reflected(channels[2])
    assert await held[0].code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert not any(call.done() for call in [*held[1:], honest])
    for channel in channels:
        await channel.close()
