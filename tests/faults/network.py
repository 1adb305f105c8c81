"""A network of its own for a part, which can be cut off, and disks of its own, which can be full. Both need root."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

FILLER = "filler"
NOT_ROOT = "a network namespace needs Linux and root"
NO_IP = "the program ip (iproute2) is not installed"
NO_NETWORK = "no network namespace can be made: "
NO_MOUNT_ROOT = "a disk of its own needs Linux and root"
NO_MOUNT = "no disk can be mounted: "
REASONS = (NOT_ROOT, NO_IP, NO_NETWORK, NO_MOUNT_ROOT, NO_MOUNT)
"""How a reason begins for which there can be no network or no disk."""


@functools.cache
def why_no_network() -> str:
    """Why no network can be made here; empty if it can. Root of a container may not be allowed to."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return NOT_ROOT
    if not shutil.which("ip"):
        return NO_IP
    try:
        with Network(255):
            return ""
    except RuntimeError as error:
        return f"{NO_NETWORK}{error}"


@functools.cache
def why_no_disk() -> str:
    """Why no disk can be mounted here; empty if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return NO_MOUNT_ROOT
    try:
        with tempfile.TemporaryDirectory() as folder, Disk(Path(folder) / "disk", 1):
            return ""
    except RuntimeError as error:
        return f"{NO_MOUNT}{error}"


class Network:
    """A network namespace with one link to this one. Programs in it listen on `inside`."""

    def __init__(self, number: int) -> None:
        """``number`` (0 to 255) names it; the addresses are 10.231.``number``.1 and .2."""
        self.name = f"sameface-{os.getpid()}-{number}"
        self._here, self._there = f"sf{number}h{os.getpid() % 10000}", f"sf{number}t{os.getpid() % 10000}"
        self.outside, self.inside = f"10.231.{number}.1", f"10.231.{number}.2"

    @property
    def prefix(self) -> list[str]:
        """What stands before a command that runs in it."""
        return ["ip", "netns", "exec", self.name]

    def __enter__(self) -> "Network":
        try:
            _run("ip", "netns", "add", self.name)
            _run("ip", "link", "add", self._here, "type", "veth", "peer", "name", self._there, "netns", self.name)
            _run("ip", "address", "add", f"{self.outside}/30", "dev", self._here)
            _run("ip", "link", "set", self._here, "up")
            _run("ip", "-n", self.name, "address", "add", f"{self.inside}/30", "dev", self._there)
            _run("ip", "-n", self.name, "link", "set", "lo", "up")
            self.join()
        except RuntimeError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)

    def cut(self) -> None:
        """Take the cable out: what is sent is lost, and nobody is told."""
        _run("ip", "-n", self.name, "link", "set", self._there, "down")

    def join(self) -> None:
        """Put it in again."""
        _run("ip", "-n", self.name, "link", "set", self._there, "up")


class Disk:
    """A small disk in memory."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder, self._megabytes = folder, megabytes

    def __enter__(self) -> "Disk":
        self.folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={self._megabytes}m,mode=0700", "tmpfs", str(self.folder))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Whatever still has a file open there ends later.
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False)

    def fill(self) -> None:
        """Leave no byte free."""
        with (self.folder / FILLER).open("wb", buffering=0) as file:
            try:
                while file.write(b"\0" * 65536):
                    pass
            except OSError:
                pass

    def free(self) -> None:
        """Remove what filled it."""
        (self.folder / FILLER).unlink()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
