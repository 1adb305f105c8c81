"""Whatever the path of a call, the server answers it or closes its connection, and goes on with all others."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.launcher import served
from sameface.v1 import system_service_pb2, system_service_pb2_grpc
from tests.transport.attacker import CHECK, GET_GALLERY, Attacker

NOT_UTF8 = b"\xff\xfe\x80"
ODD = [
    b"/" + NOT_UTF8,
    NOT_UTF8,
    GET_GALLERY.encode() + NOT_UTF8,
    CHECK.encode() + b"\xc3",  # a character that is cut
    b"/sameface.v1." + NOT_UTF8 + b"/GetGallery",
    b"/\xed\xa0\x80",  # half of a pair
    b"/\xc0\xaf",  # longer than needed
    b"/\0",
    b"/%ff",
    b"",
    b"*",
    b"/" + NOT_UTF8 * 1000,
    *(b"/a" + bytes([byte]) + b"a" for byte in range(0x80, 0x100, 7)),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real service."""
    folder = tmp_path_factory.mktemp("paths")
    with served(folder / "data", folder / "log", ["--inference", "onnx"]) as service:
        yield service.address


async def send(address: str, path: bytes) -> None:
    """Make a call, and wait until the server has answered it or has closed the connection."""
    one = await Attacker.connect(address)
    call = one.call(path)
    await one.flush()
    async with asyncio.timeout(5):
        while call not in one.ended and not one.closed:
            one.changed.clear()
            await one.changed.wait()
    assert one.answers.get(call, {}).get("grpc-status") != "0"
    await one.close()


async def answers_others(address: str) -> None:
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        system: Any = system_service_pb2_grpc.SystemServiceStub(channel)
        assert (await system.GetServerInfo(system_service_pb2.GetServerInfoRequest(), timeout=5)).models


async def test_odd_paths_end_no_server(address: str) -> None:
    for path in ODD:
        await send(address, path)
        await answers_others(address)


@settings(max_examples=60)
@given(path=st.binary(max_size=100))
async def test_no_path_ends_the_server(address: str, path: bytes) -> None:
    await send(address, path)
    await answers_others(address)
