"""A terminal that runs the blocks of a page, and ends what they have started."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tools.first_hour.page import ROOT, Block, missing_line

PORTS = ("127.0.0.1:50051", "127.0.0.1:8080")
LINKED = ("tests", "clients")
INSTALLING = re.compile(r"^(?:python3 -m venv|pip install) .*\n", re.M)
"""The lines of a page that make the environment."""
CHECKOUT = '"../..'
"""How pages name the checkout when they install it."""
SESSION = Path(__file__).with_name("session.py")
BLOCK_S = 600
"""Longest time of one block, in seconds."""
STOP_S = 10.0


class StepFailed(Exception):
    """A block of a step failed, or did not print what the document says."""


@dataclass(slots=True)
class Terminal:
    """Runs blocks as one terminal would: folder, exported variables and background processes outlast a block."""

    folder: Path
    environment: dict[str, str]
    changes: tuple[tuple[str, str], ...]
    """What is written otherwise than in the page: ports, the packages to install."""
    installs: bool = True
    """Whether the lines that make the environment are run."""
    one_session: bool = False
    """Whether blocks of Python share one interpreter. It is started for the first of them."""
    groups: list[int] = field(default_factory=list)
    """Process groups of the blocks."""
    session: subprocess.Popen[str] | None = None

    def run(self, block: Block) -> str:
        """Run a block and return what it printed.

        Raises:
            StepFailed: it failed, or did not print what is expected.
        """
        code, expected = block.code, block.expected
        if not self.installs:
            code = INSTALLING.sub("", code)
        for old, new in self.changes:
            code = code.replace(old, new)
            expected = tuple(line.replace(old, new) for line in expected)
        output = self.folder / ".output"
        try:
            if block.language == "python" and self.one_session:
                status = self._in_session(code, output)
            else:
                status = self._alone(block.language, code, output)
        except TimeoutError:
            raise StepFailed(f"no end after {BLOCK_S} s:\n{code}") from None
        printed = output.read_text(errors="replace")
        if status:
            raise StepFailed(f"exit code {status} of\n{code}\n{printed}")
        if (line := missing_line(expected, printed)) is not None:
            raise StepFailed(f"expected the line\n{line}\nfrom\n{code}\nwhich printed\n{printed}")
        return printed

    def _alone(self, language: str, code: str, output: Path) -> int:
        """Run code in a process of its own and return its exit code."""
        state = self.folder / ".state"
        if language == "python":
            (self.folder / ".block.py").write_text(code)
            code = f"python {self.folder / '.block.py'}\n"
        script = f'. {state}\n{code}\n{{ export -p; declare -f; printf "cd %q\\n" "$PWD"; }} >{state}\n'
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
            self.groups.append(process.pid)
            try:
                return process.wait(BLOCK_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise TimeoutError from None
            finally:
                # The number of a group that has ended may soon be that of a stranger.
                self.groups = [group for group in self.groups if signalled(group, 0)]

    def _in_session(self, code: str, output: Path) -> int:
        """Run code in the interpreter of the page and return its exit code, 1 if the code raised an error."""
        if self.session is None:
            self.session = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", f". {self.folder / '.state'}; exec python {SESSION}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=self.environment,
                start_new_session=True,
            )
            self.groups.append(self.session.pid)
        (self.folder / ".block.py").write_text(code)
        output.write_bytes(b"")
        asked, answers = self.session.stdin, self.session.stdout
        assert asked is not None
        assert answers is not None
        asked.write(f"{self.folder / '.block.py'}\t{output}\n")
        asked.flush()
        if not select.select([answers], [], [], BLOCK_S)[0]:
            self.session.kill()
            raise TimeoutError
        return int(answers.readline() or self.session.wait() or 1)

    def close(self) -> None:
        """End what blocks have left running: politely, then by force."""
        if self.session is not None:
            for stream in (self.session.stdin, self.session.stdout):
                assert stream is not None
                stream.close()
            try:
                self.session.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.session.kill()
                self.session.wait()
        for sent, seconds in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, 0.0)):
            deadline = time.monotonic() + seconds
            self.groups = [group for group in self.groups if signalled(group, sent)]
            while self.groups and time.monotonic() < deadline:
                time.sleep(0.05)
                self.groups = [group for group in self.groups if signalled(group, 0)]


def signalled(group: int, number: int) -> bool:
    """Send a signal to a process group; False if it has no process any more."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def terminal(
    folder: Path,
    wheels: Path | None,
    *,
    installed: bool = False,
    one_session: bool = False,
    replaced: Sequence[tuple[str, str]] = (),
) -> Iterator[Terminal]:
    """Open a terminal in a folder that looks like a checkout, and end everything in it at the end.

    Args:
        folder: an empty folder.
        wheels: pip installs sameface and what it needs from this folder alone. None: it builds this checkout, and
            takes the rest from its index.
        installed: use the commands of the environment that this program runs in, and install nothing.
        one_session: run all blocks of Python in one interpreter.
        replaced: what is written otherwise than in the page, and how.
    """
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    (folder / ".state").write_text(f'cd "{folder}"\n')
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SAMEFACE_", "VIRTUAL_ENV"))}
    own.pop("PYTHONDONTWRITEBYTECODE", None)
    own["PATH"] = f"{Path(sys.executable).parent}:{own['PATH']}"
    package = str(ROOT)
    if wheels is not None:
        package = "sameface"
        own |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels.resolve()), "PIP_NO_COMPILE": "1"}
    grpc, http = (f"127.0.0.1:{port}" for port in free_ports(2))
    own |= {"SAMEFACE_LISTEN": grpc, "SAMEFACE_ADDRESS": grpc}
    changes = ((PORTS[0], grpc), (PORTS[1], http), (CHECKOUT, f'"{package}'), *replaced)
    opened = Terminal(folder, own, changes, installs=not installed, one_session=one_session)
    try:
        yield opened
    finally:
        opened.close()


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody uses now."""
    tried = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in tried]
    for one in tried:
        one.close()
    return ports
