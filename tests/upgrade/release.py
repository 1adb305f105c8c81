"""A release of the service, built from a revision of this repository into an environment of its own."""

import io
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILT = "built"


@dataclass(frozen=True, slots=True)
class Release:
    """A release that can be run."""

    name: str
    """Its commit."""
    python: str
    """The interpreter of its environment."""


def this_release() -> Release:
    """The release of this checkout, as it is."""
    commit = _run("git", "rev-parse", "--short=12", "HEAD", cwd=ROOT).decode().strip()
    changed = " with changes" if _run("git", "status", "--porcelain", "--untracked-files=no", cwd=ROOT) else ""
    return Release(f"{commit}{changed}", sys.executable)


def built(revision: str, folder: Path) -> Release:
    """Return the release of a revision; it is built in ``folder`` if it is not there yet.

    Raises:
        RuntimeError: there is no such revision, or it cannot be built. The message ends with what was printed.
    """
    commit = _run("git", "rev-parse", "--short=12", f"{revision}^{{commit}}", cwd=ROOT).decode().strip()
    checkout = folder.absolute() / commit
    if not (checkout / BUILT).is_file():
        checkout.mkdir(parents=True, exist_ok=True)
        content = _run("git", "archive", commit, cwd=ROOT)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(checkout, filter="data")
        _run("make", "install", "models", "triton", cwd=checkout)
        (checkout / BUILT).touch()
    return Release(commit, str(checkout / ".venv/bin/python"))


def _run(*command: str, cwd: Path) -> bytes:
    done = subprocess.run(command, cwd=cwd, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} in {cwd}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout
