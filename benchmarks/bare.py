"""The bare models as contenders: detector and embedder in ONNX Runtime on pixels that are ready, and nothing else."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.in_turns import Turn
from benchmarks.load import Load, measure_load
from sameface.inference.cards import EMBEDDER
from sameface.inference.onnx import open_session
from sameface.pipeline.detector import DETECTOR, DETECTOR_VERSION
from sameface.vision import ImageLimits, decode_image, detector_input

LONGEST_SIDE = 640
"""Longest side of the detector's input, as the service has it by default."""


class BareModels:
    """Runs the detector on the pixels of a photo as the service would see them, and the embedder on a crop."""

    def __init__(self, repository: Path, version: int, photo: bytes) -> None:
        """``version`` is that of the embedder."""
        self._paths = [
            repository / model / str(number) / "model.onnx"
            for model, number in ((DETECTOR, DETECTOR_VERSION), (EMBEDDER, version))
        ]
        crop = np.random.default_rng(1).integers(0, 256, (1, 3, 112, 112), np.uint8)
        self._runs: dict[int, list[Callable[[], Any]]] = {}
        self._inputs = [detector_input(decode_image(photo, ImageLimits()).pixels, LONGEST_SIDE)[0], crop]

    def contender(self, threads: int, at_once: int) -> Turn:
        """Return a contender: ``at_once`` runs at the same time, each with sessions of its own with so many threads."""
        # Contenders never work at the same time, so those with as many threads share sessions.
        open_runs = self._runs.setdefault(threads, [])
        open_runs += [self._run(threads) for _ in range(at_once - len(open_runs))]
        runs = open_runs[:at_once]
        pool = ThreadPoolExecutor(at_once)

        async def turn(seconds: float) -> Load:
            free = list(runs)
            loop = asyncio.get_running_loop()

            async def call() -> None:
                run = free.pop()
                await loop.run_in_executor(pool, run)
                free.append(run)

            return await measure_load(call, at_once, seconds, {"models": [os.getpid()]})

        return turn

    def _run(self, threads: int) -> Callable[[], Any]:
        sessions = [open_session(path, threads) for path in self._paths]
        return lambda: [one.run(None, {"images": images}) for one, images in zip(sessions, self._inputs, strict=True)]
