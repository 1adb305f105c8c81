"""A peer as a contender: one process, or one for each core, that verify when they are asked to."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.load import Load
from benchmarks.peers.environments import Peer, peer_folder

WORKER = Path(__file__).with_name("worker.py")


class PeerProcesses:
    """Running workers of one peer."""

    def __init__(self, processes: list["subprocess.Popen[str]"]) -> None:
        self._processes = processes
        self.score: float = json.loads(_line(processes[0]))["score"]
        for other in processes[1:]:
            _line(other)

    @property
    def pids(self) -> list[int]:
        """Process ids."""
        return [process.pid for process in self._processes]

    async def turn(self, seconds: float) -> Load:
        """Let every process verify for so many seconds, all at the same time."""
        answers = await asyncio.gather(*(asyncio.to_thread(_ask, process, seconds) for process in self._processes))
        return Load(
            max(answer["seconds"] for answer in answers),
            tuple(ms for answer in answers for ms in answer["latencies_ms"]),
            {"peer": sum(answer["cpu_s"] for answer in answers)},
        )


@contextmanager
def peer_processes(peer: Peer, cache: Path, photos: tuple[Path, Path], *, each_core: bool) -> Iterator[PeerProcesses]:
    """Start a peer: one process as it comes, or one for each core with one thread each."""
    python = peer_folder(peer, cache) / "bin" / "python"
    command = [str(python), str(WORKER), peer.name, *map(str, photos)]
    commands = [[*command, str(core)] for core in sorted(os.sched_getaffinity(0))] if each_core else [command]
    processes = [
        subprocess.Popen(one, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for one in commands
    ]
    try:
        yield PeerProcesses(processes)
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def _ask(process: "subprocess.Popen[str]", seconds: float) -> dict[str, Any]:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"seconds": seconds}) + "\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(_line(process))
    return answer


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the process ended with {process.wait()}")
    return line
