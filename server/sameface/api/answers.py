"""Answers that callers have not read yet.

An answer waits in memory while its caller does not read it, for as long as the caller likes: HTTP/2 lets it ask for
more without reading. So calls with unread answers end after a while, and before that when all of them take too much.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

AT_LEAST_S = 0.1
"""An answer that has just been made weighs as if it were unread for so long."""

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
    caller: str
    size: int
    task: Task
    since: float
    """Since when it is unread, in seconds of the loop's clock."""
    timer: asyncio.TimerHandle | None = None


class Answers:
    """Counts unread answers, and ends the calls of those that are unread for too long."""

    def __init__(self, most_bytes: int, unread_s: float) -> None:
        """All unread answers may have ``most_bytes``; each may be unread for ``unread_s`` seconds.

        Create it in the loop that serves.
        """
        self._most_bytes, self._unread_s = most_bytes, unread_s
        self._unread: dict[_Answer, None] = {}
        self._total = 0
        self._holders = _Holders.of(asyncio.get_running_loop())

    def sent_last(self, caller: str, size: int) -> None:
        """Count the answer that the present call returns, until the call has ended."""
        answer = self._add(caller, size)
        answer.task.add_done_callback(lambda _: self._remove(answer))

    @contextmanager
    def being_sent(self, caller: str, size: int) -> Iterator[None]:
        """Count one answer of a stream while it is sent."""
        answer = self._add(caller, size)
        try:
            yield
        finally:
            self._remove(answer)

    def _add(self, caller: str, size: int) -> _Answer:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        answer = _Answer(caller, size, task, loop.time())
        answer.timer = loop.call_later(self._unread_s, self._end, answer)
        self._unread[answer] = None
        self._total += size
        while self._total > self._most_bytes and len(self._unread) > 1:
            self._end(self._heaviest())
        return answer

    def _heaviest(self) -> _Answer:
        """Return the oldest answer of the caller whose answers weigh most: their bytes times the seconds they wait.

        So a caller who reads loses nothing, even if its answers are larger than those that others leave unread.
        """
        now, weights, oldest = asyncio.get_running_loop().time(), defaultdict[str, float](float), dict[str, _Answer]()
        for one in self._unread:
            weights[one.caller] += one.size * (now - one.since + AT_LEAST_S)
            oldest.setdefault(one.caller, one)
        return oldest[max(weights, key=weights.__getitem__)]

    def _remove(self, answer: _Answer) -> None:
        if answer not in self._unread:
            return
        del self._unread[answer]
        if answer.timer is not None:
            answer.timer.cancel()
        self._total -= answer.size

    def _end(self, answer: _Answer) -> None:
        """End the call. gRPC drops it, and what is unsent of it, when nothing refers to it."""
        self._remove(answer)
        log.warning("a call was ended: its caller did not read the answer")
        answer.task.cancel()
        if (holder := self._holders.holders.get(answer.task)) is not None:
            holder.cancel()
