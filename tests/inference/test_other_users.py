"""Another user of this machine cannot reach the local Triton."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sameface.inference.cards import read_cards
from sameface.inference.local.process import SHARED_MEMORY
from sameface.inference.local.runtime import require_runtime
from sameface.inference.local.server import LocalTriton
from sameface.settings import cache_folder, model_repository_source
from tests.processes import descendants, listening_ports

pytestmark = pytest.mark.triton

NOBODY = 65534

# A model of the python backend is a program. This one writes a file with the id of the user that runs it.
INTRUDER = """
import os
class TritonPythonModel:
    def initialize(self, args):
        with open({marker!r}, "w") as marker:
            marker.write(str(os.getuid()))
    def execute(self, requests):
        return []
"""

# Import everything before the change of user, because the user `nobody` cannot read our interpreter's files.
ATTACK = """
import base64, http.client, json, os, socket, sys
import tritonclient.grpc as triton
attack = json.loads(sys.argv[1])
socket.getaddrinfo("127.0.0.1", 1)
b"".decode("idna")
os.setgroups([])
os.setgid(attack["user"])
os.setuid(attack["user"])

def load_over_grpc(address):
    with triton.InferenceServerClient(address) as client:
        client.load_model(
            "intruder", config=attack["config"], files={"file:1/model.py": attack["model"].encode()}, client_timeout=20
        )

def load_over_http(address):
    connection = http.client.HTTPConnection(address, timeout=20)
    model = base64.b64encode(attack["model"].encode()).decode()
    parameters = {"config": attack["config"], "file:1/model.py": model}
    connection.request("POST", "/v2/repository/models/intruder/load", json.dumps({"parameters": parameters}))
    assert connection.getresponse().status == 200

def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)

attempts = [(load_over_grpc, attack["grpc"])]
attempts += [(load, f"127.0.0.1:{port}") for port in attack["ports"] for load in (load_over_grpc, load_over_http)]
attempts += [(connect, path) for path in attack["sockets"]]
attempts += [(open, path) for path in attack["regions"]]
failures = {}
for attempt, target in attempts:
    try:
        attempt(target)
    except Exception as error:
        failures[target] = f"{type(error).__name__}: {error}"
print(json.dumps({"succeeded": [target for _, target in attempts if target not in failures], "failures": failures}))
"""


@pytest.fixture(scope="module")
async def triton(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalTriton]:
    """A server started in a folder with modules of another user. The path of its sockets has special characters."""
    hostile = tmp_path_factory.mktemp("hostile")
    for module in ("json", "numpy", "onnxruntime"):
        (hostile / f"{module}.py").write_text(f"open({str(hostile / 'imported')!r}, 'w'); raise SystemExit\n")
    repository = model_repository_source()
    with tempfile.TemporaryDirectory(prefix="a b%41", dir="/tmp") as temporary, pytest.MonkeyPatch.context() as patch:
        # Open to all users like /tmp: only the folder that the server makes in it keeps others out.
        os.chmod(temporary, 0o755)
        patch.setattr(tempfile, "tempdir", temporary)
        server = LocalTriton(repository, require_runtime(cache_folder()), read_cards(repository))
        patch.chdir(hostile)
        await server.start()
        patch.undo()
        assert not (hostile / "imported").exists()
        yield server
        await server.stop()
        assert os.listdir(temporary) == []


def attack(triton: LocalTriton, marker: Path, user: int) -> Any:
    """Try every attack of a local process as ``user``. Return what succeeded and what failed."""
    plan = {
        "user": user,
        "grpc": triton.grpc_url,
        "ports": sorted(listening_ports({triton.pid} | descendants(triton.pid))),
        "sockets": [str(triton.metrics)],
        "regions": [str(path) for path in SHARED_MEMORY.glob(f"{triton._region_prefix}*")],
        "model": INTRUDER.format(marker=str(marker)),
        "config": json.dumps(
            {
                "backend": "python",
                "input": [{"name": "x", "data_type": "TYPE_UINT8", "dims": [1]}],
                "output": [{"name": "y", "data_type": "TYPE_UINT8", "dims": [1]}],
                "instance_group": [{"kind": "KIND_CPU", "count": 1}],
            }
        ),
    }
    assert plan["regions"]
    command = [sys.executable, "-c", ATTACK, json.dumps(plan)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_it_listens_on_no_port_and_its_folder_is_closed(triton: LocalTriton) -> None:
    assert listening_ports({triton.pid} | descendants(triton.pid)) == set()
    assert triton.metrics.parent.stat().st_mode & 0o777 == 0o700


async def test_no_other_user_can_read_what_models_are_handed(triton: LocalTriton) -> None:
    regions = list(SHARED_MEMORY.glob(f"{triton._region_prefix}*"))
    assert len(regions) >= len(triton.stubs)
    assert {path.stat().st_mode & 0o777 for path in regions} == {0o600}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
async def test_another_user_cannot_run_a_model_or_read_one(triton: LocalTriton, tmp_path: Path) -> None:
    marker = tmp_path / "written"
    found = attack(triton, marker, NOBODY)
    assert found["succeeded"] == []
    assert "Permission denied" in found["failures"][triton.grpc_url]
    assert not marker.exists()
    # The same attack works for the server's own user, so the attack itself is correct.
    found = attack(triton, marker, os.getuid())
    assert found["failures"] == {}
    assert marker.read_text() == str(os.getuid())
