"""Runs a command in a process that has imported its packages already: most of a command's time is that import.

A process imports them once, and forks for each command. ``BIN/sameface`` is a small program that hands over its
arguments, folder, environment and the three standard streams, and ends with the command's exit code.
"""

import array
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Kind:
    """Commands that import the same packages."""

    imported: tuple[str, ...]
    """Nothing of this starts threads: a fork would not have them."""
    commands: dict[str, str]
    """Name of each command, and the module whose ``main`` runs it."""


RUN_CODE = "run-code"
"""``run-code CODE`` does what ``python -c CODE`` does."""

KINDS = {
    "sameface": Kind(
        (
            "sameface.cli.main",
            "sameface.cli.decide",
            "sameface.cli.enroll",
            "sameface.cli.galleries",
            "sameface.cli.identities",
            "sameface.cli.erasures",
            "sameface.cli.health",
            "sameface.cli.key",
            "sameface.cli.store",
            "sameface.client",
            "sameface.settings",
            "sameface_qdrant.store.store",
        ),
        {"sameface": "sameface.cli.start"},
    ),
    "training": Kind(
        (
            "sameface_train.cli",
            "sameface_train.api",
            "sameface_train.few_people.command",
            "sameface_train.image_map",
            "sameface_train.report",
            "matplotlib.backends.backend_agg",
            "matplotlib.backends.backend_svg",
            "pytorch_metric_learning.losses",
            # The first optimiser imports it.
            "torch._dynamo",
        ),
        {"sameface-train": "sameface_train.start", RUN_CODE: ""},
    ),
}
START_S = 60.0

CALLER = """#!{python} -SEI
import array, json, os, socket, sys
with socket.socket(socket.AF_UNIX) as there:
    there.connect({address!r})
    streams = array.array("i", (0, 1, 2))
    there.sendmsg([b"s"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
    asked = json.dumps([sys.argv, os.getcwd(), dict(os.environ), os.umask(0o077)]).encode("utf-8", "surrogateescape")
    there.sendall(len(asked).to_bytes(4, "big") + asked)
    code = there.recv(1)
os._exit(code[0] if code else 70)
"""


@contextmanager
def preloaded(folder: Path, kind: str = "sameface") -> Iterator[Path]:
    """Yield a folder for the start of PATH, with commands of a kind that start at once; ``folder`` is empty."""
    address, bin_folder = folder / "s", folder / "bin"
    bin_folder.mkdir()
    for name in KINDS[kind].commands:
        caller = bin_folder / name
        caller.write_text(CALLER.format(python=sys.executable, address=str(address)))
        caller.chmod(0o755)
    command = [sys.executable, "-P", __file__, str(address), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("the process that runs commands did not start; its error is above")
            yield bin_folder
        finally:
            process.stdin.close()
            process.wait(START_S)


def _serve(address: str, kind: Kind) -> None:
    """Answer until stdin ends."""
    for name in kind.imported:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(16)
        print("ready", flush=True)
        while True:
            readable, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in readable:
                break
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            caller, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _answer(caller, kind)
            caller.close()
    with suppress(ChildProcessError):
        while True:
            os.wait()


def _answer(caller: socket.socket, kind: Kind) -> None:
    """Run one command in a child, and tell its caller the exit code. If the caller is gone, the command ends."""
    _, [(_, _, sent)], _, _ = caller.recvmsg(1, socket.CMSG_SPACE(12))
    streams = array.array("i", sent)
    size = int.from_bytes(_exactly(caller, 4), "big")
    argv, folder, environment, mask = json.loads(_exactly(caller, size).decode("utf-8", "surrogateescape"))
    child = os.fork()
    if child == 0:
        for wanted, stream in enumerate(streams):
            os.dup2(stream, wanted)
        os.closerange(3, 256)
        os.chdir(folder)
        os.umask(mask)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv[:] = argv
        # Those of this process remember whether what they were opened on could seek.
        _reopen("stdin", 0, "r")
        _reopen("stdout", 1, "w")
        _reopen("stderr", 2, "w")
        _run(kind.commands[Path(argv[0]).name])
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    readable, _, _ = select.select([ended, caller.fileno()], [], [])
    if ended not in readable:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    caller.sendall(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def _reopen(name: str, descriptor: int, mode: str) -> None:
    stream = os.fdopen(descriptor, mode, encoding="utf-8", closefd=False)
    for one in (name, f"__{name}__"):
        setattr(sys, one, stream)


def _run(module: str) -> None:
    code: object = 1
    try:
        if module:
            importlib.import_module(module).main()
        else:
            exec(compile(sys.argv[1], "<string>", "exec"), {"__name__": "__main__"})
            code = 0
    except SystemExit as ended:
        code = ended.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


def _exactly(caller: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        more = caller.recv(size - len(content))
        if not more:
            os._exit(1)
        content += more
    return content


if __name__ == "__main__":
    _serve(sys.argv[1], KINDS[sys.argv[2]])
