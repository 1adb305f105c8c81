"""The store for programs without asyncio: the same methods and resources, and each call waits for its answer.

>>> import numpy as np
>>> from sameface_qdrant import Contract, NewTemplate, Policy, Probe
>>> from sameface_qdrant.blocking import Store
>>> voices = Contract("voices", version=1, sha256="0" * 64, dimension=4, preprocessing="none")
>>> with Store.open(":memory:") as store:
...     gallery = store.galleries.create("staff", voices, policy=Policy(verify_threshold=0.8))
...     stored = store.enroll("staff", "ada", [NewTemplate(np.array([1.0, 0.0, 0.2, 0.0]), voices)])
...     decision = store.verify("staff", "ada", Probe(np.array([0.9, 0.1, 0.2, 0.0]), voices))
>>> decision.outcome.value, round(decision.score, 3)
('MATCH', 0.994)

Each store runs an event loop in its own thread. So many threads may use one store, and it works where a loop is already
running (Jupyter). It raises the same errors as the asynchronous store.

Each method is one line here, ``verify = _waiting(aio.Store.verify)``. It has the parameters and the result of the
coroutine, for ``help()`` and for type checkers. ``__getattr__`` would lose the types; full definitions would repeat
every signature.
"""

import asyncio
import atexit
import concurrent.futures
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from sameface_qdrant.engines.base import EngineDescription
from sameface_qdrant.engines.edge.options import EdgeOptions
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import StoreUnavailable
from sameface_qdrant.store import erasure, galleries, identities, templates
from sameface_qdrant.store import store as aio
from sameface_qdrant.store.protection.keys import ProtectionKeys
from sameface_qdrant.values.enrolment import Enrolment, EnrolmentResult
from sameface_qdrant.values.quota import Quota

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Target = TypeVar("Target")


class _LoopThread:
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
                    raise _closed()
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
            raise _closed() from None
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


async def _next_of(results: AsyncIterator[Result]) -> Result | None:
    return await anext(results, None)


def _closed() -> StoreUnavailable:
    return StoreUnavailable("the store is closed; open it again")


class _Synchronous(Generic[Target]):
    """Calls the methods of an asynchronous object, and waits for each answer."""

    def __init__(self, target: Target, thread: _LoopThread) -> None:
        self._target = target
        self._thread = thread


def _waiting(
    method: Callable[Concatenate[Any, Arguments], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Any, Arguments], Result]:
    """Return a method that calls a coroutine method of the same parameters and waits for it."""

    @functools.wraps(method)
    def wait(self: _Synchronous[Any], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return self._thread.wait_for(method(self._target, *args, **kwargs))

    return cast(Callable[Concatenate[Any, Arguments], Result], wait)


class Galleries(_Synchronous[galleries.Galleries]):
    """Reached as ``store.galleries``."""

    create = _waiting(galleries.Galleries.create)
    get = _waiting(galleries.Galleries.get)
    recent = _waiting(galleries.Galleries.recent)
    list = _waiting(galleries.Galleries.list)
    update = _waiting(galleries.Galleries.update)
    revisions = _waiting(galleries.Galleries.revisions)
    delete = _waiting(galleries.Galleries.delete)


class Identities(_Synchronous[identities.Identities]):
    """Reached as ``store.identities``."""

    create = _waiting(identities.Identities.create)
    get = _waiting(identities.Identities.get)
    list = _waiting(identities.Identities.list)
    ids = _waiting(identities.Identities.ids)
    update = _waiting(identities.Identities.update)
    move = _waiting(identities.Identities.move)
    delete = _waiting(identities.Identities.delete)


class Templates(_Synchronous[templates.Templates]):
    """Reached as ``store.templates``; `Store.enroll` adds them."""

    get = _waiting(templates.Templates.get)
    list = _waiting(templates.Templates.list)
    update = _waiting(templates.Templates.update)
    delete = _waiting(templates.Templates.delete)


class Erasures(_Synchronous[erasure.Erasures]):
    """Reached as ``store.erasures``."""

    get = _waiting(erasure.Erasures.get)
    list = _waiting(erasure.Erasures.list)


class Store(_Synchronous[aio.Store]):
    """Open it with `Store.open`; close it with ``with`` or `close`. Many threads may call its methods at once."""

    galleries: Galleries
    identities: Identities
    templates: Templates
    erasures: Erasures

    def __init__(self, store: aio.Store, thread: _LoopThread) -> None:
        super().__init__(store, thread)
        self._closing = threading.Lock()
        self.galleries = Galleries(store.galleries, thread)
        self.identities = Identities(store.identities, thread)
        self.templates = Templates(store.templates, thread)
        self.erasures = Erasures(store.erasures, thread)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        options: ServerOptions | None = None,
        edge: EdgeOptions | None = None,
        keys: ProtectionKeys | None = None,
        protects_new: bool | None = None,
    ) -> "Store":
        """Open a store. See `sameface_qdrant.Store.open` for the arguments and errors.

        If the process forks, open the store after the fork.
        """
        thread = _LoopThread()
        try:
            opening = aio.Store.open(
                url, api_key=api_key, options=options, edge=edge, keys=keys, protects_new=protects_new
            )
            return cls(thread.wait_for(opening), thread)
        except BaseException:
            thread.stop()
            raise

    @property
    def description(self) -> EngineDescription:
        """Which engine holds the templates."""
        return self._target.description

    def use_quotas(self, quotas: Sequence[Quota]) -> None:
        """See `sameface_qdrant.Store.use_quotas`."""
        self._target.use_quotas(quotas)

    enroll = _waiting(aio.Store.enroll)

    def enroll_many(
        self, gallery: str, enrolments: Iterable[Enrolment], *, batch_size: int = 256
    ) -> Iterator[EnrolmentResult]:
        """See `sameface_qdrant.Store.enroll_many`. ``enrolments`` must not use the store while it is read."""
        results = self._target.enroll_many(gallery, enrolments, batch_size=batch_size)
        try:
            while (result := self._thread.wait_for(_next_of(results))) is not None:
                yield result
        finally:
            self._thread.wait_for(results.aclose())

    verify = _waiting(aio.Store.verify)
    identify = _waiting(aio.Store.identify)
    search = _waiting(aio.Store.search)
    calibrate = _waiting(aio.Store.calibrate)
    what_if = _waiting(aio.Store.what_if)
    rekey = _waiting(aio.Store.rekey)
    sweep = _waiting(aio.Store.sweep)

    def close(self) -> None:
        """Close the store once every write has finished, and end its thread. Safe to call twice.

        If the interpreter exits while a store is open, no acknowledged write is lost. Bytes that `close` would have
        erased are erased when the folder is opened next.
        """
        with self._closing:
            if not self._thread.stopped:
                try:
                    self._thread.wait_for(self._target.aclose())
                finally:
                    self._thread.stop()

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
