"""`python -m benchmarks guards`: what guards cost `enroll_many`, beside the bulk write of Qdrant Edge alone.

One gallery for each size is filled without guards. Then streams of new identities with one template each are enrolled
into it, one stream after another, so the gallery grows a little meanwhile. The first stream with guards also reads the
gallery's vectors. The last stream gives a second template to identities that exist. Vectors as in `benchmarks.plugin`.
"""

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import qdrant_edge as edge
from rich.console import Console
from rich.table import Table

from benchmarks.plugin import CONTRACT, POLICY, Floats, multiplied
from sameface_qdrant import Enrolment, GuardAction, NewTemplate, Policy, PolicyChanges, Store
from sameface_qdrant.engines.base import VECTOR_NAME
from sameface_qdrant.engines.edge.shard import open_current

WARN = GuardAction.WARN
ALL = replace(POLICY, on_collision=WARN, on_duplicate=WARN, on_outlier=WARN)
STREAMS: dict[str, Policy] = {
    "no guards": POLICY,
    "all guards, first stream": ALL,
    "all guards": ALL,
    "collision alone": replace(POLICY, on_collision=WARN),
    "duplicate alone": replace(POLICY, on_duplicate=WARN),
    "outlier alone": replace(POLICY, on_outlier=WARN),
}
AGAIN = "all guards, second templates"


def main(arguments: Sequence[str]) -> None:
    """Measure and print; ``--json`` for programs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks guards", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stored", type=int, nargs="+", default=[0, 10_000, 50_000], help="templates before")
    parser.add_argument("--new", type=int, default=3000, help="templates of each stream (default 3000)")
    parser.add_argument("--batch", type=int, default=1000, help="batch_size (default 1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args(arguments)
    if options.new < 1 or min(options.stored) < 0 or not 1 <= options.batch <= 1000:
        parser.error("expected --new 1 or more, --stored 0 or more, --batch 1 to 1000")
    rows = []
    for stored in options.stored:
        rows += asyncio.run(measure(stored, options.new, options.batch))
    if options.json:
        json.dump({"guards": rows}, sys.stdout, indent=2)
        print()
    else:
        print_rows(rows, options.new, options.batch)


async def measure(stored: int, new: int, batch: int) -> list[dict[str, Any]]:
    """Return the rates of every stream with so many templates stored before."""
    vectors = multiplied(stored + (len(STREAMS) + 2) * new, 1, np.random.default_rng(1))[:, 0]
    rows = [_row(stored, "Edge alone, in bulk", new, *_edge_alone(vectors[-new:], batch))]
    with TemporaryDirectory(prefix="sameface-bench-") as folder:
        store = await Store.open(f"edge://{folder}/store")
        await store.galleries.create("bench", CONTRACT, policy=POLICY)
        await _enrol(store, _named(vectors, 0, stored), 1000)
        at = stored
        for name, policy in STREAMS.items():
            await _set(store, policy)
            rows.append(_row(stored, name, new, *await _enrol(store, _named(vectors, at, new), batch)))
            at += new
        await _set(store, ALL)
        second = [Enrolment(f"id-{stored + n}", [NewTemplate(vectors[at + n], CONTRACT)]) for n in range(new)]
        rows.append(_row(stored, AGAIN, new, *await _enrol(store, second, batch)))
        await store.aclose()
    return rows


def _row(stored: int, stream: str, new: int, seconds: float, processor_s: float) -> dict[str, Any]:
    return {
        "stored": stored,
        "stream": stream,
        "per_s": round(new / seconds),
        "processor_us": round(1e6 * processor_s / new),
    }


def _named(vectors: Floats, first: int, count: int) -> list[Enrolment]:
    return [Enrolment(f"id-{n}", [NewTemplate(vectors[n], CONTRACT)]) for n in range(first, first + count)]


async def _set(store: Store, policy: Policy) -> None:
    changes = PolicyChanges(
        on_collision=policy.on_collision, on_duplicate=policy.on_duplicate, on_outlier=policy.on_outlier
    )
    await store.galleries.update("bench", policy=changes)


async def _enrol(store: Store, enrolments: Sequence[Enrolment], batch: int) -> tuple[float, float]:
    """Enrol, and return the seconds by the clock and of the processor."""
    began, processor = time.perf_counter(), time.process_time()
    async for result in store.enroll_many("bench", enrolments, batch_size=batch):
        if result.error is not None:
            raise result.error
    return time.perf_counter() - began, time.process_time() - processor


def _edge_alone(vectors: Floats, batch: int) -> tuple[float, float]:
    """Write vectors with one payload field to a shard with the same indexes, flush it, and return the seconds."""
    with TemporaryDirectory(prefix="sameface-bench-") as folder:
        shard, _, _ = open_current(Path(folder) / "alone", CONTRACT.dimension)
        ids = [str(uuid.uuid4()) for _ in vectors]
        began, processor = time.perf_counter(), time.process_time()
        for first in range(0, len(vectors), batch):
            some = zip(ids[first : first + batch], vectors[first : first + batch], strict=True)
            points = [edge.Point(name, {VECTOR_NAME: vector.tolist()}, {"gallery": "g"}) for name, vector in some]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.flush()
        took = time.perf_counter() - began, time.process_time() - processor
        shard.close()
    return took


def print_rows(rows: Sequence[dict[str, Any]], new: int, batch: int) -> None:
    """Print a table, with ratios to the stream without guards of the same size."""
    table = Table(title=f"enroll_many on Qdrant Edge, streams of {new:,}, batches of {batch:,}", title_justify="left")
    for heading in ("stored before", "stream", "templates/s", "× no guards", "processor, µs each"):
        table.add_column(heading)
    without = {row["stored"]: row["per_s"] for row in rows if row["stream"] == "no guards"}
    for row in rows:
        ratio = f"{row['per_s'] / without[row['stored']]:.2f}"
        table.add_row(f"{row['stored']:,}", row["stream"], f"{row['per_s']:,}", ratio, f"{row['processor_us']:,}")
    Console(width=130 if not Console().is_terminal else None).print(table)
