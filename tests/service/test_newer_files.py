"""What a newer release wrote is refused before anything is changed. The error names both versions and what to do."""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from sameface.access.access import Access, AccessOptions
from sameface.access.api_keys import FORMAT as KEYS
from sameface.access.api_keys import KeyFile
from sameface.access.caller import Grant
from sameface.access.roles import Role
from sameface.audit.files import FORMAT as AUDIT
from sameface.audit.log import AuditLog, AuditOptions
from sameface.errors import CredentialsUncheckable
from sameface_qdrant import ExportKey, NewTemplate, Store, export_store, import_store
from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import StoreTooNew
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.protection.keys import FORMAT as PROTECTION
from sameface_qdrant.store.protection.keys import KeyFile as ProtectionKeyFile
from sameface_qdrant.store.protection.keys import KeyRing, new_key
from sameface_qdrant.transfer.errors import ExportTooNew
from sameface_qdrant.transfer.sealed_file import FORMAT as EXPORT
from sameface_qdrant.values.schema import CURRENT
from tests.cli.conftest import Run
from tests.cli.conftest import sameface as sameface
from tests.plugin.conftest import CONTRACT

DOOR = (Grant("*", frozenset({Role.VERIFIER})),)
NEWER = 9
KEY = ExportKey("key-file", bytes(range(32)))
DOCS = Path(__file__).parents[2] / "docs"


def renumber(path: Path, format_before: int) -> None:
    """Let a file say that a newer release wrote it."""
    before = path.read_bytes()
    after = before.replace(b'"format": %d' % format_before, b'"format": %d' % NEWER, 1)
    assert after != before
    path.write_bytes(after)


async def api_keys(folder: Path) -> Callable[[], Awaitable[object]]:
    file = KeyFile(folder / "keys.json")
    file.create("door", DOOR, None)
    renumber(file.path, KEYS)

    async def use() -> object:
        # Neither the service nor `sameface key` touches it.
        with suppress(StoreTooNew):
            file.create("window", DOOR, None)
        return Access(AccessOptions(required=True), file.path)

    return use


async def protection_keys(folder: Path) -> Callable[[], Awaitable[object]]:
    key = new_key({})
    path = folder / "protection.json"
    path.write_text(KeyRing({key.id: key}, key.id).serialised())
    path.chmod(0o600)
    renumber(path, PROTECTION)

    async def use() -> object:
        return ProtectionKeyFile(path).ring

    return use


async def audit_log(folder: Path) -> Callable[[], Awaitable[object]]:
    AuditLog(folder / "audit", AuditOptions()).close()
    (file,) = (folder / "audit").glob("audit-*.jsonl")
    # What looks like a cut entry may be one in the newer form.
    file.write_bytes(file.read_bytes() + b'{"rpc":"Verif')
    renumber(folder / "audit" / "FORMAT", AUDIT)

    async def use() -> object:
        return AuditLog(folder / "audit", AuditOptions())

    return use


async def export(folder: Path) -> Callable[[], Awaitable[object]]:
    store = await Store.open(":memory:")
    await store.galleries.create("people", CONTRACT)
    await export_store(store, folder / "export.sameface", KEY)
    renumber(folder / "export.sameface", EXPORT)

    async def use() -> object:
        return await import_store(store, folder / "export.sameface", KEY, no_erasures_since=True)

    return use


async def embedded_store(folder: Path) -> Callable[[], Awaitable[object]]:
    store = await Store.open(f"edge://{folder}/store")
    await store.galleries.create("people", CONTRACT)
    await store.aclose()
    noted = folder / "store" / "FORMAT"
    schema = {"version": NEWER, "least_reader": NEWER, "least_writer": NEWER}
    noted.write_text(json.dumps({**json.loads(noted.read_text()), "schema": schema}))

    async def use() -> object:
        return await Store.open(f"edge://{folder}/store")

    return use


FILES = {
    "api keys": (api_keys, StoreTooNew, KEYS),
    "protection keys": (protection_keys, StoreTooNew, PROTECTION),
    "audit log": (audit_log, StoreTooNew, AUDIT),
    "export": (export, ExportTooNew, EXPORT),
    "embedded store": (embedded_store, StoreTooNew, CURRENT.version),
}


def state(folder: Path) -> dict[str, bytes]:
    locks = ("LOCK", "lock", "keys.json.lock")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in locks and path.stat().st_size < 1 << 20
    }


@pytest.mark.parametrize("kind", FILES)
async def test_a_file_of_a_newer_release_is_refused_and_stays(tmp_path: Path, kind: str) -> None:
    make, error, current = FILES[kind]
    use = await make(tmp_path)
    before = state(tmp_path)
    assert before
    with pytest.raises(error, match=str(NEWER)) as refused:
        await use()
    told = refused.value
    assert isinstance(told, StoreTooNew | ExportTooNew)
    assert f" {current}" in told.message
    assert "pgrade sameface" in told.message or "newer one" in told.message
    assert told.metadata["found"] == str(NEWER)
    assert state(tmp_path) == before


def test_the_commands_of_the_audit_log_refuse_a_newer_one(tmp_path: Path, sameface: Run) -> None:
    AuditLog(tmp_path / "audit", AuditOptions()).close()
    assert json.loads((tmp_path / "audit" / "FORMAT").read_text()) == {"format": AUDIT}
    assert sameface("audit", "verify", "--folder", str(tmp_path / "audit")).returncode in (0, 3)
    renumber(tmp_path / "audit" / "FORMAT", AUDIT)
    for command in ("verify", "show"):
        refused = sameface("audit", command, "--folder", str(tmp_path / "audit"))
        assert refused.returncode == 3
        assert f"STORE_TOO_NEW: the audit log in {tmp_path / 'audit'} has format {NEWER}" in refused.stderr


def test_keys_of_a_newer_release_that_come_while_a_service_runs_are_told(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    file.create("door", DOOR, None)
    access = Access(AccessOptions(required=True), file.path)
    renumber(file.path, KEYS)
    with pytest.raises(CredentialsUncheckable):
        access.check_files()


async def test_a_service_that_runs_notices_that_a_newer_one_has_taken_the_store() -> None:
    store = await Store.open(":memory:")
    await store.check_reads()
    for least_writer, refused in ((CURRENT.version, False), (NEWER, True)):
        newer = {"schema": {"version": NEWER, "least_reader": 1, "least_writer": least_writer}}
        await store._engine.set_payload(META, Where({"kind": "secret"}), newer)
        if refused:
            with pytest.raises(StoreTooNew, match="cannot change"):
                await store.check_reads()
        else:
            await store.check_reads()
            await store.galleries.create("people", CONTRACT)
            await store.enroll("people", "ada", [NewTemplate(np.ones(8, dtype=np.float32), CONTRACT)])


def test_the_table_of_versions_names_those_of_this_release() -> None:
    rows = [line for line in (DOCS / "operations.md").read_text().splitlines() if line.startswith("|")]
    for name, number in (
        ("records of the store", CURRENT.version),
        ("file of API keys", KEYS),
        ("file of protection keys", PROTECTION),
        ("audit log", AUDIT),
        ("exports and lists of erasures", EXPORT),
    ):
        (row,) = (line for line in rows if line.startswith(f"| {name} "))
        assert f"| {number} |" in row
