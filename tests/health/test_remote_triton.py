"""A remote Triton that is away, hangs, or runs a dead model is told; a busy one is not."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest

from sameface.errors import ModelUnavailable
from sameface.health import probes, watch
from sameface.health.probes import RemoteTriton
from sameface.health.watch import PartsWatch, Watched
from sameface.inference import triton as inference
from sameface.inference.cards import read_cards
from sameface.inference.local.runtime import require_runtime
from sameface.inference.local.server import LocalTriton
from sameface.inference.triton import TritonInference, TritonTimedOut
from sameface.settings import cache_folder, model_repository_source

pytestmark = pytest.mark.triton
REPOSITORY = model_repository_source()
CARDS = tuple(card for card in read_cards(REPOSITORY) if (card.model, card.version) == ("face_embedder", 1))
QUICK_S = 0.5


@dataclass(slots=True)
class Remote:
    """A Triton that nobody restarts, and a client as the watch uses it."""

    server: LocalTriton
    client: TritonInference

    def signal(self, number: int) -> None:
        os.kill(self.server.pid, number)


@pytest.fixture
async def remote(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Remote]:
    monkeypatch.setattr(inference, "READY_S", QUICK_S)
    monkeypatch.setattr(probes, "CANARY_S", 0.1)
    monkeypatch.setattr(watch, "AGAIN_S", 0.05)
    server = LocalTriton(REPOSITORY, require_runtime(cache_folder()), CARDS)
    await server.start()
    assert server._watcher is not None
    server._watcher.cancel()
    with suppress(asyncio.CancelledError):
        await server._watcher
    server._watcher = None
    client = TritonInference(server.grpc_url, timeout_s=2.0, recovery_s=0.0)
    yield Remote(server, client)
    await client.aclose()
    with suppress(ProcessLookupError):
        os.kill(server.pid, signal.SIGCONT)
    await server.stop()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # the time limit of the test bounds it
        await asyncio.sleep(0.02)


async def test_it_is_away_while_it_hangs_and_when_a_model_process_is_dead(remote: Remote) -> None:
    parts = PartsWatch()
    probe = RemoteTriton(CARDS, remote.client, dict)
    parts.add(Watched("models", probe.probe, 0.05, 10.0))

    def serving() -> bool:
        return parts.health()["models"].serving

    remote.signal(signal.SIGSTOP)
    await until(lambda: not serving())
    with pytest.raises(TritonTimedOut):
        await probe.probe()
    # A Triton that answers other calls meanwhile is busy, and not away.
    counts = iter(range(100))
    await RemoteTriton(CARDS, remote.client, lambda: {("face_detector", 1): next(counts)}).probe()
    remote.signal(signal.SIGCONT)
    await until(serving)

    for pid in remote.server.stubs:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: not serving())
    assert await remote.client.ready()
    assert parts.health()["models"].reason == "MODEL_UNAVAILABLE"
    await parts.aclose()

    remote.signal(signal.SIGKILL)
    while await remote.client.ready():  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    with pytest.raises(ModelUnavailable):
        await RemoteTriton(CARDS, remote.client, dict).probe()
