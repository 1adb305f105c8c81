"""The gRPC server itself: services, health, reflection, limits, drain."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sameface.access.access import OPEN, Access
from sameface.access.rates import RateOptions, Rates
from sameface.access.tls import TlsOptions, server_credentials
from sameface.addresses import is_loopback
from sameface.api.admission import Admission, Limits
from sameface.api.face_service import FaceServicer
from sameface.api.gallery_service import GalleryServicer
from sameface.api.health import HealthServicer, PartsHealth
from sameface.api.interceptor import RequestGuard
from sameface.api.migration_service import MigrationServicer
from sameface.api.system_service import ServedParts, SystemServicer
from sameface.audit.recorder import Recorder
from sameface.errors import ServerEnded
from sameface.listening import unavailable
from sameface.pipeline.operations import FaceOperations
from sameface.v1 import (
    face_service_pb2,
    face_service_pb2_grpc,
    gallery_service_pb2,
    gallery_service_pb2_grpc,
    migration_service_pb2,
    migration_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
)

log = logging.getLogger(__name__)

LAST_ANSWERS_S = 0.25
LOOK_S = 1.0
"""Seconds between looks at whether gRPC's server has failed."""
MAX_CONNECTION_AGE_S = 600

NO_TLS, NO_RATES = TlsOptions(), RateOptions()

SERVICES = (
    face_service_pb2.DESCRIPTOR.services_by_name["FaceService"].full_name,
    gallery_service_pb2.DESCRIPTOR.services_by_name["GalleryService"].full_name,
    migration_service_pb2.DESCRIPTOR.services_by_name["MigrationService"].full_name,
    system_service_pb2.DESCRIPTOR.services_by_name["SystemService"].full_name,
)
METHODS = {
    method.name: f"{service.full_name}/{method.name}"
    for file in (face_service_pb2, gallery_service_pb2, migration_service_pb2, system_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""The full name of each rpc."""


@dataclass(slots=True)
class ApiServer:
    """A listening server with its health service. `start_server` creates it."""

    port: int
    admission: Admission
    _server: grpc.aio.Server
    _health: HealthServicer

    async def until_ended(self) -> NoReturn:
        """Wait until gRPC's server ends by itself. It can do so after a defect in gRPC.

        Raises:
            ServerEnded: it has ended, and takes no more calls.
        """
        failure: Exception | None = None
        try:
            # Only a wait that times out tells of a failure while calls are open.
            while await self._server.wait_for_termination(LOOK_S):
                pass
        except Exception as error:
            failure = error
        raise ServerEnded(f"gRPC's server has ended unasked: {failure!r}") from failure

    async def drain(self, grace_s: float, aborting: asyncio.Event | None = None) -> None:
        """Report NOT_SERVING, refuse new requests, and wait at most ``grace_s`` seconds for requests in flight.

        ``aborting`` ends the wait. Health watches are not waited for, because they never end by themselves.
        """
        self._health.stop_serving()
        self.admission.draining.set()
        if self.admission.in_flight:
            log.info("draining: waiting at most %g s for %d requests in flight", grace_s, self.admission.in_flight)
        stopping = asyncio.create_task(self._server.stop(grace_s))
        waits: list[asyncio.Task[Any]] = [stopping, asyncio.create_task(self.admission.idle(LAST_ANSWERS_S))]
        if aborting is not None:
            waits.append(asyncio.create_task(aborting.wait()))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits[1:]:
            wait.cancel()
        # The last responses may still be on their way. gRPC uses the shortest grace period that it was given.
        await self._server.stop(0.0 if aborting is not None and aborting.is_set() else min(grace_s, LAST_ANSWERS_S))
        await stopping


def warn_if_open(listen: str, access_required: bool) -> None:
    """Log a warning if other machines can reach an address and callers need no credentials."""
    if not access_required and not is_loopback(listen.rpartition(":")[0]):
        log.warning("everybody who reaches %s may do everything: access.required is not set", listen)


async def start_server(
    listen: str,
    *,
    operations: FaceOperations,
    parts: ServedParts,
    limits: Limits,
    max_message_bytes: int,
    access: Access = OPEN,
    rates: RateOptions = NO_RATES,
    recorder: Recorder | None = None,
    tls: TlsOptions = NO_TLS,
    reflect: bool = True,
    server_info: bool = True,
    http_socket: Path | None = None,
    parts_health: PartsHealth = dict,
) -> ApiServer:
    """Listen on ``host:port`` (port 0 chooses a free port) and serve. ``parts_health`` tells which parts answer.

    Calls of HTTP come over ``http_socket``. Whoever can reach it tells what connection a call comes from, see
    `sameface.api.connections`.

    Raises:
        InvalidArgument: the certificate or its key cannot be used.
        AddressUnavailable: the server cannot listen on the address.
    """
    admission, counted = Admission(limits), Rates(rates)
    server = grpc.aio.server(
        # Not maximum_concurrent_rpcs: it refuses everybody without a reason, health checks too.
        interceptors=[RequestGuard(admission, access, counted, recorder, max_message_bytes)],
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            # Streams that were reset count until we have seen them, so nobody can open them faster than we work.
            ("grpc.max_concurrent_streams", limits.calls_per_connection),
            # Otherwise gRPC lets more and more of a request in before we read it.
            ("grpc.http2.bdp_probe", 0),
            # No compressed requests: 30 KB could become 30 MiB. Photos are compressed already.
            ("grpc.compression_enabled_algorithms_bitset", 1),
            # Calls of all methods wait in one queue of gRPC's. It would cancel some of anybody's at random once more
            # than 1,000 wait. Connections and their calls are bounded, so no more than these wait.
            ("grpc.server.max_pending_requests", 100_000),
            ("grpc.server.max_pending_requests_hard_limit", 200_000),
            # Without this, a second server could share the port unnoticed.
            ("grpc.so_reuseport", 0),
            # Detect clients that vanished, and allow clients to send pings as often.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            # Close old connections, so that clients find new replicas. Calls on them finish first.
            ("grpc.max_connection_age_ms", MAX_CONNECTION_AGE_S * 1000),
        ],
    )
    face_service_pb2_grpc.add_FaceServiceServicer_to_server(FaceServicer(operations, admission, counted), server)
    gallery_service_pb2_grpc.add_GalleryServiceServicer_to_server(GalleryServicer(operations.store, operations), server)
    migration_servicer = MigrationServicer(operations)
    migration_service_pb2_grpc.add_MigrationServiceServicer_to_server(migration_servicer, server)
    system_servicer = SystemServicer(parts, server_info, parts_health)
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(system_servicer, server)
    health_servicer = HealthServicer(parts_health)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    if reflect:
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    credentials = server_credentials(tls)
    try:
        port = server.add_secure_port(listen, credentials) if credentials else server.add_insecure_port(listen)
    except RuntimeError as error:
        raise unavailable(
            listen, "the address is in use, or does not belong to this machine; choose another one"
        ) from error
    if http_socket is not None:
        server.add_insecure_port(f"unix:{http_socket}")
    await server.start()
    warn_if_open(listen, access.required)
    return ApiServer(port=port, admission=admission, _server=server, _health=health_servicer)
