"""Answers that callers have not read yet.

An answer waits in memory while its caller does not read it, for as long as the caller likes: HTTP/2 lets it ask for
more without reading. So calls with unread answers end after a while, and before that when all of them take too much.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

log = logging.getLogger(__name__)

Task = asyncio.Task[Any]

_HANDLER = "_handle_exceptions"
"""The coroutine of grpc.aio that runs a handler, in a task of its own. The task that starts it holds the call."""


class _Holders:
    """Makes the tasks of a loop, and notes which one holds which call.

    gRPC has no way to end a call whose answer is being sent. It ends when the task that holds it does.
    """

    def __init__(self, make: Any) -> None:
        self.holders: WeakKeyDictionary[Task, Task] = WeakKeyDictionary()
        self._make = make

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "_Holders":
        """Return the one of a loop."""
        make: Any = loop.get_task_factory()
        if isinstance(make, cls):
            return make
        made = cls(make)
        loop.set_task_factory(cast(Any, made))
        return made

    def __call__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> Task:
        """Make a task."""
        task: Task = self._make(loop, work, **options) if self._make else asyncio.Task(work, loop=loop, **options)
        if getattr(work, "__name__", "") == _HANDLER and (holder := asyncio.current_task(loop)):
            self.holders[task] = holder
        return task


@dataclass(eq=False, slots=True)
class _Answer:
    connection: str
    size: int
    task: Task
    timer: asyncio.TimerHandle | None = None


class Answers:
    """Counts unread answers, and ends the calls of those that are unread for too long."""

    def __init__(self, most_bytes: int, unread_s: float) -> None:
        """All unread answers may have ``most_bytes``; each may be unread for ``unread_s`` seconds.

        Create it in the loop that serves.
        """
        self._most_bytes, self._unread_s = most_bytes, unread_s
        self._unread: dict[_Answer, None] = {}
        self._bytes: Counter[str] = Counter()
        self._total = 0
        self._holders = _Holders.of(asyncio.get_running_loop())

    def sent_last(self, connection: str, size: int) -> None:
        """Count the answer that the present call returns, until the call has ended."""
        answer = self._add(connection, size)
        answer.task.add_done_callback(lambda _: self._remove(answer))

    @contextmanager
    def being_sent(self, connection: str, size: int) -> Iterator[None]:
        """Count one answer of a stream while it is sent."""
        answer = self._add(connection, size)
        try:
            yield
        finally:
            self._remove(answer)

    def _add(self, connection: str, size: int) -> _Answer:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        answer = _Answer(connection, size, task)
        answer.timer = loop.call_later(self._unread_s, self._end, answer)
        self._unread[answer] = None
        self._bytes[connection] += size
        self._total += size
        while self._total > self._most_bytes and len(self._unread) > 1:
            most = max(self._bytes, key=lambda one: self._bytes[one])
            self._end(next(one for one in self._unread if one.connection == most))
        return answer

    def _remove(self, answer: _Answer) -> None:
        if answer not in self._unread:
            return
        del self._unread[answer]
        if answer.timer is not None:
            answer.timer.cancel()
        self._total -= answer.size
        self._bytes[answer.connection] -= answer.size
        if self._bytes[answer.connection] <= 0:
            del self._bytes[answer.connection]

    def _end(self, answer: _Answer) -> None:
        """End the call. gRPC drops it, and what is unsent of it, when nothing refers to it."""
        self._remove(answer)
        log.warning("a call was ended: its caller did not read the answer")
        answer.task.cancel()
        if (holder := self._holders.holders.get(answer.task)) is not None:
            holder.cancel()
