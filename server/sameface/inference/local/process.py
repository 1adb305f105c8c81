"""The tritonserver process: command line, sockets, start, stop, and cleanup of shared memory."""

import asyncio
import logging
import os
import signal
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from sameface.inference.local.private_memory import with_private_memory
from sameface.inference.local.runtime import Runtime
from sameface.lifeline import ending_with_parent
from sameface_qdrant.errors import InvalidArgument

log = logging.getLogger(__name__)

EXIT_TIMEOUT_S = 10
LONGEST_LINE = 1000
LONGEST_SOCKET_PATH = 107  # bytes; unix(7)
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # the system's folder of shared memory


@dataclass(frozen=True, slots=True)
class Sockets:
    """Unix sockets of one server. They keep their paths after a restart, so that clients can reconnect.

    The server trusts every client: a client may load its own model, which is a program. So the server listens on no
    port, but only on sockets in a folder that no other user can enter.
    """

    folder: Path

    @property
    def grpc_url(self) -> str:
        """The URL for clients."""
        return f"{self._grpc_address}:1"

    @property
    def repository(self) -> Path:
        """The models with configs for the local runtime, see `sameface.inference.local.configs`."""
        return self.folder / "models"

    @property
    def metrics(self) -> Path:
        """The socket that serves Prometheus metrics over HTTP."""
        return self.folder / "metrics"

    def flags(self) -> list[str]:
        """Return the flags that make tritonserver listen here and nowhere else."""
        return [
            # It appends the port to the address, even to a path.
            f"--grpc-address={self._grpc_address}",
            "--grpc-port=1",
            f"--metrics-address=unix:{self.metrics}",
            "--metrics-port=1",
            "--allow-http=false",
        ]

    def clear(self) -> None:
        """Remove sockets that an earlier server left. They would keep the next one from listening."""
        for leftover in self.folder.iterdir():
            if leftover.is_socket():
                leftover.unlink()

    @property
    def _grpc_address(self) -> str:
        return f"unix:{quote(str(self.folder / 'grpc'))}"


def private_folder() -> TemporaryDirectory[str]:
    """Create a folder for sockets that only its owner can enter (mode 0700).

    Raises:
        InvalidArgument: the path of a socket in the folder would be too long.
    """
    folder = TemporaryDirectory(prefix="sameface-triton-")
    if len(os.fsencode(folder.name)) + len("/metrics") > LONGEST_SOCKET_PATH:
        folder.cleanup()
        raise InvalidArgument(
            f"the path of tritonserver's sockets in {folder.name} is too long; at most {LONGEST_SOCKET_PATH} bytes are "
            "allowed; set TMPDIR to a folder with a shorter path",
            metadata={"field": "TMPDIR"},
        )
    return folder


class TritonProcess:
    """One tritonserver process, in a separate process group."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._last_lines: deque[str] = deque(maxlen=40)
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, runtime: Runtime, models: list[str], sockets: Sockets, region_prefix: str) -> "TritonProcess":
        """Start tritonserver with the given models of `Sockets.repository`, without waiting until it is ready."""
        command = [
            str(runtime.server),
            # Not a whole path: the stub processes could not start where that has a space.
            f"--model-repository={sockets.repository.name}",
            f"--backend-directory={runtime.backends}",
            *sockets.flags(),
            "--allow-gpu-metrics=false",
            f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
            # The configs are complete. Completing them automatically would triple the time of a cold start.
            "--disable-auto-complete-config",
            # Needed to restart a dead stub process by loading its model again.
            "--model-control-mode=explicit",
            f"--backend-config=python,shm-region-prefix-name={region_prefix}",
            *(f"--load-model={model}" for model in models),
        ]
        sockets.clear()
        process = await asyncio.create_subprocess_exec(
            *ending_with_parent(with_private_memory(command)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=runtime.environment(),
            # The stub processes import modules from their working folder, so it is one that no other user can enter.
            cwd=sockets.folder,
            start_new_session=True,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """Process id, which is also the id of the process group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.returncode is None

    def last_lines(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self._last_lines)

    def kill(self) -> None:
        """End the server and its child processes at once, for instance because it hangs."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Stop the server and its child processes. Requests in flight may finish."""
        if self.alive:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), EXIT_TIMEOUT_S + 5)
        self.kill()
        await self._process.wait()
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        """Read the log, so that a full pipe cannot block the server."""
        assert self._process.stdout is not None
        rest = ""
        while chunk := await self._process.stdout.read(1 << 16):
            *lines, rest = (rest + chunk.decode(errors="replace")).split("\n")
            for line in lines:
                self._last_lines.append(line[:LONGEST_LINE])
                log.debug("tritonserver: %s", line[:LONGEST_LINE])
            rest = rest[-LONGEST_LINE:]


class Endings:
    """Tells at once when one of some processes ends. The kernel does (pidfd_open(2)), so that waiting costs nothing."""

    def __init__(self) -> None:
        self._happened = asyncio.Event()
        self._ended: set[int] = set()
        self._descriptors: dict[int, int] = {}

    def watch(self, pids: Iterable[int]) -> bool:
        """Watch these processes instead of those before. Return whether the kernel tells of their ends."""
        self.close()
        try:
            for pid in pids:
                self._descriptors[pid] = descriptor = os.pidfd_open(pid)
                asyncio.get_running_loop().add_reader(descriptor, self._end, pid)
        except ProcessLookupError:
            self._ended.add(pid)
            self._happened.set()
        except OSError:  # an old kernel, or a sandbox
            return False
        return True

    async def wait(self, seconds: float) -> set[int]:
        """Return which processes have ended since the last wait, once one has or after some seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._happened.wait(), max(0.0, seconds))
        self._happened.clear()
        ended, self._ended = self._ended, set()
        return ended

    def close(self) -> None:
        """Watch nothing more."""
        for pid in list(self._descriptors):
            self._forget(pid)

    def _end(self, pid: int) -> None:
        self._forget(pid)
        self._ended.add(pid)
        self._happened.set()

    def _forget(self, pid: int) -> None:
        descriptor = self._descriptors.pop(pid)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


def stub_processes(server_pid: int) -> dict[int, str]:
    """Return the live stub processes of a server: process id → command line, which names the model instance."""
    stubs = {}
    for children in Path(f"/proc/{server_pid}/task").glob("*/children"):
        with suppress(OSError):
            for pid in map(int, children.read_text().split()):
                if (command := _living_command(pid)) and "triton_python_backend_stub" in command:
                    stubs[pid] = command
    return stubs


def remove_regions(prefix: str) -> None:
    """Remove shared memory that killed stub processes left behind."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def _living_command(pid: int) -> str:
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return (
        "" if state == "Z" else Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    )
