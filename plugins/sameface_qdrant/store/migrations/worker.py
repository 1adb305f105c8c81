"""Goes on with migrations in the background: starts the mappings, and finishes what was interrupted."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field

from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import ConcurrentUpdate, GalleryNotFound, MigrationNotFound, SamefaceError
from sameface_qdrant.store.conditional_write import CRASHED_AFTER_S, confirmed
from sameface_qdrant.store.migration_link import Link, link_of
from sameface_qdrant.store.migrations.exchange import Exchange
from sameface_qdrant.store.migrations.fence import Gate
from sameface_qdrant.store.migrations.mapping import Mapper
from sameface_qdrant.store.migrations.records import Stored
from sameface_qdrant.store.migrations.state import Fields, MigrationRecords
from sameface_qdrant.store.payloads import TEMPLATE
from sameface_qdrant.store.template_origin import MAPPED, ORIGIN
from sameface_qdrant.values.migration import MigrationState

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
"""Pauses while the store does not answer. They grow."""

Counts = tuple[int, int, int]
Key = tuple[str, str]


@dataclass(slots=True)
class MigrationWorker:
    """One task of this process that looks for work, and one for each gallery whose templates it maps."""

    records: MigrationRecords
    exchange: Exchange
    gate: Gate
    mapper: Mapper
    _task: asyncio.Task[None] | None = None
    _closed: bool = False
    _asked: asyncio.Event = field(default_factory=asyncio.Event)
    _mappings: dict[Key, asyncio.Task[bool]] = field(default_factory=dict)
    busy: set[Key] = field(default_factory=set)
    """Migrations that a call of this process begins or ends at the moment."""

    def wake(self) -> None:
        """Look for work, unless it is looked for already."""
        self._asked.set()
        if not self._closed and (self._task is None or self._task.done()):
            # In a context of its own: the work is nobody's call.
            self._task = asyncio.create_task(self._run(), context=Context())

    async def aclose(self) -> None:
        """Stop. Another service, or the next start, goes on."""
        self._closed = True
        tasks = [*self._mappings.values(), *([] if self._task is None else [self._task])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def settle(self) -> None:
        """Wait until there is nothing to do any more; for tests and scripts."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            self._asked.clear()
            try:
                left = self._reaped()
                left |= await self._look()
                pause = FIRST_PAUSE_S
            except SamefaceError as error:
                log.info("migrations wait: %s", error.reason)
                left = True
            except Exception:
                # Nobody awaits this task. The next call about a migration starts it again.
                log.exception("migrations stand still for now")
                return
            if left:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            elif self._mappings:
                await self._asked.wait()
            elif not self._asked.is_set():
                return

    def _reaped(self) -> bool:
        """Take the mappings that have ended; return whether one must be tried again later."""
        left = False
        for key, task in [(key, task) for key, task in self._mappings.items() if task.done()]:
            del self._mappings[key]
            try:
                left |= task.result()
            except (MigrationNotFound, GalleryNotFound):
                continue
            except SamefaceError as error:
                log.info("a migration waits: %s", error.reason)
                left = True
        return left

    async def _look(self) -> bool:
        """Take each migration as far as possible. Return whether one is left that somebody must go on with."""
        left = False
        for stored in await self.records.all():
            if not stored.settled and (stored.uid, stored.id) not in self.busy:
                try:
                    left |= await self._go_on(stored)
                except (MigrationNotFound, GalleryNotFound):
                    continue
                except SamefaceError as error:
                    # The others go on.
                    log.info("the migration %s waits: %s", stored.id, error.reason)
                    left = True
        return left

    async def _go_on(self, stored: Stored) -> bool:
        link = await self._link(stored)
        if link is None:
            return False
        if link.fence is not None and self.gate.is_old(link.fence):
            await self.gate.remove(link, link.fence.token)
        if link.ending is not None:
            with self.alone(stored):
                await self.end(stored, link.ending, unasked=True)
            return False
        left = await self.exchange.resting.rest(stored.gallery)
        if link.migration is not None and link.migration.promoted:
            await self.note_promotion(stored, unasked=True)
            return left
        if stored.state is not MigrationState.MAPPING:
            return left
        key = stored.uid, stored.id
        if key not in self._mappings:
            self._mappings[key] = asyncio.create_task(self.mapper.map(stored, link))
            self._mappings[key].add_done_callback(lambda _: self._asked.set())
        return left

    async def _link(self, stored: Stored) -> Link | None:
        """Return what the gallery's record says; None if it does not name the migration."""
        try:
            link = link_of((await self.records.gallery(stored.gallery)).payload)
        except GalleryNotFound:
            link = None
        if link is not None and link.uid == stored.uid and link.migration and link.migration.id == stored.id:
            return link
        if stored.state.ended:
            await self._note_time(stored)
        elif self.records.engine.exclusive or time.time() - stored.point.payload["created"] > CRASHED_AFTER_S:
            # It never began, or its gallery is gone.
            await self.records.remove(stored)
        return None

    async def note_promotion(self, stored: Stored, *, unasked: bool = False) -> Stored:
        """Note in the migration's record that the gallery decides under the new contract."""

        def change(present: Stored) -> Fields | None:
            if present.state is MigrationState.PROMOTED or present.state.ended:
                return None
            return {"migration_state": MigrationState.PROMOTED.value, "failure": ""}

        return await self.records.change(stored, change, unasked=unasked)

    @contextmanager
    def alone(self, stored: Stored) -> Iterator[None]:
        """Be the only one in this process that ends a migration.

        Raises:
            ConcurrentUpdate: another call does that, or the work in the background.
        """
        key = stored.uid, stored.id
        if key in self.busy:
            raise ConcurrentUpdate(
                f"another call is changing the migration {stored.id}; read it again",
                metadata={"gallery": stored.gallery, "migration": stored.id},
            )
        self.busy.add(key)
        try:
            yield
        finally:
            self.busy.discard(key)

    async def end(self, stored: Stored, ending: MigrationState, *, unasked: bool = False) -> Stored:
        """Erase what a migration that has been ended leaves, and note its end. The caller is `alone`."""
        # Decisions that began under the contract whose templates are erased end before.
        await asyncio.sleep(self.exchange.lease_s)
        counts = await self.counts(stored)
        await self.exchange.erase_secondary(stored)
        # Before the gallery's record is changed, so that whoever goes on after a crash knows how it ended.
        await self._note_end(stored, ending, counts, unasked=unasked)
        await self.exchange.take_link(stored)
        return await self._note_time(stored)

    async def _note_end(self, stored: Stored, ending: MigrationState, counts: Counts, *, unasked: bool) -> None:
        def change(present: Stored) -> Fields | None:
            if present.state.ended:
                return None
            total, mapped, native = counts
            return {
                "migration_state": ending.value,
                "failure": "",
                "counts": {"total": total, "mapped": mapped, "native": native},
            }

        await self.records.change(stored, change, unasked=unasked)

    async def _note_time(self, stored: Stored) -> Stored:
        """Note that nothing is left to be done."""
        return await self.records.change(
            stored, lambda present: None if present.settled else {"ended": time.time(), "worker": ""}
        )

    async def counts(self, stored: Stored) -> Counts:
        """Return how many templates the gallery has, and how many mapped and native ones under the new contract."""
        engine, templates = self.records.engine, {"gallery": stored.uid, "kind": TEMPLATE}
        for contract in (stored.old, stored.new):
            await engine.ensure(contract.key, contract.dimension)
        primary = link_of((await self.records.gallery(stored.gallery)).payload).primary
        total = await engine.count(primary, confirmed(engine, Where(templates)))
        made = await engine.count(stored.new.key, confirmed(engine, Where(templates)))
        mapped = await engine.count(stored.new.key, Where({**templates, ORIGIN: MAPPED}))
        return total, mapped, made - mapped
