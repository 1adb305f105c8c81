"""`sameface protection`: the keys of protected galleries, on a running service and on a store alone."""

import json
from pathlib import Path

import pytest

from sameface.launcher import served
from sameface.settings import Settings
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.store.protection.keys import KeyFile, KeyRing, MasterKey
from tests.cli.conftest import Run, lines


def test_keys_are_made_listed_rotated_and_removed(sameface: Run, tmp_path: Path) -> None:
    file = ("--file", str(tmp_path / "keys.json"))
    made = sameface("protection", "create", *file)
    assert (made.returncode, "SAMEFACE_PROTECTION__KEYS_FILE" in made.stderr) == (0, True)
    first, secret = made.stdout.strip(), json.loads((tmp_path / "keys.json").read_text())["keys"][0]["key"]
    second = sameface("protection", "rotate", *file).stdout.strip()
    listed = lines(sameface("protection", "list", "--json", *file).stdout)
    assert {one["id"]: one["current"] for one in listed} == {first: False, second: True}
    for said in ("list", "rotate"):
        shown = sameface("protection", said, *file)
        assert secret not in shown.stdout + shown.stderr
    opened = KeyFile(tmp_path / "keys.json")
    before = opened.current
    third = sameface("protection", "rotate", "--not-current", *file).stdout.strip()
    assert (opened.current, third in opened.ring.keys) == (before, True)
    for key in (third, second):
        assert sameface("protection", "use", key, *file).stdout == f"{key}\n"
        assert opened.current == key
    assert sameface("protection", "remove", first, *file).stdout == f"{first}\n"
    for refused, told in (
        (("create", *file), "exists already"),
        (("remove", first, *file), "no key"),
        (("use", first, *file), "no key"),
        (("list",), "--file FILE"),
        (("list", "--file", str(tmp_path / "none")), "No such file"),
    ):
        result = sameface("protection", *refused)
        assert (result.returncode, told in result.stderr) == (3, True), result.stderr
    (tmp_path / "keys.json").chmod(0o644)
    assert "expected 0600" in sameface("protection", "list", *file).stderr


def test_a_service_protects_new_galleries_and_rekeys_them(
    sameface: Run, tmp_path: Path, portraits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, file = tmp_path / "data", tmp_path / "keys.json"
    monkeypatch.setenv("SAMEFACE_DATA_DIR", str(data))
    monkeypatch.setenv("SAMEFACE_PROTECTION__KEYS_FILE", str(file))
    first = sameface("protection", "create").stdout.strip()
    photos = [str(portraits / f"jacinda_ardern_{year}.jpg") for year in (2018, 2022)]
    with served(data, tmp_path / "log", ["--inference", "onnx"]) as service:
        monkeypatch.setenv("SAMEFACE_ADDRESS", service.address)
        assert sameface("gallery", "create", "staff", "--display-name", "Ward seven").returncode == 0
        assert sameface("gallery", "create", "open", "--unprotected").returncode == 0
        assert sameface("enroll", "staff", photos[0], "--as", "ardern").returncode == 0
        (before,) = lines(sameface("verify", "staff", "ardern", photos[1], "--json").stdout)
        second = sameface("protection", "rotate").stdout.strip()
        # A running service reads the file again.
        assert f"staff: key {second}, generation 2, 2 records written" in sameface("gallery", "rekey", "staff").stdout
        (after,) = lines(sameface("verify", "staff", "ardern", photos[1], "--json").stdout)
        assert after["decision"]["score"] == pytest.approx(before["decision"]["score"], abs=1e-5)
        (shown,) = lines(sameface("gallery", "show", "staff", "--json").stdout)
        assert shown["protection"] == {"key_id": second, "generation": 2, "rekeying": False}
        assert f"key {second}, generation 2" in sameface("gallery", "show", "staff").stdout
        assert "protection" not in lines(sameface("gallery", "show", "open", "--json").stdout)[0]
        refused = sameface("gallery", "rekey", "open")
        assert (refused.returncode, "not protected" in refused.stderr) == (3, True)
    for path in data.rglob("*"):
        assert not path.is_file() or b"ardern" not in path.read_bytes(), path
    log = (tmp_path / "log").read_text()
    assert not any(secret["key"] in log for secret in json.loads(file.read_text())["keys"])
    nothing = sameface("protection", "rekey").stderr
    assert "under the current key" in nothing
    assert f"the store needs the keys: {second}\n" in nothing
    third = sameface("protection", "rotate").stdout.strip()
    (done,) = lines(sameface("protection", "rekey", "--json").stdout)
    assert done == {"gallery": "staff", "key": third, "number": 3, "moved": 2, "resumed": False}
    first_again = sameface("protection", "use", first)
    assert first_again.returncode == 0
    refused = sameface("protection", "remove", third, "--data-dir", str(data))
    assert (refused.returncode, "store needs the key" in refused.stderr) == (3, True)
    sameface("protection", "use", third)
    assert sameface("protection", "remove", first, "--data-dir", str(data)).stdout == f"{first}\n"
    sameface("protection", "remove", second)
    monkeypatch.setenv("SAMEFACE_EXPORT_PASSPHRASE", "a long passphrase")
    assert sameface("store", "export", str(tmp_path / "x")).returncode == 0
    refused = sameface("store", "export", str(tmp_path / "y"), SAMEFACE_PROTECTION__KEYS_FILE="")
    assert (refused.returncode, third in refused.stderr) == (3, True)
    without = sameface("serve", "--inference", "onnx", "--listen", "127.0.0.1:0", SAMEFACE_PROTECTION__KEYS_FILE="")
    assert (without.returncode, third in without.stderr) == (3, True)


def test_keys_come_from_one_of_three_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().protection.opened() is None
    file = KeyFile(tmp_path / "keys.json")
    key = file.create()
    monkeypatch.setenv("SAMEFACE_PROTECTION__KEYS", file.path.read_text())
    settings = Settings()
    assert key.secret.hex() not in repr(settings) + repr(settings.model_dump())
    from_environment = settings.protection.opened()
    assert from_environment is not None
    assert from_environment.derive(key.id, b"x") == file.derive(key.id, b"x")
    monkeypatch.setenv("SAMEFACE_PROTECTION__KEYS_FILE", str(file.path))
    with pytest.raises(InvalidArgument, match="expected one"):
        Settings().protection.opened()
    monkeypatch.delenv("SAMEFACE_PROTECTION__KEYS")
    opened = Settings().protection.opened()
    assert opened is not None
    assert opened.current == key.id
    monkeypatch.delenv("SAMEFACE_PROTECTION__KEYS_FILE")
    monkeypatch.setenv("SAMEFACE_PROTECTION__PROVIDER", "tests.cli.test_protection:provided")
    provided_keys = Settings().protection.opened()
    assert provided_keys is not None
    assert provided_keys.current == "elsewhere"
    for provider in ("tests.cli.test_protection:none", "no_such_module:x", "nonsense"):
        monkeypatch.setenv("SAMEFACE_PROTECTION__PROVIDER", provider)
        with pytest.raises(InvalidArgument, match="expected module:function"):
            Settings().protection.opened()


def provided() -> KeyRing:
    return KeyRing({"elsewhere": MasterKey("elsewhere", bytes(range(32)))}, "elsewhere")
