"""Another release of this repository, from a git revision, to run beside this one."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORK = Path(__file__).with_name("work.py")
SOURCES = ("plugins", "server")


@dataclass(frozen=True, slots=True)
class Release:
    """The code of a release. It runs with the packages of this environment."""

    name: str
    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which Python imports this release."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join(str(self.root / source) for source in SOURCES)}

    def run(self, order: str, folder: Path) -> dict[str, Any]:
        """Let this release do something with a folder, see `tests.releases.work`.

        Raises:
            SystemExit: it ended with something else than a typed error.
        """
        ended = subprocess.run(
            [sys.executable, str(WORK), order, str(folder)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            timeout=120,
        )
        if ended.returncode:
            raise SystemExit(f"{self.name} failed to {order} {folder}:\n{ended.stderr}")
        told: dict[str, Any] = json.loads(ended.stdout)
        if not Path(told.pop("code")).is_relative_to(self.root):
            raise SystemExit(f"{self.name} did not run from {self.root}; check how the packages are installed")
        return told


def this_release() -> Release:
    """Return the release of this checkout."""
    return Release("this release", ROOT)


def release_of(revision: str, folder: Path) -> Release:
    """Return the release of a git revision, whose files are written to a folder.

    Raises:
        SystemExit: git does not know the revision.
    """
    folder.mkdir(parents=True)
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", revision, *SOURCES], capture_output=True, check=False, timeout=120
    )
    if packed.returncode:
        raise SystemExit(f"git has no revision {revision}: {packed.stderr.decode().strip()}; name a tag or a commit")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True, timeout=120)
    return Release(f"release {revision}", folder)
