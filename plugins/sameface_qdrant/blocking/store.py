"""The store whose methods wait for their answers."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType

from sameface_qdrant.blocking.loop_thread import LoopThread, Synchronous, next_of, waiting
from sameface_qdrant.engines.base import Engine, EngineDescription
from sameface_qdrant.engines.edge.options import EdgeOptions
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.store import erasure, galleries, identities, templates
from sameface_qdrant.store import store as aio
from sameface_qdrant.store.migrations import migrations
from sameface_qdrant.store.protection.keys import ProtectionKeys
from sameface_qdrant.values.enrolment import Enrolment, EnrolmentResult
from sameface_qdrant.values.quota import Quota


class Galleries(Synchronous[galleries.Galleries]):
    """Reached as ``store.galleries``."""

    create = waiting(galleries.Galleries.create)
    get = waiting(galleries.Galleries.get)
    recent = waiting(galleries.Galleries.recent)
    list = waiting(galleries.Galleries.list)
    update = waiting(galleries.Galleries.update)
    revisions = waiting(galleries.Galleries.revisions)
    delete = waiting(galleries.Galleries.delete)


class Identities(Synchronous[identities.Identities]):
    """Reached as ``store.identities``."""

    create = waiting(identities.Identities.create)
    get = waiting(identities.Identities.get)
    list = waiting(identities.Identities.list)
    ids = waiting(identities.Identities.ids)
    update = waiting(identities.Identities.update)
    move = waiting(identities.Identities.move)
    delete = waiting(identities.Identities.delete)


class Templates(Synchronous[templates.Templates]):
    """Reached as ``store.templates``; `Store.enroll` adds them."""

    get = waiting(templates.Templates.get)
    list = waiting(templates.Templates.list)
    update = waiting(templates.Templates.update)
    delete = waiting(templates.Templates.delete)


class Erasures(Synchronous[erasure.Erasures]):
    """Reached as ``store.erasures``."""

    get = waiting(erasure.Erasures.get)
    list = waiting(erasure.Erasures.list)


class Migrations(Synchronous[migrations.Migrations]):
    """Reached as ``store.migrations``. The work in the background goes on while the store is open."""

    create = waiting(migrations.Migrations.create)
    plan = waiting(migrations.Migrations.plan)
    get = waiting(migrations.Migrations.get)
    earlier = waiting(migrations.Migrations.earlier)
    list = waiting(migrations.Migrations.list)
    pause = waiting(migrations.Migrations.pause)
    resume = waiting(migrations.Migrations.resume)
    promote = waiting(migrations.Migrations.promote)
    roll_back = waiting(migrations.Migrations.roll_back)
    cancel = waiting(migrations.Migrations.cancel)
    finish = waiting(migrations.Migrations.finish)


class Store(Synchronous[aio.Store]):
    """Open it with `Store.open`; close it with ``with`` or `close`. Many threads may call its methods at once."""

    galleries: Galleries
    identities: Identities
    templates: Templates
    erasures: Erasures
    migrations: Migrations

    def __init__(self, store: aio.Store, thread: LoopThread) -> None:
        super().__init__(store, thread)
        self._closing = threading.Lock()
        self.galleries = Galleries(store.galleries, thread)
        self.identities = Identities(store.identities, thread)
        self.templates = Templates(store.templates, thread)
        self.erasures = Erasures(store.erasures, thread)
        self.migrations = Migrations(store.migrations, thread)

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
        around: Callable[[Engine], Engine] = aio.unchanged,
    ) -> "Store":
        """Open a store. See `sameface_qdrant.Store.open` for the arguments and errors.

        If the process forks, open the store after the fork.
        """
        thread = LoopThread()
        try:
            opening = aio.Store.open(
                url, api_key=api_key, options=options, edge=edge, keys=keys, protects_new=protects_new, around=around
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

    enroll = waiting(aio.Store.enroll)

    def enroll_many(
        self, gallery: str, enrolments: Iterable[Enrolment], *, batch_size: int = 256
    ) -> Iterator[EnrolmentResult]:
        """See `sameface_qdrant.Store.enroll_many`. ``enrolments`` must not use the store while it is read."""
        results = self._target.enroll_many(gallery, enrolments, batch_size=batch_size)
        try:
            while (result := self._thread.wait_for(next_of(results))) is not None:
                yield result
        finally:
            self._thread.wait_for(results.aclose())

    check_reads = waiting(aio.Store.check_reads)
    check_writes = waiting(aio.Store.check_writes)
    renew = waiting(aio.Store.renew)
    verify = waiting(aio.Store.verify)
    identify = waiting(aio.Store.identify)
    search = waiting(aio.Store.search)
    calibrate = waiting(aio.Store.calibrate)
    what_if = waiting(aio.Store.what_if)
    rekey = waiting(aio.Store.rekey)
    sweep = waiting(aio.Store.sweep)

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
