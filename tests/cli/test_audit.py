"""`sameface audit` checks, shows and exports what a service has written, and finds what was changed."""

import json
from pathlib import Path

import pytest

from sameface.client import Client
from sameface.launcher import served
from tests.cli.conftest import Run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a service that has answered a few calls."""
    monkeypatch.setenv("SAMEFACE_AUDIT__ENABLED", "true")
    monkeypatch.setenv("SAMEFACE_AUDIT__MIRROR", "true")
    with (
        served(tmp_path / "data", tmp_path / "log", ["--inference", "onnx"]) as service,
        Client(service.address) as client,
    ):
        client.create_gallery("staff")
        for name in ("lady", "bob"):
            client.create_identity("staff", name)
        client.get_identity("staff", "lady")
        client.delete_identity("staff", "bob")
    return tmp_path / "data" / "audit"


def test_a_log_is_verified_shown_and_exported(sameface: Run, folder: Path, tmp_path: Path) -> None:
    data = {"SAMEFACE_DATA_DIR": str(tmp_path / "data")}
    whole = sameface("audit", "verify", "--json", **data)
    assert whole.returncode == 0
    report = json.loads(whole.stdout)
    assert (report["entries"], report["seals"], report["problems"]) == (6, 1, [])
    assert "6 entries from number 1 on, 1 seals" in sameface("audit", "verify", **data).stdout
    assert sameface("audit", "verify", "--head", report["head"], **data).returncode == 0
    missing = sameface("audit", "verify", "--head", "0" * 64, **data)
    assert (missing.returncode, "cut at the end" in missing.stdout) == (3, True)
    shown = sameface("audit", "show", **data)
    assert shown.stdout.count("CreateIdentity") == 2
    assert "DeleteIdentity" not in sameface("audit", "show", "--last", "3", "--until", "2000-01-01", **data).stdout
    about = sameface("audit", "show", "--identity", "staff/lady", "--json", **data).stdout.splitlines()
    assert [json.loads(line)["rpc"] for line in about] == ["CreateIdentity", "GetIdentity"]
    erased = sameface("audit", "show", "--identity", "staff/bob", **data)
    assert (erased.returncode, "erased since" in erased.stderr) == (3, True)
    target = tmp_path / "export.jsonl"
    assert sameface("audit", "export", str(target), **data).returncode == 0
    assert len(target.read_text().splitlines()) == 6
    assert sameface("audit", "export", str(target), **data).returncode == 3
    assert b"lady" not in target.read_bytes()


def test_a_changed_log_is_found(sameface: Run, folder: Path) -> None:
    (file,) = folder.glob("audit-*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    for broken in (
        [line.replace(b'"outcome":"OK"', b'"outcome":"KO"') for line in lines],
        lines[:2] + lines[3:],
        [lines[0], lines[2], lines[1], *lines[3:]],
        [*lines[:3], b"nothing\n", *lines[3:]],
    ):
        file.write_bytes(b"".join(broken))
        result = sameface("audit", "verify", "--folder", str(folder))
        assert result.returncode == 3
        assert file.name in result.stdout


def test_a_folder_without_a_log_is_told(sameface: Run, tmp_path: Path) -> None:
    result = sameface("audit", "verify", "--folder", str(tmp_path / "nowhere"))
    assert result.returncode == 3
    assert "SAMEFACE_AUDIT__ENABLED" in result.stderr
