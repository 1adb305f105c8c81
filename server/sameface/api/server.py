"""The gRPC server itself: services, health, reflection, limits, drain."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sameface.api.admission import Admission, Limits
from sameface.api.face_service import FaceServicer
from sameface.api.gallery_service import GalleryServicer
from sameface.api.interceptor import RequestGuard
from sameface.api.system_service import ServedParts, SystemServicer
from sameface.errors import RuntimeMissing
from sameface.pipeline.operations import FaceOperations
from sameface.v1 import (
    face_service_pb2,
    face_service_pb2_grpc,
    gallery_service_pb2,
    gallery_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
)

log = logging.getLogger(__name__)

LAST_ANSWERS_S = 0.25
HEALTH_WATCHERS = 64
MAX_CONNECTION_AGE_S = 600

SERVICES = (
    face_service_pb2.DESCRIPTOR.services_by_name["FaceService"].full_name,
    gallery_service_pb2.DESCRIPTOR.services_by_name["GalleryService"].full_name,
    system_service_pb2.DESCRIPTOR.services_by_name["SystemService"].full_name,
)


@dataclass(slots=True)
class ApiServer:
    """A listening server with its health; made by `start_server`."""

    port: int
    admission: Admission
    _server: grpc.aio.Server
    _health: health.aio.HealthServicer

    async def set_serving(self, serving: bool) -> None:
        """Tell health checks whether requests would be answered."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *SERVICES):
            await self._health.set(service, status)

    async def drain(self, grace_s: float, hurrying: asyncio.Event | None = None) -> None:
        """Say NOT_SERVING, refuse new requests, and let those in flight finish for at most ``grace_s`` seconds.

        ``hurrying`` ends the wait. Streams that never end by themselves (a health watch) are not waited for.
        """
        await self._health.enter_graceful_shutdown()
        self.admission.draining.set()
        if self.admission.in_flight:
            log.info("draining: %d requests in flight, at most %g s", self.admission.in_flight, grace_s)
        stopping = asyncio.create_task(self._server.stop(grace_s))
        waits: list[asyncio.Task[Any]] = [stopping, asyncio.create_task(self.admission.idle(LAST_ANSWERS_S))]
        if hurrying is not None:
            waits.append(asyncio.create_task(hurrying.wait()))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits[1:]:
            wait.cancel()
        # The last answers are on their way out still; the shortest grace that was given counts.
        await self._server.stop(0.0 if hurrying is not None and hurrying.is_set() else min(grace_s, LAST_ANSWERS_S))
        await stopping


async def start_server(
    listen: str,
    *,
    operations: FaceOperations,
    parts: ServedParts,
    limits: Limits,
    max_message_bytes: int,
) -> ApiServer:
    """Listen on ``host:port`` (port 0 picks a free one) and serve; health starts as SERVING.

    Raises:
        RuntimeMissing: the address cannot be bound.
    """
    admission = Admission(limits)
    server = grpc.aio.server(
        interceptors=[RequestGuard(admission)],
        # The guard answers with a reason; this bounds what is held of requests that have not been received whole.
        maximum_concurrent_rpcs=2 * limits.requests + limits.streams + HEALTH_WATCHERS,
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            # Two servers must not share a port without knowing of each other.
            ("grpc.so_reuseport", 0),
            # A client that vanished without a word is noticed, and one may ask as often whether the server is there.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            # Connections end now and then, so that clients look for new replicas; calls on them finish first.
            ("grpc.max_connection_age_ms", MAX_CONNECTION_AGE_S * 1000),
        ],
    )
    face_service_pb2_grpc.add_FaceServiceServicer_to_server(FaceServicer(operations, admission), server)
    gallery_service_pb2_grpc.add_GalleryServiceServicer_to_server(GalleryServicer(operations.store, operations), server)
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(SystemServicer(parts), server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise RuntimeMissing(
            f"cannot listen on {listen}: the address is in use or not of this machine; choose another with --listen",
            metadata={"listen": listen},
        ) from error
    await server.start()
    api = ApiServer(port=port, admission=admission, _server=server, _health=health_servicer)
    await api.set_serving(True)
    return api
