"""Latency and throughput of verify, identify and enrol, by size of the photo and number of callers; and memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.in_turns import Loads, Turn, in_turns, middle
from benchmarks.load import measure_load, processes_of
from benchmarks.memory import proportional_set_size
from benchmarks.service_calls import Call, ServiceCalls, operations_of, processes_text
from benchmarks.verification import PROBE, REFERENCE, SIZES, photo_of
from sameface.evaluation.tables import Table
from sameface.launcher import Service

CALLERS = (1, 4, 16, 64)


async def measure_operations(
    service: Service,
    portraits: Path,
    size: tuple[int, float],
    progress: Callable[[str], None],
    callers: tuple[int, ...] = CALLERS,
    sizes: tuple[str, ...] = tuple(SIZES),
) -> dict[str, Any]:
    """Measure every operation for ``size``: so many rounds, in which each works for so many seconds."""
    calls = ServiceCalls(service.address)
    await calls.prepare(photo_of(portraits / REFERENCE, SIZES["250×250"]))
    processes = processes_of(service.pid)
    contenders: dict[str, Turn] = {}
    for name in sizes:
        for operation, call in operations_of(calls, photo_of(portraits / PROBE, SIZES[name])).items():
            for count in callers:
                contenders[f"{operation}, {name}, {count}"] = _calling(call, count, processes)
    before = proportional_set_size(service.pid)
    loads = await in_turns(contenders, *size, progress)
    await calls.aclose()
    return {
        "loads": loads,
        "refused": calls.refused,
        "memory_before_mib": round(before, 1),
        "memory_after_mib": round(proportional_set_size(service.pid), 1),
        "turn_s": size[1],
    }


def _calling(call: Call, callers: int, processes: dict[str, list[int]]) -> Turn:
    return lambda seconds: measure_load(call, callers, seconds, processes)


def operations_tables(found: dict[str, Any]) -> list[Table]:
    """Return the table of operations."""
    loads: Loads = found["loads"]
    rows = tuple(
        (
            *name.split(", "),
            f"{middle(loads, name, 'median_ms'):.1f}",
            f"{middle(loads, name, 'p99_ms'):.1f}",
            f"{middle(loads, name, 'per_s'):.1f}",
            f"{sum(loads[name][-1]['cpu_ms'].values()):.1f}: {processes_text(loads[name][-1]['cpu_ms'])}",
        )
        for name in loads
    )
    rounds = len(next(iter(loads.values())))
    notes = (
        f"Medians of {rounds} rounds of {found['turn_s']:g} s each. Callers wait for each answer; the client runs on "
        f"the same cores. {found['refused']} calls were refused because the service was busy, and made again.",
        f"Memory of the service and its processes (PSS): {found['memory_before_mib']} MiB before, "
        f"{found['memory_after_mib']} MiB after.",
    )
    headings = ("operation", "photo", "callers", "median, ms", "p99, ms", "a second", "processor time of one call, ms")
    return [Table("Operations over gRPC", headings, rows, notes)]
