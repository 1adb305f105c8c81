"""`sameface health` finds the service that its own settings describe."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sameface.launcher import Service


def health(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sameface.cli", "health", *flags]
    env = {name: value for name, value in os.environ.items() if name != "SAMEFACE_ADDRESS"} | environment
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=60)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_it_asks_where_the_settings_say_that_it_listens(service: Service, tmp_path: Path, host: str) -> None:
    port = service.address.rpartition(":")[2]
    assert health(SAMEFACE_LISTEN=f"{host}:{port}").stdout == "SERVING\n"
    file = tmp_path / "sameface.toml"
    file.write_text(f'listen = "{host}:{port}"\n')
    assert health(SAMEFACE_CONFIG=str(file)).stdout == "SERVING\n"
    assert health(SAMEFACE_LISTEN="127.0.0.1:9", SAMEFACE_ADDRESS=service.address).stdout == "SERVING\n"


def test_every_address_of_the_machine_is_asked_at_loopback() -> None:
    assert "127.0.0.1:9 " in health("--timeout", "0.5", SAMEFACE_LISTEN="0.0.0.0:9").stdout
    assert "[::1]:9 " in health("--timeout", "0.5", SAMEFACE_LISTEN="[::]:9").stdout


def test_a_port_that_is_picked_at_the_start_has_to_be_named() -> None:
    result = health(SAMEFACE_LISTEN="127.0.0.1:0")
    assert result.returncode == 3
    assert "--address" in result.stderr
