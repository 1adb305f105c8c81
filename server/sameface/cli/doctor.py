"""`sameface doctor`: checks what `sameface serve` needs, and says how to fix what is wrong."""

import errno
import json
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import grpc
import typer

from sameface.cli.health import ask_health, encryption_of, where_it_listens
from sameface.cli.model_checks import configured_models
from sameface.cli.options import AsJson, ExitCode
from sameface.cli.output import coloured, print_json, print_table
from sameface.cli.serve import load_settings
from sameface.errors import ModelNotFound, RuntimeMissing
from sameface.listening import bind_failures
from sameface_qdrant.errors import SamefaceError, StoreLocked

if TYPE_CHECKING:
    from sameface.settings import Settings

FREE_BYTES = 1 << 30
SERVICE = "sameface.v1.FaceService"
ANSWER_S = 3.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    good: bool
    found: str
    remedy: str = ""


def doctor(as_json: AsJson = False) -> None:
    """Check everything that `sameface serve` needs under the current settings, and say how to fix it.

    Exit code: 0 all is well, 3 something must be fixed.
    """
    findings = list(examine())
    if as_json:
        for one in findings:
            print_json({"name": one.name, "good": one.good, "found": one.found, "remedy": one.remedy})
    else:
        rows = [
            (
                one.name,
                coloured("good", colour="green") if one.good else coloured("fix", colour="red"),
                one.found,
                one.remedy,
            )
            for one in findings
        ]
        print_table(("", "", "found", "to do"), rows)
    if not all(one.good for one in findings):
        raise typer.Exit(ExitCode.ERROR)


def examine() -> Iterator[Finding]:
    """Make one check after another."""
    for finding in _examine():
        # A good finding needs no remedy.
        yield replace(finding, remedy="") if finding.good else finding


def _examine() -> Iterator[Finding]:
    version = f"Python {platform.python_version()}"
    yield Finding("interpreter", sys.version_info[:2] in ((3, 11), (3, 12)), version, "use Python 3.11 or 3.12")
    try:
        settings = load_settings(None)
    except SamefaceError as error:
        yield Finding("settings", False, error.message, "correct this setting")
        return
    yield Finding("settings", True, "readable")
    checks: list[Callable[[Settings], Finding]] = [_models, _default_version, _cache, _store, _address]
    if settings.inference == "triton":
        checks.insert(2, _triton)
    for check in checks:
        yield check(settings)
    yield from _ends(settings)


def _ends(settings: "Settings") -> Iterator[Finding]:
    """Look for certificates and API keys that end soon, where the settings name any."""
    from sameface.access.ends import certificate_files
    from sameface.cli.ends import certificates_found, keys_found

    now = datetime.now(UTC)
    if files := certificate_files(settings):
        good, found = certificates_found(files, now)
        yield Finding("certificates", good, found, "renew it: docs/runbook.md, Rotate certificates")
    if settings.keys_file.exists():
        try:
            good, found = keys_found(settings.keys_file, now)
        except OSError as error:
            yield Finding("API keys", False, f"{settings.keys_file}: {error.strerror}", "make it readable")
        except SamefaceError as error:
            yield Finding("API keys", False, error.message, "bring the file back that `sameface key` wrote")
        else:
            yield Finding("API keys", good, found, "sameface key rotate KEY")


def _models(settings: "Settings") -> Finding:
    from sameface.inference.cards import OPENVINO_EMBEDDER
    from sameface.inference.check import check_digests

    remedy = "sameface model build"
    try:
        models = configured_models(settings)
        if not settings.triton_url:
            check_digests(settings.model_repository, models.run)
        if settings.inference == "onnx" and OPENVINO_EMBEDDER in models.folders.values():
            from sameface.inference.openvino import import_openvino

            import_openvino()
    except RuntimeMissing as error:
        return Finding("models", False, error.message, "pip install 'sameface[openvino]'")
    except ModelNotFound as error:
        return Finding("models", False, error.message, remedy)
    except SamefaceError as error:
        return Finding("models", False, error.message, f"delete this file, then {remedy}")
    return Finding("models", True, ", ".join(f"{card.model} v{card.version}" for card in models.run))


def _default_version(settings: "Settings") -> Finding:
    from sameface.inference.cards import EMBEDDER
    from sameface.inference.defaults import check_served, chosen_version
    from sameface.settings import model_repository_source

    name = "default version"
    try:
        chosen = chosen_version(settings.embedder_version, settings.model_repository, model_repository_source())
        models = configured_models(settings)
        card = check_served(chosen, models.cards)
    except SamefaceError as error:
        return Finding(name, False, error.message, "sameface model build, or sameface model promote VERSION")
    found = f"{EMBEDDER} v{chosen.version} for new galleries, by {chosen.where}"
    return Finding(name, True, ". ".join(filter(None, (found, card.licence.restriction))))


def _triton(settings: "Settings") -> Finding:
    from sameface.inference.local.runtime import check_machine, find_runtime

    if settings.triton_url:
        remedy = "start it, or correct SAMEFACE_TRITON_URL"
        if settings.triton_url.startswith("unix:"):  # what `sameface triton serve` listens on
            return _connectable("Triton", settings.triton_url, remedy)
        return _reachable("Triton", f"//{settings.triton_url}", None, remedy)
    if runtime := find_runtime(settings.cache_dir):
        return Finding("Triton", True, str(runtime.root))
    try:
        check_machine()
    except SamefaceError as error:
        return Finding("Triton", False, error.message, "SAMEFACE_INFERENCE=onnx, or SAMEFACE_TRITON_URL=host:8001")
    return Finding("Triton", False, f"no runtime in {settings.cache_dir}", "sameface triton install")


def _cache(settings: "Settings") -> Finding:
    return _writable("cache folder", settings.cache_dir, "SAMEFACE_CACHE_DIR")


def _store(settings: "Settings") -> Finding:
    if settings.qdrant_url:
        remedy = "start it, or correct SAMEFACE_QDRANT_URL"
        nodes = [_reachable("Qdrant", url.strip(), 6334, remedy) for url in settings.qdrant_url.split(",")]
        good = any(node.good for node in nodes)
        return Finding("Qdrant", good, "; ".join(node.found for node in nodes), "" if good else remedy)
    from sameface_qdrant.engines.edge.lock import lock_folder

    folder = settings.data_dir / "store"
    if folder.is_dir():
        try:
            lock_folder(folder).close()
        except StoreLocked as error:
            return Finding("data folder", True, f"{folder} is in use by {_lock_holder(error.metadata['holder'])}")
        except OSError as error:
            return Finding(
                "data folder", False, f"{folder}: {error.strerror}", "make it writable, or set SAMEFACE_DATA_DIR"
            )
    return _writable("data folder", settings.data_dir, "SAMEFACE_DATA_DIR")


def _lock_holder(holder: str) -> str:
    """Return a text that names the process that holds a lock."""
    try:
        process = json.loads(holder)
        return f"process {process['pid']} on {process['host']} since {process['since']}"
    except (ValueError, TypeError, KeyError):
        return holder


def _address(settings: "Settings") -> Finding:
    remedy = "stop the program that uses it, or set SAMEFACE_LISTEN"
    try:
        failures, known = bind_failures(settings.listen)
    except (OSError, UnicodeError) as error:
        return Finding("address", False, f"{settings.listen}: {error}", "correct SAMEFACE_LISTEN")
    if any(failure.errno == errno.EADDRINUSE for failure in failures):
        try:
            status = ask_health(where_it_listens(settings.listen), ANSWER_S, SERVICE, encryption_of(settings.tls))
        except (grpc.RpcError, SamefaceError):  # also if its certificate cannot be read
            return Finding("address", False, f"{settings.listen} is in use by something else", remedy)
        return Finding(
            "address",
            status == "SERVING",
            f"a sameface service is there: {status} ({settings.listen})",
            "wait, or see its log",
        )
    # A name may have several addresses (localhost). The service listens on those that this machine has.
    if len(failures) == known:
        return Finding("address", False, f"{settings.listen}: {failures[0].strerror}", remedy)
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


def _reachable(name: str, url: str, default_port: int | None, remedy: str) -> Finding:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or default_port
        if port is None:
            raise ValueError("it names no port")
        socket.create_connection((host, port), timeout=ANSWER_S).close()
    except (OSError, ValueError) as error:
        return Finding(name, False, f"{url.removeprefix('//')} does not answer: {error}", remedy)
    return Finding(name, True, f"{host}:{port} answers")


def _connectable(name: str, url: str, remedy: str) -> Finding:
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(ANSWER_S)
            probe.connect(unquote(url.removeprefix("unix:")))
    except OSError as error:
        return Finding(name, False, f"{url} does not answer: {error}", remedy)
    return Finding(name, True, f"{url} answers")
