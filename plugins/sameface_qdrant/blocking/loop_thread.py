"""An event loop in a thread of its own, and objects whose coroutine methods wait for it."""

import asyncio
import atexit
import concurrent.futures
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from sameface_qdrant.errors import StoreUnavailable
from sameface_qdrant.values.paging import Page

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Target = TypeVar("Target")


class LoopThread:
    """An event loop in a thread; coroutines are sent to it from any other thread.

    anyio's blocking portal does not cancel a call on Ctrl-C, and does not stop at exit.
    """

    def __init__(self) -> None:
        self._ready = threading.Event()
        # Guards `stopped`: a coroutine sent to a loop that is about to end would never return.
        self._sending = threading.Lock()
        self.stopped = False
        # A daemon thread: an open store must not keep the interpreter alive. `stop` still runs at exit.
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="sameface-store", daemon=True)
        self._thread.start()
        self._ready.wait()
        atexit.register(self.stop)

    def wait_for(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Return what the coroutine returns, or raise what it raises."""
        try:
            with self._sending:
                if self.stopped:
                    raise closed()
                if threading.current_thread() is self._thread:
                    raise RuntimeError(
                        "a blocking store was called from its own event loop, which would wait for itself; call it "
                        "from another thread"
                    )
                future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except BaseException:
            coroutine.close()
            raise
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise closed() from None
        except BaseException:
            # The caller gave up (Ctrl-C). Writes still finish, see `sameface_qdrant.store.write_lock`.
            future.cancel()
            raise

    def stop(self) -> None:
        """End the loop and its thread, and cancel running calls. Safe to call twice."""
        with self._sending:
            if not self.stopped:
                self.stopped = True
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        atexit.unregister(self.stop)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._ready.set()
        await self._stopping.wait()


async def next_of(results: AsyncIterator[Result]) -> Result | None:
    """Return the next result, or None after the last one."""
    return await anext(results, None)


def closed() -> StoreUnavailable:
    """Return the error of a call after the end."""
    return StoreUnavailable("the store is closed; open it again")


class Synchronous(Generic[Target]):
    """Calls the methods of an asynchronous object, and waits for each answer."""

    def __init__(self, target: Target, thread: LoopThread) -> None:
        self._target = target
        self._thread = thread


def waiting(
    method: Callable[Concatenate[Any, Arguments], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Any, Arguments], Result]:
    """Return a method that calls a coroutine method of the same parameters and waits for it."""

    @functools.wraps(method)
    def wait(self: Synchronous[Any], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        result = self._thread.wait_for(method(self._target, *args, **kwargs))
        # A loop over a page reads the following pages in the same way.
        return cast(Result, result.waiting(self._thread.wait_for)) if isinstance(result, Page) else result

    return cast(Callable[Concatenate[Any, Arguments], Result], wait)
