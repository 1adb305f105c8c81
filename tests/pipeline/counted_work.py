"""Counts the work of one verification: calls, thread hops, runs of models, large allocations. Never time.

The counts depend on the code, not on the machine or its load. They are taken in this process with Python's profiler and
tracemalloc, in this thread and in all threads that start while it is watched.
"""

import sys
import threading
import tracemalloc
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias
from unittest.mock import patch

import sameface
import sameface_qdrant
from sameface.inference.onnx import OnnxInference

Work: TypeAlias = dict[str, Tally[str]]
"""By kind: how often, by the name of the function."""
OWN = tuple(str(Path(module.__file__ or "").parent) for module in (sameface, sameface_qdrant))
NOT_COUNTED = ("asyncio", "threading.py", "concurrent", "selectors.py", "logging", "tests", "benchmarks")
"""Their calls depend on which thread comes first, or are this module's own."""
LARGE = 16 << 10
"""Bytes from which an allocation counts as large. A crop has 37 KB, a photo of 250×250 pixels 188 KB."""
DECODERS = {"imdecode", "decode_image", "decode"}
PARSERS = {"FromString", "ParseFromString", "MergeFromString", "SerializeToString"}


class Counter:
    """Counts what happens while a call is made."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._last = 0
        self._counting = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch this thread, and every thread that starts in the block."""
        submit, run = ThreadPoolExecutor.submit, OnnxInference.run

        def counted_submit(pool: ThreadPoolExecutor, call: Callable[..., Any], *args: Any, **more: Any) -> Any:
            self._note("thread hops", getattr(call, "__qualname__", type(call).__name__))
            return submit(pool, call, *args, **more)

        async def counted_run(inference: OnnxInference, model: str, version: int, inputs: Mapping[str, Any]) -> Any:
            self._note("runs of models", model)
            self._note("bytes to models", model, sum(tensor.nbytes for tensor in inputs.values()))
            return await run(inference, model, version, inputs)

        with (
            patch.object(ThreadPoolExecutor, "submit", counted_submit),
            patch.object(OnnxInference, "run", counted_run),
        ):
            threading.setprofile(self._profile)
            sys.setprofile(self._profile)
            try:
                yield
            finally:
                sys.setprofile(None)
                threading.setprofile(None)

    async def least_work(self, call: Callable[[], Awaitable[object]], times: int) -> Work:
        """Return for each kind the smallest count of several calls: what the call cannot do without."""
        least: Work = {}
        tracemalloc.start()
        try:
            for _ in range(times):
                for kind, tally in (await self._work_of(call)).items():
                    if kind not in least or tally.total() < least[kind].total():
                        least[kind] = tally
        finally:
            tracemalloc.stop()
        return least

    async def _work_of(self, call: Callable[[], Awaitable[object]]) -> Work:
        self._counts.clear()
        self._last, self._counting = tracemalloc.get_traced_memory()[0], True
        try:
            await call()
        finally:
            self._counting = False
        work: Work = {}
        for (kind, name), count in self._counts.items():
            work.setdefault(kind, Tally())[name] = count
        return work

    def _note(self, kind: str, name: str, number: int = 1) -> None:
        if self._counting:
            self._counts[kind, name] = self._counts.get((kind, name), 0) + number

    def _profile(self, frame: FrameType, event: str, called: Any) -> None:
        if not self._counting:
            return
        code = frame.f_code
        if event == "call":
            if code.co_filename.startswith(OWN):
                self._note("calls of own functions", code.co_qualname)
                if code.co_name in DECODERS:
                    self._note("decoding", code.co_qualname)
            elif not any(part in code.co_filename for part in NOT_COUNTED):
                self._note("calls of others' functions", code.co_qualname)
        elif event == "c_call":
            if called.__name__ in DECODERS:
                self._note("decoding", f"{called.__name__} in {code.co_qualname}")
            elif called.__name__ in PARSERS:
                self._note("messages parsed and encoded", f"{called.__name__} in {code.co_qualname}")
        now = tracemalloc.get_traced_memory()[0]
        if now - self._last >= LARGE:
            self._note("large allocations", code.co_qualname)
            self._note("kilobytes of them", code.co_qualname, (now - self._last) // 1000)
        self._last = now


def above(work: Work, limits: Mapping[str, int], usual: Work | None = None) -> dict[str, str]:
    """Return the kinds above their limits: how much, and the functions that count most, or that grew over ``usual``."""
    lines = {}
    for kind, limit in limits.items():
        tally = work.get(kind, Tally())
        if tally.total() > limit:
            names = tally - usual.get(kind, Tally()) if usual else tally
            most = ", ".join(f"{name} {count}" for name, count in names.most_common(8))
            lines[kind] = f"{tally.total()}, limit {limit}: {most}"
    return lines
