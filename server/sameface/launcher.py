"""Runs `sameface serve` as a process of our own, as a user would, for the demo, evaluation, benchmarks and tests."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sameface.errors import RuntimeMissing
from sameface.lifeline import ending_with_parent

STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    address: str
    pid: int


@contextmanager
def served(data_dir: Path, log_path: Path, flags: Sequence[str] = ()) -> Iterator[Service]:
    """Start a service on a free loopback port, give its address and process id, and stop it at the end.

    Raises:
        RuntimeMissing: it did not become ready, or did not stop cleanly; the message ends with its log.
    """
    # -P: nothing is imported from the folder that we happen to be in.
    command = [sys.executable, "-P", "-m", "sameface.cli", "serve", "--json", "--listen", "127.0.0.1:0"]
    command += ["--data-dir", str(data_dir), *flags]
    with log_path.open("wb") as log:
        process = subprocess.Popen(ending_with_parent(command), stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait(STOP_S)
            raise RuntimeMissing(f"the service did not start:\n{_tail(log_path)}", metadata={"log": log_path})
        yield Service(json.loads(line)["address"], process.pid)
    finally:
        process.terminate()
        try:
            status = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
    if status != 0:
        raise RuntimeMissing(f"the service ended with {status}:\n{_tail(log_path)}", metadata={"log": log_path})


def _tail(log_path: Path) -> str:
    return "\n".join(log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
