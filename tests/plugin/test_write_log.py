"""What is durable by the log between two flushes of Qdrant Edge.

A power cut is simulated at its worst: of the shard's files it leaves what they were at the latest flush.
"""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.engines.edge import collection as collection_module
from sameface_qdrant.engines.edge import write_log
from sameface_qdrant.engines.edge.engine import EdgeEngine
from sameface_qdrant.engines.edge.files import LOG, copy_files
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
        left = self.folder.with_name("left")
        shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(self.folder, left, ignore=shutil.ignore_patterns("shard-*"))
        copy_files(self.flushed, left / THINGS / self.shard.name)
        if self.log.exists():
            shutil.copy(self.log, left / THINGS / self.shard.name / LOG)
        return await stored_in(left)


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
