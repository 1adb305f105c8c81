"""The watcher of the local Triton reads files in threads, not on the event loop."""

import asyncio
import threading

import pytest

from sameface.inference.cards import read_cards
from sameface.inference.local import server
from sameface.inference.local.process import stub_processes
from sameface.inference.local.runtime import require_runtime
from sameface.inference.local.server import LocalTriton
from sameface.settings import cache_folder, model_repository_source


@pytest.mark.triton
async def test_the_table_of_processes_is_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = model_repository_source()
    triton = LocalTriton(repository, require_runtime(cache_folder()), read_cards(repository))
    await triton.start()
    loop, threads, seen = asyncio.get_running_loop(), list[threading.Thread](), asyncio.Event()

    def watched(pid: int) -> dict[int, str]:
        threads.append(threading.current_thread())
        loop.call_soon_threadsafe(seen.set)
        return stub_processes(pid)

    try:
        monkeypatch.setattr(server, "stub_processes", watched)
        await seen.wait()
    finally:
        await triton.stop()
    assert threads[0] is not threading.main_thread()
