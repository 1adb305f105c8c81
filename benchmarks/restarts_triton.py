"""A Triton beside a service, which starts it again when it ends."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sameface.inference.cards import read_cards
from sameface.inference.local.runtime import require_runtime
from sameface.inference.local.server import LocalTriton
from sameface.settings import cache_folder, model_repository_source


@contextmanager
def remote_triton() -> Iterator[LocalTriton]:
    """A Triton beside the service, restarted by whoever started it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    repository = model_repository_source()

    async def started() -> LocalTriton:
        triton = LocalTriton(repository, require_runtime(cache_folder()), read_cards(repository))
        await triton.start()
        return triton

    triton = run(started())
    try:
        yield triton
    finally:
        run(triton.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
