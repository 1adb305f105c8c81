"""`sameface doctor` finds what is wrong and says how to mend it."""

import json
import socket
from pathlib import Path
from typing import Any

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
    assert set(found) == {"interpreter", "settings", "models", "Triton", "cache folder", "data folder", "address"}
    assert all(one["good"] for one in found.values())


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


def test_a_wrong_setting_is_named(sameface: Run) -> None:
    code, found = diagnose(sameface, SAMEFACE_MAX_REQUESTS="0")
    assert code == 3
    assert "max_requests" in found["settings"]["found"]


def test_a_data_folder_in_use_is_told_and_is_no_fault(sameface: Run, tmp_path: Path) -> None:
    with served(tmp_path, tmp_path / "log", ["--inference", "onnx"]) as service:
        code, found = diagnose(sameface, SAMEFACE_DATA_DIR=str(tmp_path))
    assert code == 0
    assert f'"pid": {service.pid}' in found["data folder"]["found"]


def test_without_json_a_table_is_printed(sameface: Run, tmp_path: Path) -> None:
    result = sameface("doctor", SAMEFACE_DATA_DIR=str(tmp_path), SAMEFACE_LISTEN="127.0.0.1:0")
    assert result.returncode == 0
    assert "interpreter" in result.stdout
