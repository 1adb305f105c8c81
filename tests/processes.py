"""What is running, and what lies in shared memory."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

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


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until other processes make a condition true. The time limit of the test bounds it."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"did not happen: {what}")


def until_no_more_regions(before: set[str]) -> None:
    """Wait until the shared memory of every service that has ended is gone, but for what was there before.

    A service of another test may just have been killed: what watches it then removes its memory a moment later.
    """
    until(lambda: regions() <= before, "the shared memory is gone")


def regions(owner: int | None = None) -> set[str]:
    """Names of the shared memory of local Tritons: of one service, or of all services that have ended.

    Services of other tests may run at the same time.
    """
    owners = {path.name: int(path.name.split("_")[1]) for path in SHARED_MEMORY.glob("sameface_*")}
    return {name for name, pid in owners.items() if pid == owner or (owner is None and not living({pid}))}


def listening_ports(pids: set[int]) -> set[int]:
    """TCP ports that any of the processes listens on."""
    open_files = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                open_files.add(str(descriptor.readlink()))
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in open_files:
                ports.add(int(local.rpartition(":")[2], 16))
    return ports
