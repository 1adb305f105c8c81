"""What is durable by the log between two flushes of Qdrant Edge.

A power cut is simulated at its worst: of the shard's files it leaves what they were at the latest flush.
"""

import asyncio
import io
import json
import os
import shutil
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.engines.edge import collection as collection_module
from sameface_qdrant.engines.edge import engine as engine_module
from sameface_qdrant.engines.edge import erasure_notes, write_log
from sameface_qdrant.engines.edge import shard as shard_module
from sameface_qdrant.engines.edge.engine import EdgeEngine
from sameface_qdrant.engines.edge.files import FIRST_FORMAT, LOG, ROOM_TO_OPEN, copy_files
from sameface_qdrant.engines.edge.numbering import catch_up
from sameface_qdrant.engines.edge.shard import load, open_current
from sameface_qdrant.errors import StoreFull
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.schema import schema_of

THINGS, DIMENSION = "things", 4
IDS = [point_id(name) for name in ("ada", "bob", "cyd", "dan")]

State = dict[str, tuple[int, tuple[float, ...]]]


@dataclass
class Disk:
    """A collection, and what a power cut would leave of it."""

    engine: EdgeEngine
    folder: Path
    flushed: Path
    stored: State = field(default_factory=dict)
    durable: State = field(default_factory=dict)

    def flush(self) -> None:
        """Note what a flush has written."""
        shutil.rmtree(self.flushed, ignore_errors=True)
        copy_files(self.shard, self.flushed)
        self.durable = dict(self.stored)

    @property
    def shard(self) -> Path:
        return self.engine._opened(THINGS).handle.folder

    @property
    def log(self) -> Path:
        return self.shard / LOG

    async def upsert(self, ids: list[str], value: int, insert_only: bool = False) -> None:
        points = [Point(one, {"gallery": "g", "value": value}, vector(value)) for one in ids]
        await self.engine.upsert(THINGS, points, insert_only=insert_only)
        for one in ids:
            if not (insert_only and one in self.stored):
                self.stored[one] = value, tuple(vector(value).tolist())

    async def change(self, value: int) -> None:
        await self.engine.set_payload(THINGS, Where({"gallery": "g"}), {"value": value})
        self.stored = {one: (value, numbers) for one, (_, numbers) in self.stored.items()}

    async def delete(self, ids: list[str]) -> None:
        await self.engine.delete(THINGS, ids)
        for one in ids:
            self.stored.pop(one, None)

    async def commit(self) -> None:
        await self.engine.commit(THINGS)
        self.durable = dict(self.stored)

    async def after_a_power_cut(self) -> State:
        """Return what is stored when the files are opened as they are on the disk now."""
        return await stored_in(self.left_by_a_power_cut())

    def left_by_a_power_cut(self) -> Path:
        """Return a folder with the files as they are on the disk now."""
        left = self.folder.with_name("left")
        shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(self.folder, left, ignore=shutil.ignore_patterns("shard-*"))
        copy_files(self.flushed, left / THINGS / self.shard.name)
        if self.log.exists():
            shutil.copy(self.log, left / THINGS / self.shard.name / LOG)
        return left


def is_closed(shard: Any) -> bool:
    try:
        shard.info()
    except Exception:
        return True
    return False


def vector(value: int) -> Any:
    return np.array([1, value, 0, 0], dtype=np.float32) / np.sqrt(1 + value**2, dtype=np.float32)


async def stored_in(folder: Path) -> State:
    engine = await EdgeEngine.open(folder)
    await engine.ensure(THINGS, DIMENSION)
    found = await engine.get(THINGS, IDS, with_vector=True)
    await engine.aclose()
    assert all(point.vector is not None for point in found.values())
    return {
        one: (point.payload["value"], tuple(np.round(np.asarray(point.vector), 6).tolist()))
        for one, point in found.items()
    }


def rounded(state: State) -> State:
    return {
        one: (value, tuple(np.round(np.array(numbers, "f4"), 6).tolist())) for one, (value, numbers) in state.items()
    }


@asynccontextmanager
async def disk(factory: pytest.TempPathFactory) -> AsyncIterator[Disk]:
    """A collection whose latest write was flushed, so that the next one is logged."""
    folder = factory.mktemp("disk")
    with pytest.MonkeyPatch.context() as patch:
        engine = await EdgeEngine.open(folder / "store")
        opened = Disk(engine, folder / "store", folder / "flushed")
        flush = collection_module.Handle.flush

        def watched(handle: collection_module.Handle) -> None:
            flush(handle)
            opened.flush()

        patch.setattr(collection_module.Handle, "flush", watched)
        await engine.ensure(THINGS, DIMENSION)
        opened.flush()
        await opened.upsert(IDS[:1], 1)
        await opened.commit()
        assert not opened.log.exists()
        try:
            yield opened
        finally:
            await engine.aclose()
            # In memory, a shard takes some 50 MiB: a failing property would fill it while its example is made smaller.
            shutil.rmtree(folder)


some_ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True)
steps = st.one_of(
    st.tuples(st.just("upsert"), some_ids, st.booleans()),
    st.tuples(st.just("upsert"), some_ids, st.booleans()),
    st.tuples(st.just("commit")),
    st.tuples(st.just("commit")),
    st.tuples(st.just("change")),
    st.tuples(st.just("delete"), some_ids),
)


@settings(max_examples=8, deadline=None)
@given(st.lists(steps, min_size=3, max_size=8))
async def test_a_power_cut_leaves_what_was_committed(
    tmp_path_factory: pytest.TempPathFactory, history: list[Any]
) -> None:
    async with disk(tmp_path_factory) as opened:
        for number, (kind, *arguments) in enumerate(history, 2):
            match kind:
                case "upsert":
                    await opened.upsert(arguments[0], number, arguments[1])
                case "change":
                    await opened.change(number)
                case "delete":
                    await opened.delete(*arguments)
                case "commit":
                    await opened.commit()
        assert await opened.after_a_power_cut() == rounded(opened.durable)


async def test_enrolments_between_two_flushes_are_logged_and_a_removal_empties_the_log(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with disk(tmp_path_factory) as opened:
        for value in (2, 3):
            await opened.upsert(IDS, value)
            await opened.commit()
        assert opened.log.stat().st_size > 0
        assert opened.log.stat().st_mode & 0o777 == 0o600
        await opened.delete(IDS[:1])
        assert opened.log.stat().st_size == 0
        await opened.commit()
        assert IDS[0] not in await opened.after_a_power_cut()


async def test_a_log_that_is_old_or_large_gives_way_to_a_flush(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disk(tmp_path_factory) as opened:
        for limit in ("LONGEST_S", "LARGEST"):
            await opened.upsert(IDS, 2)
            await opened.commit()
            assert opened.log.stat().st_size > 0
            with monkeypatch.context() as patch:
                patch.setattr(write_log, limit, 0)
                await opened.upsert(IDS, 3)
                await opened.commit()
            assert opened.log.stat().st_size == 0


async def test_a_record_that_was_cut_off_or_damaged_ends_the_log(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with disk(tmp_path_factory) as opened:
        await opened.upsert(IDS[:2], 2)
        await opened.commit()
        before, whole = dict(opened.stored), opened.log.stat().st_size
        await opened.upsert(IDS, 3)
        await opened.commit()
        contents = opened.log.read_bytes()
        for left in (contents[: whole + 3], contents[:-1], contents[:-1] + bytes([contents[-1] ^ 1])):
            opened.log.write_bytes(left)
            assert await opened.after_a_power_cut() == rounded(before)
        opened.log.write_bytes(contents)
        assert await opened.after_a_power_cut() == rounded(opened.stored)


@pytest.mark.parametrize("tail", [bytes(64), b"\x00", b"\xff" * 64, struct.pack("<II", 2**32 - 1, 0)])
async def test_a_tail_that_is_no_record_ends_the_log(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    async with disk(tmp_path_factory) as opened:
        await opened.upsert(IDS, 2)
        await opened.commit()
        with opened.log.open("ab") as file:
            file.write(tail)
        assert await opened.after_a_power_cut() == rounded(opened.stored)


def test_no_more_is_read_of_a_log_than_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size or 0)
            return super().read(size)

    log = tmp_path / LOG
    contents = struct.pack("<II", 2**32 - 1, 0) + bytes(8)
    log.write_bytes(contents)
    monkeypatch.setattr(Path, "open", lambda *_: Watched(contents))
    assert list(write_log._records(log)) == []
    assert max(asked) <= 16


@settings(max_examples=5, deadline=None)
@given(st.lists(st.tuples(some_ids, st.booleans()), min_size=2, max_size=5), st.booleans(), st.booleans())
async def test_later_writes_take_effect_after_a_flush_that_was_cut_off(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[list[str], bool]], logged: bool, at_once: bool
) -> None:
    """A flush writes the versions of points before the number of the latest operation; here it ends between them."""
    async with disk(tmp_path_factory) as opened:
        before = {path.relative_to(opened.flushed): path.read_bytes() for path in opened.flushed.rglob("segment.json")}
        for number, (ids, insert_only) in enumerate([*history, (IDS, False)], 2):
            await opened.upsert(ids, number, insert_only)
        await opened.commit()
        log = opened.log.read_bytes()
        opened.engine._opened(THINGS).handle.flush()
        for name, contents in before.items():
            (opened.flushed / name).write_bytes(contents)
        if logged:
            opened.log.write_bytes(log)
        left = opened.left_by_a_power_cut()
        if not at_once:
            assert await stored_in(left) == rounded(opened.stored)
        engine = await EdgeEngine.open(left)
        await engine.ensure(THINGS, DIMENSION)
        await engine.delete(THINGS, IDS[:1])
        await engine.upsert(THINGS, [Point(IDS[1], {"gallery": "g", "value": 50}, vector(50))])
        await engine.set_payload(THINGS, Where({}, ids=tuple(IDS[2:3])), {"value": 60})
        await engine.commit(THINGS)
        await engine.aclose()
        values = {one: value for one, (value, _) in (await stored_in(left)).items()}
        assert values == {IDS[1]: 50, IDS[2]: 60, IDS[3]: opened.stored[IDS[3]][0]}


@pytest.mark.parametrize("unknown", ["no versions", "no number", "large versions"])
async def test_versions_of_another_shape_are_reported_and_refuse_nothing(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture, unknown: str
) -> None:
    async with disk(tmp_path_factory) as opened:
        shard = opened.engine._opened(THINGS).handle.shard
        segment = next(opened.flushed.glob("segments/*"))
        match unknown:
            case "no versions":
                next(segment.glob("*.versions")).unlink()
            case "no number":
                (segment / "segment.json").write_text("{}")
            case _:
                next(segment.glob("*.versions")).write_bytes(b"\xff" * 15)
        catch_up(shard, opened.flushed)
        assert "were not checked" in caplog.text


async def test_a_shard_is_closed_if_its_opening_fails(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []

    def watched(path: Path, dimension: int) -> Any:
        loaded.append(load(path, dimension))
        return loaded[-1]

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_module, "load", watched)
    async with disk(tmp_path_factory) as opened:
        left = opened.left_by_a_power_cut()
        engine = await EdgeEngine.open(left)
        for module, name in ((shard_module, "catch_up"), (write_log, "write_again"), (erasure_notes, "tidy")):
            with monkeypatch.context() as patch:
                patch.setattr(module, name, fails)
                with pytest.raises(StoreFull):
                    await engine.ensure(THINGS, DIMENSION)
        assert [is_closed(shard) for shard in loaded] == [True, True, True]
        await engine.aclose()


async def test_no_shard_is_loaded_without_room_to_write_its_log_again(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(_: Path) -> Any:
        return SimpleNamespace(free=ROOM_TO_OPEN)

    def loaded(*_: object) -> Any:
        raise AssertionError

    async with disk(tmp_path_factory) as opened:
        await opened.upsert(IDS, 2)
        await opened.commit()
        left = opened.left_by_a_power_cut()
        monkeypatch.setattr(shutil, "disk_usage", usage)
        monkeypatch.setattr(shard_module, "load", loaded)
        with pytest.raises(StoreFull):
            await stored_in(left)


async def test_a_shard_is_closed_if_its_opening_is_cancelled(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    shards: list[Any] = []

    def slow(folder: Path, dimension: int) -> Any:
        found = open_current(folder, dimension)
        shards.append(found[0])
        begun.set()
        assert go_on.wait(10)
        return found

    monkeypatch.setattr(engine_module, "open_current", slow)
    engine = await EdgeEngine.open(tmp_path_factory.mktemp("store"))
    opening = asyncio.create_task(engine.ensure(THINGS, DIMENSION))
    assert await asyncio.to_thread(begun.wait, 10)
    opening.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert is_closed(shards[0])
    await engine.aclose()


class Panic(BaseException):
    """As an error that Rust did not expect reaches Python."""


class Steered:
    """A shard whose next update is applied, and then waits, or fails."""

    def __init__(self, shard: Any, *, fails: bool) -> None:
        self._shard, self._fails = shard, fails
        self.applied, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)

    def update(self, operation: Any) -> None:
        self._shard.update(operation)
        self.applied.set()
        assert self.go_on.wait(10)
        if self._fails:
            raise Panic


@pytest.mark.parametrize("fails", [False, True])
async def test_a_write_that_was_cancelled_or_failed_is_durable_after_the_next_commit(
    tmp_path_factory: pytest.TempPathFactory, fails: bool
) -> None:
    async with disk(tmp_path_factory) as opened:
        handle = opened.engine._opened(THINGS).handle
        shard = handle.shard
        handle.shard = steered = Steered(shard, fails=fails)  # type: ignore[assignment]
        writing = asyncio.create_task(opened.upsert(IDS[1:2], 2))
        assert await asyncio.to_thread(steered.applied.wait, 10)
        if not fails:
            writing.cancel()
        steered.go_on.set()
        with pytest.raises(Panic if fails else asyncio.CancelledError):
            await writing
        handle.shard = shard
        opened.stored[IDS[1]] = 2, tuple(vector(2).tolist())
        await opened.commit()
        assert await opened.after_a_power_cut() == rounded(opened.stored)


async def test_a_log_that_cannot_be_written_gives_way_to_a_flush(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    async with disk(tmp_path_factory) as opened:
        await opened.upsert(IDS[:1], 2)
        await opened.commit()
        with monkeypatch.context() as patch:
            patch.setattr(write_log, "_sync_contents", full)
            await opened.upsert(IDS, 3)
            with pytest.raises(StoreFull):
                await opened.engine.commit(THINGS)
        assert await opened.after_a_power_cut() == rounded(opened.durable)
        await opened.commit()
        assert await opened.after_a_power_cut() == rounded(opened.stored)


async def test_releases_that_know_no_log_refuse_a_folder_with_one(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    def least_reader(folder: Path) -> int:
        return schema_of(json.loads((folder / "FORMAT").read_text())).least_reader

    async with disk(tmp_path_factory) as opened:
        assert least_reader(opened.folder) == 1
        await opened.upsert(IDS, 2)
        await opened.commit()
        assert least_reader(opened.folder) == 3
        shutil.copytree(opened.folder, tmp_path / "killed")
        await opened.engine.aclose()
        assert least_reader(opened.folder) == 1
    other = await EdgeEngine.open(tmp_path / "killed")
    await other.ensure("others", DIMENSION)
    await other.aclose()
    assert least_reader(tmp_path / "killed") == 3  # its log has not been written again yet
    assert (await stored_in(tmp_path / "killed"))[IDS[3]][0] == 2
    assert least_reader(tmp_path / "killed") == 1


def test_a_payload_that_json_cannot_hold_is_not_logged() -> None:
    assert write_log.record_of([Point(IDS[0], {"value": np.float32(1)}, None)], insert_only=False) is None


def test_what_waits_is_bounded_and_a_flush_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_log, "LARGEST", 100)
    log = write_log.WriteLog(tmp_path / LOG)
    log._flushed_at = float("inf")
    for _ in range(3):
        assert log.suffices
        log.note(b"x" * 40)
    assert not log.suffices
    assert log.is_empty
    log.empty()
    log._flushed_at = float("inf")
    assert log.suffices


def test_a_log_whose_emptying_failed_does_not_suffice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "things" / "shard-1"
    folder.mkdir(parents=True)
    (tmp_path / "FORMAT").write_text(FIRST_FORMAT)
    log = write_log.WriteLog(folder / LOG)
    log.note(b"x" * 40)
    log.sync()
    assert (folder / LOG).read_bytes() == b"x" * 40

    def fails(file: int) -> None:
        raise OSError(5, "made up")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="made up"):
            log.empty()
    assert not log.suffices
    assert not log.is_empty
    log.empty()
    assert log.is_empty
    log.close()


def test_a_log_whose_name_is_not_durable_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "things" / "shard-1"
    folder.mkdir(parents=True)
    (tmp_path / "FORMAT").write_text(FIRST_FORMAT)
    log, synced = write_log.WriteLog(folder / LOG), list[Path]()

    def sync_folder(path: Path) -> None:
        synced.append(path)
        if len(synced) == 1:
            raise OSError(5, "made up")

    monkeypatch.setattr(write_log, "sync_folder", sync_folder)
    log.note(b"x")
    with pytest.raises(OSError, match="made up"):
        log.sync()
    log.empty()
    log.note(b"y")
    log.sync()
    assert synced == [folder, folder]
    assert (folder / LOG).read_bytes() == b"y"
    log.close()


async def test_a_full_disk_does_not_keep_a_store_from_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        raise StoreFull("made up", metadata={})

    engine = await EdgeEngine.open(tmp_path)
    await engine.ensure(THINGS, DIMENSION)
    monkeypatch.setattr(engine_module, "forget_log", full)
    await engine.aclose()
    again = await EdgeEngine.open(tmp_path)
    await again.ensure(THINGS, DIMENSION)
    monkeypatch.undo()
    await again.aclose()
