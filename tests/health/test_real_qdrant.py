"""A real Qdrant server that hangs, or is killed and started again. QDRANT_BIN names its program."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.restarts_qdrant import running_qdrant
from sameface.health import watch
from sameface.health.watch import PartsWatch, Watched
from sameface_qdrant import Store
from sameface_qdrant.engines.server.options import ServerOptions

PROGRAM = os.environ.get("QDRANT_BIN", "")
pytestmark = pytest.mark.skipif(not PROGRAM, reason="QDRANT_BIN names no program of a Qdrant server")


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # the time limit of the test bounds it
        await asyncio.sleep(0.02)


async def test_it_is_away_while_it_hangs_or_is_killed_and_serves_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "AGAIN_S", 0.1)
    with running_qdrant(Path(PROGRAM), tmp_path / "qdrant") as server:
        store = await Store.open(server.url, options=ServerOptions(timeout_s=1))
        parts = PartsWatch()
        parts.add(Watched("store", store.check_reads, 0.1, 3.0, 1))
        parts.add(Watched("writes", store.check_writes, 0.1, 3.0, 1))

        def serving() -> set[bool]:
            return {one.serving for one in parts.health().values()}

        await asyncio.sleep(1.0)
        assert serving() == {True}
        os.kill(server.process.pid, signal.SIGSTOP)
        await until(lambda: serving() == {False})
        os.kill(server.process.pid, signal.SIGCONT)
        await until(lambda: serving() == {True})
        server.process.kill()
        await until(lambda: serving() == {False})
        server.restart()
        await until(lambda: serving() == {True})
        await parts.aclose()
        await store.aclose()
