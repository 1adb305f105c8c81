"""Measures the memory and processor time of a process and of all processes that it started."""

import os
from collections.abc import Iterator
from pathlib import Path


def proportional_set_size(pid: int) -> float:
    """Return the PSS in MiB of a process and all its descendants. Shared pages are divided among them."""
    total = 0.0
    for process in _tree(pid):
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1024
    return total


def processor_s(pid: int) -> float:
    """Return the seconds of processor time that a process and its living descendants have used."""
    ticks = 0
    for process in _tree(pid):
        # The name of the program may hold spaces and brackets.
        after_name = (process / "stat").read_text().rpartition(")")[2].split()
        ticks += int(after_name[11]) + int(after_name[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> Iterator[Path]:
    pending = [pid]
    while pending:
        process = Path("/proc") / str(pending.pop())
        yield process
        for children in process.glob("task/*/children"):
            pending += [int(child) for child in children.read_text().split()]
