"""Maps the templates of one migration, at its rate.

One service at a time does it: its token and the end of its lease are in the migration's record, and it renews them.
When it crashes, another service takes over, or the next start does.
"""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from functools import partial

from sameface_qdrant.errors import (
    ConcurrentUpdate,
    GalleryNotFound,
    MigrationNotFound,
    SamefaceError,
    StoreUnavailable,
)
from sameface_qdrant.store.migration_link import Link
from sameface_qdrant.store.migrations.passes import LOOK_S, Direction, Pass
from sameface_qdrant.store.migrations.records import Stored
from sameface_qdrant.store.migrations.state import Fields, MigrationRecords
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.migration import MigrationState

LEASE_OF_WORK_S = 15.0
"""After this time without a sign of life another service takes the work over."""
SHORT_S = 30.0
"""All is mapped once a pass takes at most so long: others may write all the time. What is left, the promotion brings
over."""
CHANGED = 3
"""Most passes over what was changed meanwhile, where nobody else writes."""


class _Stopped(Exception):
    """The migration is not to be mapped any more, or another service does it."""


@dataclass(slots=True)
class _Lease:
    token: str
    until: float = 0.0
    """Monotonic seconds."""


@dataclass(slots=True)
class Mapper:
    """The work of this process on the mappings of a store."""

    records: MigrationRecords
    write_lock: WriteLock
    lease_s: float
    """How long it may take until every service has noticed a change of a gallery's record."""
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)

    async def map(self, stored: Stored, link: Link) -> bool:
        """Map what is not mapped yet; return whether another service does that.

        Raises:
            StoreUnavailable, MigrationNotFound, GalleryNotFound, ConcurrentUpdate: it cannot go on now.
        """
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

            # Until every service knows of the migration, a removal may concern the old contract alone. The clock of the
            # service that began it may differ from this one's.
            until = time.monotonic() + self.lease_s
            while (left := until - time.monotonic()) > 0:
                await go_on()
                await asyncio.sleep(min(left, LOOK_S))
            direction = Direction(stored.uid, stored.old, stored.new, template_map)
            contracts = self.records.contracts
            mapping = Pass(
                self.records.below,
                self.write_lock,
                direction,
                live=partial(contracts.is_live, link),
                stale=partial(contracts.stale_copies, link),
                rate=stored.rate,
                go_on=go_on,
            )
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
            with contracts.known.watching(uid) as changed:
                await mapping.run(changed.none_of)
                await mapping.until_clean(CHANGED, changed.taken)
            return
        began = float("-inf")
        while time.monotonic() > began + SHORT_S:
            began = time.monotonic()
            await mapping.run()

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
