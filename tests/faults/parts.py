"""The parts that fail, as processes: a service of any release, a Triton beside it, and a Qdrant server."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import processes_of
from sameface.lifeline import ending_with_parent

READY_WITHIN_S = 90.0
STOPPED_WITHIN_S = 40.0


@dataclass(slots=True)
class Program:
    """A program that is started again with the same command."""

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    """What runs it in another network."""
    folder: Path | None = None
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> str:
        """Start it, and return the first line that it prints.

        Raises:
            RuntimeError: it ended, or printed nothing in time. The message ends with its log.
        """
        self._launch(subprocess.PIPE)
        assert self.process is not None
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), READY_WITHIN_S)
        except TimeoutError:
            line = b""
        if not line:
            self.kill()
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])
            raise RuntimeError(f"{self.command[0]} did not become ready:\n{tail}")
        return line.decode()

    def launch(self) -> None:
        """Start it without waiting for anything. What it prints goes into the log."""
        self._launch(None)

    def _launch(self, output: int | None) -> None:
        command = ["/usr/bin/env", *self.prefix, *self.command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ending_with_parent(command),
                env={**os.environ, **self.environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=log,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._forget()

    async def stop(self) -> float:
        """Ask it to end, wait until it has, and return the seconds that this took. It is killed if it does not."""
        began = time.monotonic()
        if self.process is not None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            try:
                await asyncio.to_thread(self.process.wait, STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self._forget()
        return time.monotonic() - began

    def _forget(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None


@dataclass(slots=True)
class ServiceProgram:
    """`sameface serve` of some release, on an address that stays."""

    program: Program
    address: str
    http: str = ""

    @classmethod
    def prepared(
        cls,
        folder: Path,
        flags: Sequence[str],
        *,
        python: str = sys.executable,
        host: str = "127.0.0.1",
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        http: bool = False,
    ) -> "ServiceProgram":
        """Prepare one that runs in ``folder``; its log is there. ``python`` is that of the release."""
        folder.mkdir(parents=True, exist_ok=True)
        address = f"{host}:{free_port(host) if not prefix else 50051}"
        web = f"{host}:{free_port(host) if not prefix else 8080}" if http else ""
        command = [python, "-P", "-m", "sameface.cli", "serve", "--json", "--listen", address, *flags]
        if web:
            command += ["--http", web]
        variables = dict(environment or {})
        if prefix:  # other machines could reach that address
            variables |= {"SAMEFACE_ALLOW_PLAINTEXT": "true", "SAMEFACE_HTTP__HOSTS": json.dumps([host])}
        return cls(Program(command, folder / "service.log", variables, prefix), address, f"http://{web}" if web else "")

    async def start(self) -> dict[str, Any]:
        """Start it; return what its first line says once it is ready."""
        line = await self.program.start()
        started: dict[str, Any] = json.loads(line)
        return started

    def processes(self, role: str) -> list[int]:
        """The processes of a role, see `benchmarks.load.processes_of`."""
        return processes_of(self.program.pid).get(role, [])


def triton_program(folder: Path, python: str = sys.executable) -> Program:
    """`sameface triton serve`; its first line names the socket."""
    folder.mkdir(parents=True, exist_ok=True)
    return Program([python, "-P", "-m", "sameface.cli", "triton", "serve"], folder / "triton.log")


def socket_of(line: str) -> str:
    """The path of the socket in the line that `sameface triton serve` prints."""
    _, _, rest = line.partition("answers gRPC on unix:")
    # gRPC's address ends in a port, which is part of the name of the socket's file.
    return rest.partition(",")[0]


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on."""
    with socket.socket() as opened:
        opened.bind((host, 0))
        port: int = opened.getsockname()[1]
        return port
