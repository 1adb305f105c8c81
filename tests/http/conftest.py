"""A service in this process that asks who calls, with HTTP beside it."""

import shutil
from collections.abc import AsyncIterator

import httpx
import pytest

from sameface.http.options import HttpOptions
from tests.access.conftest import Guarded, guarded

ORIGIN = "https://app.example"


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    """One service for a file of tests."""
    folder = tmp_path_factory.mktemp("http")
    async with guarded(folder, http=HttpOptions("127.0.0.1:0", origins=(ORIGIN,), header_s=1.0)) as started:
        yield started
    shutil.rmtree(folder)


@pytest.fixture
async def client(service: Guarded) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it, without credentials."""
    async with httpx.AsyncClient(base_url=service.http, trust_env=False, timeout=30) as opened:
        yield opened
