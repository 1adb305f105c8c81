"""The light health check answers as `sameface health` does, and imports little."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sameface.health_check.check import START, check
from tests.access.authorities import Authority
from tests.cli.test_health import port
from tests.docker.chart import CASES, container, environment, render
from tests.docker.test_images import free_port


def test_a_certificate_of_ours_is_asked_and_another_is_left_to_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority("authority", tmp_path)
    server = authority.issue("*.faces.example", file="server", addresses=())
    other = authority.issue("*.faces.example", file="other", addresses=())
    with port(server) as served:
        assert check([], served.settings()) == 0
        assert capsys.readouterr().out == "SERVING\n"
        # The same authority has issued it, and it is for the same name.
        tls = {"SAMEFACE_TLS__CERTIFICATE": str(other.certificate), "SAMEFACE_TLS__PRIVATE_KEY": str(other.key)}
        assert check([], served.settings(**tls)) is None
        # Its authority in the file does not make another certificate of it the right one.
        both = tmp_path / "both.pem"
        both.write_bytes(other.certificate.read_bytes() + authority.path.read_bytes())
        assert check([], served.settings(**tls | {"SAMEFACE_TLS__CERTIFICATE": str(both)})) is None
        assert check([], served.settings(SAMEFACE_TLS__CERTIFICATE=str(tmp_path / "missing"))) is None
        # A port that encrypts is not asked without.
        assert check(["--address", f"127.0.0.1:{served.number}"], {}) is None
    assert capsys.readouterr().out == ""


def test_a_port_that_asks_for_certificates_is_shown_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = Authority("ours", tmp_path), Authority("theirs", tmp_path)
    server, probe = ours.issue("faces.example", file="server"), theirs.issue("probe")
    with port(server, ours.path) as served:
        assert check([], served.settings()) == 0
    with port(server, theirs.path) as served:
        shown = {"SAMEFACE_CLIENT_CERTIFICATE": str(probe.certificate), "SAMEFACE_CLIENT_PRIVATE_KEY": str(probe.key)}
        assert check([], served.settings(**shown)) == 0
        assert check([], served.settings()) is None
    assert capsys.readouterr().out == "SERVING\nSERVING\n"


@pytest.mark.parametrize("own", [True, False], ids=["the service's certificate", "a certificate of the probes"])
def test_the_probes_of_a_pod_are_let_in_by_a_port_that_asks_for_certificates(own: bool, tmp_path: Path) -> None:
    """The command and the variables are those that the chart renders, with its files elsewhere."""
    ours, theirs = Authority("ours", tmp_path), Authority("theirs", tmp_path)
    server, probe = ours.issue("faces.example", file="server"), theirs.issue("probe")
    tls = dict(CASES["secured"]["tls"])
    if own:
        del tls["probeSecretName"]
    objects = render({"tls": tls})
    root = tmp_path / "pod"
    for folder, issued in (("tls", server), ("probe", probe)):
        (root / folder).mkdir(parents=True)
        shutil.copy(issued.certificate, root / folder / "tls.crt")
        shutil.copy(issued.key, root / folder / "tls.key")
    with port(server, (ours if own else theirs).path) as served:
        variables = {name: str(value) for name, value in environment(objects).items()}
        variables = {name: value.replace("/etc/sameface", str(root)) for name, value in variables.items()}
        variables["SAMEFACE_LISTEN"] = f"0.0.0.0:{served.number}"
        for name in ("startupProbe", "readinessProbe"):
            program, command, *arguments = container(objects, "mine")[name]["exec"]["command"]
            assert (program, command) == ("sameface", "health")
            assert check(arguments, variables) == 0
    # The port lets in nobody whom the other authority has signed.
    with port(server, (theirs if own else ours).path) as served:
        variables["SAMEFACE_LISTEN"] = f"0.0.0.0:{served.number}"
        assert check(arguments, variables) is None


def test_an_address_where_nobody_listens_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert check(["--address", address], {}) == 3
    assert check([], {"SAMEFACE_LISTEN": address.replace("127.0.0.1", "0.0.0.0")}) == 3
    assert capsys.readouterr().out == 2 * f"no answer from {address} (UNAVAILABLE): {START}\n"


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (["--timeout"], {}),
        (["--timeout", "soon"], {}),
        (["--timeout=-1"], {}),
        (["--address", "faces.example:50051"], {}),
        (["--address", "10.0.0.7:50051"], {}),
        (["--address", "unix:/run/s"], {}),
        (["--address", "127.0.0.1:0"], {}),
        ([], {"SAMEFACE_ADDRESS": "faces.example:50051"}),
        ([], {"SAMEFACE_CLIENT_CA": "ca.pem"}),
        ([], {"SAMEFACE_LISTEN": "127.0.0.1:0"}),
        ([], {"SAMEFACE_CONFIG": "missing.toml"}),
    ],
)
def test_what_it_does_not_understand_it_leaves_to_the_command(
    arguments: list[str], environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(arguments, environment) is None
    assert capsys.readouterr().out == ""


PROGRAM = """
import sys
from sameface.cli.start import main
sys.argv[1:] = ["health"]
try:
    main()
finally:
    print(*sys.modules)
"""


def test_it_imports_little(tmp_path: Path) -> None:
    file = tmp_path / "sameface.toml"
    file.write_text(f'listen = "127.0.0.1:{free_port()}"\n')
    # Without the modules that editable packages bring along at the start of Python.
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-S", "-c", PROGRAM]
    environment = {"PYTHONPATH": paths, "SAMEFACE_CONFIG": str(file)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 3, ran.stderr
    imported = set(ran.stdout.splitlines()[-1].split())
    ours = {name for name in imported if name.partition(".")[0] not in {*sys.stdlib_module_names, "__main__"}}
    assert ours == {
        "sameface",
        "sameface.libraries",
        "sameface.cli",
        "sameface.cli.start",
        "sameface.health_check",
        "sameface.health_check.check",
        "sameface.health_check.http2",
        "sameface.health_check.own_service",
    }
    assert not imported & {"asyncio", "inspect", "dataclasses", "logging", "pathlib", "ssl", "traceback", "json"}
