"""The watcher of the local Triton reads files in threads, not on the event loop, and is told when a process ends."""

import asyncio
import errno
import itertools
import os
import sys
import threading
from pathlib import Path

import grpc
import pytest

from sameface.errors import ModelUnavailable
from sameface.inference.base import Tensors
from sameface.inference.cards import read_cards
from sameface.inference.local import server
from sameface.inference.local.canaries import QUESTIONS, failed_canaries, hangs
from sameface.inference.local.process import Endings, stub_processes
from sameface.inference.local.runtime import require_runtime
from sameface.inference.local.server import LocalTriton
from sameface.inference.onnx import OnnxInference
from sameface.inference.triton import TritonInference
from sameface.settings import cache_folder, model_repository_source
from tests.inference.silent_triton import SilentTriton, listening


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


async def test_a_server_that_answers_calls_or_refuses_questions_does_not_hang() -> None:
    for code, answered, expected in (
        (None, lambda: 0, (True, QUESTIONS)),
        (None, itertools.count().__next__, (False, QUESTIONS + 1)),
        (None, iter([0, 0, 1, 2, 2, 2]).__next__, (False, QUESTIONS + 1)),
        (None, iter([0, 1, 1, 1, 1, 1]).__next__, (True, QUESTIONS + 1)),
        (grpc.StatusCode.UNAVAILABLE, lambda: 0, (False, 1)),
    ):
        triton = SilentTriton(code)
        async with listening(triton) as address:
            client = TritonInference(address, timeout_s=0.05, recovery_s=0.0)
            assert (await hangs(client, answered), triton.asked) == expected
            await client.aclose()


async def test_models_that_fail_are_told_apart_from_those_with_wrong_outputs(tmp_path: Path) -> None:
    """Run on the models of this process: those of a Triton take longer to start."""
    cards = read_cards(model_repository_source())
    wrong, away = (card for card in cards if card.model == "face_embedder" and card.version in (1, 2))
    (well,) = (card for card in cards if card.model == "face_detector")
    spoiled = wrong.golden.model_copy(update={"output": tuple(reversed(wrong.golden.output))})
    wrong = wrong.model_copy(update={"golden": spoiled})

    class Failing(OnnxInference):
        async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
            if (model, version) == (away.model, away.version):
                raise ModelUnavailable("its process ended")
            return await super().run(model, version, inputs)

    client = Failing(model_repository_source())
    for failing, reason in (((wrong, away, well), "MODEL_CHECK_FAILED"), ((away, well), "MODEL_UNAVAILABLE")):
        assert await failed_canaries(client, failing, tmp_path / "none") == {"face_embedder": reason}
    assert await failed_canaries(client, (well,), tmp_path / "none") == {}
    await client.aclose()


async def sleeper() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", "import sys; sys.stdin.read()", stdin=-1)


async def test_the_end_of_any_process_is_told_once() -> None:
    processes, endings = [await sleeper() for _ in range(3)], Endings()
    assert endings.watch([process.pid for process in processes])
    assert not await endings.wait(0.0)
    for process in (processes[1], processes[0]):
        process.kill()
        assert await endings.wait(60.0) == {process.pid}
        assert not await endings.wait(0.0)
    endings.close()
    processes[2].kill()
    await processes[2].wait()
    assert not await endings.wait(0.0)


async def test_a_process_that_ended_before_it_was_watched_is_told_too() -> None:
    process, endings = await sleeper(), Endings()
    process.kill()
    await process.wait()
    endings.watch([process.pid])
    assert await endings.wait(0.0) == {process.pid}


async def test_it_is_known_where_the_kernel_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(pid: int) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", unknown)
    endings = Endings()
    assert not endings.watch([os.getpid()])
    assert not await endings.wait(0.0)
