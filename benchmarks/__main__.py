"""`python -m benchmarks`: measures the service and the plugin on this machine."""

import argparse
import asyncio
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks import bulk, overload
from benchmarks.memory import proportional_set_size
from benchmarks.pauses import measure_pauses, print_pauses
from benchmarks.photos import command as photos_command
from benchmarks.plugin import print_plugin
from benchmarks.qdrant import command as qdrant_command
from benchmarks.security import measure_security, print_security
from benchmarks.verification import Latencies, measure_verification
from sameface.launcher import Service, served

LIMITS = {"ready": 5.0, "ratio": 1.25, "memory": 600.0}


def main() -> None:
    """Measure and print; ``--json`` for programs."""
    if sys.argv[1:2] == ["photos"]:
        photos_command.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["qdrant"]:
        qdrant_command.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["overload"]:
        overload.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["bulk"]:
        bulk.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "part",
        nargs="?",
        choices=("service", "plugin", "loop", "security", "photos", "qdrant", "overload", "bulk"),
        help="what to measure (default: the first four); photos, qdrant, overload and bulk have options of their own",
    )
    parser.add_argument("--templates", type=int, default=100_000, help="plugin: stored templates (default 100000)")
    parser.add_argument("--calls", type=int, default=100, help="service: verifications per side (default 100)")
    parser.add_argument("--starts", type=int, default=5, help="service: starts (default 5)")
    parser.add_argument("--megapixels", type=int, default=50, help="loop: size of the large photo (default 50)")
    parser.add_argument("--cohort", type=int, default=10_000, help="loop: people in the cohort (default 10000)")
    parser.add_argument("--turns", type=int, default=10, help="security: pairs of turns (default 10)")
    parser.add_argument("--turn-s", type=float, default=4.0, help="security: seconds of each turn (default 4)")
    parser.add_argument("--portraits", type=Path, default=Path("tests/data/portraits"))
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    if options.part in (None, "service"):
        _service(options)
    if options.part in (None, "plugin") and not options.json:
        print_plugin(options.templates, options.calls)
    if options.part == "loop" or (options.part is None and not options.json):
        pauses = asyncio.run(measure_pauses(options.portraits, options.megapixels, options.cohort))
        if options.json:
            json.dump(pauses, sys.stdout, indent=2)
            print()
        else:
            print_pauses(pauses)
    if options.part == "security" or (options.part is None and not options.json):
        cost = measure_security(options.portraits, options.calls, options.turns, options.turn_s)
        if options.json:
            json.dump(cost.summary(), sys.stdout, indent=2)
            print()
        else:
            print_security(cost)


def _service(options: argparse.Namespace) -> None:
    console = Console(stderr=True)
    with TemporaryDirectory(prefix="sameface-bench-") as folder, console.status("starting the service") as status:
        ready, memory = [], 0.0
        for number in range(options.starts):
            status.update(f"start {number + 1} of {options.starts}")
            began = time.monotonic()
            with served(Path(folder) / f"data-{number}", Path(folder) / "serve.log") as service:
                ready.append(time.monotonic() - began)
                if number == options.starts - 1:
                    time.sleep(2.0)
                    memory = proportional_set_size(service.pid)
                    status.update("verifying, alternately over gRPC and in process")
                    latencies = _verification(service, options.portraits, options.calls)
    figures = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "ready_s": [round(seconds, 2) for seconds in ready],
        "idle_memory_mib": round(memory, 1),
        **latencies.summary(),
    }
    if options.json:
        json.dump(figures, sys.stdout, indent=2)
        print()
    else:
        _print(figures, ready, memory, latencies)


def _verification(service: Service, portraits: Path, calls: int) -> Latencies:
    return asyncio.run(measure_verification(service.address, portraits, calls))


def _print(figures: dict[str, object], ready: list[float], memory: float, latencies: Latencies) -> None:
    table = Table(title=str(figures["machine"]), title_justify="left")
    for heading in ("figure", "measured", "limit"):
        table.add_column(heading)
    spread = f"{min(ready):.2f} to {max(ready):.2f}, {len(ready)} starts"
    table.add_row(
        "`sameface serve` to ready", f"median {statistics.median(ready):.2f} s ({spread})", f"≤ {LIMITS['ready']:g} s"
    )
    table.add_row("idle: service, tritonserver, stubs (PSS)", f"{memory:.0f} MiB", f"< {LIMITS['memory']:g} MB")
    for name, values in (
        ("over gRPC, with Triton", latencies.over_grpc),
        ("in process, one thread", latencies.in_process),
    ):
        low, middle, high = statistics.quantiles(values, n=4)
        table.add_row(
            f"verify one 250×250 photo {name}",
            f"median {middle:.1f} ms (quartiles {low:.1f} to {high:.1f}, {len(values)} calls)",
            "",
        )
    table.add_row("ratio of the two medians", f"{latencies.ratio:.2f}", f"≤ {LIMITS['ratio']:g}")
    Console(width=120 if not Console().is_terminal else None).print(table)


if __name__ == "__main__":
    main()
