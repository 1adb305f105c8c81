"""`python -m benchmarks overload`: what the service does when more calls come than it can answer.

It finds the best throughput with some callers that wait for each answer. Then calls come at random times: at 80 % of
that rate, and at three times that rate. The callers are processes on the same machine, so they take processor time from
the service: the table says how much.
"""

import argparse
import json
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.calling import Calls, Plan, call_from_processes
from benchmarks.memory import processor_s, proportional_set_size
from benchmarks.verification import photo_250
from sameface.client import Client
from sameface.launcher import served
from sameface.v1 import face_pb2, face_service_pb2

VERIFY = "/sameface.v1.FaceService/VerifyFace"
LIMITS = {"throughput": 0.95, "p99": 3.0}
SETTLE_S = 5.0
"""The slope of the memory counts from so long after the overload began."""
SAMPLED_S = 2.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of the measurement."""

    name: str
    seconds: float
    calls: Calls
    service_s: float
    """Processor time of the service and its models."""

    @property
    def per_s(self) -> float:
        """Calls answered per second."""
        return self.calls.answered_in_time / self.seconds

    @property
    def refused_per_s(self) -> float:
        """Refusals per second."""
        return len(self.calls.refused_ms) / self.seconds

    def percentile(self, percent: float, *, refused: bool = False) -> float:
        """Return a percentile of the latency in milliseconds; NaN if there was no call."""
        values = self.calls.refused_ms if refused else self.calls.answered_ms
        return float(np.percentile(values, percent)) if values else float("nan")

    def summary(self) -> dict[str, Any]:
        """Return the figures, rounded."""
        return {
            "phase": self.name,
            "seconds": self.seconds,
            "answered_per_s": round(self.per_s, 1),
            "p50_ms": round(self.percentile(50), 1),
            "p99_ms": round(self.percentile(99), 1),
            "refused_per_s": round(self.refused_per_s, 1),
            "refused_p50_ms": round(self.percentile(50, refused=True), 2),
            "refused_p99_ms": round(self.percentile(99, refused=True), 2),
            "others": self.calls.others,
            "late_ms": round(self.calls.late_ms, 1),
            "cores_of_clients": round(self.calls.processor_s / self.seconds, 3),
            "cores_of_service": round(self.service_s / self.seconds, 3),
        }


@dataclass(slots=True)
class Memory:
    """Memory of the service and its models under overload, in MiB (PSS)."""

    at_s: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)

    @property
    def slope(self) -> float:
        """MiB a minute, by least squares, after the first seconds."""
        settled = [(at, mib) for at, mib in zip(self.at_s, self.mib, strict=True) if at >= SETTLE_S]
        if len(settled) < 3:
            return float("nan")
        at, mib = np.array(settled).T
        return float(np.polyfit(at / 60, mib, 1)[0])

    def summary(self) -> dict[str, float]:
        """Return the figures, rounded."""
        return {
            "start_mib": round(self.mib[0], 1),
            "end_mib": round(self.mib[-1], 1),
            "largest_mib": round(max(self.mib), 1),
            "slope_mib_per_min": round(self.slope, 2),
        }


@dataclass(frozen=True, slots=True)
class Overload:
    """The whole measurement."""

    closed: list[Phase]
    """Callers that wait for each answer: those that find the best throughput, before and after the rest."""
    usual: Phase
    """At 80 % of the best throughput."""
    overload: Phase
    memory: Memory
    times: float
    """Calls that came in the overload, divided by the best throughput."""
    compared: list[Phase]
    """Callers that wait for each answer, for comparison."""

    @property
    def best(self) -> float:
        """The best throughput, in calls per second."""
        return max(phase.per_s for phase in self.closed)

    def summary(self) -> dict[str, Any]:
        """Return the figures, rounded."""
        return {
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "best_per_s": round(self.best, 1),
            "throughput_ratio": round(self.overload.per_s / self.best, 3),
            "p99_ratio": round(self.overload.percentile(99) / self.usual.percentile(99), 2),
            "times_the_best": round(self.times, 2),
            "memory": self.memory.summary(),
            "phases": [one.summary() for one in (*self.closed, self.usual, self.overload, *self.compared)],
        }


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long and how much to measure."""

    best_callers: Sequence[int] = (8, 16)
    best_s: float = 8.0
    usual_s: float = 30.0
    overload_s: float = 60.0
    times: float = 3.0
    compared: Sequence[int] = (16, 64, 192)
    compared_s: float = 8.0
    processes: int = 3
    connections: int = 4
    """Of each process. Without credentials, each connection counts as a caller."""
    deadline_s: float = 30.0


def measure_overload(
    portraits: Path, sizes: Sizes, flags: Sequence[str] = (), told: Callable[[str], None] = lambda _: None
) -> Overload:
    """Start a service with ``flags``, and measure. ``told`` is called with the name of each phase that begins."""
    with TemporaryDirectory(prefix="sf-load-") as name, served(Path(name) / "data", Path(name) / "log", flags) as one:
        request = Path(name) / "request"
        request.write_bytes(_enrolled(one.address, portraits))
        plan = Plan(one.address, VERIFY, str(request), seconds=2.0, deadline_s=sizes.deadline_s)

        def phase(title: str, seconds: float, **given: Any) -> Phase:
            told(title)
            plans = _divided(replace(plan, seconds=seconds, connections=sizes.connections), sizes.processes, **given)
            before = processor_s(one.pid)
            calls = call_from_processes(plans)
            return Phase(title, seconds, calls, processor_s(one.pid) - before)

        def best() -> list[Phase]:
            return [phase(f"{count} callers", sizes.best_s, callers=count) for count in sizes.best_callers]

        phase("warm up", 2.0, callers=8)
        closed = best()
        rate = max(one.per_s for one in closed)
        usual = phase("80 % load", sizes.usual_s, rate=0.8 * rate)
        with _watched(one.pid) as memory:
            overload = phase(f"{sizes.times:g} × overload", sizes.overload_s, rate=sizes.times * rate)
        closed += best()
        compared = [phase(f"{count} callers, at once", sizes.compared_s, callers=count) for count in sizes.compared]
        if sizes.compared:
            count = max(sizes.compared)
            compared.append(phase(f"{count} callers, patient", sizes.compared_s, callers=count, patient=True))
    coming = len(overload.calls.answered_ms) + len(overload.calls.refused_ms) + sum(overload.calls.others.values())
    times = coming / sizes.overload_s / max(one.per_s for one in closed)
    return Overload(closed, usual, overload, memory, times, compared)


def _divided(plan: Plan, processes: int, *, rate: float = 0.0, callers: int = 0, patient: bool = False) -> list[Plan]:
    """Return the plan of each process, which together have this rate or so many callers."""
    if callers:
        processes = min(processes, callers)
    return [
        replace(
            plan,
            rate=rate / processes,
            callers=callers // processes + (number < callers % processes),
            patient=patient,
            seed=number,
        )
        for number in range(processes)
    ]


def _enrolled(address: str, portraits: Path) -> bytes:
    """Enrol a portrait, and return a request that verifies another one of the same person."""
    with Client(address) as client:
        client.create_gallery("bench")
        client.enroll("bench", "someone", photo_250(portraits / "jacinda_ardern_2018.jpg"))
    photo = photo_250(portraits / "jacinda_ardern_2022.jpg")
    request = face_service_pb2.VerifyFaceRequest(
        name="galleries/bench/identities/someone", sample=face_pb2.Sample(photo=photo)
    )
    return bytes(request.SerializeToString())


@contextmanager
def _watched(pid: int) -> Iterator[Memory]:
    """Sample the memory of a process tree while the block runs."""
    memory, ended, began = Memory(), threading.Event(), time.monotonic()

    def sample() -> None:
        memory.at_s.append(time.monotonic() - began)
        memory.mib.append(proportional_set_size(pid))

    def watch() -> None:
        while not ended.wait(SAMPLED_S):
            sample()

    sample()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()
        sample()


def print_overload(measured: Overload) -> None:
    """Print tables."""
    figures = measured.summary()
    memory = figures["memory"]
    table = Table(title=f"verify one 250×250 photo, {figures['machine']}", title_justify="left")
    for heading in (
        "phase",
        "answered/s",
        "p50 ms",
        "p99 ms",
        "refused/s",
        "p50 ms",
        "p99 ms",
        "cores: service, clients",
    ):
        table.add_column(heading)
    for one in figures["phases"]:
        table.add_row(
            one["phase"] + "".join(f", {count} {code}" for code, count in one["others"].items()),
            *(str(one[key]) for key in ("answered_per_s", "p50_ms", "p99_ms")),
            *(str(one[key]) for key in ("refused_per_s", "refused_p50_ms", "refused_p99_ms")),
            f"{one['cores_of_service']}, {one['cores_of_clients']}",
        )
    console = Console(width=140 if not Console().is_terminal else None)
    console.print(table)
    limits = Table(title=f"overload: {figures['times_the_best']} × the best throughput", title_justify="left")
    for heading in ("figure", "measured", "limit"):
        limits.add_column(heading)
    limits.add_row("throughput ÷ its best", str(figures["throughput_ratio"]), f"≥ {LIMITS['throughput']:g}")
    limits.add_row("p99 of answered calls ÷ p99 at 80 % load", str(figures["p99_ratio"]), f"≤ {LIMITS['p99']:g}")
    limits.add_row(
        "memory of the service (PSS)",
        f"{memory['start_mib']} to {memory['end_mib']} MiB, most {memory['largest_mib']}, "
        f"{memory['slope_mib_per_min']:+} MiB/min",
        "flat",
    )
    console.print(limits)


def main(arguments: Sequence[str]) -> None:
    """Measure and print; ``--json`` for programs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks overload", description=__doc__)
    usual = Sizes()
    parser.add_argument("--seconds", type=float, default=usual.overload_s, help="of the overload (default 60)")
    parser.add_argument("--usual-seconds", type=float, default=usual.usual_s, help="at 80 %% load (default 30)")
    parser.add_argument("--times", type=float, default=usual.times, help="rate of the overload ÷ best (default 3)")
    parser.add_argument("--processes", type=int, default=usual.processes, help="that call (default 3)")
    parser.add_argument("--no-comparison", action="store_true", help="leave out 16, 64 and 192 callers")
    parser.add_argument("--portraits", type=Path, default=Path("tests/data/portraits"))
    parser.add_argument("--flag", action="append", default=[], help="of `sameface serve`, as --flag=--inference=onnx")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args(arguments)
    sizes = replace(
        usual,
        overload_s=options.seconds,
        usual_s=options.usual_seconds,
        times=options.times,
        processes=options.processes,
        compared=() if options.no_comparison else usual.compared,
    )
    with Console(stderr=True).status("starting the service") as status:
        measured = measure_overload(options.portraits, sizes, options.flag, status.update)
    if options.json:
        json.dump(measured.summary(), sys.stdout, indent=2)
        print()
    else:
        print_overload(measured)
