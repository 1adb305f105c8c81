"""What `sameface serve` says where traces cannot be started, in text and as JSON."""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sameface.cli.options import ExitCode
from tests.cli.conftest import Run
from tests.cli.conftest import sameface as sameface


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`serve` sets up the logging of its process; here it goes on without."""
    for module, name in ((threading, "excepthook"), (sys, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    for name, number in (("", level), ("sameface", logging.NOTSET), ("sameface_qdrant", logging.NOTSET)):
        logging.getLogger(name).setLevel(number)


@pytest.mark.parametrize("form", ["text", "json"])
def test_without_the_package_the_start_names_the_command_that_installs_it(
    form: str, sameface: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("opentelemetry.proto", "sameface.tracing.encoding", "sameface.tracing.senders"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    # As if it were not installed.
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.trace.v1.trace_service_pb2", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.proto", None)
    flags = ["--inference", "onnx", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path), "--log-format", form]
    result = sameface("serve", *flags, SAMEFACE_TRACES__ENDPOINT="http://127.0.0.1:4317")
    assert result.returncode == ExitCode.ERROR
    (line,) = result.stderr.splitlines()
    said = json.loads(line)["message"] if form == "json" else line
    assert "RUNTIME_MISSING" in said
    assert "run: pip install 'sameface[traces]'" in said
