"""One verification does no needless work: counts in one process, with limits, and never time.

Where a limit is exceeded, the message names the functions that count most. If the work is needed, raise the limit. If
a change saves work, lower it, so that the guard stays sharp.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from benchmarks.service_calls import ServiceCalls
from benchmarks.verification import PROBE, REFERENCE, photo_250
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.operations import FaceOperations
from sameface.service import Started, run_service
from sameface.settings import Settings
from sameface.v1 import face_pb2
from sameface.vision import ImageLimits, decode_image
from sameface_qdrant.concurrency import in_thread
from tests.conftest import PORTRAITS
from tests.pipeline.counted_work import Counter, Work, above

LIMITS = {
    "runs of models": 2,
    "bytes to models": 256 * 256 * 3 + 112 * 112 * 3,
    "decoding": 2,
    "thread hops": 1,
    "messages parsed and encoded": 1,
    "large allocations": 16,
    "kilobytes of them": 920,
    "calls of own functions": 560,
    "calls of others' functions": 230,
}
SHARP = 1.3
"""A limit that is so many times what was counted no longer guards."""
TIMES = 4


@dataclass(frozen=True, slots=True)
class Watched:
    """A service in this process, a call that verifies a photo there, and the work of that call."""

    counter: Counter
    verify: Callable[[], Awaitable[object]]
    work: Work


@pytest.fixture(scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    settings = Settings(inference="onnx", listen="127.0.0.1:0", data_dir=folder)
    counter = Counter()
    ready: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
    with counter.watching():
        serving = asyncio.create_task(run_service(settings, ready.set_result))
        serving.add_done_callback(lambda ended: ready.cancel())
        calls = ServiceCalls((await ready).address)
        reference, probe = (photo_250(PORTRAITS / name) for name in (REFERENCE, PROBE))
        await calls.prepare(reference)
        verify = calls.verify(probe)
        await verify()
        yield Watched(counter, verify, await counter.least_work(verify, TIMES))
        await calls.aclose()
        serving.cancel()
        await asyncio.wait([serving])
        # The service listens to these for as long as its process lives, which here goes on without it.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


async def test_a_verification_does_no_more_work_than_its_limits(watched: Watched) -> None:
    assert above(watched.work, LIMITS) == {}


async def test_the_limits_are_near_what_is_counted(watched: Watched) -> None:
    counted = {kind: watched.work[kind].total() for kind in LIMITS}
    assert {kind: (counted[kind], limit) for kind, limit in LIMITS.items() if limit > SHARP * counted[kind]} == {}


async def copied_tensors(run: Callable[..., Any], self: Any, model: str, version: int, inputs: Any) -> Any:
    return await run(self, model, version, {name: tensor.copy() for name, tensor in inputs.items()})


async def second_run(run: Callable[..., Any], self: Any, model: str, version: int, inputs: Any) -> Any:
    await run(self, model, version, inputs)
    return await run(self, model, version, inputs)


async def second_decoding(
    verify: Callable[..., Any], self: Any, gallery: str, identity: str, sample: Any, **more: Any
) -> Any:
    decode_image(sample.content, ImageLimits())
    return await verify(self, gallery, identity, sample, **more)


async def another_hop(verify: Callable[..., Any], *args: Any, **more: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        await in_thread(pool, len, ())
    return await verify(*args, **more)


async def second_parsing(
    verify: Callable[..., Any], self: Any, gallery: str, identity: str, sample: Any, **more: Any
) -> Any:
    face_pb2.Sample.FromString(b"")
    return await verify(self, gallery, identity, sample, **more)


async def many_small_calls(verify: Callable[..., Any], self: Any, *args: Any, **more: Any) -> Any:
    for _ in range(100):
        self.embedder_card()
    return await verify(self, *args, **more)


@pytest.mark.parametrize(
    ("place", "method", "change", "kinds"),
    [
        (OnnxInference, "run", copied_tensors, {"large allocations", "kilobytes of them"}),
        (OnnxInference, "run", second_run, {"runs of models", "bytes to models"}),
        (FaceOperations, "verify", second_decoding, {"decoding"}),
        (FaceOperations, "verify", another_hop, {"thread hops"}),
        (FaceOperations, "verify", second_parsing, {"messages parsed and encoded"}),
        (FaceOperations, "verify", many_small_calls, {"calls of own functions"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_needless_work_is_noticed(
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
    place: type,
    method: str,
    change: Callable[..., Any],
    kinds: set[str],
) -> None:
    before = getattr(place, method)

    async def changed(*args: Any, **more: Any) -> Any:
        return await change(before, *args, **more)

    monkeypatch.setattr(place, method, changed)
    work = await watched.counter.least_work(watched.verify, 1)
    assert kinds <= above(work, LIMITS, watched.work).keys()
