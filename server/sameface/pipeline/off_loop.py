"""Runs the work on a photo in a thread, as one coroutine, and its models where they belong.

A change of threads costs 0.1 ms and the caches of a core. So a thread goes on with the work until that waits for
something that only the event loop can do. A model that runs in process does not need the loop: the thread runs it.
"""

from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from sameface.inference.base import ModelRuns, Tensors, runs_off_loop
from sameface.observation.current import CURRENT
from sameface.vision import WorkStopped
from sameface_qdrant.concurrency import in_thread

Result = TypeVar("Result")
Call: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]

RUNS_IN_TURN = 6
"""Runs of models after which work lets other photos have the thread. Most photos need two to four."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What the work waits for."""

    call: Call
    off_loop: bool
    """Whether the thread can make the call itself."""
    brief: bool
    """Whether what follows is so short that the event loop may do it."""

    def __await__(self) -> Any:
        return (yield self)


class OffLoop:
    """The models and the event loop, as work in a thread sees them. Implements `ModelRuns`."""

    def __init__(self, inference: ModelRuns) -> None:
        self._inference = inference
        self._runs_off_loop = runs_off_loop(inference)
        self._stops: list[Callable[[], None]] = []
        self._stopped = False

    async def run(self, model: str, version: int, inputs: Tensors, *, brief: bool = False) -> Tensors:
        """Run a model. See `Inference.run`. ``brief``: what follows takes some microseconds."""
        call = partial(self._inference.run, model, version, inputs)
        outputs: Tensors = await _Request(call, self._runs_off_loop, brief)
        return outputs

    async def on_loop(self, call: Call) -> Any:
        """Call a coroutine function on the event loop, and return its result."""
        return await _Request(call, off_loop=False, brief=False)

    def stop_with(self, stop: Callable[[], None]) -> None:
        """Call ``stop``, in another thread, once the caller of the work has left."""
        self._stops.append(stop)
        if self._stopped:
            stop()

    def stop(self) -> None:
        """Make the work end at its next model, or where a function of `stop_with` ends it."""
        self._stopped = True
        for stop in tuple(self._stops):
            stop()

    def check(self) -> None:
        """Raise WorkStopped if the caller has left."""
        if self._stopped:
            raise WorkStopped


class _ObservedOffLoop(OffLoop):
    """Keeps the present span where the work changes between the thread and the loop, whose contexts are others."""

    async def run(self, model: str, version: int, inputs: Tensors, *, brief: bool = False) -> Tensors:
        """See `OffLoop.run`."""
        present = CURRENT.get()

        async def call() -> Tensors:
            before = CURRENT.get()
            CURRENT.set(present)
            try:
                return await self._inference.run(model, version, inputs)
            finally:
                CURRENT.set(before)

        try:
            outputs: Tensors = await _Request(call, self._runs_off_loop, brief)
        finally:
            CURRENT.set(present)
        return outputs


async def off_loop(
    threads: Executor, inference: ModelRuns, work: Callable[[OffLoop], Coroutine[Any, Any, Result]]
) -> Result:
    """Return the result of ``work``, which one of ``threads`` does. It awaits nothing but its `OffLoop`.

    A cancelled caller waits until the thread has ended, as with `in_thread`.
    """
    observed = getattr(inference, "observed", False)
    place = (_ObservedOffLoop if observed else OffLoop)(inference)
    advance_here = _advance_apart if observed else _advance
    coroutine = work(place)
    step: Callable[[], Any] = partial(coroutine.send, None)
    brief = False
    try:
        while True:
            if brief:
                request, result = advance_here(place, coroutine, step)
            else:
                request, result = await in_thread(threads, _advance, place, coroutine, step, stop=place.stop)
            if request is None:
                ended: Result = result
                return ended
            brief = request.brief and not request.off_loop
            if request.off_loop:
                step = partial(_answered_here, coroutine, request)
                continue
            try:
                step = partial(coroutine.send, await request.call())
            except Exception as error:
                step = partial(coroutine.throw, error)
    finally:
        coroutine.close()


def _advance(
    place: OffLoop, coroutine: Coroutine[Any, Any, Any], step: Callable[[], Any]
) -> tuple[_Request | None, Any]:
    """Go on with the work. Return what it waits for, or None and its result."""
    for left in reversed(range(RUNS_IN_TURN)):
        place.check()
        try:
            request: _Request = step()
        except StopIteration as ended:
            return None, ended.value
        if not request.off_loop or not left:
            break
        step = partial(_answered_here, coroutine, request)
    return request, None


def _advance_apart(
    place: OffLoop, coroutine: Coroutine[Any, Any, Any], step: Callable[[], Any]
) -> tuple[_Request | None, Any]:
    """Go on with the work on the event loop as in a thread: the present span of the caller stays what it is."""
    return copy_context().run(_advance, place, coroutine, step)


def _answered_here(coroutine: Coroutine[Any, Any, Any], request: _Request) -> Any:
    """Make the call of a request in this thread, and go on with its result."""
    call = request.call()
    try:
        call.send(None)
    except StopIteration as ended:
        return coroutine.send(ended.value)
    except Exception as error:
        return coroutine.throw(error)
    call.close()
    raise RuntimeError("a model that runs off the event loop has awaited something")
