"""Measures galleries of up to a million templates on Qdrant Edge: `python -m benchmarks gallery --templates 1000000`.

The vectors are those of `benchmarks.plugin.multiplied`: four templates of each identity. Every second probe is of
somebody who is not enrolled. One store is filled and indexed; then the same probes are identified in the graph and by
comparing with every template, and claimed, alternately. Recall counts how often the graph's best identity has the score
of the exact best. A million templates take most of an hour to fill and to index, so `--store FOLDER` keeps the store:
the next run with the same templates and calls measures it again.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.memory import proportional_set_size
from benchmarks.plugin import CONTRACT, EACH, POLICY, Floats, multiplied
from sameface_qdrant import EdgeOptions, Enrolment, NewTemplate, Probe, Scope, Store
from sameface_qdrant.engines.edge.engine import EdgeEngine

SAME_SCORE = 1e-5
WARM_UP = 5
EXACT_EVERY = 4
"""One probe in so many is timed by comparing with every template; all of them are compared for the recall by numpy."""

FEWEST = 2 * EXACT_EVERY
"""Probes; two are then timed by comparing with every template."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of calls."""

    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class GalleryFigures:
    """One gallery on this machine."""

    templates: int
    enrolled_per_s: float
    index_s: float
    """Wall seconds of the build; it has the lowest priority."""
    longest_freeze_ms: float
    """Longest time for which the event loop did not run while the index was built and exchanged."""
    open_s: float
    """Seconds to open the indexed store and to answer a claim."""
    memory_mib: float
    """Proportional set size of this process, with the vectors of the benchmark taken off."""
    disk_mib: float
    recall_enrolled: float
    recall_strangers: float
    milliseconds: dict[str, Latency]
    """identify, exact identify, claim."""

    @property
    def speed_up(self) -> float:
        """Exact search divided by search in the graph, medians."""
        return self.milliseconds["exact"].p50 / self.milliseconds["identify"].p50


def gallery_rows(figures: "list[GalleryFigures]") -> list[list[str]]:
    """Return the rows of the table in docs/scaling.md."""
    return [
        [
            f"{one.templates:,}",
            *(f"{one.milliseconds[name].p50:.2f}" for name in ("exact", "identify", "claim")),
            f"{one.speed_up:.1f}",
            f"{one.recall_enrolled:.4f}, {one.recall_strangers:.4f}",
            f"{one.enrolled_per_s:,.0f}",
            f"{one.index_s:,.0f}",
            f"{one.open_s:.1f}",
            f"{one.memory_mib:,.0f} / {one.disk_mib:,.0f}",
            f"{one.longest_freeze_ms:,.0f}",
        ]
        for one in figures
    ]


@dataclass(frozen=True, slots=True)
class Made:
    """How a store was made."""

    templates: int
    calls: int
    options: dict[str, Any]
    enrolled_per_s: float
    index_s: float
    longest_freeze_ms: float


async def measure_gallery(templates: int, calls: int, options: EdgeOptions, keep: Path | None = None) -> GalleryFigures:
    """Fill a store, have it indexed, open it again, and measure calls alternately.

    Args:
        keep: folder that keeps the store; None: it is removed at the end.
    """
    made = multiplied(templates // EACH + calls, EACH + 1, np.random.default_rng(1))
    stored, mated, strangers = made[: templates // EACH, :EACH], made[:calls, EACH], made[-calls:, EACH]
    probes = np.concatenate([mated[: calls // 2], strangers[: calls // 2]])
    best = _best(stored.reshape(-1, CONTRACT.dimension), probes)
    with TemporaryDirectory(prefix="sameface-bench-") as temporary:
        folder = (keep or Path(temporary)) / "store"
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = await _kept(
            folder, Made(templates, calls, asdict(replace(options, hnsw_ef=None)), 0.0, 0.0, 0.0), stored, options
        )
        held = proportional_set_size(os.getpid())
        began = time.perf_counter()
        store = await Store.open(f"edge://{folder}", edge=options)
        await store.verify("bench", "id-0", Probe(probes[0], CONTRACT), scope=Scope.CLAIM)
        open_s = time.perf_counter() - began
        milliseconds, found = await _alternately(store, probes)
        memory = proportional_set_size(os.getpid()) - held
        await store.aclose()
        disk = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 2**20
    hits = found >= best - SAME_SCORE
    return GalleryFigures(
        templates,
        making.enrolled_per_s,
        making.index_s,
        making.longest_freeze_ms,
        open_s,
        memory,
        disk,
        float(hits[: calls // 2].mean()),
        float(hits[calls // 2 :].mean()),
        milliseconds,
    )


def _best(stored: Floats, probes: Floats) -> Floats:
    """The greatest score of each probe, without the store."""
    return np.concatenate([(stored @ some.T).max(axis=0) for some in np.array_split(probes, max(1, len(probes) // 20))])


async def _kept(folder: Path, wanted: Made, stored: Floats, options: EdgeOptions) -> Made:
    """Return how the store in a folder was made; make it if there is none."""
    if (made := _recorded(folder, wanted)) is None:
        enrolled_per_s, index_s, freeze = await _made(folder, stored, options)
        made = replace(wanted, enrolled_per_s=enrolled_per_s, index_s=index_s, longest_freeze_ms=freeze)
        _record(folder).write_text(json.dumps(asdict(made)))
    return made


def _record(folder: Path) -> Path:
    return folder.with_name("made.json")


def _recorded(folder: Path, wanted: Made) -> Made | None:
    """Return how a store was made, None if there is none. Ends with a message if it is another one, or unfinished."""
    if not _record(folder).exists():
        if folder.exists():
            raise SystemExit(
                f"{folder} holds a store that was not finished; remove {folder.parent} or name another folder"
            )
        return None
    made = Made(**json.loads(_record(folder).read_text()))
    if (made.templates, made.calls, made.options) != (wanted.templates, wanted.calls, wanted.options):
        raise SystemExit(
            f"{folder.parent} holds a store of {made.templates} templates for {made.calls} calls with {made.options}; "
            f"expected {wanted.templates}, {wanted.calls} and {wanted.options}; name another folder"
        )
    return made


async def _made(folder: Path, stored: Floats, options: EdgeOptions) -> tuple[float, float, float]:
    """Fill a store through `enroll_many`, and wait for its index."""
    store = await Store.open(f"edge://{folder}", edge=EdgeOptions(exact=True))
    await store.galleries.create("bench", CONTRACT, policy=POLICY)

    async def enrolments() -> AsyncIterator[Enrolment]:
        for number, templates in enumerate(stored):
            yield Enrolment(f"id-{number}", [NewTemplate(vector, CONTRACT) for vector in templates])

    began = time.perf_counter()
    async for result in store.enroll_many("bench", enrolments(), batch_size=1000):
        assert result.error is None
    enrolled_per_s = stored.shape[0] * EACH / (time.perf_counter() - began)
    await store.aclose()
    engine = await EdgeEngine.open(folder, options)
    freezes = _Freezes()
    began = time.perf_counter()
    await engine.ensure(CONTRACT.key, CONTRACT.dimension)
    freezes.begin()  # a store is opened before it serves
    building = engine._opened(CONTRACT.key).compaction
    if building is not None and (error := await building) is not None:
        raise error
    freeze = freezes.longest_ms()
    index_s = time.perf_counter() - began
    await engine.aclose()
    return enrolled_per_s, index_s if building else 0.0, freeze


class _Freezes:
    """Watches how long the event loop does not run."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            self._longest = max(self._longest, time.perf_counter() - began - 0.005)

    def longest_ms(self) -> float:
        assert self._task is not None
        self._task.cancel()
        return self._longest * 1e3


async def _alternately(store: Store, probes: Floats) -> tuple[dict[str, Latency], Floats]:
    engine = store._engine
    assert isinstance(engine, EdgeEngine)
    in_graph, exact = engine._options, EdgeOptions(exact=True)

    async def searching(options: EdgeOptions, vector: Floats) -> Any:
        engine._options = options
        return await store.identify("bench", Probe(vector, CONTRACT))

    def claim(number: int) -> Awaitable[Any]:
        return store.verify("bench", f"id-{number}", Probe(probes[number], CONTRACT), scope=Scope.CLAIM)

    times: dict[str, list[float]] = {"exact": [], "identify": [], "claim": []}
    found = []
    for number in range(-WARM_UP, len(probes)):
        kinds: dict[str, Callable[[], Awaitable[Any]]] = {
            "claim": lambda number=number: claim(max(0, number)),  # type: ignore[misc]
            "identify": lambda number=number: searching(in_graph, probes[number]),  # type: ignore[misc]
        }
        if number % EXACT_EVERY == 0:
            kinds["exact"] = lambda number=number: searching(exact, probes[number])  # type: ignore[misc]
        for name in np.random.default_rng(number + WARM_UP).permutation(list(kinds)):
            began = time.perf_counter()
            decision = await kinds[name]()
            if number >= 0:
                times[name].append((time.perf_counter() - began) * 1e3)
                if name == "identify":
                    found.append(decision.candidates[0].score)
    engine._options = in_graph
    latencies = {name: Latency(statistics.median(ms), statistics.quantiles(ms, n=20)[-1]) for name, ms in times.items()}
    return latencies, np.asarray(found, dtype=np.float32)


HEADINGS = (
    "templates", "exact ms", "identify ms", "claim ms", "exact ÷ identify", "recall@1: enrolled, strangers",
    "enrolled/s", "index s", "open s", "memory / disk MiB", "longest freeze ms",
)  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Measure, and print a Markdown table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gallery", description=__doc__)
    parser.add_argument("--templates", type=int, nargs="+", default=[100_000], help="sizes (default 100000)")
    parser.add_argument("--calls", type=int, default=400, help="probes (default 400)")
    parser.add_argument("--index-from", type=int, default=EdgeOptions().index_from)
    parser.add_argument("--m", type=int, default=EdgeOptions().m)
    parser.add_argument("--ef-construct", type=int, default=EdgeOptions().ef_construct)
    parser.add_argument("--hnsw-ef", type=int, default=None)
    parser.add_argument("--store", type=Path, help="keep the store in this folder, or measure the one that is there")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    chosen = parser.parse_args(arguments)
    if chosen.calls < FEWEST or min(chosen.templates) < EACH * chosen.calls:
        parser.error(
            f"--calls {chosen.calls} and --templates {min(chosen.templates)} were given; expected {FEWEST} calls or "
            f"more, and {EACH} templates or more for each call"
        )
    if chosen.store and len(chosen.templates) > 1:
        parser.error(f"--store keeps one store, and --templates has {len(chosen.templates)} sizes; name one")
    options = EdgeOptions(
        index_from=chosen.index_from, m=chosen.m, ef_construct=chosen.ef_construct, hnsw_ef=chosen.hnsw_ef
    )
    figures = [
        asyncio.run(measure_gallery(templates, chosen.calls, options, chosen.store)) for templates in chosen.templates
    ]
    if chosen.json:
        json.dump({"options": asdict(options), "galleries": [asdict(one) for one in figures]}, sys.stdout, indent=2)
        print()
        return
    for row in (HEADINGS, ["---"] * len(HEADINGS), *gallery_rows(figures)):
        print("| " + " | ".join(row) + " |")
