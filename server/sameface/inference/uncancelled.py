"""Awaits a call of gRPC without ever cancelling it."""

import asyncio
from typing import Any


async def uncancelled(call: Any) -> Any:
    """Return the answer of a unary call of `grpc.aio`. If its task is cancelled, wait for the answer all the same.

    Otherwise gRPC would keep about 1 KB of the call for ever (https://github.com/grpc/grpc/issues/43360). And what the
    call uses, such as memory that is shared with the server, must stay until the server has answered. The call needs
    a deadline.

    Raises:
        grpc.aio.AioRpcError: the call failed.
    """
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    call.add_done_callback(tell)
    cancelled = False
    while not ended.done():
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return await call
