"""Measures the memory of a process and of all processes that it started."""

from pathlib import Path


def proportional_set_size(pid: int) -> float:
    """Return the PSS in MiB of a process and all its descendants. Shared pages are divided among them."""
    total, pending = 0.0, [pid]
    while pending:
        process = Path("/proc") / str(pending.pop())
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1024
        for children in process.glob("task/*/children"):
            pending += [int(child) for child in children.read_text().split()]
    return total
