"""Runs the commands whose outputs the documents show."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from sameface.inference.cards import read_cards
from sameface.inference.defaults import chosen_version
from sameface.inference.embedders import is_default
from sameface.launcher import Service, served
from sameface.settings import model_repository_source
from tools.transcripts.places import ROOT

ADDRESS, HTTP_ADDRESS = "127.0.0.1:50051", "127.0.0.1:8080"
"""Where the documents' examples expect the service."""
PROGRAM = Path(sys.executable).with_name("sameface")


def every_output() -> Mapping[str, str]:
    """Run all commands, and return what they print by the names of `tools.transcripts.places`.

    The demo writes its report into build/demo of the checkout.
    """
    with TemporaryDirectory(prefix="transcripts-") as name:
        folder = Path(name)
        flags = ["--inference", "onnx", "--http", "127.0.0.1:0"]
        with served(folder / "data", folder / "log", flags) as service:
            printed = {
                "readme": _run("python", "README.md", r"with Client", service),
                "clients": _run("python", "docs/clients.md", r"answer\.decision", service),
                "http": _run("sh", "docs/http.md", r"answer\.json", service),
                "verify": _run("sh", "README.md", r"sameface verify team", service),
            }
    return {
        **printed,
        "models": served_models_text(),
        "check": _printed([PROGRAM, "model", "check"], ROOT),
        "demo": _printed([PROGRAM, "demo"], ROOT),
    }


def served_models_text() -> str:
    """Return the models as `sameface serve` names them in its first line."""
    source = model_repository_source()
    cards, default = read_cards(source), chosen_version(None, source, source).version
    marks = (" (default)" if is_default(card, cards, default) else "" for card in cards)
    return ", ".join(f"{card.model} v{card.version}{mark}" for card, mark in zip(cards, marks, strict=True))


def _run(language: str, document: str, pattern: str, service: Service) -> str:
    """Run the first block of a document in which the pattern is found, against the service."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    code = next(one for one in blocks if re.search(pattern, one))
    shown = code.replace(ADDRESS, service.address).replace(HTTP_ADDRESS, service.http)
    command = [sys.executable, "-c", shown] if language == "python" else ["bash", "-euo", "pipefail", "-c", shown]
    with TemporaryDirectory(prefix="transcripts-") as name:
        # The examples write files, and read those of the checkout.
        for shared in ("tests", "docs"):
            (Path(name) / shared).symlink_to(ROOT / shared)
        return _printed(command, Path(name), SAMEFACE_ADDRESS=service.address)


def _printed(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    every = {**os.environ, "PATH": path, **environment}
    result = subprocess.run(command, cwd=folder, env=every, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"exit code {result.returncode} of {command}\n{result.stdout}{result.stderr}")
    return result.stdout
