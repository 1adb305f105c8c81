"""Measures how long `sameface serve` takes until it is ready, and the memory of a service that has nothing to do."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.load import processes_of
from benchmarks.memory import proportional_set_size
from sameface.evaluation.tables import Table
from sameface.launcher import served

LIMITS = {"ready_s": 5.0, "memory_mb": 600.0}
IDLE_S = 2.0


def measure_start(starts: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Start a service so many times. Return the seconds of each start, and the memory after the last one."""
    ready = []
    with TemporaryDirectory(prefix="sameface-bench-") as name:
        for number in range(starts):
            progress(f"start {number + 1} of {starts}")
            began = time.monotonic()
            with served(Path(name) / f"data-{number}", Path(name) / "log") as service:
                ready.append(round(time.monotonic() - began, 2))
                if number == starts - 1:
                    time.sleep(IDLE_S)
                    memory = proportional_set_size(service.pid)
                    processes = {
                        role: len(pids) for role, pids in processes_of(service.pid).items() if role != "client"
                    }
    return {"ready_s": ready, "idle_memory_mib": round(memory, 1), "processes": processes}


def start_tables(found: dict[str, Any]) -> list[Table]:
    """Return the table of the start."""
    ready = found["ready_s"]
    processes = ", ".join(f"{count} {role}" for role, count in found["processes"].items())
    memory = found["idle_memory_mib"]
    rows = (
        (
            "`sameface serve` to ready, golden vectors checked",
            f"median {statistics.median(ready):.2f} s ({min(ready):.2f} to {max(ready):.2f}, {len(ready)} starts)",
            f"≤ {LIMITS['ready_s']:g} s",
        ),
        (f"idle memory (PSS): {processes}", f"{memory} MiB, which is {memory * 1.048576:.0f} MB", "< 600 MB"),
    )
    return [Table("Start and memory", ("figure", "measured", "goal"), rows)]
