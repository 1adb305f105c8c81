"""Passes make the secondary collection of a migrating gallery like the primary one.

A pass compares the points of both collections page by page. It maps templates that are missing, copies fields that
differ, and removes what the primary collection does not have. After a copy it looks again whether the original was
removed meanwhile. A pass that finds nothing to do has seen both collections alike; if writes are kept out
(`sameface_qdrant.store.migrations.fence`), they stay alike.

An embedding that is there is never written again, so a rollback finds the old ones as they were, to the last bit.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

from sameface_qdrant.engines.base import TENANT_FIELD, Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate
from sameface_qdrant.store.conditional_write import confirmed
from sameface_qdrant.store.migrations.copies import under_contract
from sameface_qdrant.store.migrations.differences import changes, is_outdated, is_template, mapped_copies, parts
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.ids import is_protected_uid
from sameface_qdrant.values.template_map import TemplateMap

LARGEST_PAGE, SMALLEST_PAGE = 256, 64
"""Points that are read and converted at once, while other calls wait for some milliseconds. Smaller pages would be
more, and each of them makes a call wait."""
PAGES_PER_S = 25.0
"""A pass with a lower rate has smaller pages, so that other calls wait for less."""
LONGEST_BURST_S = 1.3
"""What is written at once takes at most so long at the rate, but for a single point."""
LOOK_S = 0.5
"""Pauses are cut into pieces so long: between them a pass renews its lease, or finds that it is to stop."""
DURABLE_EVERY = 65_536
"""Points after which a pass makes durable what it wrote."""


Unchanged = Callable[[Sequence[str]], bool]


@dataclass(slots=True)
class Passed:
    """What a pass did."""

    mapped: int = 0
    copied: int = 0
    """Other records that were missing."""
    changed: int = 0
    removed: int = 0
    unmapped: int = 0
    """Templates that are missing in the secondary collection and cannot be made: there is no map."""

    @property
    def clean(self) -> bool:
        """Whether nothing had to be done."""
        return not (self.mapped or self.copied or self.changed or self.removed)


@dataclass(frozen=True, slots=True)
class _Page:
    """Some points of the primary collection, as they were read."""

    different: dict[str, Point]
    """Those that are missing in the secondary collection, or have other fields there, by id."""
    there: Mapping[str, Point]
    """What the secondary collection had of the page."""
    unmapped: int
    following: str | None


@dataclass(frozen=True, slots=True)
class Direction:
    """From which contract to which one."""

    uid: str
    primary: Contract
    secondary: Contract
    template_map: TemplateMap | None
    """Makes missing templates; None after a promotion, as nothing maps back."""


class Pass:
    """Passes over one gallery."""

    def __init__(
        self,
        engine: Engine,
        write_lock: WriteLock,
        direction: Direction,
        *,
        live: Callable[[], Awaitable[bool]],
        stale: Callable[[Sequence[str]], Awaitable[tuple[str, ...]]],
        rate: float = 0.0,
        go_on: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``live`` tells whether the pass may still write, and ``stale`` which of its copies must not stay.

        ``go_on`` is called between pages. It may raise, to stop the pass.
        ``rate`` bounds the templates a second that are mapped; 0 does not.
        """
        self._engine, self._write_lock, self._direction = engine, write_lock, direction
        self._live, self._stale = live, stale
        self._rate, self._go_on = rate, go_on
        self._page = int(min(max(rate / PAGES_PER_S, SMALLEST_PAGE), LARGEST_PAGE)) if rate else LARGEST_PAGE
        self._burst = max(1, min(self._page, int(rate * LONGEST_BURST_S))) if rate else self._page
        self._unsaved = 0

    async def until_clean(self, most: int, taken: Callable[[], set[str] | None] = lambda: None) -> bool:
        """Repeat passes until one finds nothing to do, ``most`` times at most; return whether one did.

        ``taken`` returns the ids that were changed since it was asked last; None means that any may have been.
        """
        for _ in range(most):
            ids = taken()
            passed = await (self.run() if ids is None else self._run_among(sorted(ids)))
            if passed.clean:
                return True
        return False

    async def _run_among(self, ids: Sequence[str]) -> Passed:
        """Make a pass over some points."""
        direction, found = self._direction, Passed()
        for chosen in parts(ids, self._burst):
            began, mapped = time.monotonic(), found.mapped
            present = await self._engine.get(direction.primary.key, chosen)
            there = await self._engine.get(direction.secondary.key, [one for one in chosen if one not in present])
            async with self._alone():
                copies = await self._engine.get(direction.secondary.key, list(present))
                if different := self._different(list(present.values()), copies, found):
                    await self._bring_over([point.id for point in different], found)
                if there:
                    await self._remove(list(there), found)
            await self._pause(found.mapped - mapped, began)
        await self._engine.commit(direction.secondary.key)
        return found

    async def run(self, unchanged: Unchanged | None = None) -> Passed:
        """Make one pass.

        ``unchanged`` tells whether no other call has changed any of some points since the pass began, nor is changing
        them. Then they are not read a second time, and in an empty collection none is looked for. Without it, that is
        not known.
        """
        found = Passed()
        for contract in (self._direction.primary, self._direction.secondary):
            await self._engine.ensure(contract.key, contract.dimension)
        await self._make_like(found, unchanged)
        if await self._has_orphans(found):
            await self._remove_orphans(found)
        await self._engine.commit(self._direction.secondary.key)
        return found

    async def _make_like(self, found: Passed, unchanged: Unchanged | None) -> None:
        secondary, uid = self._direction.secondary.key, self._direction.uid
        whole = unchanged is not None and not is_protected_uid(uid)
        empty = whole and not await self._engine.count(secondary, Where({TENANT_FIELD: uid}))
        ahead: asyncio.Task[_Page] = asyncio.create_task(self._read(None, whole, empty))
        try:
            while True:
                page = await ahead
                if page.following is not None:
                    # Read while this page is written. What may have changed since is read again, under the lock.
                    ahead = asyncio.create_task(self._read(page.following, whole, empty))
                found.unmapped += page.unmapped
                for ids in parts(list(page.different), self._burst):
                    began, mapped = time.monotonic(), found.mapped
                    async with self._alone():
                        known = page if whole and unchanged is not None and unchanged(ids) else None
                        await self._bring_over(ids, found, known)
                    await self._pause(found.mapped - mapped, began)
                self._unsaved += len(page.different)
                if self._unsaved >= DURABLE_EVERY:
                    await self._engine.commit(secondary)
                    self._unsaved = 0
                if page.following is None:
                    return
                if not page.different:
                    await self._pause(0, 0.0)
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def _read(self, start: str | None, whole: bool, empty: bool) -> "_Page":
        """Read a page, ``whole`` with embeddings, and compare it with what the secondary collection has.

        ``empty`` says that this had nothing of the gallery when the pass began.
        """
        where = confirmed(self._engine, Where({TENANT_FIELD: self._direction.uid}))
        scroll = cast(Any, self._engine).scroll_with_vectors if whole else self._engine.scroll
        points, following = await scroll(self._direction.primary.key, where, self._page, start)
        there = {} if empty else await self._engine.get(self._direction.secondary.key, [point.id for point in points])
        compared = Passed()
        different = self._different(points, there, compared)
        return _Page({point.id: point for point in different}, there, compared.unmapped, following)

    async def _pause(self, mapped: int, began: float) -> None:
        """Let other calls run, and keep to the rate."""
        until = began + mapped / self._rate if self._rate else 0.0
        while True:
            if self._go_on is not None:
                await self._go_on()
            left = until - time.monotonic()
            await asyncio.sleep(min(max(left, 0.0), LOOK_S))
            if left <= LOOK_S:
                return

    def _alone(self) -> AbstractAsyncContextManager[None]:
        """Keep the other writes of this process out, if no other process writes.

        An erasure searches the files for bytes, and copies must not appear meanwhile.
        """
        return self._write_lock.of_store() if self._engine.exclusive else nullcontext()

    def _different(self, page: Sequence[Point], there: Mapping[str, Point], found: Passed) -> list[Point]:
        """Return the points of a page that are missing in the secondary collection, or have other fields there."""
        different = [point for point in page if not self._alike(point, there.get(point.id))]
        if self._direction.template_map is None:
            missing = [point for point in different if is_template(point) and point.id not in there]
            found.unmapped += len(missing)
            left = {point.id for point in missing}
            return [point for point in different if point.id not in left]
        return different

    def _alike(self, point: Point, other: Point | None) -> bool:
        return other is not None and not changes(point, other) and not self._is_outdated(point, other)

    def _is_outdated(self, point: Point, other: Point) -> bool:
        return self._direction.template_map is not None and is_outdated(point, other)

    async def _bring_over(self, ids: Sequence[str], found: Passed, known: _Page | None = None) -> None:
        """Make some points of the secondary collection like the primary ones, as these are now.

        ``known`` has both, if they were read and are still the same.
        """
        direction, engine = self._direction, self._engine
        secondary = direction.secondary

        async def primary(ids: Sequence[str], *, with_vector: bool = False) -> dict[str, Point]:
            if known is not None:
                return {one: known.different[one] for one in ids}
            return await engine.get(direction.primary.key, ids, with_vector=with_vector)

        await self._check_live()
        there = await engine.get(secondary.key, ids) if known is None else known.there
        missing = [one for one in ids if one not in there]
        present = await primary([one for one in ids if one in there])
        for point in present.values():
            if fields := changes(point, there[point.id]):
                this = Where({TENANT_FIELD: direction.uid}, ids=(point.id,))
                await engine.set_payload(secondary.key, this, fields)
                found.changed += 1
        renewed = [point.id for point in present.values() if self._is_outdated(point, there[point.id])]
        if renewed:
            await engine.delete(secondary.key, Where({TENANT_FIELD: direction.uid}, ids=tuple(renewed)))
        originals = await primary([*missing, *renewed], with_vector=True)
        templates = [point for point in originals.values() if is_template(point)]
        records = [point for point in originals.values() if not is_template(point)]
        copies = [Point(point.id, under_contract(dict(point.payload), secondary)) for point in records]
        if direction.template_map is not None and templates:
            copies += await asyncio.to_thread(mapped_copies, direction.template_map, templates, secondary)
            found.mapped += len(templates)
        found.copied += len(records)
        if copies:
            await engine.upsert(secondary.key, copies, insert_only=True)
            if not engine.exclusive:
                await self._check_live(tuple(copy.id for copy in copies))
        if not engine.exclusive:
            # A removal that came after the originals were read may have come before the copies.
            await self._remove(list(ids), found)

    async def _check_live(self, written: tuple[str, ...] = ()) -> None:
        """Stop if the migration has ended meanwhile, and remove what was written after that.

        Raises:
            ConcurrentUpdate: it has ended.
        """
        if await self._live():
            return
        if written and (stale := await self._stale(written)):
            these = Where({TENANT_FIELD: self._direction.uid}, ids=stale)
            await self._engine.delete(self._direction.secondary.key, these)
        raise ConcurrentUpdate("the migration was ended meanwhile; read it again")

    async def _remove(self, ids: Sequence[str], found: Passed) -> None:
        await self._check_live()
        still = await self._engine.get(self._direction.primary.key, ids)
        gone = tuple(one for one in ids if one not in still)
        if gone:
            found.removed += len(gone)
            these = Where({TENANT_FIELD: self._direction.uid}, ids=gone)
            await self._engine.delete(self._direction.secondary.key, these)

    async def _has_orphans(self, found: Passed) -> bool:
        """Return whether the secondary collection may have points that the primary one does not have.

        All points of the primary one are there, but those that cannot be mapped. So if none is left over, there are as
        many.
        """
        mine, direction = Where({TENANT_FIELD: self._direction.uid}), self._direction
        there = await self._engine.count(direction.secondary.key, mine)
        here = await self._engine.count(direction.primary.key, confirmed(self._engine, mine))
        return there != here - found.unmapped

    async def _remove_orphans(self, found: Passed) -> None:
        """Remove points that the primary collection does not have, which an interrupted call may have left."""
        start: str | None = None
        while True:
            page, start = await self._engine.scroll(
                self._direction.secondary.key, Where({TENANT_FIELD: self._direction.uid}), self._page, start
            )
            ids = [point.id for point in page]
            there = await self._engine.get(self._direction.primary.key, ids)
            if orphans := [one for one in ids if one not in there]:
                async with self._alone():
                    await self._remove(orphans, found)
            if start is None:
                return
            await self._pause(0, 0.0)
