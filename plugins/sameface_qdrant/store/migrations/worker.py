"""Maps the templates of migrations in the background, and finishes what was interrupted.

One service at a time works on a migration: its token and the end of its lease are in the migration's record, and it
renews them. When it crashes, another service takes over, or the next start does.
"""

import asyncio
import logging
import time
import uuid
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial

from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    GalleryNotFound,
    MigrationNotFound,
    SamefaceError,
    StoreUnavailable,
)
from sameface_qdrant.store.conditional_write import CRASHED_AFTER_S, confirmed
from sameface_qdrant.store.migration_link import Link, link_of
from sameface_qdrant.store.migrations.exchange import Exchange
from sameface_qdrant.store.migrations.fence import Gate
from sameface_qdrant.store.migrations.passes import Direction, Pass
from sameface_qdrant.store.migrations.records import Stored
from sameface_qdrant.store.migrations.state import Fields, MigrationRecords
from sameface_qdrant.store.payloads import TEMPLATE
from sameface_qdrant.store.template_origin import MAPPED, ORIGIN
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.migration import MigrationState

log = logging.getLogger(__name__)

LEASE_OF_WORK_S = 15.0
"""After this time without a sign of life another service takes the work over."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
"""Pauses while the store does not answer. They grow."""
LOOK_S = 0.5
"""How soon a pause takes effect."""
SHORT_S = 30.0
"""All is mapped once a pass takes at most so long: others may write all the time. What is left, the promotion brings
over."""
CHANGED = 3
"""Most passes over what was changed meanwhile, where nobody else writes."""

Counts = tuple[int, int, int]


class _Stopped(Exception):
    """The migration is not to be mapped any more, or another service does it."""


@dataclass(slots=True)
class _Lease:
    token: str
    until: float = 0.0
    """Monotonic seconds."""


@dataclass(slots=True)
class MigrationWorker:
    """One task of this process."""

    records: MigrationRecords
    exchange: Exchange
    gate: Gate
    write_lock: WriteLock
    _task: asyncio.Task[None] | None = None
    _asked: bool = False
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)
    busy: set[tuple[str, str]] = field(default_factory=set)
    """Migrations that a call of this process is ending at the moment."""

    def wake(self) -> None:
        """Look for work, unless it is looked for already."""
        self._asked = True
        if self._task is None or self._task.done():
            # In a context of its own: the work is nobody's call.
            self._task = asyncio.create_task(self._run(), context=Context())

    async def aclose(self) -> None:
        """Stop. Another service, or the next start, goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def settle(self) -> None:
        """Wait until there is nothing to do any more; for tests and scripts."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            self._asked = False
            try:
                left = await self._look()
                pause = FIRST_PAUSE_S
            except SamefaceError as error:
                log.info("migrations wait: %s", error.reason)
                left = True
            except Exception:
                # Nobody awaits this task. The next call about a migration starts it again.
                log.exception("migrations stand still for now")
                return
            if not left and not self._asked:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _look(self) -> bool:
        """Take each migration as far as possible. Return whether one is left that somebody must go on with."""
        left = False
        for stored in await self.records.all():
            if not stored.state.ended and (stored.uid, stored.id) not in self.busy:
                try:
                    left |= await self._go_on(stored)
                except (MigrationNotFound, GalleryNotFound):
                    continue
                except ConcurrentUpdate:
                    left = True
        return left

    async def _go_on(self, stored: Stored) -> bool:
        link = await self._link(stored)
        if link is None:
            return False
        if link.fence is not None and self.gate.is_old(link.fence):
            await self.gate.remove(link, link.fence.token)
        ending = stored.point.payload.get("ending")
        if link.ending is not None:
            await self.end(stored, link.ending, unasked=True)
            return False
        if ending and link.fence is None:
            # Interrupted before the gallery's record was changed: it did not happen.
            await self.records.change(stored, lambda present: {"ending": ""})
        if link.migration is not None and link.migration.promoted:
            await self.note_promotion(stored, unasked=True)
            return False
        if stored.state is not MigrationState.MAPPING:
            return False
        return await self._map(stored, link)

    async def _link(self, stored: Stored) -> Link | None:
        """Return what the gallery's record says; None if it does not name the migration."""
        try:
            link = link_of((await self.records.gallery(stored.gallery)).payload)
        except GalleryNotFound:
            link = None
        if link is not None and link.uid == stored.uid and link.migration and link.migration.id == stored.id:
            return link
        ending = stored.point.payload.get("ending")
        if link is not None and link.uid == stored.uid and ending:
            await self.note_end(stored, MigrationState(ending), unasked=True)
        elif self.records.engine.exclusive or time.time() - stored.point.payload["created"] > CRASHED_AFTER_S:
            # It never began, or its gallery is gone.
            await self.records.remove(stored)
        return None

    async def _map(self, stored: Stored, link: Link) -> bool:
        lease = await self._take(stored)
        if lease is None:
            return True
        try:
            template_map = await self.records.map(stored.map_sha256)

            looked = 0.0

            async def go_on() -> None:
                nonlocal looked
                if time.monotonic() > lease.until - LEASE_OF_WORK_S / 2:
                    await self._renew(stored, lease)
                elif time.monotonic() > looked + LOOK_S:
                    looked = time.monotonic()
                    present = await self.records.find(stored.uid, stored.id)
                    if present is None or present.state is not MigrationState.MAPPING:
                        raise _Stopped

            # Until every service knows of the migration, a removal may concern the old contract alone.
            await asyncio.sleep(max(0.0, self._known_at(stored) - time.time()))
            direction = Direction(stored.uid, stored.old, stored.new, template_map)
            live = partial(self.records.contracts.is_live, link)
            mapping = Pass(self.records.below, self.write_lock, direction, live=live, rate=stored.rate, go_on=go_on)
            await self._map_all(mapping, stored.uid)
            await self._change(stored, MigrationState.MAPPED)
        except _Stopped:
            return False
        except StoreUnavailable:
            raise
        except (MigrationNotFound, GalleryNotFound, ConcurrentUpdate):
            raise
        except SamefaceError as error:
            await self._pause(stored, error)
        return False

    async def _map_all(self, mapping: Pass, uid: str) -> None:
        """Map what is there, and then what was changed meanwhile."""
        contracts = self.records.contracts
        if contracts.exclusive:
            # Only this process writes, so it knows what.
            contracts.watch(uid)
            try:
                await mapping.run()
                await mapping.until_clean(CHANGED, lambda: contracts.changed(uid))
            finally:
                contracts.forget(uid)
            return
        began = float("-inf")
        while time.monotonic() > began + SHORT_S:
            began = time.monotonic()
            await mapping.run()

    def _known_at(self, stored: Stored) -> float:
        return float(stored.point.payload["created"]) + self.exchange.lease_s

    async def _take(self, stored: Stored) -> _Lease | None:
        """Begin to work on a migration; return None if another service does."""
        lease = _Lease(self._token)
        try:
            await self._renew(stored, lease)
        except _Stopped:
            return None
        return lease

    async def _renew(self, stored: Stored, lease: _Lease) -> None:
        began = time.monotonic()

        def change(present: Stored) -> Fields:
            foreign = present.worker not in ("", lease.token) and not self.records.engine.exclusive
            if present.state is not MigrationState.MAPPING or (foreign and time.time() < present.worker_until):
                raise _Stopped
            return {"worker": lease.token, "worker_until": time.time() + LEASE_OF_WORK_S}

        await self.records.change(stored, change, quiet=True)
        lease.until = began + LEASE_OF_WORK_S

    async def _change(self, stored: Stored, state: MigrationState) -> None:
        def change(present: Stored) -> Fields:
            if present.state is not MigrationState.MAPPING or present.worker != self._token:
                raise _Stopped
            return {"migration_state": state.value, "failure": "", "worker": "", "worker_until": 0.0}

        await self.records.change(stored, change, unasked=True)

    async def _pause(self, stored: Stored, error: SamefaceError) -> None:
        """Let the work stand still until somebody asks for it again."""
        told = f"{error.message}; then resume the migration"

        def change(present: Stored) -> Fields | None:
            if present.state is not MigrationState.MAPPING:
                return None
            return {"migration_state": MigrationState.PAUSED.value, "failure": told, "worker": "", "worker_until": 0.0}

        await self.records.change(stored, change, unasked=True, reason=error.reason)

    async def note_promotion(self, stored: Stored, *, unasked: bool = False) -> Stored:
        """Note in the migration's record that the gallery decides under the new contract."""

        def change(present: Stored) -> Fields | None:
            if present.state is MigrationState.PROMOTED or present.state.ended:
                return None
            return {"migration_state": MigrationState.PROMOTED.value, "failure": ""}

        return await self.records.change(stored, change, unasked=unasked)

    async def end(self, stored: Stored, ending: MigrationState, *, unasked: bool = False) -> Stored:
        """Erase what a migration that has been ended leaves, and note its end."""
        key = stored.uid, stored.id
        if key in self.busy:
            raise ConcurrentUpdate(
                f"the migration {stored.id} is being ended already; read it again",
                metadata={"gallery": stored.gallery, "migration": stored.id},
            )
        self.busy.add(key)
        try:
            # Decisions that began under the contract whose templates are erased end before.
            await asyncio.sleep(self.exchange.lease_s)
            counts = await self.counts(stored)
            await self.exchange.end(stored)
            return await self.note_end(stored, ending, counts, unasked=unasked)
        finally:
            self.busy.discard(key)

    async def note_end(
        self, stored: Stored, ending: MigrationState, counts: Counts | None = None, *, unasked: bool = False
    ) -> Stored:
        """Note the end in the migration's record."""

        def change(present: Stored) -> Fields | None:
            if present.state.ended:
                return None
            total, mapped, native = counts or (0, 0, 0)
            return {
                "migration_state": ending.value,
                "failure": "",
                "ending": "",
                "ended": time.time(),
                "counts": {"total": total, "mapped": mapped, "native": native},
            }

        return await self.records.change(stored, change, unasked=unasked)

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
