"""Each probe fails when the calls of callers would, and leaves nothing behind."""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from grpc import StatusCode

from sameface.access.access import Access, AccessOptions
from sameface.access.api_keys import KeyFile
from sameface.access.caller import Grant
from sameface.access.roles import Role
from sameface.audit.log import AuditLog, AuditOptions, Entry
from sameface.audit.recorder import Recorder
from sameface.errors import AuditUnavailable, CredentialsUncheckable
from sameface_qdrant import NewTemplate, Store
from sameface_qdrant.engines.base import Where
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import StoreCorrupt, StoreFull, StoreUnavailable
from sameface_qdrant.store.payloads import META
from tests.plugin.conftest import CONTRACT
from tests.plugin.test_server import reason_of
from tests.plugin.wire import Double, Fault

VECTOR = np.ones(8, dtype=np.float32)


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    server = await Double().start()
    yield server
    await server.stop()


@pytest.fixture
async def remote(double: Double) -> AsyncIterator[Store]:
    store = await Store.open(double.url, options=ServerOptions(timeout_s=1, retries=1))
    yield store
    await store.aclose()


async def test_any_engine_answers_both_probes_and_keeps_its_records(store: Store) -> None:
    await store.galleries.create("people", CONTRACT)
    await store.enroll("people", "ada", [NewTemplate(VECTOR, CONTRACT)])
    before, _ = await store._engine.scroll(META, Where({}), 1000)
    for _ in range(2):
        await store.check_reads()
        await store.check_writes()
    after, _ = await store._engine.scroll(META, Where({}), 1000)
    assert after == before


async def test_a_server_that_is_away_is_told_and_found_again(double: Double, remote: Store) -> None:
    await double.stop()
    for check in (remote.check_reads, remote.check_writes):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await check()
    await double.start()
    for check in (remote.check_reads, remote.check_writes):
        # gRPC connects again within two seconds.
        while await reason_of(check()):  # noqa: ASYNC110  # the time limit of the test bounds it
            await asyncio.sleep(0.05)


async def test_a_server_that_hangs_or_takes_no_writes_is_told(double: Double, remote: Store) -> None:
    words = "Service internal error: No space left on device: WAL buffer size exceeds available disk space"
    double.faults["Points/UpdateBatch"].append(Fault(StatusCode.INTERNAL, words))
    with pytest.raises(StoreFull):
        await remote.check_writes()
    double.faults["Points/UpdateBatch"].append(Fault(StatusCode.PERMISSION_DENIED, "read-only key"))
    with pytest.raises(StoreUnavailable):
        await remote.check_writes()
    await remote.check_reads()
    double.faults["Points/Get"].append(Fault(delay_s=60.0))
    with pytest.raises(StoreUnavailable, match="in time"):
        await remote.check_reads()


async def test_a_server_that_comes_back_without_its_contents_is_told(double: Double, remote: Store) -> None:
    await remote._engine.delete(META, Where({}))
    with pytest.raises(StoreCorrupt, match="restore it from a backup"):
        await remote.check_reads()
    await double.client.delete_collection("meta")
    with pytest.raises(StoreCorrupt):
        await remote.check_reads()


async def test_a_folder_that_was_taken_away_or_put_in_its_place_is_told(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    store = await Store.open(f"edge://{folder}")
    folder.rename(elsewhere)
    for check in (store.check_reads, store.check_writes):
        with pytest.raises(StoreUnavailable, match="No such file"):
            await check()
    shutil.copytree(elsewhere, folder)
    with pytest.raises(StoreUnavailable, match="another folder"):
        await store.check_reads()
    shutil.rmtree(folder)
    elsewhere.rename(folder)
    await store.check_reads()
    await store.check_writes()
    await store.aclose()


async def test_a_disk_that_is_full_or_read_only_still_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await Store.open(f"edge://{tmp_path}/store")

    def read_only(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with monkeypatch.context() as system:
        system.setattr(os, "utime", read_only)
        with pytest.raises(StoreUnavailable, match="Read-only"):
            await store.check_writes()
        await store.check_reads()
    with monkeypatch.context() as system:
        system.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 90, 10))
        with pytest.raises(StoreFull):
            await store.check_writes()
        await store.check_reads()
    await store.check_writes()
    await store.aclose()


def test_a_file_of_keys_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    keys.create("door", (Grant("*", frozenset({Role.VERIFIER})),), None)
    access = Access(AccessOptions(required=True), keys.path)
    access.check_files()
    whole = keys.path.read_text()
    for broken in ("{", "[]"):
        keys.path.write_text(broken)
        with pytest.raises(CredentialsUncheckable):
            access.check_files()
    keys.path.write_text(whole)
    access.check_files()
    Access(AccessOptions(required=False)).check_files()


def test_an_audit_log_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path, AuditOptions(enabled=True, durable_within_s=0.01))
    recorder = Recorder(log)
    recorder.check()

    def full(file: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as system:
        system.setattr(os, "write", full)
        log.append(Entry({"rpc": "GetGallery", "outcome": "OK"}))
        log.settle()
        with pytest.raises(AuditUnavailable):
            recorder.check()
    log.close()
