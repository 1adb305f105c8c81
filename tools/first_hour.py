"""Runs docs/first-hour.md: every block, in order, in an empty folder with an environment of its own.

A block without a language below a block of code is what that code prints: each of its lines must be printed, in this
order, with anything for ``…``. The first step that fails ends the run; the message has its number.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "first-hour.md"
STEP = re.compile(r"^## (\d+)\. (.+)$", re.M)
CODE = re.compile(r"^```(sh|python)\n(.*?)^```$(?:\n\n```\n(.*?)^```$)?", re.M | re.S)
NEEDS = re.compile(r"^Needs: `([\w-]+)`", re.M)
PORTS = ("127.0.0.1:50051", "127.0.0.1:8080")
LINKED = ("tests", "clients")
INSTALLING = ("python3 -m venv venv && . venv/bin/activate\n", 'pip install --quiet "../..[server]"\n')
"""The lines of the document that install sameface."""
BLOCK_S = 600
"""Longest time of one block, in seconds."""
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code, and the lines that it must print."""

    language: str
    code: str
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A section of the document."""

    number: int
    title: str
    blocks: tuple[Block, ...]
    needs: str
    """A program without which the step is skipped; empty for none."""


class StepFailed(Exception):
    """A block of a step failed, or did not print what the document says."""


def steps(text: str) -> list[Step]:
    """Return the steps of a document, in their order."""
    starts = [*STEP.finditer(text)]
    ends = [*(one.start() for one in starts[1:]), len(text)]
    found = []
    for start, end in zip(starts, ends, strict=True):
        body = text[start.end() : end]
        blocks = tuple(Block(one[1], one[2], tuple((one[3] or "").splitlines())) for one in CODE.finditer(body))
        needs = NEEDS.search(body)
        found.append(Step(int(start[1]), start[2], blocks, needs[1] if needs else ""))
    return found


def missing_line(expected: Sequence[str], printed: str) -> str | None:
    """Return the first expected line that was not printed after those before it; None if all were."""
    lines: Iterator[str] = iter(printed.splitlines())
    for wanted in expected:
        pattern = ".*".join(re.escape(part) for part in wanted.rstrip().split("…"))
        if not any(re.fullmatch(pattern, line.rstrip()) for line in lines):
            return wanted
    return None


@dataclass(slots=True)
class Terminal:
    """Runs blocks as one terminal would: folder, exported variables and background processes outlast a block."""

    folder: Path
    environment: dict[str, str]
    changes: tuple[tuple[str, str], ...]
    """What is written otherwise than in the document: ports, the packages to install."""
    groups: list[int] = field(default_factory=list)
    """Process groups of the blocks."""

    def run(self, block: Block) -> str:
        """Run a block and return what it printed.

        Raises:
            StepFailed: it failed, or did not print what is expected.
        """
        code, expected = block.code, block.expected
        for old, new in self.changes:
            code = code.replace(old, new)
            expected = tuple(line.replace(old, new) for line in expected)
        state = self.folder / ".state"
        if block.language == "python":
            (self.folder / ".block.py").write_text(code)
            code = f"python {self.folder / '.block.py'}\n"
        script = f'. {state}\n{code}\n{{ export -p; declare -f; printf "cd %q\\n" "$PWD"; }} >{state}\n'
        output = self.folder / ".output"
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
                status = process.wait(BLOCK_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise StepFailed(f"no end after {BLOCK_S} s:\n{code}") from None
        printed = output.read_text(errors="replace")
        if status:
            raise StepFailed(f"exit code {status} of\n{code}\n{printed}")
        if (line := missing_line(expected, printed)) is not None:
            raise StepFailed(f"expected the line\n{line}\nfrom\n{code}\nwhich printed\n{printed}")
        return printed

    def close(self) -> None:
        """End what blocks have left running: politely, then by force."""
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
def terminal(folder: Path, wheels: Path | None, *, installed: bool = False) -> Iterator[Terminal]:
    """Open a terminal in a folder that looks like a checkout, and end everything in it at the end.

    Args:
        folder: an empty folder.
        wheels: pip installs sameface and what it needs from this folder alone. None: it builds this checkout, and
            takes the rest from its index.
        installed: use the commands of the environment that this program runs in, and install nothing.
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
    install = tuple((line, "") for line in INSTALLING) if installed else (('"../..[', f'"{package}['),)
    changes = ((PORTS[0], grpc), (PORTS[1], http), *install)
    opened = Terminal(folder, own, changes)
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


def run(chosen: Sequence[Step], folder: Path, wheels: Path | None, *, installed: bool, as_json: bool) -> None:
    """Run steps and print each with its time.

    Raises:
        StepFailed: the message begins with the number of the step.
    """
    with terminal(folder, wheels, installed=installed) as shell:
        for step in chosen:
            skipped = bool(step.needs) and shutil.which(step.needs) is None
            began = time.monotonic()
            printed: list[str] = []
            if not skipped:
                try:
                    printed = [shell.run(block) for block in step.blocks]
                except StepFailed as failure:
                    raise StepFailed(f"step {step.number} ({step.title}) failed: {failure}") from None
            seconds = round(time.monotonic() - began, 1)
            if as_json:
                line = {"step": step.number, "title": step.title, "seconds": seconds, "skipped": skipped}
                print(json.dumps({**line, "output": "".join(printed)}), flush=True)
            elif skipped:
                print(f"step {step.number}: {step.title}: SKIPPED, {step.needs} is not installed", flush=True)
            else:
                print(f"step {step.number}: {step.title} ({seconds} s)\n{''.join(printed)}", flush=True)


def numbers(text: str) -> set[int]:
    """Return the numbers of ``1-3,5``.

    Raises:
        ValueError: it is not written like that.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the document; returns 1 if a step fails."""
    parser = argparse.ArgumentParser(description="Run docs/first-hour.md.")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="another document of such steps")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install from, without the network")
    parser.add_argument(
        "--installed", action="store_true", help="use the commands of this environment; install nothing"
    )
    parser.add_argument("--steps", type=numbers, help="run these alone, for instance 1-7,9")
    parser.add_argument("--keep", type=Path, help="use this folder, which must not exist, and keep it")
    parser.add_argument("--json", action="store_true", help="print one object for each step")
    given = parser.parse_args(arguments)
    chosen = [one for one in steps(given.document.read_text()) if given.steps is None or one.number in given.steps]
    # So that a run that is ended ends what it has started.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = {"installed": given.installed, "as_json": given.json}
    try:
        if given.keep:
            given.keep.mkdir(parents=True)
            run(chosen, given.keep.resolve(), given.wheels, **options)
        else:
            with tempfile.TemporaryDirectory(prefix="sameface-first-hour-", ignore_cleanup_errors=True) as name:
                run(chosen, Path(name), given.wheels, **options)
    except StepFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
