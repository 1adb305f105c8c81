"""Runs `sameface serve` as a child process, for the demo, the evaluation, the benchmarks and the tests."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sameface.errors import ServerEnded
from sameface.lifeline import ending_with_parent

STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    address: str
    pid: int
    http: str = ""
    """Address of HTTP; empty without."""
    metrics: str = ""
    """Address of the metrics; empty without."""


@contextmanager
def served(data_dir: Path, log_path: Path, flags: Sequence[str] = ()) -> Iterator[Service]:
    """Start a service on a free loopback port, yield its address and process id, and stop it at the end.

    Raises:
        ServerEnded: the service did not become ready, or did not stop cleanly. The message ends with its log.
    """
    # -P: import nothing from the current folder.
    command = [sys.executable, "-P", "-m", "sameface.cli", "serve", "--json", "--listen", "127.0.0.1:0"]
    command += ["--data-dir", str(data_dir), *flags]
    with log_path.open("wb") as log:
        process = subprocess.Popen(ending_with_parent(command), stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait(STOP_S)
            raise ServerEnded(f"the service did not start:\n{_tail(log_path)}", metadata={"log": log_path})
        started = json.loads(line)
        yield Service(started["address"], process.pid, started["http"], started["metrics"])
    finally:
        process.terminate()
        try:
            status = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
    if status != 0:
        raise ServerEnded(f"the service ended with {status}:\n{_tail(log_path)}", metadata={"log": log_path})


def _tail(log_path: Path) -> str:
    return "\n".join(log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
