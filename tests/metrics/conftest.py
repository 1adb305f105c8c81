"""A service in this process that was used in known ways, and what it says of that."""

import asyncio
import io
import signal
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from sameface.access.api_keys import KeyFile
from sameface.access.tls import TlsOptions
from sameface.client import AsyncClient, ServiceError
from sameface.service import Started, run_service
from sameface.settings import Settings
from tests.access.authorities import Authority
from tests.conftest import PORTRAITS

ADA, GRACE = "barack_obama.jpg", "rishi_sunak.jpg"
NAMES = ("quillon-7731", "Zephyrine Quillon", "ward-xylo", "consent-qx-55", "zyx-purpose")
"""Id, display name, label, consent and purpose of somebody who is enrolled."""
DAY_S = 86400.0
LISTED, UNLISTED = "listed-gallery", "unlisted-gallery"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True, slots=True)
class Scraped:
    """What a service exports."""

    text: str
    samples: Samples
    metrics_address: str
    client: AsyncClient
    audit: Path
    """Folder of its audit log."""

    def value(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]


def samples_of(text: str) -> Samples:
    """Return the value of each series of a scrape."""
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def scrape(address: str, **headers: str) -> str:
    """Read the metrics."""
    request = urllib.request.Request(f"http://{address}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        text: str = answer.read().decode()
    return text


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Started]:
    """Serve in this process."""
    ready: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(run_service(settings, ready.set_result))
    serving.add_done_callback(lambda ended: ready.cancel())
    try:
        yield await ready
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        # The service listens to these for as long as its process lives, which here goes on without it.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


def blank() -> bytes:
    """A photo without a face."""
    file = io.BytesIO()
    Image.new("RGB", (96, 96), (90, 120, 150)).save(file, "JPEG")
    return file.getvalue()


async def use(client: AsyncClient) -> None:
    """Make the calls that the tests count: see the numbers beside them."""
    ada, grace = ((PORTRAITS / name).read_bytes() for name in (ADA, GRACE))
    person, name, label, consent, purpose = NAMES
    for gallery in (LISTED, UNLISTED):
        await client.create_gallery(gallery)
        await client.enroll(
            gallery,
            person,
            ada,
            display_name=name,
            labels={"ward": label},
            consent_reference=consent,
            purpose=purpose,
        )
    await client.enroll(LISTED, "someone-else", grace)
    await client.verify(LISTED, person, ada)
    await client.verify(LISTED, person, ada)
    await client.verify(LISTED, person, grace)
    await client.identify(LISTED, grace)
    for photo in (blank(), b"\xff\xd8\xff\xe0 no photo"):
        with suppress(ServiceError):
            await client.verify(LISTED, person, photo)
    async for _ in client.identify_stream(LISTED, [grace, blank()]):
        pass
    with suppress(ServiceError):
        await client.verify(LISTED, "nobody-8812", ada)


@pytest.fixture(scope="module")
async def scraped(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scraped]:
    folder = tmp_path_factory.mktemp("measured")
    issued = Authority("authority", folder).issue("faces", lasts=timedelta(days=2))
    KeyFile(folder / "access" / "keys.json").create("test", (), time.time() + 3 * DAY_S)
    values: dict[str, Any] = {
        "metrics": {"listen": "127.0.0.1:0", "galleries": (LISTED,), "count_every_s": 0.1, "reuse_s": 0.0},
        "audit": {"enabled": True},
        "http": {"tls": TlsOptions(issued.certificate, issued.key)},
    }
    settings = Settings(inference="onnx", listen="127.0.0.1:0", data_dir=folder, sweep_s=0.1, **values)
    async with running(settings) as started, AsyncClient(started.address) as client:
        await use(client)
        await asyncio.sleep(0.3)  # what is in the store is counted again
        text = await asyncio.to_thread(scrape, started.metrics)
        yield Scraped(text, samples_of(text), started.metrics, client, folder / "audit")
