"""Frames that come faster than they are answered are dropped; the others keep their order."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from sameface.client.frames import AsyncFrames, Frames


class Broken(Exception):
    pass


def test_only_so_many_frames_are_under_way_and_the_newest_is_next() -> None:
    read, more = threading.Event(), threading.Event()

    def source() -> Iterator[str]:
        yield from "ab"
        more.wait()
        yield from "cdefg"
        read.set()

    frames = Frames(source(), most=2)
    numbered = iter(frames)
    found = [next(numbered)]
    more.set()
    read.wait()
    # "b" may have been dropped before it was asked for.
    found.append(next(numbered))
    frames.answered()
    found += list(numbered) if found[-1][0] == 6 else [next(numbered)]
    assert [number for number, _ in found] == sorted({number for number, _ in found})
    assert found[-1] == (6, "g")
    assert all("abcdefg"[number] == frame for number, frame in found)


def test_what_the_source_raises_comes_after_its_last_frame() -> None:
    def source() -> Iterator[int]:
        yield 7
        raise Broken

    found: list[tuple[int, int]] = []
    with pytest.raises(Broken):
        found.extend(Frames(source()))
    assert found == [(0, 7)]


def test_a_closed_source_yields_nothing_more_even_if_nothing_is_answered() -> None:
    frames = Frames(iter(range(100)), most=1)
    numbered = iter(frames)
    next(numbered)
    threading.Timer(0.01, frames.close).start()
    assert list(numbered) == []


async def test_the_same_in_a_loop() -> None:
    async def source() -> AsyncIterator[int]:
        for number in range(50):
            yield number

    frames, found = AsyncFrames(source(), most=3), list[tuple[int, int]]()

    async def answer() -> None:
        while True:
            await asyncio.sleep(0.002)
            if frames._under_way:
                frames.answered()

    answering = asyncio.create_task(answer())
    async for number, frame in frames:
        assert number == frame
        assert frames._under_way <= 3
        found.append((number, frame))
    answering.cancel()
    assert found[-1] == (49, 49)
    assert 3 <= len(found) < 50
    assert found == sorted(set(found))


async def test_an_error_of_the_source_in_a_loop() -> None:
    async def source() -> AsyncIterator[int]:
        yield 7
        raise Broken

    found: list[tuple[int, int]] = []

    async def collect() -> None:
        async for numbered in AsyncFrames(source()):
            found.append(numbered)

    with pytest.raises(Broken):
        await collect()
    assert found == [(0, 7)]
