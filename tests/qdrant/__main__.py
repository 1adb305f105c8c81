"""`make qdrant`: the contract suite, races and chaos on a Qdrant server or cluster; writes a table of faults.

`--url` alone tests a server that runs; nothing of it is killed. `--nodes` names a TOML file with the nodes that this
command starts, kills and empties, see `tests.qdrant.cluster`. Collections have a prefix of their own and are removed.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from sameface_qdrant import ServerOptions, Store
from sameface_qdrant.engines.server.client import addresses, connect
from sameface_qdrant.errors import StoreUnavailable
from tests.qdrant.chaos import Chaos
from tests.qdrant.cluster import Cluster
from tests.qdrant.faults import faults_of
from tests.qdrant.handles import ServiceProcess
from tests.qdrant.outcome import KINDS, Outcome, summary, table
from tests.qdrant.service import CONTRACT, Task, options_of

REPORT = Path("build/qdrant/faults.md")
SERVICES = ("s0", "s1", "s2")


def main() -> int:
    """Return 0 where every promise was kept."""
    parser = argparse.ArgumentParser(prog="make qdrant", description=__doc__)
    parser.add_argument("--url", default="", help="gRPC address of a server that runs, or of its nodes")
    parser.add_argument("--nodes", type=Path, help="TOML file of the nodes to start")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=20261129)
    parser.add_argument("--fault", default="", help="only the faults whose name contains this")
    parser.add_argument("--skip-suite", action="store_true", help="leave the contract suite out")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    if not arguments.url and not arguments.nodes:
        parser.error("give QDRANT_URL or QDRANT_NODES")
    cluster = Cluster.described(arguments.nodes) if arguments.nodes else None
    try:
        if cluster is not None:
            asyncio.run(cluster.start())
        url = arguments.url or (cluster.url if cluster else "")
        suite = True if arguments.skip_suite else _suite(url)
        outcomes = [asyncio.run(_run(url, cluster, arguments, number)) for number in range(arguments.runs)]
    finally:
        if cluster is not None:
            cluster.stop()
    figures = summary(outcomes) | {"nodes": len(addresses(url)), "suite": None if arguments.skip_suite else suite}
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(f"{table(outcomes)}\n\n{_sentence(figures)}\n")
    REPORT.with_suffix(".json").write_text(json.dumps(figures, indent=2))
    print(json.dumps(figures, indent=2) if arguments.json else f"{REPORT.read_text()}\n{_supported(figures)}")
    for one in figures["violations"]:
        print(f"VIOLATION {one}", file=sys.stderr)
    return 0 if suite and not figures["violations"] else 1


def _suite(url: str) -> bool:
    """Run the contract suite and the races within one process."""
    environment = {**os.environ, "QDRANT_URL": url}
    return not subprocess.run(
        [sys.executable, "-m", "pytest", "tests/plugin", "-k", "server"], env=environment
    ).returncode


async def _run(url: str, cluster: Cluster | None, arguments: argparse.Namespace, number: int) -> Outcome:
    seed = arguments.seed + number
    api_key = os.environ.get("QDRANT_API_KEY", "")
    task = Task("", url, f"sameface-chaos-{seed}-{os.getpid()}-", seed, api_key)
    draw = random.Random(seed)
    options = options_of(url, task.prefix)
    nodes = addresses(url)
    stores = [await Store.open(one, api_key=api_key or None, options=options) for one in (url, *nodes)]
    reader, views = stores[0], stores[1:] if len(nodes) > 1 else []
    names = [task.prefix + CONTRACT.key, f"{task.prefix}meta"]
    faults = [] if cluster is None else faults_of(cluster, draw, names[0])
    faults = [fault for fault in faults if arguments.fault in fault.name]
    # Every run begins with another fault.
    faults = faults[number % len(faults) :] + faults[: number % len(faults)] if faults else []

    async def healthy() -> None:
        if cluster is not None:
            await cluster.healthy(names)

    try:
        began = time.monotonic()
        outcome = await Chaos(reader, ServiceProcess.spawn, task, SERVICES, views).run(
            arguments.seconds, faults, healthy
        )
        figures = summary([outcome])
        broken = ", ".join(f"{figures[kind]} {kind}" for kind in KINDS)
        print(f"run {number + 1}, seed {seed}, {time.monotonic() - began:.0f} s: {broken}", file=sys.stderr)
        for one in outcome.violations:
            print(f"  {one.kind}: {one.what}", file=sys.stderr)
        return outcome
    finally:
        for store in stores:
            await store.aclose()
        await _remove(url, api_key, task.prefix)


async def _remove(url: str, api_key: str, prefix: str) -> None:
    client = connect(addresses(url)[0], api_key or None, replace(ServerOptions(), timeout_s=30))
    try:
        for found in (await client.get_collections()).collections:
            if found.name.startswith(prefix):
                await client.delete_collection(found.name)
    except (OSError, StoreUnavailable) as error:
        print(f"collections {prefix}* were left: {error}", file=sys.stderr)
    finally:
        await client.close()


def _sentence(figures: dict[str, object]) -> str:
    broken = ", ".join(f"{figures[kind]} {kind}" for kind in KINDS)
    return (
        f"{figures['runs']} runs on {figures['nodes']} nodes: {broken}. Acknowledged: {figures['acknowledged']}; "
        f"{figures['verifications']} verifications; {figures['services killed']} services killed; "
        f"{figures['races']} races of three services whose histories were checked."
    )


def _supported(figures: dict[str, object]) -> str:
    if figures["violations"]:
        return "It supports no row of docs/status.md: promises were broken."
    row = "a Qdrant cluster" if int(str(figures["nodes"])) > 1 else "a Qdrant server"
    suite = "with the contract suite" if figures["suite"] else "without the contract suite"
    return f"It supports the row of docs/status.md about {row}, {suite}."


if __name__ == "__main__":
    sys.exit(main())
