"""What is running, and what lies in shared memory."""

import contextlib
from pathlib import Path

from sameface.inference.local.process import SHARED_MEMORY


def descendants(pid: int) -> set[int]:
    """Process ids of everything that a process started, directly or not."""
    found = set()
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                found |= {child} | descendants(child)
    return found


def living(pids: set[int]) -> set[int]:
    """Those that still run; a zombie does not."""
    alive = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                alive.add(pid)
    return alive


def regions() -> set[str]:
    """Names of everything in shared memory."""
    return {path.name for path in SHARED_MEMORY.iterdir()}
