"""`sameface store`: a backup and a move on the command line."""

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from sameface.cli import direct_store
from sameface_qdrant import Contract, NewTemplate
from sameface_qdrant.blocking import Store
from tests.cli.conftest import Run, lines, process

CONTRACT = Contract("voices", version=1, sha256="a" * 64, dimension=8, preprocessing="none")
PASSPHRASE = {"SAMEFACE_EXPORT_PASSPHRASE": "correct horse battery"}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a gallery of three people."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(1)
    with Store.open(f"edge://{folder / 'store'}") as store:
        store.galleries.create("staff", CONTRACT)
        store.galleries.create("empty", CONTRACT)
        for name in ("ada", "bob", "cy"):
            store.enroll("staff", name, [NewTemplate(rng.normal(size=8).astype(np.float32), CONTRACT)])
    monkeypatch.setenv("SAMEFACE_DATA_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def key(tmp_path: Path) -> dict[str, str]:
    """A key file, in place of a passphrase: each use of one takes half a second of processor time."""
    (tmp_path / "a key").write_bytes(os.urandom(32))
    return {"SAMEFACE_EXPORT_KEY_FILE": str(tmp_path / "a key")}


def test_a_backup_is_made_checked_and_restored_without_who_was_erased_since(
    sameface: Run, data: Path, tmp_path: Path, key: dict[str, str]
) -> None:
    made = sameface("store", "export", "monday", "--json", **key)
    assert made.returncode == 0, made.stderr
    (record,) = lines(made.stdout)
    assert [(one["gallery"], one["identities"]) for one in record["galleries"]] == [("empty", 0), ("staff", 3)]
    assert record["bytes"] == (tmp_path / "monday").stat().st_size
    shown = sameface("store", "show", "monday", **key)
    assert shown.returncode == 0
    assert "the file is whole" in shown.stderr
    assert "staff" in shown.stdout
    (record,) = lines(sameface("store", "show", "monday", "--json", **key).stdout)
    assert record["content"] == "galleries"

    with Store.open(f"edge://{data / 'store'}") as store:
        store.identities.delete("staff", "bob", force=True)
    assert sameface("store", "erasures", "erased", **key).returncode == 0
    (record,) = lines(sameface("store", "show", "erased", "--json", **key).stdout)
    assert (record["content"], record["receipts_and_moves"], record["galleries"]) == ("erasures", 1, [])

    target = ("--data-dir", str(tmp_path / "restored"))
    done = sameface("store", "import", "monday", "--erased", "erased", *target, "--json", **key)
    assert done.returncode == 0, done.stderr
    assert "what was erased up to" in done.stderr
    (record,) = lines(done.stdout)
    staff = record["galleries"][1]
    assert (staff["status"], staff["identities"], staff["left_out"]["erased_identities"]) == ("IMPORTED", 2, 1)
    with Store.open(f"edge://{tmp_path / 'restored' / 'store'}") as store:
        assert [one.id for one in sorted(store.identities.list("staff").items, key=lambda one: one.id)] == ["ada", "cy"]
    again = sameface("store", "import", "monday", "--no-erasures-since", *target, **key)
    assert again.returncode == 0
    assert again.stdout.count("already there") == 2


def test_the_answer_about_erasures_is_asked_for_before_the_passphrase(sameface: Run, data: Path) -> None:
    for arguments in ((), ("--erased", "x", "--no-erasures-since")):
        asked = sameface("store", "import", "monday", *arguments)
        assert asked.returncode == 3
        assert "give --erased FILE" in asked.stderr
        assert "--no-erasures-since" in asked.stderr


@pytest.mark.usefixtures("data")
def test_what_cannot_be_done_says_why(sameface: Run, tmp_path: Path) -> None:
    assert sameface("store", "export", "x", **PASSPHRASE).returncode == 0
    exists = sameface("store", "export", "x", **PASSPHRASE)
    assert (exists.returncode, "x exists already" in exists.stderr) == (3, True)
    assert sameface("store", "export", "x", "--force", "--gallery", "staff", **PASSPHRASE).returncode == 0
    wrong = sameface("store", "show", "x", SAMEFACE_EXPORT_PASSPHRASE="another passphrase")
    assert wrong.returncode == 3
    assert "EXPORT_KEY_REFUSED" in wrong.stderr
    assert "another passphrase" not in wrong.stderr
    content = bytearray((tmp_path / "x").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "x").write_bytes(content)
    target = ("--data-dir", str(tmp_path / "new"))
    damaged = sameface("store", "import", "x", "--no-erasures-since", *target, **PASSPHRASE)
    assert (damaged.returncode, "EXPORT_CORRUPT" in damaged.stderr) == (3, True)
    nowhere = sameface("store", "export", "y", "--data-dir", str(tmp_path / "absent"), **PASSPHRASE)
    assert (nowhere.returncode, "there is no store in" in nowhere.stderr) == (3, True)
    assert not (tmp_path / "absent").exists()
    nothing = sameface("store", "discard", "staff")
    assert (nothing.returncode, "nothing was removed" in nothing.stderr) == (3, True)


def test_a_store_in_use_is_not_exported(sameface: Run, data: Path) -> None:
    with Store.open(f"edge://{data / 'store'}"):
        # flock tells processes apart, so it is asked by another one.
        ended = process("store", "export", "x", SAMEFACE_EXPORT_PASSPHRASE="correct horse battery")
    assert ended.returncode == 3
    assert b"STORE_LOCKED" in ended.stderr
    assert not Path("x").exists()


@pytest.mark.usefixtures("data")
def test_a_key_file_opens_what_it_closed(sameface: Run, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(os.urandom(32))
    assert sameface("store", "export", "x", "--key-file", "key").returncode == 0
    assert sameface("store", "show", "x", SAMEFACE_EXPORT_KEY_FILE="key").returncode == 0
    short = sameface("store", "show", "x", "--key-file", "x/..", **PASSPHRASE)
    assert short.returncode == 3


@pytest.mark.usefixtures("data")
def test_a_passphrase_is_typed_twice_for_a_new_file(sameface: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[str] = []
    monkeypatch.delenv("SAMEFACE_EXPORT_PASSPHRASE", raising=False)
    assert "no terminal to ask" in sameface("store", "export", "x").stderr
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(direct_store, "getpass", lambda prompt: typed.pop(0))
    typed[:] = ["correct horse battery", "correct horse bakery"]
    assert "the two passphrases differ" in sameface("store", "export", "x").stderr
    typed[:] = ["correct horse battery"] * 2
    assert sameface("store", "export", "x").returncode == 0
    typed[:] = ["correct horse battery"]
    assert sameface("store", "show", "x").returncode == 0
    assert typed == []


def test_an_interrupted_import_is_discarded(
    sameface: Run, data: Path, tmp_path: Path, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sameface_qdrant.transfer.gallery_import import GalleryImport

    assert sameface("store", "export", "x", **key).returncode == 0
    target = ("--data-dir", str(tmp_path / "new"))

    async def stopped(self: GalleryImport) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(GalleryImport, "end", stopped)
        arguments = ("store", "import", "x", "--gallery", "staff", "--no-erasures-since", *target)
        with pytest.raises(asyncio.CancelledError):
            sameface(*arguments, **key)
    found = sameface("store", "discard", "staff", *target)
    assert (found.returncode, found.stderr.startswith("6 records")) == (0, True)
