"""`python -m benchmarks observation`: what metrics and traces cost.

Services with and without them run at the same time and verify photos in turns, so that a noisy machine slows all of
them. Metrics are scraped every 15 seconds meanwhile. Traces are all sampled, and go to a receiver on this machine that
throws them away. Processor time is that of the service, of its Triton and of the models: where they use all of the
processors, throughput is as many times lower as it is higher. It is less noisy than the throughput itself.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table

from benchmarks.conditions import conditions
from benchmarks.in_turns import Loads, Ratio, Turn, in_turns, middle, of, ratio
from benchmarks.load import Load, measure_load, processes_of
from benchmarks.service_calls import ServiceCalls
from benchmarks.verification import PROBE, REFERENCE, photo_250
from sameface.launcher import Service, served
from sameface.settings import Settings

PLAIN, METRICS, TRACES, BOTH = "without", "metrics", "traces", "metrics and traces"
METRICS_ON = '[metrics]\nlisten = "127.0.0.1:0"\n'
TRACES_ON = '[traces]\nendpoint = "http://{sink}"\n'
SCRAPE_S = 15.0


def contenders(traced: bool) -> dict[str, tuple[bool, bool]]:
    """Return whether each service has metrics and traces, by its name."""
    found = {PLAIN: (False, False), METRICS: (True, False)}
    return {**found, TRACES: (False, True), BOTH: (True, True)} if traced else found


def compared(loads: Loads) -> dict[str, dict[str, Ratio]]:
    """Return throughput, and processor time of one call, each as a ratio to that without."""

    def processor(name: str) -> list[float]:
        return [sum(ms for role, ms in one["cpu_ms"].items() if role != "client") for one in loads[name]]

    return {
        name: {
            "throughput": ratio(of(loads, name, "per_s"), of(loads, PLAIN, "per_s")),
            "processor": ratio(processor(name), processor(PLAIN)),
        }
        for name in loads
        if name != PLAIN
    }


@contextmanager
def sink() -> Iterator[str]:
    """Run a receiver in a process of its own, and yield its address."""
    command = [sys.executable, "-m", "benchmarks.observation"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def receive() -> None:
    """Answer every gRPC call with an empty message, until the process is ended. Print the port."""

    class Everything(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Everything()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def start(parts: ExitStack, folder: Path, name: str, config: str, inference: str) -> Service:
    """Start a service with settings in TOML."""
    own = folder / name.replace(" ", "-")
    own.mkdir()
    (own / "config.toml").write_text(config)
    flags = ["--config", str(own / "config.toml"), "--inference", inference]
    return parts.enter_context(served(own / "data", own / "log", flags))


def turn_of(service: Service, calls: ServiceCalls, photo: bytes, concurrency: int) -> Turn:
    """Return a turn of verifications."""
    verify, processes = calls.verify(photo), processes_of(service.pid)

    async def turn(seconds: float) -> Load:
        return await measure_load(verify, concurrency, seconds, processes)

    return turn


async def scraping(addresses: Sequence[str]) -> None:
    """Read the metrics again and again, until it is cancelled."""
    while True:
        for address in addresses:
            await asyncio.to_thread(lambda url: urllib.request.urlopen(url).read(), f"http://{address}/metrics")
        await asyncio.sleep(SCRAPE_S)


async def measure(options: argparse.Namespace, traced: bool) -> Loads:
    """Measure all services in turns."""
    reference, probe = (photo_250(options.portraits / name) for name in (REFERENCE, PROBE))
    with ExitStack() as parts:
        folder = Path(parts.enter_context(TemporaryDirectory(prefix="sameface-bench-")))
        receiver = parts.enter_context(sink()) if traced else ""
        turns: dict[str, Turn] = {}
        opened: list[ServiceCalls] = []
        scraped: list[str] = []
        scrapes: asyncio.Task[None] | None = None
        try:
            for name, (metrics, traces) in contenders(traced).items():
                if options.only and name not in (PLAIN, *options.only):
                    continue
                config = METRICS_ON * metrics + TRACES_ON.format(sink=receiver) * traces
                service = start(parts, folder, name, config, options.inference)
                opened.append(calls := ServiceCalls(service.address))
                await calls.prepare(reference)
                turns[name] = turn_of(service, calls, probe, options.concurrency)
                scraped += [service.metrics] * metrics
            scrapes = asyncio.create_task(scraping(scraped))
            return await in_turns(turns, options.rounds, options.turn_s, lambda text: None)
        finally:
            if scrapes is not None:
                scrapes.cancel()
            for calls in opened:
                await calls.aclose()


def table(loads: Loads) -> Table:
    """Return the figures as a table."""
    shown = Table("service", "calls per s", "throughput, of that without", "processor time, of that without")
    shown.add_row(PLAIN, f"{middle(loads, PLAIN, 'per_s'):.0f}", "", "")
    for name, ratios in compared(loads).items():
        texts = (f"{one.median:.3f} ({one.low:.3f} to {one.high:.3f})" for one in ratios.values())
        shown.add_row(name, f"{middle(loads, name, 'per_s'):.0f}", *texts)
    return shown


def main(arguments: Sequence[str]) -> None:
    """Measure and print; ``--json`` for programs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks observation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--rounds", type=int, default=15, help="rounds (default 15)")
    parser.add_argument("--turn-s", type=float, default=2.0, help="seconds of each turn in a round (default 2)")
    parser.add_argument("--concurrency", type=int, default=4, help="calls at a time (default 4)")
    parser.add_argument("--only", choices=[METRICS, TRACES, BOTH], action="append", help="compare with this alone")
    parser.add_argument("--inference", choices=["triton", "onnx"], default="triton", help="what runs the models")
    parser.add_argument("--portraits", type=Path, default=Path("tests/data/portraits"))
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args(arguments)
    before = conditions()
    loads = asyncio.run(measure(options, "traces" in Settings.model_fields))
    if options.json:
        json.dump({"conditions": before, "loads": loads}, sys.stdout, indent=2)
        print()
        return
    Console().print(table(loads))


if __name__ == "__main__":
    receive()
