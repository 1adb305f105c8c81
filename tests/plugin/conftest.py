"""A store of every engine, and vectors to fill it with.

If ``QDRANT_URL`` names a Qdrant server (and ``QDRANT_API_KEY`` its key), the tests also run on it. They remove what
they make there.
"""

import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import Contract, Store
from sameface_qdrant.engines.server.client import connect
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.values.vectors import Vector
from tests.plugin.third_engine import SqliteEngine

CONTRACT = Contract("voices", version=1, sha256="a" * 64, dimension=8, preprocessing="none")
QDRANT_URL, QDRANT_API_KEY = os.environ.get("QDRANT_URL", ""), os.environ.get("QDRANT_API_KEY") or None
PassBy = Callable[[datetime], None]
needs_server = pytest.mark.skipif(not QDRANT_URL, reason="QDRANT_URL names no Qdrant server")
ENGINES = ["memory", "edge", "sqlite", pytest.param("server", marks=needs_server)]
ON_DISK = {"edge", "sqlite"}
"""Engines whose store still exists after it is closed and opened again in the same folder."""


@asynccontextmanager
async def cleared_server() -> AsyncIterator[tuple[AsyncQdrantClient, ServerOptions]]:
    """A client of the Qdrant server, and options whose collections are removed at the end."""
    options = ServerOptions(collection_prefix=f"sameface-test-{uuid.uuid4().hex[:12]}-", timeout_s=30)
    client = connect(QDRANT_URL, QDRANT_API_KEY, options)
    try:
        yield client, options
    finally:
        for found in (await client.get_collections()).collections:
            if found.name.startswith(options.collection_prefix):
                await client.delete_collection(found.name)
        await client.close()


@asynccontextmanager
async def opened_store(engine: str, folder: Path) -> AsyncIterator[Store]:
    """A store of an engine. It is empty, unless the engine is on disk and the folder was used before."""
    if engine == "server":
        async with cleared_server() as (_, options):
            store = await Store.open(QDRANT_URL, api_key=QDRANT_API_KEY, options=options)
            yield store
            await store.aclose()
        return
    if engine == "sqlite":
        store = await Store.over(SqliteEngine(folder))
    else:
        store = await Store.open(":memory:" if engine == "memory" else f"edge://{folder}")
    yield store
    await store.aclose()


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store."""
    async with opened_store(request.param, tmp_path / "store") as opened:
        yield opened


SOON = timedelta(minutes=5)
"""Longer than any test takes."""


@pytest.fixture
def pass_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Set the clock that stores compare expiry times with to a second after a moment."""
    real = time.time

    def set_clock(moment: datetime) -> None:
        ahead = moment.timestamp() - real() + 1.0
        monkeypatch.setattr(time, "time", lambda: real() + ahead)

    return set_clock


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded random generator."""
    return np.random.default_rng(20261124)


def random_vector(rng: np.random.Generator, dimension: int = CONTRACT.dimension) -> Vector:
    """A vector of random direction and length."""
    return rng.normal(size=dimension).astype(np.float32)


def near(vector: Vector, rng: np.random.Generator, distance: float = 0.1) -> Vector:
    """A vector close to another one."""
    return (vector + distance * rng.normal(size=vector.shape)).astype(np.float32)
