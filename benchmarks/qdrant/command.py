"""`python -m benchmarks qdrant`: decisions on a Qdrant server beside its own query; `--sweep` compares settings.

The server's collections of this benchmark are made before and removed afterwards.
"""

import argparse
import asyncio
import json
import platform
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

from qdrant_client import AsyncQdrantClient
from rich.console import Console
from rich.table import Table

from benchmarks.qdrant.enrolment import measure_enrolment
from benchmarks.qdrant.filling import CONTRACT, fill, indexed, set_indexing
from benchmarks.qdrant.measure import measure, memory_mib, processor_s, questions
from benchmarks.qdrant.people import DIMENSION, People
from benchmarks.qdrant.settings import SWEEP, USUAL, Layout, Search
from sameface_qdrant import EngineDescription, ServerOptions, Store
from sameface_qdrant.engines.server.client import connect
from sameface_qdrant.engines.server.engine import ServerEngine
from sameface_qdrant.engines.server.nodes import Nodes
from sameface_qdrant.engines.server.reads import Reads
from sameface_qdrant.store.payloads import META

TIMEOUT_S = 60


def main(arguments: Sequence[str]) -> None:
    """Measure and print; ``--json`` for programs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks qdrant", description=__doc__)
    parser.add_argument("--url", required=True, help="http(s)://host:port of the gRPC port, or :memory:")
    parser.add_argument("--api-key", default=None)
    parser.add_argument("--templates", type=int, default=100_000, help="in all galleries together (default 100000)")
    parser.add_argument("--galleries", type=int, default=1, help="default 1")
    parser.add_argument("--each", type=int, default=4, help="templates of an identity (default 4)")
    parser.add_argument("--probes", type=int, default=400, help="questions for each setting (default 400)")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated people (default 1)")
    parser.add_argument("--sweep", action="store_true", help="compare layouts and ways to search")
    parser.add_argument("--only", default="", help="only layouts of the sweep whose name contains this")
    parser.add_argument("--enrol", type=int, default=0, help="also measure so many enrolments, each way (default 0)")
    parser.add_argument("--pid", type=int, default=None, help="of the server, on this machine: to measure its memory")
    parser.add_argument("--keep", default="", metavar="PREFIX", help="keep the collections, or use those kept before")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args(arguments)
    figures = asyncio.run(_run(options))
    if options.json:
        json.dump(figures, sys.stdout, indent=2)
        print()
    else:
        _print(figures)


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    identities = options.templates // options.each // options.galleries
    people = People(options.seed)
    prefix = options.keep or f"bench-{uuid.uuid4().hex[:8]}-"
    in_memory = options.url == ":memory:"
    server = ServerOptions(timeout_s=TIMEOUT_S, collection_prefix=prefix)
    client = AsyncQdrantClient(":memory:") if in_memory else connect(options.url, options.api_key, server)
    collection = prefix + CONTRACT.key
    figures: dict[str, Any] = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "server": options.url if in_memory else (await client.info()).version,
        "templates": identities * options.each * options.galleries,
        "galleries": options.galleries,
        "identities_of_a_gallery": identities,
        "dimension": DIMENSION,
        "seed": options.seed,
        "probes": options.probes,
        "settings": [],
    }
    try:
        if not await client.collection_exists(collection):
            engine, store = await _opened(client, Search(exact=True), prefix, in_memory)
            figures["filled_s"] = round(
                await fill(store, engine, client, collection, people, options.galleries, identities, options.each), 1
            )
        asked = questions(people, options.galleries, identities, options.each, options.probes)
        layouts = [one for one in (SWEEP if options.sweep else USUAL) if options.only in one.name]
        for layout in layouts:
            used = 0.0 if options.pid is None else processor_s(options.pid)
            indexed_s = 0.0 if in_memory else await _laid_out(client, collection, layout)
            process = {} if options.pid is None else {"indexed_processor_s": round(processor_s(options.pid) - used, 1)}
            for search in layout.searches:
                engine, store = await _opened(client, search, prefix, in_memory)
                measured = (await measure(store, engine, client, asked)).summary()
                if options.pid is not None:
                    process |= memory_mib(options.pid)
                row = {"layout": layout.name, "search": str(search), "oversampling": search.oversampling}
                figures["settings"].append({**row, "indexed_s": round(indexed_s, 1), **process, **measured})
                print(layout.name, search, measured, process, file=sys.stderr)
                await store.galleries.sizes.aclose()
        if options.enrol:
            _, store = await _opened(client, Search(exact=True), prefix, in_memory)
            figures["enrolment"] = await measure_enrolment(store, people, options.enrol)
            await store.galleries.sizes.aclose()
            await store.erasures.aclose()
    finally:
        if not options.keep:
            for name in (collection, prefix + META):
                await client.delete_collection(name)
        await client.close()
    return figures


async def _opened(
    client: AsyncQdrantClient, search: Search, prefix: str, in_memory: bool
) -> tuple[ServerEngine, Store]:
    options = ServerOptions(
        timeout_s=TIMEOUT_S,
        collection_prefix=prefix,
        exact=search.exact,
        hnsw_ef=search.hnsw_ef,
        oversampling=search.oversampling,
        quantization="int8",  # rescoring; without quantised vectors it has no effect
        rewrite_segments=False,
    )
    kind = "memory" if in_memory else "server"
    asked = client if in_memory else Reads(Nodes({"server": client}, options)).as_client()
    engine = ServerEngine(asked, EngineDescription(kind, "", "", exact=search.exact), options)
    engine.exclusive = False
    return engine, await Store.over(engine)


async def _laid_out(client: AsyncQdrantClient, collection: str, layout: Layout) -> float:
    """Change the layout, and return the seconds until everything is indexed."""
    began = time.perf_counter()
    await layout.apply(client, collection)
    await set_indexing(client, collection, True)
    return time.perf_counter() - began + await indexed(client, collection)


def _print(figures: dict[str, Any]) -> None:
    title = (
        f"{figures['templates']:,} templates × {figures['dimension']} in {figures['galleries']:,} galleries of "
        f"{figures['identities_of_a_gallery']:,} identities, Qdrant {figures['server']}, {figures['probes']} probes, "
        f"seed {figures['seed']}, {figures['machine']}"
    )
    table = Table(title=title, title_justify="left")
    for heading in (
        "setting",
        "bare ms",
        "verify",
        "CLAIM",
        "identify",
        "goal ms",
        "recall@1",
        "known",
        "index s",
        "MiB",
    ):
        table.add_column(heading)
    for row in figures["settings"]:
        cells = []
        for name in ("bare", "verify", "verify CLAIM", "identify"):
            one = row[name]
            missed = "" if one["within_goal"] else " missed"
            cells.append(f"{one['p50_ms']:.2f} / {one['p95_ms']:.2f} ({one['ratio']:.2f} ×){missed}")
        table.add_row(
            f"{row['layout']}, {row['search']}",
            *cells,
            f"≤ {row['goal_ms']:.2f}",
            f"{row['recall_at_1']:.4f}",
            f"{row['recall_at_1_known']:.4f}",
            f"{row['indexed_s']:.0f}",
            f"{row.get('resident_mib', '')}",
        )
    Console(width=200 if not Console().is_terminal else None).print(table)
    print("Cells are medians and 95th percentiles; the ratio is that of the medians.")
    for one in figures.get("enrolment", ()):
        print(
            f"enrolment, {one['guards']}, {one['way']}: {one['per_s']} a second ({one['enrolments']} identities), "
            f"{one['client_ms']} ms of processor time of the client each"
        )
