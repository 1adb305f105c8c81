"""One command line for docker, podman and buildah: build an image, look at its layers, run it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BUILD_S, RUN_S = 1800, 300


class Failed(Exception):
    """A command of the engine has failed, or an image is not as it should be."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image."""

    digest: str
    size: int
    """Bytes, not compressed."""
    made_by: str


@dataclass(frozen=True, slots=True)
class Engine:
    """What builds images, and what runs them."""

    builder: tuple[str, ...]
    runner: str

    def build(self, context: Path, target: str, tag: str, arguments: dict[str, str]) -> None:
        """Build a stage of docker/Dockerfile in a copy of the repository."""
        given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        file = ["-f", str(context / "docker" / "Dockerfile")]
        if self.builder[0] != "docker":
            file += ["--ignorefile", str(context / "docker" / "Dockerfile.dockerignore")]
        _run([*self.builder, *file, "--target", target, "-t", tag, *given, str(context)], BUILD_S)

    def has(self, image: str) -> bool:
        """Return whether an image is here, or can be pulled."""
        command = [self.runner, "image", "inspect", image]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return True
        try:
            pulled = subprocess.run([self.runner, "pull", image], capture_output=True, check=False, timeout=RUN_S)
        except subprocess.TimeoutExpired:
            return False
        return pulled.returncode == 0

    def layers(self, image: str) -> list[Layer]:
        """Return the layers of an image, the lowest first."""
        (found,) = json.loads(_run([self.runner, "image", "inspect", image]))
        history = _run([self.runner, "history", "--no-trunc", "--format", "{{.Size}}\t{{.CreatedBy}}", image])
        steps = [line.partition("\t") for line in reversed(history.splitlines())]
        made = [(size, text) for shown, _, text in steps if (size := in_bytes(shown))]
        return [Layer(digest, size, text) for digest, (size, text) in zip(found["RootFS"]["Layers"], made, strict=True)]

    def run(self, *arguments: str, seconds: float = RUN_S) -> str:
        """Run the runner's command line and return what it printed.

        Raises:
            Failed: it ended with an error; the message has its end.
        """
        return _run([self.runner, *arguments], seconds)


def in_bytes(shown: str) -> int:
    """Return the bytes of a size as the engines show it.

    >>> in_bytes("3.46 MB"), in_bytes("0B"), in_bytes("291kB")
    (3460000, 0, 291000)
    """
    found = re.fullmatch(r"([0-9.]+) ?([kMG]?)B", shown)
    if found is None:
        raise Failed(f"{shown!r} is no size")
    return round(float(found[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[found[2]])


def docker_answers() -> bool:
    """Return whether docker is here, with its daemon."""
    return bool(shutil.which("docker")) and not subprocess.run(["docker", "info"], capture_output=True).returncode


def find_engine() -> Engine | None:
    """Return the engine of this machine; None if there is none."""
    if docker_answers():
        return Engine(("docker", "build"), "docker")
    if shutil.which("podman"):
        builder = "buildah" if shutil.which("buildah") else "podman"
        options = ["--format", "docker", "--layers", *os.environ.get("IMAGES_BUILD_OPTIONS", "").split()]
        return Engine((builder, "build" if builder == "podman" else "bud", *options), "podman")
    return None


def _run(command: Sequence[str], seconds: float = RUN_S) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    if done.returncode:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
