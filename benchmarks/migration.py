"""`python -m benchmarks migration`: how fast a gallery is mapped, and what that costs calls beside it.

A gallery on Qdrant Edge is filled, and indexed if it is large enough. Then verifications run one after another: first
alone, and then beside a migration at the rate of ``--rate``, in turns. At last the gallery is mapped without a bound,
with nothing beside it, promoted and rolled back. The map is affine. Vectors as in `benchmarks.plugin`.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.conditions import conditions
from benchmarks.plugin import CONTRACT, POLICY, Floats, multiplied
from sameface_qdrant import Enrolment, MigrationState, NewTemplate, OperatingPoint, Probe, Store
from sameface_qdrant.engines.edge.engine import EdgeEngine
from sameface_qdrant.values.migration import DEFAULT_RATE, HIGHEST_RATE
from sameface_qdrant.values.template_map import TemplateMap

NEW = replace(CONTRACT, version=CONTRACT.version + 1, sha256="f" * 64)
POINTS = (OperatingPoint(1e-4, 0.4),)
TURNS = 4
"""How often the calls alone and those beside a migration take turns."""


def main(arguments: Sequence[str]) -> None:
    """Measure and print; ``--json`` for programs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks migration", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--templates", type=int, default=100_000, help="templates, one a person (default 100,000)")
    parser.add_argument("--calls", type=int, default=2000, help="verifications alone and beside it (default 2000)")
    parser.add_argument("--rate", type=float, default=DEFAULT_RATE, help="templates a second beside the calls")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args(arguments)
    if options.templates < 1 or options.calls < TURNS or not 0 < options.rate <= HIGHEST_RATE:
        parser.error(f"expected --templates 1 or more, --calls {TURNS} or more, and --rate above 0")
    before = conditions()
    with Console(stderr=True).status("filling the gallery") as status:
        figures = asyncio.run(measure(options.templates, options.calls, options.rate, status.update))
    if options.json:
        json.dump({"conditions": before, "migration": figures}, sys.stdout, indent=2)
        print()
        return
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):40} {value:,}")


async def measure(templates: int, calls: int, rate: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures of one run; ``tell`` is told what is being measured."""
    vectors = multiplied(templates, 1, np.random.default_rng(1))[:, 0]
    with TemporaryDirectory(prefix="sameface-bench-") as folder:
        async with _filled(folder, vectors) as store:
            tell("verifying alone, and beside a migration")
            alone, beside = list[float](), list[float]()
            found = await store.migrations.create("bench", a_map(), operating_points=POINTS, rate=rate)
            for _ in range(TURNS):
                await store.migrations.resume("bench", found.id)
                beside += await _verified(store, vectors, calls // TURNS)
                await store.migrations.pause("bench", found.id)
                await asyncio.sleep(1.0)
                alone += await _verified(store, vectors, calls // TURNS)
            await store.migrations.cancel("bench", found.id)
            tell("mapping")
            began = time.perf_counter()
            found = await store.migrations.create("bench", a_map(), operating_points=POINTS, rate=HIGHEST_RATE)
            await _until_mapped(store, found.id)
            mapped_s = time.perf_counter() - began
            tell("promoting, and rolling back")
            promoted_s = await _timed(store.migrations.promote("bench", found.id))
            rolled_back_s = await _timed(store.migrations.roll_back("bench", found.id))
    return {
        "templates": templates,
        "mapping_s": round(mapped_s, 1),
        "mapped_per_s": round(templates / mapped_s),
        "promotion_s": round(promoted_s, 1),
        "rollback_s": round(rolled_back_s, 1),
        "rate_beside_calls": round(rate),
        "verify_alone_p50_ms": _percentile(alone, 50),
        "verify_beside_p50_ms": _percentile(beside, 50),
        "verify_alone_p95_ms": _percentile(alone, 95),
        "verify_beside_p95_ms": _percentile(beside, 95),
    }


async def _until_mapped(store: Store, migration: str) -> None:
    while (await store.migrations.get("bench", migration)).state is MigrationState.MAPPING:  # noqa: ASYNC110  # the state is stored
        await asyncio.sleep(0.1)


def a_map() -> TemplateMap:
    """An affine map to the new contract."""
    rng = np.random.default_rng(2)
    turned, _ = np.linalg.qr(rng.normal(size=(CONTRACT.dimension, CONTRACT.dimension)))
    bias = 0.01 * rng.normal(size=CONTRACT.dimension)
    return TemplateMap(CONTRACT, NEW, turned.astype(np.float32), bias.astype(np.float32), operating_points=POINTS)


@asynccontextmanager
async def _filled(folder: str, vectors: Floats) -> AsyncIterator[Store]:
    path = Path(folder, "store")
    store = await Store.open(f"edge://{path}")
    try:
        await store.galleries.create("bench", CONTRACT, policy=POLICY)
        enrolments = (
            Enrolment(f"id-{number}", [NewTemplate(vector, CONTRACT)]) for number, vector in enumerate(vectors)
        )
        async for result in store.enroll_many("bench", enrolments, batch_size=1000):
            assert result.error is None
    finally:
        await store.aclose()
    # A gallery that is in use has its index, and nothing is built beside it.
    engine = await EdgeEngine.open(path)
    try:
        await engine.ensure(CONTRACT.key, CONTRACT.dimension)
        building = engine._opened(CONTRACT.key).compaction
        if building is not None and (error := await building) is not None:
            raise error
    finally:
        await engine.aclose()
    store = await Store.open(f"edge://{path}")
    try:
        yield store
    finally:
        await store.aclose()


async def _verified(store: Store, vectors: Floats, calls: int) -> list[float]:
    """Verify stored people one after another; return the seconds of each call."""
    took = []
    for number in np.random.default_rng(3).integers(0, len(vectors), calls):
        took.append(await _timed(store.verify("bench", f"id-{number}", Probe(vectors[number], CONTRACT))))
    return took


async def _timed(call: Any) -> float:
    began = time.perf_counter()
    await call
    return time.perf_counter() - began


def _percentile(seconds: Sequence[float], percent: int) -> float:
    return round(1000 * float(np.percentile(seconds, percent)), 2)
