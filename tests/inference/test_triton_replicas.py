"""Several Tritons behind one name: a small name server, and servers that count their calls."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from sameface.inference.triton import TritonInference

HOSTS = ("127.0.0.2", "127.0.0.3")


class NameServer(asyncio.DatagramProtocol):
    """Answers every query for an IPv4 address with the present addresses."""

    def __init__(self) -> None:
        self.addresses = [HOSTS[0]]
        self.silent = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.silent:
            return
        end = data.index(b"\0", 12) + 5
        (kind,) = struct.unpack("!H", data[end - 4 : end - 2])
        answers = self.addresses if kind == 1 else []
        header = data[:2] + struct.pack("!HHHHH", 0x8580, 1, len(answers), 0, 0)
        records = (b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(address) for address in answers)
        self._transport.sendto(header + data[12:end] + b"".join(records), addr)


class Replica(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Reports that it is live, and returns an empty response to every call."""

    def __init__(self) -> None:
        self.asked = 0
        self.alone: list[bool] = []

    async def ServerLive(self, request: object, context: object) -> object:  # noqa: N802
        return service_pb2.ServerLiveResponse(live=True)

    async def ModelInfer(self, request: Any, context: object) -> object:  # noqa: N802
        self.asked += 1
        self.alone.append(request.parameters["alone"].bool_param)
        return service_pb2.ModelInferResponse()


Names: TypeAlias = tuple[NameServer, str]
Replicas: TypeAlias = tuple[dict[str, Replica], dict[str, grpc.aio.Server], int]


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    """A name server, and the prefix of a name that gRPC must resolve with it."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    yield server, f"dns://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    transport.close()


@pytest.fixture
async def replicas() -> AsyncIterator[Replicas]:
    """Two servers on the same port of two addresses."""
    with socket.socket() as probe:
        probe.bind((HOSTS[0], 0))
        port = probe.getsockname()[1]
    found, servers = {}, {}
    for host in HOSTS:
        found[host], servers[host] = Replica(), grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(found[host], servers[host])
        servers[host].add_insecure_port(f"{host}:{port}")
        await servers[host].start()
    yield found, servers, port
    for server in servers.values():
        await server.stop(None)


async def ask(inference: TritonInference, times: int) -> None:
    for _ in range(times):
        await inference.run("face_embedder", 1, {"images": np.zeros((1, 3, 112, 112), np.uint8)})


async def until_asked(inference: TritonInference, replica: Replica) -> None:
    before = replica.asked
    while replica.asked == before:
        await ask(inference, 1)
        await asyncio.sleep(0.02)


async def test_a_replica_that_is_added_gets_its_share_of_the_calls(names: Names, replicas: Replicas) -> None:
    (server, authority), (found, _, port) = names, replicas
    first, second = (found[host] for host in HOSTS)
    inference = TritonInference(f"{authority}/triton.test:{port}", timeout_s=2.0, resolve_again_s=0.2)
    steady = TritonInference(f"{authority}/triton.test:{port}", timeout_s=2.0)
    await ask(inference, 4)
    await ask(steady, 4)
    server.addresses = list(HOSTS)
    await asyncio.sleep(0.3)
    await ask(steady, 8)
    # Why this is needed: no connection was lost, so gRPC has not looked the name up again.
    assert (first.asked, second.asked) == (16, 0)
    await asyncio.wait_for(until_asked(inference, second), 10)
    before = (first.asked, second.asked)
    await ask(inference, 20)
    assert first.asked - before[0] >= 8
    assert second.asked - before[1] >= 8
    await steady.aclose()
    await inference.aclose()


async def test_a_replica_that_was_replaced_is_found_at_its_new_address(names: Names, replicas: Replicas) -> None:
    (server, authority), (found, servers, port) = names, replicas
    inference = TritonInference(f"{authority}/triton.test:{port}", timeout_s=2.0, recovery_s=10.0)
    await ask(inference, 2)
    server.addresses = [HOSTS[1]]
    await servers[HOSTS[0]].stop(None)
    # With its default gRPC would not look the name up for half a minute.
    await ask(inference, 4)
    assert found[HOSTS[1]].asked == 4
    await inference.aclose()


async def test_calls_go_on_where_the_name_can_no_longer_be_looked_up(names: Names, replicas: Replicas) -> None:
    (server, authority), (found, _, port) = names, replicas
    inference = TritonInference(f"{authority}/triton.test:{port}", timeout_s=2.0, recovery_s=0.0, resolve_again_s=0.05)
    await ask(inference, 2)
    server.silent = True
    for _ in range(10):
        await ask(inference, 1)
        await asyncio.sleep(0.05)
    assert found[HOSTS[0]].asked == 12
    await inference.aclose()


async def test_a_host_that_acknowledges_nothing_is_given_up_after_seconds(replicas: Replicas) -> None:
    _, _, port = replicas
    inference = TritonInference(f"{HOSTS[0]}:{port}", timeout_s=2.0)
    await ask(inference, 1)
    timeouts = []
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError), socket.socket(fileno=os.dup(number)) as connected:
            # On a machine with IPv6, gRPC uses it and writes the address as ::ffff:127.0.0.2.
            peer = connected.getpeername()
            if len(peer) > 1 and peer[0].endswith(HOSTS[0]) and peer[1] == port:
                timeouts.append(connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    assert timeouts == [5000]
    await inference.aclose()


async def test_a_request_says_that_it_is_alone_only_where_nothing_else_is_in_work(replicas: Replicas) -> None:
    found, _, port = replicas
    nothing_else = True
    inference = TritonInference(f"{HOSTS[0]}:{port}", timeout_s=2.0, tells_alone=lambda: nothing_else)
    silent = TritonInference(f"{HOSTS[0]}:{port}", timeout_s=2.0)
    await ask(inference, 2)
    await ask(silent, 1)
    nothing_else = False
    await ask(inference, 1)
    nothing_else = True
    await asyncio.gather(*(ask(inference, 1) for _ in range(3)))
    alone = found[HOSTS[0]].alone
    assert alone[:4] == [True, True, False, False]
    assert sorted(alone[4:]) == [False, False, True]
    await silent.aclose()
    await inference.aclose()
