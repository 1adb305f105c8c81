"""The benchmarks' own gRPC client: it reads what a gRPC server answers, and keeps to what the server allows."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from benchmarks.lean_client import Connection, header_block, literal_fields
from sameface.api.status import rich_status
from sameface.errors import ServerBusy

PATH = "/test.Service/Method"
REQUEST = b"r" * 20_000
STREAMS = 5


class Answering:
    """A server that answers every third call, refuses the next and is unavailable for the one after that."""

    def __init__(self) -> None:
        self.calls = self.open = self.most = 0
        self.requests: Counter[bytes] = Counter()
        self.deadlines: list[float] = []

    async def method(self, request: bytes, context: Any) -> bytes:
        number, self.calls, self.open = self.calls, self.calls + 1, self.open + 1
        self.most = max(self.most, self.open)
        self.requests[request] += 1
        self.deadlines.append(context.time_remaining())
        await asyncio.sleep(0.001)
        self.open -= 1
        if number % 3 == 1:
            busy = ServerBusy("busy", metadata={"in_flight": number, "limit": 1}, retry_after_s=1.25)
            await context.abort_with_status(rich_status(busy))
        if number % 3 == 2:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        return b"a" * 300


@pytest.fixture
async def served() -> AsyncIterator[tuple[Answering, str]]:
    answering, server = Answering(), grpc.aio.server(options=[("grpc.max_concurrent_streams", STREAMS)])
    handlers: Any = {"Method": grpc.unary_unary_rpc_method_handler(answering.method)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield answering, f"127.0.0.1:{port}"
    await server.stop(None)


async def test_many_calls_end_as_a_grpc_server_says(served: tuple[Answering, str]) -> None:
    answering, address = served
    connection = await Connection.open(address, PATH, REQUEST, 30.0, pauses=True)
    ends, over = Counter[tuple[int, float]](), asyncio.Event()

    def ended(code: int, pause_s: float) -> None:
        ends[code, pause_s] += 1
        if ends.total() == 60:
            over.set()

    for _ in range(60):  # more than the server lets in at a time, by streams and by bytes
        connection.call(ended)
    async with asyncio.timeout(20):
        await over.wait()
    connection.close()
    assert ends == {(0, 0.0): 20, (8, 1.25): 20, (14, 0.0): 20}
    assert answering.requests == {REQUEST: 60}
    assert answering.most <= STREAMS
    assert all(20 < left <= 30 for left in answering.deadlines)


async def test_calls_end_with_their_connection(served: tuple[Answering, str]) -> None:
    connection = await Connection.open(served[1], PATH, REQUEST, 30.0)
    ends: list[int] = []
    connection.call(lambda code, _: ends.append(code))
    connection.connection_lost(None)
    assert ends == [14]


def test_headers_are_read_as_they_are_written() -> None:
    path = "/" + "p" * 100
    block = header_block("host:1", path, 2.5)
    assert literal_fields(block) == {b"te": b"trailers", b"grpc-timeout": b"2500m"}
    long = b"\0\x04name\x7f\x99\x01" + b"v" * 280  # 127 + 0x19 + (1 << 7)
    assert literal_fields(b"\x20" + long) == {b"name": b"v" * 280}


@pytest.mark.parametrize("block", [b"\xbe", b"\0\x84abcd\x01v", b"\0\x01n\x81v"])
def test_headers_that_it_cannot_read_are_no_status(block: bytes) -> None:
    with pytest.raises(ValueError, match="of an answer"):
        literal_fields(block)
