"""A Triton of which parts are silent: it takes their calls and never answers them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc


class SilentTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Says that it is ready, and does not answer calls of models. ``metadata_code`` refuses questions at once."""

    def __init__(self, metadata_code: grpc.StatusCode | None = None) -> None:
        self.metadata_code, self.asked = metadata_code, 0

    async def ServerReady(self, request: object, context: object) -> object:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=True)

    async def ServerMetadata(self, request: object, context: Any) -> object:  # noqa: N802
        self.asked += 1
        if self.metadata_code is not None:
            await context.abort(self.metadata_code, "refused")
        return await asyncio.Event().wait()

    async def ModelInfer(self, request: object, context: object) -> object:  # noqa: N802
        return await asyncio.Event().wait()


@asynccontextmanager
async def listening(triton: SilentTriton) -> AsyncIterator[str]:
    """Serve, and return the address."""
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
