"""`sameface doctor`: what is missing or misconfigured on this machine, and how to mend it."""

import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from sameface.cli.options import AsJson, ExitCode
from sameface.cli.output import coloured, print_json, print_table
from sameface.cli.serve import load_settings
from sameface.errors import ModelNotFound
from sameface.settings import Settings
from sameface_qdrant.errors import SamefaceError

FREE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    good: bool
    found: str
    remedy: str = ""


def doctor(as_json: AsJson = False) -> None:
    """Look at everything that `sameface serve` needs under the present settings.

    Exit code 0 when all is well, 3 when something has to be mended.
    """
    findings = list(examine())
    if as_json:
        for one in findings:
            print_json({"name": one.name, "good": one.good, "found": one.found, "remedy": one.remedy})
    else:
        rows = [
            (
                one.name,
                coloured("good", colour="green") if one.good else coloured("mend", colour="red"),
                one.found,
                one.remedy,
            )
            for one in findings
        ]
        print_table(("", "", "found", "to do"), rows)
    if not all(one.good for one in findings):
        raise typer.Exit(ExitCode.ERROR)


def examine() -> Iterator[Finding]:
    """Look at one thing after another."""
    version = f"Python {platform.python_version()}"
    yield Finding("interpreter", sys.version_info[:2] in ((3, 11), (3, 12)), version, "use Python 3.11 or 3.12")
    try:
        settings = load_settings(None)
    except SamefaceError as error:
        yield Finding("settings", False, error.message, "correct the setting that is named")
        return
    yield Finding("settings", True, "readable")
    checks: list[Callable[[Settings], Finding]] = [_models, _cache, _store, _address]
    if settings.inference == "triton":
        checks.insert(1, _triton)
    for check in checks:
        finding = check(settings)
        yield finding if not finding.good else Finding(finding.name, True, finding.found)


def _models(settings: Settings) -> Finding:
    from sameface.inference.cards import read_cards
    from sameface.inference.check import check_digests

    remedy = "sameface model build"
    try:
        cards = read_cards(settings.model_repository)
        if not settings.triton_url:
            check_digests(settings.model_repository, cards)
    except ModelNotFound as error:
        return Finding("models", False, error.message, remedy)
    except SamefaceError as error:
        return Finding("models", False, error.message, f"delete the file that is named, then {remedy}")
    return Finding("models", True, ", ".join(f"{card.model} v{card.version}" for card in cards))


def _triton(settings: Settings) -> Finding:
    from sameface.inference.local.runtime import check_machine, find_runtime

    if settings.triton_url:
        host, _, port = settings.triton_url.rpartition(":")
        return _reachable("Triton", host, port, "start it, or correct SAMEFACE_TRITON_URL")
    if runtime := find_runtime(settings.cache_dir):
        return Finding("Triton", True, str(runtime.root))
    try:
        check_machine()
    except SamefaceError as error:
        return Finding("Triton", False, error.message, "SAMEFACE_INFERENCE=onnx, or SAMEFACE_TRITON_URL=host:8001")
    return Finding("Triton", False, f"no runtime in {settings.cache_dir}", "sameface triton install")


def _cache(settings: Settings) -> Finding:
    return _writable("cache folder", settings.cache_dir, "SAMEFACE_CACHE_DIR")


def _store(settings: Settings) -> Finding:
    if settings.qdrant_url:
        from urllib.parse import urlsplit

        url = urlsplit(settings.qdrant_url)
        return _reachable(
            "Qdrant", url.hostname or "", str(url.port or 6334), "start it, or correct SAMEFACE_QDRANT_URL"
        )
    from sameface_qdrant.engines.lock import lock_folder

    folder = settings.data_dir / "store"
    if folder.is_dir():
        try:
            lock_folder(folder).close()
        except SamefaceError as error:
            return Finding("data folder", True, f"in use: {error.message}")
        except OSError as error:
            return Finding(
                "data folder", False, f"{folder}: {error.strerror}", "make it writable, or set SAMEFACE_DATA_DIR"
            )
    return _writable("data folder", settings.data_dir, "SAMEFACE_DATA_DIR")


def _address(settings: Settings) -> Finding:
    host, _, port = settings.listen.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            found = f"{settings.listen}: {error.strerror}"
            return Finding("address", False, found, "stop who holds it, or set SAMEFACE_LISTEN")
    return Finding("address", True, f"{settings.listen} is free")


def _writable(name: str, folder: Path, setting: str) -> Finding:
    present = folder
    while not present.exists():
        present = present.parent
    probe = present / ".sameface-doctor"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return Finding(name, False, f"{folder}: {error.strerror}", f"make it writable, or set {setting}")
    free = shutil.disk_usage(present).free
    if free < FREE_BYTES:
        return Finding(name, False, f"{folder}: {free >> 20} MiB free", f"free 1 GiB, or set {setting}")
    return Finding(name, True, f"{folder}, {free >> 30} GiB free")


def _reachable(name: str, host: str, port: str, remedy: str) -> Finding:
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except (OSError, ValueError) as error:
        return Finding(name, False, f"{host}:{port} does not answer: {error}", remedy)
    return Finding(name, True, f"{host}:{port} answers")
