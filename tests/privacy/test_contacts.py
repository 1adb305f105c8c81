"""No process of ours contacts anybody but whom its settings name, or writes anywhere but in its own folders."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from sameface.inference.embedders import VERSIONS_SETTING
from sameface.inference.local.process import SHARED_MEMORY
from sameface.libraries import NO_TELEMETRY
from sameface.settings import cache_folder
from tests.conftest import PORTRAITS, default_version
from tests.privacy.on_a_server import PLUGIN
from tests.privacy.watch import Seen, clean_environment, read, traced, watch, why_not
from tests.processes import descendants
from tests.training.glyphs import glyphs, write_glyphs

REASON = why_not()
pytestmark = [pytest.mark.skipif(bool(REASON), reason=REASON), pytest.mark.timeout(600)]

SAMEFACE = [sys.executable, "-P", "-m", "sameface.cli"]
PHOTOS = [str(PORTRAITS / name) for name in ("emmanuel_macron_2014.jpg", "emmanuel_macron_2025.jpg")]
MODEL = Path(__file__).resolve().parents[2] / "model_repository" / "face_detector" / "1" / "model.onnx"

CLIENT = """
import sys
from sameface.client import Client
with Client(sys.argv[1]) as client:
    print(client.compare(sys.argv[2], sys.argv[3]))
"""
ONNX_RUNTIME = """
import sys
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
"""
# Several commands in one process, because the imports take most of the time.
COMMANDS = """
import json, sys
from {module} import main
for sys.argv[1:] in json.loads(sys.argv[1]):
    try:
        main()
    except SystemExit as ended:
        print("ENDED", sys.argv, ended.code)
        if ended.code not in {allowed}:
            raise
"""
LOOK_UP = """
import socket
try:
    socket.getaddrinfo("sameface.invalid", 443)
except OSError:
    pass
"""


def expect(seen: Seen, *contacts: str, folders: tuple[Path, ...] = (), status: tuple[int, ...] = (0,)) -> None:
    assert seen.returncode in status, seen.output
    assert seen.contacts_but(*contacts) == set()
    assert seen.written_outside(*folders) == set()


def shared_memory(seen: Seen, *beginnings: str) -> set[Path]:
    """What processes hand each other through shared memory, by how its names begin."""
    return {path for path in seen.written if path.parent == SHARED_MEMORY and path.name.startswith(beginnings)}


SERVED = {
    "triton": ("--inference", "triton"),
    # With Envoy before it.
    "onnx": ("--inference", "onnx", "--http", "127.0.0.1:0"),
    "openvino": ("--inference", "onnx", "--embedder-runtime", "openvino"),
}
"""Flags of a service, by what runs its models."""


class Service:
    """`sameface serve` under watch."""

    def __init__(self, folder: Path, models: str) -> None:
        self.models = models
        self.folder, self.records = folder, Path(mkdtemp(dir=folder))
        self.temporary = folder / "h" / "tmp"
        # All versions are loaded in the same way: one service loads each of them, as it does without settings.
        versions = {} if models == "onnx" else {VERSIONS_SETTING: str([default_version()])}
        environment = clean_environment(folder / "h", SAMEFACE_CACHE_DIR=str(cache_folder()), **versions)
        command = [*SAMEFACE, "serve", "--json", "--listen", "127.0.0.1:0", "--data-dir", str(folder / "data")]
        command += SERVED[models]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                traced(command, self.records), cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (folder / "log").read_text()
        self.address = json.loads(line)["address"]

    def stop(self) -> Seen:
        """End it and return what it did."""
        (service,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        os.kill(int(service), signal.SIGTERM)
        status = self.process.wait(60)
        return Seen(status, (self.folder / "log").read_text(), *read(self.records, self.folder))

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            for pid in descendants(self.process.pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(params=SERVED)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path, request.param)
    yield running
    running.end()


@pytest.mark.triton
def test_service(service: Service, tmp_path: Path) -> None:
    report, home = tmp_path / "report", tmp_path / "caller"
    report.mkdir()
    address = service.address
    environment = clean_environment(home, SAMEFACE_ADDRESS=address)
    commands = (
        ("enroll", "people", PHOTOS[0], "--as", "macron", "--create-gallery"),
        ("verify", "people", "macron", PHOTOS[1], "--draw", str(report)),
        ("identify", "people", PHOTOS[1]),
        ("detect", PHOTOS[1]),
        ("gallery", "calibrate", "people", "--report", str(report / "calibration.html")),
        ("erasure", "list"),
    )
    # The commands do not know what runs the models: each is watched once.
    called = commands[: {"onnx": None, "triton": 2, "openvino": 1}[service.models]]
    program = COMMANDS.format(module="sameface.cli.main", allowed=(0, 3))
    seen = watch([sys.executable, "-P", "-c", program, json.dumps(called)], tmp_path, environment)
    # What cannot be calibrated is drawn all the same.
    expect(seen, address, folders=(report, home / ".cache" / "sameface"))
    assert "Traceback" not in seen.output
    assert seen.output.count("ENDED") == len(called)
    seen = watch([sys.executable, "-P", "-c", CLIENT, address, *PHOTOS], tmp_path, environment)
    expect(seen, address)
    assert "MATCH" in seen.output
    # The local Triton has its sockets in the folder for temporary files, hands its models tensors through shared
    # memory, and makes an empty folder of its own in /tmp, whatever it is told.
    temporary = service.temporary
    seen = service.stop()
    triton = {path for path in seen.written if str(path).startswith("/tmp/python_env_")}
    own = (tmp_path / "data", temporary, *shared_memory(seen, "sameface_"), *triton)
    expect(seen, f"unix:{temporary}/", folders=own)


def test_commands_without_a_service(tmp_path: Path) -> None:
    home, made = tmp_path / "home", tmp_path / "made"
    made.mkdir()
    keys, protection = str(made / "keys.json"), str(made / "protection.json")
    commands = (
        ("version",),
        ("health", "--help"),
        ("model", "list"),
        ("model", "build"),
        ("model", "check"),
        ("key", "create", "door", "--role", "verifier", "--gallery", "staff", "--file", keys),
        ("key", "list", "--file", keys),
        ("protection", "create", "--file", protection),
        ("protection", "list", "--file", protection),
        ("doctor",),
    )
    more = {"SAMEFACE_INFERENCE": "onnx", "SAMEFACE_LISTEN": "127.0.0.1:0", "SAMEFACE_UNKNOWN": "named, not looked up"}
    command = [
        sys.executable,
        "-P",
        "-c",
        COMMANDS.format(module="sameface.cli.main", allowed=(0,)),
        json.dumps(commands),
    ]
    seen = watch(command, tmp_path, clean_environment(home, **more))
    # The doctor tries whether the data and cache folders, or the nearest that exist, can be written.
    tried = (home / ".sameface-doctor", home / ".cache" / ".sameface-doctor", home / ".cache" / "sameface")
    expect(seen, folders=(made, *tried))
    assert "SAMEFACE_UNKNOWN is set, but nothing reads it" in seen.output


def test_training(tmp_path: Path) -> None:
    write_glyphs(glyphs(12, 4, seed=9), tmp_path / "drawings")
    home, run, drawings = tmp_path / "home", str(tmp_path / "run"), str(tmp_path / "drawings")
    commands = (
        ("train", "triplet", drawings, "--run", run, "--steps", "2", "--change", "identities=8", "--threads", "1"),
        ("embed", run, drawings, "--out", f"{run}/embeddings.npz", "--allow-leakage"),
    )
    command = [
        sys.executable,
        "-P",
        "-c",
        COMMANDS.format(module="sameface_train.cli", allowed=(0,)),
        json.dumps(commands),
    ]
    seen = watch(command, tmp_path, clean_environment(home))
    # Its processes that read ahead talk to it through the folder for temporary files.
    own = (tmp_path / "run", home / "tmp", home / ".cache" / "sameface")
    expect(seen, f"unix:{home / 'tmp'}/", folders=(*own, *shared_memory(seen, "sem.", "torch_")))
    assert (tmp_path / "run" / "embeddings.npz").is_file()


def test_the_plugin_alone(tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = [sys.executable, "-P", "-c", PLUGIN, f"edge://{store}"]
    seen = watch(command, tmp_path, clean_environment(tmp_path / "home"))
    expect(seen, folders=(store,))
    assert seen.output == "MATCH\n"


def test_the_plugin_on_a_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.privacy.on_a_server", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    written = frozenset(map(Path, told["written"]))
    expect(Seen(told["returncode"], told["output"], frozenset(told["contacts"]), written), told["server"])
    assert told["output"] == "MATCH\n"


def test_what_native_code_looks_up_and_writes_is_seen(tmp_path: Path) -> None:
    home = tmp_path / "home"
    seen = watch([sys.executable, "-c", LOOK_UP], tmp_path, clean_environment(home))
    assert any(name.endswith(":53") or name.startswith("unix:") for name in seen.contacts)
    # ONNX Runtime without our setting looks up its vendor only after some seconds, but writes at once. Where it ceases
    # to, this fails and the setting can go.
    command = [sys.executable, "-P", "-c", ONNX_RUNTIME, str(MODEL)]
    seen = watch(command, tmp_path, clean_environment(home))
    assert any(path.is_relative_to(home / ".cache") for path in seen.written)
    shutil.rmtree(home)
    expect(watch(command, tmp_path, clean_environment(home, **NO_TELEMETRY)))


def test_every_onnx_runtime_of_ours_is_told(tmp_path: Path) -> None:
    program = "import os, sameface, sys; sys.exit(os.environ['ORT_DISABLE_TELEMETRY'] != '1')"
    seen = watch([sys.executable, "-P", "-c", program], tmp_path, clean_environment(tmp_path / "home"))
    expect(seen)
