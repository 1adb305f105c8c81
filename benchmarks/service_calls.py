"""Calls of a running service for `benchmarks.load.measure_load`, and a service with TLS, keys and the audit log."""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from sameface.access.api_keys import KeyFile
from sameface.access.caller import Grant
from sameface.client import ServiceError
from sameface.client.connection import CHANNEL_OPTIONS
from sameface.launcher import Service, served
from sameface.v1 import face_pb2, face_service_pb2, gallery_pb2, gallery_service_pb2
from tests.access.authorities import Authority

Call = Callable[[], Awaitable[object]]
IDENTITY = "someone"
CONNECTIONS = 4
"""Without credentials each connection counts as a caller, and a caller gets only a share of a busy service."""
WAIT_S = 0.02
"""Wait of a caller who was refused because the service is busy, if the service names no time."""
FACES, GALLERIES = "/sameface.v1.FaceService", "/sameface.v1.GalleryService"
CONFIG = """
[tls]
certificate = "{certificate}"
private_key = "{key}"
[access]
required = true
keys = "{keys}"
[audit]
enabled = true
"""


@dataclass(frozen=True, slots=True)
class Access:
    """What a client needs besides the address: channel credentials and a header; none for an open service."""

    authority: bytes | None = None
    key: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata of each call."""
        return (("authorization", f"Bearer {self.key}"),) if self.key else ()

    def channel(self, address: str) -> grpc.aio.Channel:
        """Open a connection of its own."""
        options = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))
        if self.authority is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(self.authority), options=options)


@contextmanager
def served_securely(folder: Path) -> Iterator[tuple[Service, Access]]:
    """Start a service with TLS, API keys and the audit log."""
    folder.mkdir()
    authority = Authority("authority", folder)
    issued = authority.issue("localhost", file="server")
    keys = folder / "keys.json"
    _, key = KeyFile(keys).create("bench", (Grant.of("*", ["admin"]),), None)
    config = folder / "config.toml"
    config.write_text(CONFIG.format(certificate=issued.certificate, key=issued.key, keys=keys))
    with served(folder / "data", folder / "log", ["--config", str(config)]) as service:
        yield service, Access(authority.path.read_bytes(), key)


class ServiceCalls:
    """Makes calls with requests that are encoded once. Answers are not decoded, so that a caller takes little time."""

    def __init__(self, address: str, access: Access | None = None) -> None:
        """Open the connections. Close them with `aclose`."""
        access = access or Access()
        self._metadata = access.metadata
        self._channels = [access.channel(address) for _ in range(CONNECTIONS)]
        self._turn = itertools.cycle(self._channels)
        self._enrolled = itertools.count()
        self.gallery = f"bench-{uuid.uuid4().hex[:12]}"
        self._prepared = False
        self.refused = 0
        """Calls that were refused because the service is busy. Each was made again."""

    async def aclose(self) -> None:
        """Remove the gallery and close the connections."""
        if self._prepared:
            gone = gallery_service_pb2.DeleteGalleryRequest(name=f"galleries/{self.gallery}", force=True)
            await self.send(f"{GALLERIES}/DeleteGallery", gone.SerializeToString())
        for channel in self._channels:
            await channel.close()

    async def prepare(self, photo: bytes) -> None:
        """Make the gallery, without guards at enrolment, and enrol a photo."""
        policy = gallery_pb2.Policy(
            on_collision=gallery_pb2.GUARD_ACTION_ALLOW,
            on_duplicate=gallery_pb2.GUARD_ACTION_ALLOW,
            on_outlier=gallery_pb2.GUARD_ACTION_ALLOW,
        )
        made = gallery_service_pb2.CreateGalleryRequest(
            gallery_id=self.gallery, gallery=gallery_pb2.Gallery(policy=policy)
        )
        await self.send(f"{GALLERIES}/CreateGallery", made.SerializeToString())
        self._prepared = True
        await self.send(f"{FACES}/EnrollTemplate", self._enrolment(IDENTITY, photo))

    def verify(self, photo: bytes) -> Call:
        """Return a call that verifies a photo."""
        name = f"galleries/{self.gallery}/identities/{IDENTITY}"
        request = face_service_pb2.VerifyFaceRequest(name=name, sample=face_pb2.Sample(photo=photo))
        content = request.SerializeToString()
        return lambda: self.send(f"{FACES}/VerifyFace", content)

    def identify(self, photo: bytes) -> Call:
        """Return a call that identifies the largest face of a photo."""
        request = face_service_pb2.IdentifyFacesRequest(
            gallery=f"galleries/{self.gallery}", sample=face_pb2.Sample(photo=photo)
        )
        content = request.SerializeToString()
        return lambda: self.send(f"{FACES}/IdentifyFaces", content)

    def enroll(self, photo: bytes) -> Call:
        """Return a call that enrols a photo under another new identity each time."""
        return lambda: self.send(f"{FACES}/EnrollTemplate", self._enrolment(f"p{next(self._enrolled)}", photo))

    def _enrolment(self, identity: str, photo: bytes) -> bytes:
        request = face_service_pb2.EnrollTemplateRequest(
            parent=f"galleries/{self.gallery}/identities/{identity}",
            sample=face_pb2.Sample(photo=photo),
            allow_missing=True,
        )
        return bytes(request.SerializeToString())

    async def send(self, path: str, content: bytes) -> bytes:
        """Send a request. If the service is busy, wait a moment and send it again."""
        channel = next(self._turn)
        while True:
            try:
                rpc: Any = channel.unary_unary(path)
                answer: bytes = await rpc(content, metadata=self._metadata)
                return answer
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                self.refused += 1
                await asyncio.sleep(ServiceError.of(error).retry_after_s or WAIT_S)


def operations_of(calls: ServiceCalls, photo: bytes) -> dict[str, Call]:
    """Return a call of each kind."""
    return {"verify": calls.verify(photo), "identify": calls.identify(photo), "enrol": calls.enroll(photo)}


def processes_text(cpu_ms: dict[str, float]) -> str:
    """Return the processor time of one call by process, as text."""
    return ", ".join(f"{role} {ms:.1f}" for role, ms in cpu_ms.items())
