"""`sameface doctor` finds what is wrong and says how to fix it."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2_grpc

from sameface.launcher import served
from tests.cli.conftest import Run


def diagnose(sameface: Run, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    # A free port: the default one may be in use on the machine that runs the tests.
    result = sameface("doctor", "--json", **{"SAMEFACE_LISTEN": "127.0.0.1:0", **environment})
    assert "Traceback" not in result.stderr
    return result.returncode, {one["name"]: one for one in map(json.loads, result.stdout.splitlines())}


def test_all_is_well_here(sameface: Run, tmp_path: Path) -> None:
    code, found = diagnose(sameface, SAMEFACE_DATA_DIR=str(tmp_path))
    assert code == 0, found
    assert set(found) == {
        *("interpreter", "settings", "models", "default version"),
        *("Triton", "cache folder", "data folder", "address"),
    }
    assert all(one["good"] and not one["remedy"] for one in found.values())


def test_what_is_missing_is_named_with_the_command_that_makes_it(sameface: Run, tmp_path: Path) -> None:
    code, found = diagnose(
        sameface,
        SAMEFACE_CACHE_DIR=str(tmp_path),
        SAMEFACE_MODEL_REPOSITORY=str(tmp_path),
        SAMEFACE_DATA_DIR=str(tmp_path),
    )
    assert code == 3
    assert (found["models"]["good"], found["models"]["remedy"]) == (False, "sameface model build")
    assert (found["Triton"]["good"], found["Triton"]["remedy"]) == (False, "sameface triton install")


def test_an_address_in_use_and_a_remote_part_that_is_down_are_named(sameface: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, found = diagnose(
            sameface,
            SAMEFACE_LISTEN=address,
            SAMEFACE_TRITON_URL="127.0.0.1:9",
            SAMEFACE_QDRANT_URL="http://127.0.0.1:9",
        )
    assert code == 3
    assert address in found["address"]["found"]
    assert not found["Triton"]["good"]
    assert not found["Qdrant"]["good"]


def test_a_triton_behind_a_socket_is_found(sameface: Run, tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/triton"
    _, found = diagnose(sameface, SAMEFACE_TRITON_URL=url)
    assert not found["Triton"]["good"]
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(url.removeprefix("unix:"))
        there.listen()
        _, found = diagnose(sameface, SAMEFACE_TRITON_URL=url)
    assert found["Triton"]["found"] == f"{url} answers"


def test_a_wrong_setting_is_named(sameface: Run) -> None:
    code, found = diagnose(sameface, SAMEFACE_MAX_REQUESTS="0")
    assert code == 3
    assert "max_requests" in found["settings"]["found"]


def test_a_data_folder_in_use_is_told_and_is_no_fault(sameface: Run, tmp_path: Path) -> None:
    with served(tmp_path, tmp_path / "log", ["--inference", "onnx"]) as service:
        code, found = diagnose(sameface, SAMEFACE_DATA_DIR=str(tmp_path))
    assert code == 0
    assert f"is in use by process {service.pid} on " in found["data folder"]["found"]


def test_without_json_a_table_is_printed(sameface: Run, tmp_path: Path) -> None:
    result = sameface("doctor", SAMEFACE_DATA_DIR=str(tmp_path), SAMEFACE_LISTEN="127.0.0.1:0")
    assert result.returncode == 0
    assert "interpreter" in result.stdout


def test_a_service_that_runs_is_well(sameface: Run, tmp_path: Path) -> None:
    with served(tmp_path, tmp_path / "log", ["--inference", "onnx"]) as service:
        code, found = diagnose(sameface, SAMEFACE_DATA_DIR=str(tmp_path), SAMEFACE_LISTEN=service.address)
    assert code == 0, found
    assert found["address"] == {
        "name": "address",
        "good": True,
        "found": f"a sameface service is there: SERVING ({service.address})",
        "remedy": "",
    }


def test_another_grpc_server_is_none_of_ours(sameface: Run, tmp_path: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        code, found = diagnose(sameface, SAMEFACE_LISTEN=f"127.0.0.1:{port}", SAMEFACE_DATA_DIR=str(tmp_path))
    finally:
        server.stop(None)
    assert code == 3
    assert "in use by something else" in found["address"]["found"]
    assert found["address"]["remedy"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:qdrant", "http://127.0.0.1:99999", "http://[::1", "http://"])
def test_a_url_that_makes_no_sense_is_named(sameface: Run, url: str) -> None:
    code, found = diagnose(sameface, SAMEFACE_QDRANT_URL=url)
    assert code == 3
    assert "qdrant_url: " in found["settings"]["found"]
    assert url in found["settings"]["found"]


@pytest.mark.parametrize("url", ["gpu-box", "gpu-box:grpc"])
def test_a_triton_without_a_port_is_named(sameface: Run, url: str) -> None:
    code, found = diagnose(sameface, SAMEFACE_TRITON_URL=url)
    assert code == 3
    assert "triton_url: " in found["settings"]["found"]
    assert url in found["settings"]["found"]


def test_addresses_of_every_kind_are_looked_at(sameface: Run, tmp_path: Path) -> None:
    for listen in ("0.0.0.0:0", "localhost:0", *(["[::1]:0", "[::]:0"] if socket.has_dualstack_ipv6() else [])):
        code, found = diagnose(sameface, SAMEFACE_LISTEN=listen, SAMEFACE_DATA_DIR=str(tmp_path))
        assert found["address"]["found"] == f"{listen} is free"
        assert code == 0
    # An address for documentation (RFC 5737), which no machine has, and a name without an address.
    for listen in ("192.0.2.1:0", "no-such-host.invalid:0"):
        code, found = diagnose(sameface, SAMEFACE_LISTEN=listen, SAMEFACE_DATA_DIR=str(tmp_path))
        assert code == 3
        assert listen in found["address"]["found"]
        assert found["address"]["remedy"]
