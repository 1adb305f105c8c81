"""The newest frame of a source that yields frames whether or not they can be worked on.

What was not taken when the next frame comes is dropped, so that answers never lag behind. Only few frames are under way
at a time, for a frame that waits at the service grows old.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Generic, TypeVar

Frame = TypeVar("Frame")

UNDER_WAY = 6
"""Enough to keep a service with two processors busy. With more, answers come later."""


class Frames(Generic[Frame]):
    """Yields frames with their numbers, from 0. A thread reads the source.

    If the source raises an exception, it is raised after the last frame before it.
    """

    def __init__(self, source: Iterable[Frame], most: int = UNDER_WAY) -> None:
        self._source, self._most = source, most
        self._changed = threading.Condition()
        self._newest: tuple[int, Frame] | None = None
        self._ended = self._closed = False
        self._error: Exception | None = None
        self._under_way = 0

    def __iter__(self) -> Iterator[tuple[int, Frame]]:
        threading.Thread(target=self._read, name="frames", daemon=True).start()
        while (frame := self._next()) is not None:
            yield frame
        if self._error is not None:
            raise self._error

    def answered(self) -> None:
        """Note that one frame is no longer under way."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Yield no more frames, and read none after the next one."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> tuple[int, Frame] | None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (self._under_way < self._most and (self._newest is not None or self._ended))
            )
            if self._closed or self._newest is None:
                return None
            frame, self._newest = self._newest, None
            self._under_way += 1
            return frame

    def _read(self) -> None:
        try:
            for numbered in enumerate(self._source):
                with self._changed:
                    if self._closed:
                        return
                    self._newest = numbered
                    self._changed.notify_all()
        except Exception as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()


class AsyncFrames(Generic[Frame]):
    """The same in an event loop, where a task reads the source."""

    def __init__(self, source: AsyncIterator[Frame], most: int = UNDER_WAY) -> None:
        self._source, self._most = source, most
        self._changed = asyncio.Event()
        self._newest: tuple[int, Frame] | None = None
        self._under_way = 0

    async def __aiter__(self) -> AsyncIterator[tuple[int, Frame]]:
        reading = asyncio.create_task(self._read())
        try:
            while True:
                while self._under_way >= self._most or (self._newest is None and not reading.done()):
                    self._changed.clear()
                    await self._changed.wait()
                if self._newest is None:
                    await reading  # raises what the source has raised
                    return
                frame, self._newest = self._newest, None
                self._under_way += 1
                yield frame
        finally:
            reading.cancel()

    def answered(self) -> None:
        """Note that one frame is no longer under way."""
        self._under_way -= 1
        self._changed.set()

    async def _read(self) -> None:
        number = 0
        try:
            async for frame in self._source:
                self._newest = number, frame
                number += 1
                self._changed.set()
                # A source that never waits leaves the loop to the others all the same.
                await asyncio.sleep(0)
        finally:
            asyncio.get_running_loop().call_soon(self._changed.set)
