"""Master keys in a file and in the environment."""

import hashlib
import json
import logging
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sameface_qdrant import Store
from sameface_qdrant.errors import InvalidArgument, ProtectionKeyRefused, StoreTooNew
from sameface_qdrant.store.protection.keys import KeyFile, KeyRing
from tests.plugin.conftest import CONTRACT


def test_keys_are_made_rotated_and_removed(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "private" / "keys.json")
    first = file.create()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    derived = file.derive(first.id, b"context")
    second = file.rotate()
    assert (file.current, set(file.ring.keys)) == (second.id, {first.id, second.id})
    assert file.derive(first.id, b"context") == derived != file.derive(second.id, b"context")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.remove(first.id)
    with pytest.raises(ProtectionKeyRefused, match=first.id):
        file.derive(first.id, b"context")
    for key in (second.id, "other"):
        with pytest.raises(InvalidArgument):
            file.remove(key)
    with pytest.raises(InvalidArgument, match="exists already"):
        file.create()
    assert file.current == second.id


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    service, operator = KeyFile(tmp_path / "keys.json"), KeyFile(tmp_path / "keys.json")
    operator.create()
    before = service.current
    assert operator.rotate().id == service.current != before


def test_the_derivation_is_hkdf() -> None:
    """RFC 5869, without salt and context."""
    ring = KeyRing.parsed(json.dumps(content(key=bytes(range(32)).hex())), "here")
    assert ring.derive("k1", b"").hex() == extracted_and_expanded(bytes(range(32)), b"")


def extracted_and_expanded(secret: bytes, info: bytes) -> str:
    import hashlib
    import hmac

    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256).hex()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = KeyFile(tmp_path / "keys.json")
    file.create()
    file.path.chmod(mode)
    with pytest.raises(InvalidArgument, match=f"{mode:04o}.*expected 0600"):
        KeyFile(file.path).current  # noqa: B018


DIGITS = hashlib.sha256(b"k1").hexdigest()


def content(**changes: Any) -> dict[str, Any]:
    key = {"id": "k1", "key": DIGITS, "created": 1.0} | {k: v for k, v in changes.items() if k in ("id", "key")}
    return {"format": 1, "current": "k1", "keys": [key]} | {k: v for k, v in changes.items() if k not in ("id", "key")}


Spoil = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    "spoiled",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"5e5e5e",
        content(format="2"),
        content(current="k2"),
        content(current=["k1"]),
        content(keys=None),
        content(keys=[]),
        content(keys=[None]),
        content(key=DIGITS[2:]),
        content(key=DIGITS + "5e"),
        content(key=DIGITS.upper()),
        content(key=" ".join(DIGITS[at : at + 2] for at in range(0, 64, 2))),
        content(key="00" * 32),
        content(key="5e" * 32),
        content(key="01020304050607" + "07" * 25),
        content(keys=[content()["keys"][0], {**content()["keys"][0], "id": "k2"}]),
        content(key="zz" * 32),
        content(key=7),
        content(id="K1"),
        content(id=""),
        content(id="a:b"),
        content(id=1),
        content(keys=[content()["keys"][0]] * 2),
    ],
)
def test_malformed_keys_are_refused_without_showing_them(spoiled: Any) -> None:
    given = spoiled if isinstance(spoiled, bytes) else json.dumps(spoiled).encode()
    with pytest.raises(InvalidArgument) as refusal:
        KeyRing.parsed(given, "the variable")
    assert DIGITS[:8] not in repr(refusal.value)
    assert DIGITS[:8] not in refusal.value.message


def test_keys_of_a_newer_release_are_refused_without_showing_them() -> None:
    with pytest.raises(StoreTooNew, match="format 2; this release reads and writes format 1") as refusal:
        KeyRing.parsed(json.dumps(content(format=2)).encode(), "the variable")
    assert DIGITS[:8] not in repr(refusal.value)


def test_no_representation_shows_a_key() -> None:
    ring = KeyRing.parsed(json.dumps(content()), "here")
    assert DIGITS[:8] not in repr(ring)
    assert KeyRing.parsed(ring.serialised(), "there") == ring


def test_a_file_that_cannot_be_used_any_more_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = KeyFile(tmp_path / "keys.json")
    key = file.create()
    derived = file.derive(key.id, b"context")
    whole = file.path.read_text()
    for spoil in (lambda: file.path.chmod(0o644), lambda: file.path.write_text(whole[:40]), file.path.unlink):
        caplog.clear()
        spoil()
        for _ in range(3):
            assert (file.current, file.derive(key.id, b"context")) == (key.id, derived)
        assert [one.levelno for one in caplog.records] == [logging.WARNING]
        assert key.secret.hex() not in caplog.text
        # A command does not work with what was there before.
        with pytest.raises(InvalidArgument):
            file.rotate()
        file.path.unlink(missing_ok=True)
        os.close(os.open(file.path, os.O_CREAT, 0o600))
        file.path.write_text(whole)
        assert file.current == key.id
    assert file.rotate().id == file.current


def test_a_key_is_never_exchanged_for_another_one_of_its_id(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    file.path.write_text(json.dumps(content()))
    file.path.chmod(0o600)
    derived = file.derive("k1", b"context")
    file.path.write_text(json.dumps(content(key=hashlib.sha256(b"other").hexdigest())))
    for _ in range(2):
        for use in (lambda: file.current, lambda: file.derive("k1", b"context"), file.rotate):
            with pytest.raises(ProtectionKeyRefused, match="'k1' was exchanged"):
                use()
    file.path.write_text(json.dumps(content()))
    assert file.derive("k1", b"context") == derived


async def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.split(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    ring = KeyRing.parsed(json.dumps(content()), "here")
    store = await Store.open(":memory:", keys=ring)
    with pytest.raises(InvalidArgument, match=r"pip install 'sameface\[protection\]'"):
        await store.galleries.create("people", CONTRACT)
    assert (await store.galleries.create("plain", CONTRACT, protected=False)).protection is None
