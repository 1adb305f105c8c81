"""Runs the command line as a user would: in this process, or as a separate process if that matters."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sameface.cli.main import main
from sameface.client import Client
from sameface.launcher import Service

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sameface(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `sameface` with arguments and extra environment; nothing is checked.

    It runs in this process: the same entry point, without a second of imports for each of the many calls.
    """

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        output, errors = io.StringIO(), io.StringIO()
        before = signal.getsignal(signal.SIGTERM)
        with (
            monkeypatch.context() as patch,
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            patch.setattr(sys, "argv", ["sameface", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        signal.signal(signal.SIGTERM, before)
        code = ended.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(list(arguments), code, output.getvalue(), errors.getvalue())

    return run


def process(
    *arguments: str | bytes, stdout: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run `sameface` as a separate process."""
    command = [sys.executable, "-m", "sameface.cli", *arguments]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, env={**os.environ, **environment}, check=False, timeout=60
    )


def lines(output: str) -> list[dict[str, Any]]:
    """Return the records of JSON lines."""
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def gallery(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A gallery for one test, on the service that commands use by default."""
    monkeypatch.setenv("SAMEFACE_ADDRESS", service.address)
    name = f"cli-{uuid.uuid4().hex[:12]}"
    with Client(service.address) as client:
        client.create_gallery(name)
        yield name
        client.delete_gallery(name, force=True)


@pytest.fixture
def people(tmp_path: Path, portraits: Path) -> Path:
    """A folder like a user's: names with capitals, spaces and accents."""
    for name, photo in {
        "Emmanuel Macron": "emmanuel_macron_2014.jpg",
        "Barack Obama": "barack_obama.jpg",
        "Jacinda Ardérn": "jacinda_ardern_2018.jpg",
    }.items():
        (tmp_path / "people" / name).mkdir(parents=True)
        shutil.copy(portraits / photo, tmp_path / "people" / name)
    return tmp_path / "people"
