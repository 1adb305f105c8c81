"""What a running service uses, read from /proc and from its folders: memory, descriptors, threads, bytes on disk."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.load import cpu_seconds, processes_of
from tests.soak.slopes import Values

MIB = 1 << 20
OWN_MEMORY = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")
"""Memory that is freed when its owners end. Pages of files are left out: other programs of the machine share them."""


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """Of one series: what is measured, and of which part."""

    part: str
    quantity: str
    unit: str


@dataclass(frozen=True, slots=True)
class Watched:
    """What is measured."""

    service: int
    """Process id."""
    store: Path
    """Folder of the embedded store."""
    temporary: Path
    """Its TMPDIR."""
    log: Path
    audit: Path | None = None
    """Folder of the audit log."""


def memory_mib(pids: Sequence[int]) -> float:
    """Return the memory in MiB that processes use beside the pages of files; what they share is divided among them."""
    kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(OWN_MEMORY):
                kib += int(line.split()[1])
    return kib / 1024


def descriptors(pids: Sequence[int]) -> int:
    """Return how many descriptors processes have open."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


def threads(pids: Sequence[int]) -> int:
    """Return how many threads processes have."""
    return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids)


def disk_bytes(path: Path) -> int:
    """Return what a file, or all files in a folder, occupy on the disk; a file that goes away meanwhile counts 0."""
    total = 0
    pending = [str(path)]
    while pending:
        with suppress(FileNotFoundError):
            entry = pending.pop()
            if os.path.isdir(entry):
                pending += [one.path for one in os.scandir(entry)]
            else:
                total += os.stat(entry).st_blocks * 512
    return total


def entries(folder: Path) -> int:
    """Return how many files, folders and sockets are in a folder, at any depth."""
    return sum(len(files) + len(folders) for _, folders, files in os.walk(folder))


def readings(watched: Watched, processes: dict[str, list[int]]) -> dict[Name, float]:
    """Measure everything once."""
    found: dict[Name, float] = {}
    for part, pids in processes.items():
        found[Name(part, "memory", "MiB")] = memory_mib(pids)
        found[Name(part, "descriptors", "")] = descriptors(pids)
        found[Name(part, "threads", "")] = threads(pids)
    for folder in sorted(watched.store.iterdir()):
        if folder.is_dir():
            found[Name("store", folder.name, "MiB")] = disk_bytes(folder) / MIB
    found[Name("service", "temporary files", "")] = entries(watched.temporary)
    found[Name("service", "log", "MiB")] = disk_bytes(watched.log) / MIB
    if watched.audit is not None:
        found[Name("service", "audit log", "MiB")] = disk_bytes(watched.audit) / MIB
    return found


@dataclass(slots=True)
class Series:
    """Values over time. Their room is there from the start, so that the measurement does not grow itself."""

    most: int
    began: float = field(default_factory=time.monotonic)
    count: int = 0
    restarts: list[str] = field(default_factory=list)
    """Processes that ended or began while they were watched."""
    at_s: Values = field(init=False)
    values: dict[Name, Values] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.at_s = np.full(self.most, np.nan)

    def add(self, found: dict[Name, float]) -> None:
        """Add one reading of everything; what is new has no value before."""
        if self.count == self.most:
            return
        self.at_s[self.count] = time.monotonic() - self.began
        for name, value in found.items():
            self.values.setdefault(name, np.full(self.most, np.nan))[self.count] = value
        self.count += 1

    def of(self, name: Name, from_s: float) -> tuple[Values, Values]:
        """Return times and values of a series from a time on."""
        at_s, values = self.at_s[: self.count], self.values[name][: self.count]
        wanted = (at_s >= from_s) & np.isfinite(values)
        return at_s[wanted], values[wanted]


class Watch:
    """Reads everything again and again."""

    def __init__(self, watched: Watched, most: int) -> None:
        """Begin; at most ``most`` readings are kept."""
        self.series = Series(most)
        self._watched = watched
        self._processes = processes_of(watched.service)
        self._processor = self._processor_s()

    def read(self) -> None:
        """Measure everything once; a process that has ended or begun since is noted."""
        now = processes_of(self._watched.service)
        try:
            found = readings(self._watched, now)
        except (ProcessLookupError, FileNotFoundError):  # a process ended in between
            now = processes_of(self._watched.service)
            found = readings(self._watched, now)
        if now != self._processes:
            self.series.restarts.append(f"{self._processes} became {now}")
            self._processes = now
        self.series.add(found)

    def cores(self, clock: Callable[[], float] = time.monotonic) -> dict[str, float]:
        """Return how many cores each part has used on average since the start."""
        seconds = clock() - self.series.began
        return {part: (used - self._processor.get(part, 0.0)) / seconds for part, used in self._processor_s().items()}

    def _processor_s(self) -> dict[str, float]:
        return {part: cpu_seconds(pids) for part, pids in processes_of(self._watched.service).items()}
