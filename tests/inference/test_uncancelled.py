"""Calls that are given up leave nothing behind in gRPC, and end before what they use is freed."""

import asyncio
import ctypes
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest

from sameface.inference.uncancelled import uncancelled

Given = Callable[[], Awaitable[None]]


class Mallinfo(ctypes.Structure):
    """What glibc's mallinfo2(3) returns."""

    _fields_ = [(f"field{number}", ctypes.c_size_t) for number in range(10)]

    @property
    def in_use(self) -> int:
        """In the heap (uordblks), and in maps of their own (hblkhd)."""
        return int(self.field7 + self.field4)


def bytes_in_use() -> int:
    """Return how many bytes this process has asked malloc for and not freed."""
    gc.collect()
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo
    return int(mallinfo2().in_use)


@asynccontextmanager
async def serving(handler: Any) -> AsyncIterator[grpc.aio.Channel]:
    """Serve one handler under every name; yield a channel."""

    class Everything(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return handler

    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Everything()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


async def kept_per_call(give_up: Given, calls: int) -> float:
    """Return how many bytes stay in use of each call that is given up."""
    for _ in range(20):
        await asyncio.gather(*(give_up() for _ in range(4)))
    before = bytes_in_use()
    for _ in range(calls // 4):
        await asyncio.gather(*(give_up() for _ in range(4)))
    await asyncio.sleep(0.05)
    return (bytes_in_use() - before) / calls


async def cancelled(task: "asyncio.Task[Any]", after_s: float) -> None:
    await asyncio.wait([task], timeout=after_s)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_task_that_is_cancelled_waits_for_the_answer() -> None:
    answering, ended = asyncio.Event(), []

    async def answer(request: bytes, context: Any) -> bytes:
        await answering.wait()
        ended.append(request)
        return b"answer"

    async with serving(grpc.unary_unary_rpc_method_handler(answer)) as channel:
        call: Any = channel.unary_unary("/a/b")
        task = asyncio.ensure_future(uncancelled(call(b"first", timeout=10)))
        for _ in range(2):
            await asyncio.sleep(0.02)
            task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done()
        assert not ended
        answering.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [b"first"]
        assert await uncancelled(call(b"second", timeout=10)) == b"answer"
        answering.clear()
        with pytest.raises(grpc.aio.AioRpcError, match="DEADLINE_EXCEEDED"):
            await uncancelled(call(b"third", timeout=0.05))


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="asks glibc 2.33 or newer what is in use")
async def test_a_call_that_is_given_up_leaves_nothing_in_use() -> None:
    async def answer(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(0.004)
        return request

    async with serving(grpc.unary_unary_rpc_method_handler(answer)) as channel:
        call: Any = channel.unary_unary("/a/b")

        async def give_up() -> None:
            await cancelled(asyncio.ensure_future(uncancelled(call(b"x" * 1000, timeout=10))), 0.001)

        assert await kept_per_call(give_up, 400) < 300
