"""A service in this process that asks who calls: real models, a store in memory, TLS."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from sameface.access.access import Access, AccessOptions
from sameface.access.api_keys import KeyFile
from sameface.access.caller import Grant
from sameface.access.rates import RateOptions
from sameface.access.roles import Role
from sameface.access.tls import TlsOptions
from sameface.api.admission import Limits
from sameface.api.server import NO_RATES, SERVICES, start_server
from sameface.api.system_service import ServedParts
from sameface.audit.recorder import Recorder
from sameface.client import AsyncClient
from sameface.http.config import Bounds
from sameface.http.options import HttpOptions
from sameface.http.server import HttpServer
from sameface.inference.cards import EMBEDDER, read_cards
from sameface.inference.defaults import ChosenVersion
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.settings import model_repository_source
from sameface_qdrant import Contract, Policy, Store
from tests.access.authorities import Authority, Issued
from tests.conftest import SINGLE_PASS


@dataclass(frozen=True, slots=True)
class Guarded:
    """A running service, and what its operator has."""

    address: str
    store: Store
    contract: Contract
    keys: KeyFile
    authority: Authority
    server: Issued
    http: str = ""
    """Address of HTTP, if it was asked for."""

    def key(self, *roles: Role, gallery: str = "staff") -> str:
        """Make an API key with roles in a gallery."""
        return self.keys.create("test", (Grant(gallery, frozenset(roles)),) if roles else (), None)[1]

    def channel_credentials(self, client: Issued | None = None) -> grpc.ChannelCredentials:
        """TLS that trusts the service's authority, with a client certificate if there is one."""
        pair = (None, None) if client is None else (client.key.read_bytes(), client.certificate.read_bytes())
        return grpc.ssl_channel_credentials(self.authority.path.read_bytes(), *pair)

    def client(self, key: str = "", certificate: Issued | None = None) -> AsyncClient:
        """A client with an API key or token."""
        metadata = [("authorization", f"Bearer {key}")] if key else []
        credentials = self.channel_credentials(certificate)
        return AsyncClient(self.address, credentials=credentials, metadata=metadata, unreachable_s=2.0)


@asynccontextmanager
async def guarded(
    folder: Path,
    *,
    mutual: bool = False,
    rates: RateOptions = NO_RATES,
    recorder: Recorder | None = None,
    server_info: bool = True,
    http: HttpOptions | None = None,
    required: bool = True,
    **options: Any,
) -> AsyncIterator[Guarded]:
    """Start a service, with a gallery ``staff``. HTTP is not encrypted, unless its options say so."""
    authority = Authority("authority", folder)
    server = authority.issue("localhost", file="server")
    access = AccessOptions(required=required, keys=folder / "access" / "keys.json", **options)
    tls = TlsOptions(server.certificate, server.key, authority.path if mutual else None)
    repository = model_repository_source()
    cards = read_cards(repository)
    version = SINGLE_PASS
    store = await Store.open(":memory:")
    inference = OnnxInference(repository)
    checking = Access(access)
    limits = Limits(requests=16, request_bytes=64 << 20, streams=4, stream_idle_s=60.0)
    beside = None
    if http is not None:
        bounds = Bounds(limits.arrive_s, limits.calls_per_connection)
        beside = HttpServer(http, grpc_tls=TlsOptions(), bounds=bounds, services=SERVICES, threads=2)
    api = await start_server(
        "127.0.0.1:0",
        operations=FaceOperations(PhotoPipeline(inference), store, cards, version),
        parts=ServedParts("onnxruntime", "", "", store.description, cards, ChosenVersion(version, "settings", "")),
        limits=limits,
        max_message_bytes=36 << 20,
        access=checking,
        rates=rates,
        recorder=recorder,
        tls=tls,
        server_info=server_info,
        http_socket=beside.socket if beside else None,
    )
    contract = next(card.contract for card in cards if (card.model, card.version) == (EMBEDDER, version))
    await store.galleries.create("staff", contract, policy=Policy(verify_threshold=0.4, identify_threshold=0.5))
    assert access.keys is not None
    try:
        if beside:
            await beside.start()
        reached = f"http://{beside.address}" if beside else ""
        yield Guarded(f"localhost:{api.port}", store, contract, KeyFile(access.keys), authority, server, reached)
    finally:
        await api.drain(0.0)
        if beside:
            await beside.stop()
        await checking.aclose()
        await store.aclose()
        await inference.aclose()


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    """One service for a file of tests."""
    folder = tmp_path_factory.mktemp("guarded")
    async with guarded(folder) as started:
        yield started
    shutil.rmtree(folder)
