"""The compose file: started, asked with real photos, each part restarted, stopped."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from sameface.client import Client, ServiceError
from tests.conftest import PORTRAITS, ROOT
from tests.images.contents import wait_for
from tests.images.engine import Failed, docker_answers

ADDRESS = "127.0.0.1:50051"
PERSON = "emmanuel_macron"
ENROLLED, PROBE, STRANGER = f"{PERSON}_2014.jpg", f"{PERSON}_2025.jpg", "barack_obama.jpg"
WITHOUT_QDRANT = {"services": {"service": {"environment": {"SAMEFACE_QDRANT_URL": ""}}}}
"""The service then has a store of its own, on the volume of its image."""


class Compose:
    """The compose file with our images."""

    def __init__(self, folder: Path, images: dict[str, str], qdrant: str | None) -> None:
        """Use these images, by service; ``qdrant`` None: without Qdrant."""
        self._parts = [*images, *(["qdrant"] if qdrant else [])]
        more: dict[str, dict[str, object]] = {name: {"image": image} for name, image in images.items()}
        if qdrant:
            more["qdrant"] = {"image": qdrant}
        else:
            more["service"] |= WITHOUT_QDRANT["services"]["service"]
        override = folder / "images.yaml"
        override.write_text(yaml.safe_dump({"services": more}))
        self._command = [*compose_command(), "-f", str(ROOT / "docker" / "compose.yaml"), "-f", str(override)]

    @property
    def parts(self) -> Sequence[str]:
        """The services of the file that run."""
        return self._parts

    def up(self) -> None:
        """Start all, Triton first: not every compose waits for what a service depends on."""
        for part in sorted(self._parts, key=lambda part: part == "service"):
            self._run("up", "--detach", "--no-build", "--no-deps", part)

    def restart(self, part: str) -> None:
        """Restart one of the services."""
        self._run("restart", part)

    def down(self) -> None:
        """Remove containers and volumes."""
        self._run("down", "--volumes")

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([*self._command, *arguments], capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            raise Failed(f"compose {' '.join(arguments)}: {(done.stdout + done.stderr)[-2000:]}")
        return done.stdout


def compose_command() -> list[str]:
    """Return the compose of this machine.

    Raises:
        Failed: there is none.
    """
    if named := os.environ.get("COMPOSE"):
        return named.split()
    if docker_answers():
        return ["docker", "compose"]
    if found := shutil.which("podman-compose"):
        return [found]
    raise Failed("there is no compose; install docker compose or podman-compose, or set COMPOSE to its command")


def start_ask_restart_stop(compose: Compose) -> list[tuple[str, float]]:
    """Start all, enrol and verify, restart each part and verify again; return the seconds until calls were answered.

    Raises:
        Failed: a decision is wrong, or a part does not come back.
    """
    times: list[tuple[str, float]] = []
    try:
        began = time.monotonic()
        compose.up()
        wait_for(lambda: _call(_enroll))
        times.append(("start of all", time.monotonic() - began))
        _call(_verify)
        for part in compose.parts:
            compose.restart(part)
            began = time.monotonic()
            wait_for(lambda: _call(_verify))
            times.append((f"restart of {part}", time.monotonic() - began))
    finally:
        compose.down()
    return times


def _call(question: Callable[[Client], None]) -> None:
    try:
        with Client(ADDRESS, timeout_s=10) as client:
            question(client)
    except ServiceError as error:
        raise Failed(str(error)) from None


def _enroll(client: Client) -> None:
    client.create_gallery("people", exist_ok=True)
    client.enroll("people", PERSON, PORTRAITS / ENROLLED)


def _verify(client: Client) -> None:
    for photo, expected in ((PROBE, "MATCH"), (STRANGER, "NO_MATCH")):
        found = client.verify("people", PERSON, PORTRAITS / photo).decision.outcome.name
        if found != expected:
            raise Failed(f"{photo} against {PERSON} gives {found}; expected {expected}")
