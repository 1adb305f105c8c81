"""Keeps the secondary embeddings of a protected gallery encrypted, because nobody searches for them.

A protected gallery stores rotated embeddings. While a gallery has two contracts, the same faces are stored twice, and
the map between them is public. From enough such pairs the rotations can be computed: the singular vectors of what leads
from one stored form to the other are those of the map, rotated. So the secondary embeddings are at rest: encrypted.
They wake before the contract is exchanged, and the ones of the other contract are put to rest right after that.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from sameface_qdrant.engines.base import TENANT_FIELD, Where
from sameface_qdrant.store.migration_link import Link
from sameface_qdrant.store.migrations.both_contracts import BothContracts
from sameface_qdrant.store.payloads import TEMPLATE
from sameface_qdrant.store.template_origin import AT_REST, RESTING
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.ids import is_protected_uid

PAGE = 128
RATE = 2000.0
"""Templates a second at most, so that other calls run."""


async def _nothing(*_: object) -> None:
    pass


class Resting:
    """Puts embeddings to rest, and wakes them."""

    def __init__(self, contracts: BothContracts, write_lock: WriteLock) -> None:
        self._contracts, self._write_lock = contracts, write_lock
        self._engine = contracts.below

    async def wake(self, uid: str, contract: Contract, go_on: Callable[[], Awaitable[None]]) -> None:
        """Make all embeddings of a gallery under a contract fit to be searched. The caller has claimed the gallery."""
        if is_protected_uid(uid):
            await self._convert(uid, contract, Where(_templates(uid) | {RESTING: AT_REST}), rested=False, go_on=go_on)

    async def rest(self, gallery: str) -> bool:
        """Put the secondary embeddings of a gallery to rest. Return whether that must be tried again later."""
        link = await self._contracts.read_link(gallery)
        if link is None or link.secondary is None or link.ending is not None or not is_protected_uid(link.uid):
            return False
        awake = Where(_templates(link.uid), {RESTING: AT_REST})
        await self._engine.ensure(link.secondary.key, link.secondary.dimension)
        if not await self._engine.count(link.secondary.key, awake):
            return False
        present = link

        async def check() -> None:
            if not _is_quiet(present, await self._contracts.read_link(gallery)):
                raise _Stopped

        async def after(ids: Sequence[str]) -> None:
            if self._engine.exclusive:
                return
            now = await self._contracts.read_link(gallery)
            if now is not None and now.uid == present.uid and now.primary == contract.key:
                # Another service has exchanged the contract between the read and the write.
                await self._set(contract, present.uid, ids, rested=False)
            if stale := await self._contracts.stale_copies(present, ids):
                await self._engine.delete(contract.key, Where({TENANT_FIELD: present.uid}, ids=stale))

        contract = link.secondary
        try:
            await self._convert(link.uid, contract, awake, rested=True, check=check, after=after)
        except _Stopped:
            return True
        # The files still have them as they were.
        await self._engine.commit(link.secondary.key, erase=True)
        return False

    async def wake_primary(self, link: Link) -> None:
        """Wake what a service left at rest that was killed while the contract of a gallery was exchanged."""
        if link.fence is not None or not is_protected_uid(link.uid):
            return
        at_rest = Where(_templates(link.uid) | {RESTING: AT_REST})
        await self._engine.ensure(link.contract.key, link.contract.dimension)
        if await self._engine.count(link.contract.key, at_rest):
            await self._convert(link.uid, link.contract, at_rest, rested=False)

    async def _set(self, contract: Contract, uid: str, ids: Sequence[str], *, rested: bool) -> None:
        await cast(Any, self._engine).set_resting(contract.key, uid, ids, rested=rested)

    async def _convert(
        self,
        uid: str,
        contract: Contract,
        where: Where,
        *,
        rested: bool,
        go_on: Callable[[], Awaitable[None]] = _nothing,
        check: Callable[[], Awaitable[None]] = _nothing,
        after: Callable[[Sequence[str]], Awaitable[None]] = _nothing,
    ) -> None:
        """Convert page by page.

        ``go_on`` is called between pages, and ``check`` before and ``after`` behind each conversion, while this process
        writes nothing else.
        """
        start: str | None = None
        while True:
            began = time.monotonic()
            await go_on()
            async with self._write_lock.of_store():
                await check()
                page, start = await self._engine.scroll(contract.key, where, PAGE, start)
                ids = [point.id for point in page]
                if ids:
                    await self._set(contract, uid, ids, rested=rested)
                    await after(ids)
            if start is None:
                return
            await asyncio.sleep(max(0.0, began + len(ids) / RATE - time.monotonic()))


class _Stopped(Exception):
    """The gallery's contract is being exchanged, or its migration is another one by now."""


def _is_quiet(before: Link, now: Link | None) -> bool:
    return now is not None and (now.uid, now.migration) == (before.uid, before.migration) and now.fence is None


def _templates(uid: str) -> dict[str, str | int]:
    return {TENANT_FIELD: uid, "kind": TEMPLATE}
