"""Enrolments that are made at the same time are written together, and one alone does not wait."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from sameface.pipeline import gathering
from sameface.pipeline.gathering import Gathering


class _Disk:
    """Counts what is written together. A write takes until `finish` is called."""

    def __init__(self) -> None:
        self.gathering = Gathering()
        self.written: list[str] = []
        self._may_end = asyncio.Event()

    async def enrol(self, name: str, made: asyncio.Event) -> None:
        with self.gathering.enrolment() as making:
            await made.wait()
            async with making.written():
                self.written.append(name)
                await self._may_end.wait()

    def finish(self) -> None:
        self._may_end.set()
        self._may_end = asyncio.Event()


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_enrolment_alone_is_written_at_once() -> None:
    disk = _Disk()
    for name in "abc":
        task = asyncio.create_task(disk.enrol(name, _set()))
        await _settle()
        assert disk.written[-1] == name
        disk.finish()
        await task


async def test_what_is_ready_during_a_write_is_written_together_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "LONGEST_S", 60.0)
    disk = _Disk()
    first = asyncio.create_task(disk.enrol("a", _set()))
    await _settle()
    others = [asyncio.create_task(disk.enrol(name, _set())) for name in "bcd"]
    await _settle()
    assert disk.written == ["a"]
    disk.finish()
    await first
    await _settle()
    assert disk.written == list("abcd")
    disk.finish()
    await asyncio.gather(*others)


async def test_one_that_is_ready_waits_for_those_that_are_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "LONGEST_S", 60.0)
    monkeypatch.setattr(gathering, "SHARE", 1e9)
    disk = _Disk()
    first = asyncio.create_task(disk.enrol("a", _set()))
    await _settle()
    disk.finish()
    await first
    made = asyncio.Event()
    later = asyncio.create_task(disk.enrol("c", made))
    await _settle()
    ready = asyncio.create_task(disk.enrol("b", _set()))
    await _settle()
    assert disk.written == ["a"]
    made.set()
    await _settle()
    assert sorted(disk.written) == ["a", "b", "c"]  # together, in any order
    disk.finish()
    await asyncio.gather(later, ready)


@pytest.mark.parametrize("ends", ["fails", "is cancelled"])
async def test_one_that_is_given_up_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    monkeypatch.setattr(gathering, "LONGEST_S", 60.0)
    monkeypatch.setattr(gathering, "SHARE", 1e9)
    disk = _Disk()
    first = asyncio.create_task(disk.enrol("a", _set()))
    await _settle()
    disk.finish()
    await first
    async with AsyncExitStack() as under_way:
        making = under_way.enter_context(disk.gathering.enrolment())
        ready = asyncio.create_task(disk.enrol("b", _set()))
        gone = asyncio.create_task(disk.enrol("c", _set()))
        await _settle()
        assert disk.written == ["a"]
        gone.cancel()
        await asyncio.wait([gone])
        if ends == "fails":
            making.end()
    await _settle()
    assert disk.written == ["a", "b"]
    disk.finish()
    await ready


async def test_many_are_written_without_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "LONGEST_S", 60.0)
    disk = _Disk()
    tasks = [asyncio.create_task(disk.enrol("first", _set()))]
    await _settle()
    tasks += [asyncio.create_task(disk.enrol(str(number), _set())) for number in range(gathering.MOST)]
    await _settle()
    assert len(disk.written) == 1 + gathering.MOST
    disk.finish()
    disk.finish()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert not disk.gathering._ready  # nothing is left of them
