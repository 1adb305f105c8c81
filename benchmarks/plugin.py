"""Compares the plugin at 100,000 templates with the engine alone, faiss, hnswlib and numpy, alternately in one run.

The vectors are made from the real embeddings of tests/plugin/data/omniglot.npz. An identity's centre is a random
mixture of the centres of three real characters. Each of its four templates and its probe adds the difference between a
real drawing and the centre of its character. So identities have neighbours, and templates scatter, as in real data.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from sameface_qdrant import Contract, EdgeOptions, GuardAction, NewTemplate, Policy, Probe, Scope, Store
from sameface_qdrant.engines.base import VECTOR_NAME, Where
from sameface_qdrant.engines.edge.engine import EdgeEngine

REAL = Path("tests/plugin/data/omniglot.npz")
EACH, TOGETHER, WARM_UP = 4, 500, 5
CONTRACT = Contract("bench", version=1, sha256="0" * 64, dimension=128, preprocessing="none")
# Without guards: they compare each template with the whole gallery, and this measures writing alone.
ALLOW = GuardAction.ALLOW
POLICY = Policy(verify_threshold=0.8, identify_threshold=0.9, on_collision=ALLOW, on_duplicate=ALLOW, on_outlier=ALLOW)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Figures:
    """Enrolled templates per second, and milliseconds of every call of each contender."""

    templates: int
    enrolled_per_s: float
    milliseconds: dict[str, list[float]]
    cpu_milliseconds: dict[str, list[float]]
    """Processor time of all threads of the process. Other programs on the machine hardly change it."""

    def ratio(self, one: str, other: str) -> str:
        """Medians of one contender divided by those of another, by the clock and by processor time."""
        clock, cpu = (
            statistics.median(times[one]) / statistics.median(times[other])
            for times in (self.milliseconds, self.cpu_milliseconds)
        )
        return f"{clock:.2f}, cpu {cpu:.2f}"


def multiplied(identities: int, per_identity: int, rng: np.random.Generator) -> Floats:
    """Return unit vectors [identities, per_identity, 128], as the module describes."""
    file = np.load(REAL)
    vectors = file["vector"].astype(np.float32)
    _, character = np.unique(np.char.add(file["alphabet"], file["character"]), return_inverse=True)
    centres = np.stack([vectors[character == number].mean(axis=0) for number in range(character.max() + 1)])
    residuals = vectors - centres[character]
    shares = rng.dirichlet(np.ones(3), identities).astype(np.float32)
    mixed = (centres[rng.integers(len(centres), size=(identities, 3))] * shares[:, :, None]).sum(axis=1)
    scattered = mixed[:, None, :] + residuals[rng.integers(len(residuals), size=(identities, per_identity))]
    unit: Floats = scattered / np.linalg.norm(scattered, axis=2, keepdims=True)
    return unit


async def measure_plugin(templates: int, calls: int) -> Figures:
    """Enrol, then send the same probes to every contender, alternately."""
    made = multiplied(templates // EACH, EACH + 1, np.random.default_rng(1))
    stored, probes = made[:, :EACH], made[:calls, EACH]
    with TemporaryDirectory(prefix="sameface-bench-") as folder:
        engine = await EdgeEngine.open(Path(folder) / "store", EdgeOptions(exact=True))
        store = await Store.over(engine)
        await store.galleries.create("bench", CONTRACT, policy=POLICY)
        began = time.perf_counter()
        for start in range(0, len(stored), TOGETHER):
            await asyncio.gather(
                *(
                    store.enroll("bench", f"id-{number}", [NewTemplate(vector, CONTRACT) for vector in stored[number]])
                    for number in range(start, min(start + TOGETHER, len(stored)))
                )
            )
        enrolled_per_s = stored.shape[0] * EACH / (time.perf_counter() - began)
        contenders = await _contenders(store, engine, stored.reshape(-1, CONTRACT.dimension), probes)
        milliseconds: dict[str, list[float]] = {name: [] for name in contenders}
        cpu_milliseconds: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(-WARM_UP, calls):
            # In another order each time, so that no contender always profits from caches that another one filled.
            for name in random.Random(number).sample(list(contenders), len(contenders)):
                began, cpu_began = time.perf_counter(), time.process_time()
                await contenders[name](number)
                if number >= 0:
                    cpu_milliseconds[name].append((time.process_time() - cpu_began) * 1e3)
                    milliseconds[name].append((time.perf_counter() - began) * 1e3)
        await store.aclose()
    return Figures(templates, enrolled_per_s, milliseconds, cpu_milliseconds)


async def _contenders(
    store: Store, engine: EdgeEngine, stored: Floats, probes: Floats
) -> dict[str, Callable[[int], Awaitable[Any]]]:
    import faiss
    import hnswlib

    tenant = await store.galleries.tenant("bench")
    shard = engine._opened(CONTRACT.key).handle.shard
    in_gallery = Where({"gallery": tenant.uid}, valid_at=time.time())
    flat = faiss.IndexFlatIP(CONTRACT.dimension)
    flat.add(stored)
    graph = hnswlib.Index(space="ip", dim=CONTRACT.dimension)
    graph.init_index(max_elements=len(stored), M=16, ef_construction=100)
    graph.add_items(stored)
    graph.set_ef(64)
    # One thread each, because the engine uses one for a query.
    faiss.omp_set_num_threads(1)
    graph.set_num_threads(1)

    def bare(number: int) -> Any:
        query = edge.Query.Nearest(probes[number].tolist(), using=VECTOR_NAME)
        return shard.query(edge.QueryRequest(limit=20, query=query))

    def numpy_alone(number: int) -> Any:
        scores = stored @ probes[number]
        best = np.argpartition(scores, -20)[-20:]
        return best[np.argsort(-scores[best])]

    def at_once(call: Callable[[int], Any]) -> Callable[[int], Awaitable[Any]]:
        async def run(number: int) -> Any:
            return call(number)

        return run

    def probe(number: int) -> Probe:
        return Probe(probes[number], CONTRACT)

    return {
        "bare": at_once(bare),
        "nearest": lambda number: engine.nearest(CONTRACT.key, probes[number], in_gallery, 20),
        "identify": lambda number: store.identify("bench", probe(number)),
        "verify CLAIM": lambda number: store.verify(
            "bench", f"id-{number % len(probes)}", probe(number), scope=Scope.CLAIM
        ),
        "verify GALLERY": lambda number: store.verify("bench", f"id-{number % len(probes)}", probe(number)),
        "numpy": at_once(numpy_alone),
        "faiss flat": at_once(lambda number: flat.search(probes[number][None], 20)),
        "hnswlib": at_once(lambda number: graph.knn_query(probes[number][None], 20)),
    }


WHAT = {
    "bare": "Edge alone: exact query, no filter, no payload",
    "nearest": "the same through the engine: gallery, expiry, payload",
    "identify": "`identify`: policy, de-duplication and names on top",
    "verify CLAIM": "`verify`, scope CLAIM",
    "verify GALLERY": "`verify`, scope GALLERY",
    "numpy": "numpy, one matrix product and a partition",
    "faiss flat": "faiss flat, one thread",
    "hnswlib": "hnswlib (M 16, ef 64, approximate), one thread",
}


def print_plugin(templates: int, calls: int) -> None:
    """Measure and print."""
    figures = asyncio.run(measure_plugin(templates, calls))
    table = Table(
        title=f"plugin, {figures.templates:,} templates × 128, Qdrant Edge, {calls} probes", title_justify="left"
    )
    for heading in ("figure", "median ms", "p95 ms", "cpu ms", "× bare", "limit"):
        table.add_column(heading)
    limits = {"identify": "≤ 1.25 × bare", "verify CLAIM": "≤ 0.5 ms"}
    for name, values in figures.milliseconds.items():
        p95 = statistics.quantiles(values, n=20)[-1]
        cpu = statistics.median(figures.cpu_milliseconds[name])
        cells = (f"{one:.2f}" for one in (statistics.median(values), p95, cpu))
        table.add_row(WHAT[name], *cells, figures.ratio(name, "bare"), limits.get(name, ""))
    engine_ratio = figures.ratio("identify", "nearest")
    table.add_row("`identify` over the engine's query", "", "", "", engine_ratio, "≤ 1.10 × the engine")
    enrolled = f"{figures.enrolled_per_s:,.0f} templates/s"
    table.add_row(f"`enroll`, {EACH} templates per call, {TOGETHER} calls at once", enrolled, "", "", "", "≥ 2,000")
    Console(width=130 if not Console().is_terminal else None).print(table)
