"""`sameface health` finds the service that its own settings describe."""

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from sameface.access.tls import TlsOptions, server_credentials
from sameface.launcher import Service
from tests.access.authorities import Authority, Issued
from tests.cli.conftest import Run


@pytest.fixture
def health(sameface: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `sameface health` with flags and the environment of a service."""
    monkeypatch.delenv("SAMEFACE_ADDRESS", raising=False)
    return functools.partial(sameface, "health")


def test_a_container_runs_it_as_a_process_of_its_own(service: Service) -> None:
    port = service.address.rpartition(":")[2]
    environment = {name: value for name, value in os.environ.items() if name != "SAMEFACE_ADDRESS"}
    command = [sys.executable, "-m", "sameface.cli", "health"]
    ended = subprocess.run(
        command,
        env=environment | {"SAMEFACE_LISTEN": f"0.0.0.0:{port}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (0, "SERVING\n")


def test_a_name_is_asked_for_and_those_that_exist_are_told(health: Run, service: Service) -> None:
    for name in ("live", "writes", "sameface.v1.GalleryService"):
        assert health("--service", name, SAMEFACE_ADDRESS=service.address).stdout == "SERVING\n"
    unknown = health("--service", "write", SAMEFACE_ADDRESS=service.address)
    assert unknown.returncode == 3
    assert all(repr(name) in unknown.stdout for name in ("write", "writes", "live", "store"))


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_it_asks_where_the_settings_say_that_it_listens(
    health: Run, service: Service, tmp_path: Path, host: str
) -> None:
    port = service.address.rpartition(":")[2]
    assert health(SAMEFACE_LISTEN=f"{host}:{port}").stdout == "SERVING\n"
    file = tmp_path / "sameface.toml"
    file.write_text(f'listen = "{host}:{port}"\n')
    assert health(SAMEFACE_CONFIG=str(file)).stdout == "SERVING\n"
    assert health(SAMEFACE_LISTEN="127.0.0.1:9", SAMEFACE_ADDRESS=service.address).stdout == "SERVING\n"


def test_every_address_of_the_machine_is_asked_at_loopback(health: Run) -> None:
    assert "127.0.0.1:9 " in health("--timeout", "0.5", SAMEFACE_LISTEN="0.0.0.0:9").stdout
    assert "[::1]:9 " in health("--timeout", "0.5", SAMEFACE_LISTEN="[::]:9").stdout


def test_a_port_that_is_picked_at_the_start_has_to_be_named(health: Run) -> None:
    result = health(SAMEFACE_LISTEN="127.0.0.1:0")
    assert result.returncode == 3
    assert "--address" in result.stderr


@dataclass(frozen=True, slots=True)
class Port:
    """A gRPC server of one kind of TLS, with the files of its settings."""

    number: int
    tls: dict[str, str]

    def settings(self, **others: str) -> dict[str, str]:
        """The environment of a service that listens there."""
        return {"SAMEFACE_LISTEN": f"0.0.0.0:{self.number}", **self.tls, **others}


@contextmanager
def port(server: Issued, client_ca: Path | None = None) -> Iterator[Port]:
    """Serve only health, with the service's own TLS."""
    served = grpc.server(ThreadPoolExecutor(1))
    answers = HealthServicer()
    answers.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(answers, served)
    credentials = server_credentials(TlsOptions(server.certificate, server.key, client_ca))
    assert credentials is not None
    number = served.add_secure_port("127.0.0.1:0", credentials)
    served.start()
    tls = {"CERTIFICATE": str(server.certificate), "PRIVATE_KEY": str(server.key)}
    tls |= {"CLIENT_CA": str(client_ca)} if client_ca else {}
    yield Port(number, {f"SAMEFACE_TLS__{name}": value for name, value in tls.items()})
    served.stop(None).wait()


def test_the_own_port_is_asked_with_tls_and_has_to_have_the_own_certificate(health: Run, tmp_path: Path) -> None:
    """The certificate is not for the address of the machine: health does not need that."""
    name = "*.faces.example"
    authority = Authority("authority", tmp_path)
    with port(authority.issue(name, file="server", addresses=())) as served:
        assert health(**served.settings()).stdout == "SERVING\n"
        other = authority.issue(name, file="other", addresses=())
        tls = {"SAMEFACE_TLS__CERTIFICATE": str(other.certificate), "SAMEFACE_TLS__PRIVATE_KEY": str(other.key)}
        replaced = health(**served.settings(**tls))
        assert (replaced.returncode, "UNAVAILABLE" in replaced.stdout) == (3, True)


def test_a_port_that_asks_for_certificates_is_shown_the_own_one_or_another(health: Run, tmp_path: Path) -> None:
    ours, theirs = Authority("ours", tmp_path), Authority("theirs", tmp_path)
    server = ours.issue("faces.example", file="server")
    with port(server, ours.path) as served:
        assert health(**served.settings()).stdout == "SERVING\n"
    with port(server, theirs.path) as served:
        probe = theirs.issue("probe")
        shown = {"SAMEFACE_CLIENT_CERTIFICATE": str(probe.certificate), "SAMEFACE_CLIENT_PRIVATE_KEY": str(probe.key)}
        assert health(**served.settings(**shown)).stdout == "SERVING\n"


def test_a_certificate_that_cannot_be_read_is_named(health: Run, tmp_path: Path) -> None:
    missing = str(tmp_path / "tls.crt")
    result = health(SAMEFACE_TLS__CERTIFICATE=missing, SAMEFACE_TLS__PRIVATE_KEY=missing)
    assert result.returncode == 3
    assert missing in result.stderr
