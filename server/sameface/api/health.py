"""grpc.health.v1: says for each name whether calls would be answered. Names: `sameface.health.parts.NEEDS`.

Every answer lists, as trailing metadata, the parts that do not serve, whatever the name that was asked for needs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sameface.health.parts import AWAY, LIVE, NEEDS, PartHealth, away, is_serving

PartsHealth = Callable[[], Mapping[str, PartHealth]]
_SERVING, _NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Answers from the health of the parts at the moment of the check. Watches: `sameface.api.always_answered`."""

    def __init__(self, parts: PartsHealth) -> None:
        self._parts = parts
        self._stopping = False

    def stop_serving(self) -> None:
        """Answer NOT_SERVING from now on, except for the name that only says that the process answers."""
        self._stopping = True

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse:
        """Return the status of a name."""
        if request.service not in NEEDS:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"the names are {_KNOWN}")
        parts = self._parts()
        if missing := away(parts):
            context.set_trailing_metadata(
                tuple((AWAY, f"{name} {one.since:.3f} {one.reason}") for name, one in missing.items())
            )
        stopping = self._stopping and request.service != LIVE
        serving = not stopping and is_serving(request.service, parts)
        return health_pb2.HealthCheckResponse(status=_SERVING if serving else _NOT_SERVING)


_KNOWN = ", ".join(repr(name) for name in NEEDS)
