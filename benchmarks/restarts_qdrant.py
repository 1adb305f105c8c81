"""A Qdrant server on this machine, from a program that somebody else has built."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sameface.lifeline import ending_with_parent

START_S = 60.0


@dataclass(slots=True)
class QdrantServer:
    """One node, on ports of the loopback interface."""

    program: Path
    folder: Path
    grpc_port: int
    http_port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where services reach it."""
        return f"http://127.0.0.1:{self.grpc_port}"

    def restart(self) -> None:
        """Kill it, and start it again without waiting until it answers."""
        self.process.kill()
        self.process.wait()
        self.process = _started(self.program, self.folder, self.grpc_port, self.http_port)


@contextmanager
def running_qdrant(program: Path, folder: Path) -> Iterator[QdrantServer]:
    """Start a server in a folder, and end it."""
    folder.mkdir(parents=True)
    grpc_port, http_port = _free_port(), _free_port()
    server = QdrantServer(program, folder, grpc_port, http_port, _started(program, folder, grpc_port, http_port))
    try:
        _until_it_listens(grpc_port)
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def _started(program: Path, folder: Path, grpc_port: int, http_port: int) -> subprocess.Popen[bytes]:
    names = {"SERVICE__HOST": "127.0.0.1", "SERVICE__GRPC_PORT": grpc_port, "SERVICE__HTTP_PORT": http_port}
    names |= {"STORAGE__STORAGE_PATH": folder / "storage", "STORAGE__SNAPSHOTS_PATH": folder / "snapshots"}
    names |= {"TELEMETRY_DISABLED": "true"}
    environment = {**os.environ, **{f"QDRANT__{name}": str(value) for name, value in names.items()}}
    with (folder / "log").open("ab") as log:
        command = ending_with_parent([str(program)])
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def _until_it_listens(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.1)
    raise SystemExit(f"the Qdrant server does not listen on port {port} after {START_S:g} s; see its log")
