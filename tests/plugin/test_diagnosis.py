"""Why no encrypted connection can be made is told at once, with the real cause."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sameface.service import open_store
from sameface.settings import Settings
from sameface_qdrant import Store
from sameface_qdrant.engines.server.diagnosis import encryption_fault
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import StoreUnavailable
from tests.plugin.wire import Double

# Made for these tests alone; valid for 127.0.0.1 and localhost.
TLS = Path(__file__).parents[1] / "data" / "tls"
CERTIFICATE = TLS / "certificate.pem"


@asynccontextmanager
async def listening(*, encrypted: bool) -> AsyncIterator[str]:
    """The URL of something that listens, and speaks TLS or plain bytes."""
    context = None
    if encrypted:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE, TLS / "key.pem")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no TLS, and no gRPC either\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_the_cause_is_told() -> None:
    async with listening(encrypted=True) as url:
        assert "certificate refused: self-signed" in await encryption_fault(url, ServerOptions())
        assert await encryption_fault(url, ServerOptions(ca_certificate=CERTIFICATE)) == ""
        assert await encryption_fault(url.replace("https", "http"), ServerOptions()) == ""
    async with listening(encrypted=False) as url:
        assert "TLS handshake failed" in await encryption_fault(url, ServerOptions())
    assert await encryption_fault(url, ServerOptions()) == ""


async def test_a_store_names_an_unknown_authority() -> None:
    async with listening(encrypted=True) as url:
        with pytest.raises(StoreUnavailable, match=r"certificate refused: self-signed.*check .* CA") as error:
            await Store.open(url, options=ServerOptions(timeout_s=5, retries=0))
    assert error.value.retry_after_s is None


@pytest.mark.filterwarnings("ignore:Api key is used")
async def test_a_service_does_not_wait_for_a_server_that_refuses_its_key(tmp_path: Path) -> None:
    double = await Double(api_key="right").start()
    settings = Settings(qdrant_url=double.url, qdrant_api_key="wrong", data_dir=tmp_path, startup_s=600)
    with pytest.raises(StoreUnavailable, match="refuses this API key"):
        await open_store(settings, asyncio.get_running_loop().time() + 600)
    assert double.log == ["Qdrant/HealthCheck"]
    await double.stop()
