"""What a check of each name answers, over gRPC: while parts are away, and while the service stops."""

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sameface.api.health import HealthServicer
from sameface.health.parts import AWAY, LIVE, NEEDS, PartHealth

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_checks_name_the_parts_that_are_away_and_a_service_that_stops_serves_nobody() -> None:
    parts = {"models": PartHealth(True, 1.0), "writes": PartHealth(False, 1234.5678, "STORE_FULL")}
    servicer = HealthServicer(lambda: parts)
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)

        async def answers() -> dict[str, int]:
            return {name: (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status for name in NEEDS}

        call = stub.Check(health_pb2.HealthCheckRequest(service=LIVE))
        assert (await call).status == SERVING
        told = [value for key, value in await call.trailing_metadata() if key == AWAY]
        assert told == ["writes 1234.568 STORE_FULL"]
        assert await answers() == {name: NOT_SERVING if name == "writes" else SERVING for name in NEEDS}

        parts["writes"] = PartHealth(True, 2000.0)
        call = stub.Check(health_pb2.HealthCheckRequest())
        await call
        assert AWAY not in dict(await call.trailing_metadata())
        servicer.stop_serving()
        assert await answers() == {name: SERVING if name == LIVE else NOT_SERVING for name in NEEDS}

        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await stub.Check(health_pb2.HealthCheckRequest(service="model"))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        assert "'models'" in str(unknown.value.details())
    await server.stop(None)
