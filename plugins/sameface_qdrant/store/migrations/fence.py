"""Lets one call at a time exchange the contract of a gallery, and keeps writes out meanwhile. Decisions go on.

Whoever exchanges the contract claims that in the gallery's record, with a fence, and renews it. Later it shuts the
fence. Calls that would write wait for a while then, see `Gate`, and are refused after that. A fence whose owner has
crashed ends by itself: the one who finds it too old removes it. Its owner then cannot exchange the contract any more,
because the record has changed.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from sameface_qdrant.errors import ConcurrentUpdate, SamefaceError
from sameface_qdrant.store.migration_link import LINK, Fence, Link, link_of, link_payload
from sameface_qdrant.store.migrations.both_contracts import BothContracts
from sameface_qdrant.store.migrations.copies import exchanging
from sameface_qdrant.store.migrations.known import Changed
from sameface_qdrant.store.migrations.state import Fields, MigrationRecords
from sameface_qdrant.store.payloads import Payload

FENCE_S = 30.0
"""How long a fence stands that is not renewed."""
WAIT_S = 10.0
"""How long a write waits."""
LOOK_S = 0.05


class Gate:
    """Where writes wait."""

    def __init__(self, contracts: BothContracts, records: MigrationRecords) -> None:
        self._contracts, self._records = contracts, records
        self.mine: set[str] = set()
        """The tokens of fences that this process has set."""

    def is_closed(self, gallery: str) -> bool:
        """Return whether a gallery's contract is being exchanged, as far as it is known here."""
        return self._contracts.known.shut(gallery) is not None

    async def wait(self, gallery: str) -> None:
        """Wait until a gallery may be written.

        Raises:
            StoreUnavailable: it takes too long; the call may be repeated.
        """
        began = time.monotonic()
        while (link := self._contracts.known.shut(gallery)) is not None:
            if link.fence is not None and self.is_old(link.fence):
                await self.remove(link, link.fence.token)
            if time.monotonic() - began > WAIT_S:
                raise exchanging(gallery)
            await asyncio.sleep(LOOK_S)
            await self._contracts.read_link(gallery)

    def is_old(self, fence: Fence) -> bool:
        """Return whether whoever set a fence has crashed."""
        # Where no other process writes, a fence of another process is one that was killed.
        foreign = self._contracts.exclusive and fence.token not in self.mine
        return foreign or time.time() > fence.until

    async def remove(self, link: Link, token: str) -> None:
        """Remove a fence, unless it is another one by now."""

        def change(record: Payload) -> Fields | None:
            now = link_of(record)
            if now.fence is None or now.fence.token != token or now.migration is None:
                return None
            return {LINK: link_payload(now.migration, ending=now.ending)}

        await self._records.change_gallery(link.gallery, link.uid, change)


@dataclass(slots=True)
class Standing:
    """A fence that this process has set."""

    contracts: BothContracts
    records: MigrationRecords
    link: Link
    fence: Fence
    changed: Changed = field(default_factory=Changed)
    """What other calls change in the gallery since it was claimed."""

    def check(self, record: Payload) -> Link:
        """Return what a gallery's record says, if the fence still stands in it.

        Raises:
            ConcurrentUpdate: it was removed, because it was too old.
        """
        now = link_of(record)
        if now.fence is None or now.fence.token != self.fence.token or now.migration is None:
            raise ConcurrentUpdate(
                f"the contract of the gallery {self.link.gallery!r} was being exchanged for too long; repeat the call",
                metadata={"gallery": self.link.gallery},
            )
        return now

    async def is_live(self) -> bool:
        """Return whether the fence still stands, as the gallery's record says now."""
        now = await self.contracts.read_link(self.link.gallery)
        if now is None or now.uid != self.link.uid or now.fence is None:
            return False
        return (now.fence.token, now.fence.shut) == (self.fence.token, self.fence.shut)

    async def renew(self) -> None:
        """Let the fence stand longer, if it is half over."""
        if time.time() > self.fence.until - FENCE_S / 2:
            await self._write(replace(self.fence, until=time.time() + FENCE_S))

    async def shut(self, lease_s: float) -> None:
        """Keep writes out.

        ``lease_s`` is how long a write may take that began before, in another service.
        """
        await self._write(Fence(self.fence.token, time.time() + FENCE_S, shut=True))
        await asyncio.sleep(lease_s)

    async def _write(self, fence: Fence) -> None:
        def change(record: Payload) -> Fields:
            now = self.check(record)
            assert now.migration is not None
            return {LINK: link_payload(now.migration, fence, now.ending)}

        await self.records.change_gallery(self.link.gallery, self.link.uid, change)
        self.fence = fence


@asynccontextmanager
async def claimed(
    gate: Gate, contracts: BothContracts, records: MigrationRecords, link: Link
) -> AsyncIterator[Standing]:
    """Be the only call that exchanges the contract of a gallery. The fence is removed at the end.

    Raises:
        ConcurrentUpdate: another call exchanges the contract.
    """
    fence = Fence(uuid.uuid4().hex, time.time() + FENCE_S)

    def change(record: Payload) -> Fields:
        found = link_of(record)
        if found.migration is None or found.migration != link.migration or found.ending is not None:
            raise _overtaken(link.gallery)
        if found.fence is not None and not gate.is_old(found.fence):
            raise _overtaken(link.gallery)
        return {LINK: link_payload(found.migration, fence)}

    gate.mine.add(fence.token)
    try:
        with contracts.known.watching(link.uid) as changed:
            await records.change_gallery(link.gallery, link.uid, change)
            try:
                yield Standing(contracts, records, link, fence, changed)
            finally:
                # If this fails the fence ends by itself.
                with suppress(SamefaceError):
                    await gate.remove(link, fence.token)
    finally:
        gate.mine.discard(fence.token)


def _overtaken(gallery: str) -> ConcurrentUpdate:
    return ConcurrentUpdate(
        f"another call changes the migration of the gallery {gallery!r} at the moment; read it again and repeat",
        metadata={"gallery": gallery},
    )
