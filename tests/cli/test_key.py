"""`sameface key` makes the keys that a running service accepts, over TLS, without a restart."""

import json
from pathlib import Path
from typing import Any

import pytest

from sameface.launcher import served
from tests.access.authorities import Authority
from tests.cli.conftest import Run


def made(result: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)  # type: ignore[attr-defined]
    return found


def test_keys_are_made_listed_revoked_and_rotated(sameface: Run, tmp_path: Path) -> None:
    data = {"SAMEFACE_DATA_DIR": str(tmp_path)}
    create = ("key", "create", "front door", "--role", "verifier", "--role", "reader", "--gallery", "staff")
    shown = sameface(*create, "--gallery", "team-*", **data)
    assert shown.returncode == 0
    assert shown.stdout.startswith("sameface_")
    assert "not shown again" in shown.stderr
    (listed,) = [made(sameface("key", "list", "--json", **data))]
    assert listed["name"] == "front door"
    assert listed["grants"] == [
        {"gallery": "staff", "roles": ["reader", "verifier"]},
        {"gallery": "team-*", "roles": ["reader", "verifier"]},
    ]
    table = sameface("key", "list", **data).stdout
    assert "front door" in table
    assert shown.stdout.strip() not in table + json.dumps(listed)
    rotated = sameface("key", "rotate", listed["id"], "--grace", "0", **data)
    assert rotated.stdout.startswith(f"sameface_{listed['id']}_")
    assert sameface("key", "revoke", listed["id"], **data).stdout == f"revoked {listed['id']}\n"
    assert made(sameface("key", "list", "--json", **data))["state"] == "revoked"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "x", "--role", "boss", "--gallery", "staff"), "expected one or more of reader"),
        (("create", "x", "--role", "reader", "--gallery", "No Such Id"), "expected an id"),
        (("create", "x", "--role", "reader", "--gallery", "a", "--expires", "2020-01-01"), "ended at 2020-01-01 00:00"),
        (("revoke", "0123"), "no key '0123'"),
        (("rotate", "0123"), "no key '0123'"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_made(
    sameface: Run, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = sameface("key", *arguments, "--file", str(tmp_path / "keys.json"))
    assert result.returncode == 3
    assert said in result.stderr
    assert sameface("key", "list", "--json", "--file", str(tmp_path / "keys.json")).stdout == ""


def test_a_service_accepts_the_keys_over_tls_without_a_restart(
    sameface: Run, tmp_path: Path, portraits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority("authority", tmp_path)
    server = authority.issue("localhost")
    data = tmp_path / "data"
    for name, value in {
        "SAMEFACE_TLS__CERTIFICATE": server.certificate,
        "SAMEFACE_TLS__PRIVATE_KEY": server.key,
        "SAMEFACE_ACCESS__REQUIRED": "true",
        "SAMEFACE_DATA_DIR": data,
        "SAMEFACE_CLIENT_CA": authority.path,
    }.items():
        monkeypatch.setenv(name, str(value))
    roles = [argument for role in ("admin", "verifier") for argument in ("--role", role)]
    with served(data, tmp_path / "log", ["--inference", "onnx", "--listen", "localhost:0"]) as service:
        address = {"SAMEFACE_ADDRESS": service.address}
        assert sameface("health", **address).stdout == "SERVING\n"
        assert "CREDENTIALS_MISSING" in sameface("gallery", "list", **address).stderr
        key = sameface("key", "create", "desk", *roles, "--gallery", "*").stdout.strip()
        with_key = {**address, "SAMEFACE_API_KEY": key}
        assert sameface("gallery", "create", "staff", "--on-collision", "warn", **with_key).returncode == 0
        photos = [str(portraits / f"jacinda_ardern_{year}.jpg") for year in (2018, 2022)]
        assert sameface("enroll", "staff", photos[0], "--as", "ardern", **with_key).returncode == 0
        assert sameface("verify", "staff", "ardern", photos[1], **with_key).returncode == 0
        door = sameface("key", "create", "door", "--role", "verifier", "--gallery", "staff").stdout.strip()
        with_door = {**address, "SAMEFACE_API_KEY": door}
        told = sameface("verify", "staff", "ardern", photos[1], "--json", **with_door)
        assert told.returncode == 0
        assert "score" not in json.loads(told.stdout)["decision"]
        assert "PERMISSION_DENIED" in sameface("identity", "list", "staff", **with_door).stderr
        writer = sameface("key", "create", "office", "--role", "enroller", "--gallery", "staff").stdout.strip()
        # It may not read embeddings, so that the photos are not compared.
        enrolled = sameface("enroll", "staff", *photos, "--as", "jacinda", **{**address, "SAMEFACE_API_KEY": writer})
        assert enrolled.returncode == 0
        assert "was not checked: the key may not read embeddings" in enrolled.stderr
        sameface("key", "revoke", door.split("_")[1])
        assert "CREDENTIALS_REFUSED" in sameface("verify", "staff", "ardern", photos[1], **with_door).stdout
    log = (tmp_path / "log").read_text()
    assert key.split("_", 2)[2] not in log
    assert "ardern" not in log


@pytest.mark.parametrize(
    "host", ["127.example.org", "127.0.0.1.example.org", "localhost.example.org", "192.0.2.1", "[2001:db8::1]"]
)
def test_a_key_goes_to_no_other_machine_without_encryption(sameface: Run, host: str) -> None:
    result = sameface("gallery", "list", SAMEFACE_ADDRESS=f"{host}:50051", SAMEFACE_API_KEY="secret")
    assert result.returncode == 3
    assert "SAMEFACE_API_KEY would travel unencrypted" in result.stderr
    assert "secret" not in result.stderr + result.stdout


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost"])
def test_a_key_goes_to_this_machine(sameface: Run, host: str) -> None:
    result = sameface("gallery", "list", SAMEFACE_ADDRESS=f"{host}:9", SAMEFACE_API_KEY="secret")
    assert "unencrypted" not in result.stderr
    assert "UNAVAILABLE" in result.stderr
