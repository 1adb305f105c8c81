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
from typing import Any

import numpy as np

from sameface_qdrant.engines.base import TENANT_FIELD, Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, InvalidEmbedding
from sameface_qdrant.store.conditional_write import confirmed
from sameface_qdrant.store.migrations.copies import OWNED, OWNED_BY_IDENTITY, under_contract
from sameface_qdrant.store.payloads import TEMPLATE
from sameface_qdrant.store.template_origin import mapped_fields
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.template_map import TemplateMap

LARGEST_PAGE, SMALLEST_PAGE = 256, 64
"""Points that are read and converted at once, while other calls wait for some milliseconds. Smaller pages would be
more, and each of them makes a call wait."""
PAGES_PER_S = 25.0
"""A pass with a lower rate has smaller pages, so that other calls wait for less."""
DURABLE_EVERY = 65_536
"""Points after which a pass makes durable what it wrote."""


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

    different: list[str]
    """Ids of those that are missing in the secondary collection, or have other fields there."""
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
        rate: float = 0.0,
        go_on: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``live`` tells whether the migration is still under way, ``go_on`` is called between pages.

        ``rate`` bounds the templates a second that are mapped; 0 does not.
        """
        self._engine, self._write_lock, self._direction = engine, write_lock, direction
        self._live = live
        self._rate, self._go_on = rate, go_on
        self._page = int(min(max(rate / PAGES_PER_S, SMALLEST_PAGE), LARGEST_PAGE)) if rate else LARGEST_PAGE
        self._unsaved = 0

    async def until_clean(self, most: int, among: Callable[[], set[str] | None] = lambda: None) -> Passed:
        """Repeat passes until one finds nothing to do, ``most`` times at most; return the last one.

        ``among`` returns the ids that alone need to be looked at; None means all.
        """
        for _ in range(most):
            ids = among()
            passed = await (self.run() if ids is None else self._run_among(sorted(ids)))
            if passed.clean:
                break
        return passed

    async def _run_among(self, ids: Sequence[str]) -> Passed:
        """Make a pass over some points."""
        direction, found = self._direction, Passed()
        for first in range(0, len(ids), self._page):
            chosen = ids[first : first + self._page]
            began, mapped = time.monotonic(), found.mapped
            present = await self._engine.get(direction.primary.key, chosen)
            there = await self._engine.get(direction.secondary.key, [one for one in chosen if one not in present])
            async with self._alone():
                if different := await self._different(list(present.values()), found):
                    await self._bring_over([point.id for point in different], found)
                if there:
                    await self._remove(list(there), found)
            await self._pause(found.mapped - mapped, began)
        await self._engine.commit(direction.secondary.key)
        return found

    async def run(self) -> Passed:
        """Make one pass."""
        found = Passed()
        for contract in (self._direction.primary, self._direction.secondary):
            await self._engine.ensure(contract.key, contract.dimension)
        await self._make_like(found)
        if await self._has_orphans(found):
            await self._remove_orphans(found)
        await self._engine.commit(self._direction.secondary.key)
        return found

    async def _make_like(self, found: Passed) -> None:
        secondary = self._direction.secondary.key
        ahead: asyncio.Task[_Page] = asyncio.create_task(self._read(None))
        try:
            while True:
                began, mapped = time.monotonic(), found.mapped
                page = await ahead
                if page.following is not None:
                    # Read while this page is written. What is written is read again, under the lock.
                    ahead = asyncio.create_task(self._read(page.following))
                found.unmapped += page.unmapped
                if page.different:
                    async with self._alone():
                        await self._bring_over(page.different, found)
                    self._unsaved += len(page.different)
                if self._unsaved >= DURABLE_EVERY:
                    await self._engine.commit(secondary)
                    self._unsaved = 0
                if page.following is None:
                    return
                await self._pause(found.mapped - mapped, began)
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def _read(self, start: str | None) -> "_Page":
        """Read a page, and compare it with what the secondary collection has."""
        where = confirmed(self._engine, Where({TENANT_FIELD: self._direction.uid}))
        points, following = await self._engine.scroll(self._direction.primary.key, where, self._page, start)
        compared = Passed()
        different = await self._different(points, compared)
        return _Page([point.id for point in different], compared.unmapped, following)

    async def _pause(self, mapped: int, began: float) -> None:
        """Let other calls run, and keep to the rate."""
        if self._go_on is not None:
            await self._go_on()
        left = mapped / self._rate - (time.monotonic() - began) if self._rate else 0.0
        await asyncio.sleep(max(left, 0.0))

    def _alone(self) -> AbstractAsyncContextManager[None]:
        """Keep the other writes of this process out, if no other process writes.

        An erasure searches the files for bytes, and copies must not appear meanwhile.
        """
        return self._write_lock.of_store() if self._engine.exclusive else nullcontext()

    async def _different(self, page: Sequence[Point], found: Passed) -> list[Point]:
        """Return the points of a page that are missing in the secondary collection, or have other fields there."""
        there = await self._engine.get(self._direction.secondary.key, [point.id for point in page])
        different = [point for point in page if not _alike(point, there.get(point.id))]
        if self._direction.template_map is None:
            missing = [point for point in different if _is_template(point) and point.id not in there]
            found.unmapped += len(missing)
            left = {point.id for point in missing}
            return [point for point in different if point.id not in left]
        return different

    async def _bring_over(self, ids: Sequence[str], found: Passed) -> None:
        """Make some points of the secondary collection like the primary ones, as these are now."""
        direction, engine = self._direction, self._engine
        secondary = direction.secondary
        await self._check_live()
        there = await engine.get(secondary.key, ids)
        missing = [one for one in ids if one not in there]
        present = await engine.get(direction.primary.key, [one for one in ids if one in there])
        for point in present.values():
            if fields := _changes(point, there[point.id]):
                this = Where({TENANT_FIELD: direction.uid}, ids=(point.id,))
                await engine.set_payload(secondary.key, this, fields)
                found.changed += 1
        originals = await engine.get(direction.primary.key, missing, with_vector=True)
        templates = [point for point in originals.values() if _is_template(point)]
        records = [point for point in originals.values() if not _is_template(point)]
        copies = [Point(point.id, under_contract(dict(point.payload), secondary)) for point in records]
        if direction.template_map is not None and templates:
            copies += await asyncio.to_thread(_mapped, direction.template_map, templates, secondary)
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
        if written:
            await self._engine.delete(
                self._direction.secondary.key, Where({TENANT_FIELD: self._direction.uid}, ids=written)
            )
        raise ConcurrentUpdate("the migration was ended meanwhile; read it again")

    async def _remove(self, ids: Sequence[str], found: Passed) -> None:
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


def _is_template(point: Point) -> bool:
    return bool(point.payload["kind"] == TEMPLATE)


def _mapped(template_map: TemplateMap, templates: Sequence[Point], contract: Contract) -> list[Point]:
    owned = {"contract": contract.key, **mapped_fields(template_map.sha256)}
    try:
        vectors = template_map.applied(np.stack([point.vector for point in templates if point.vector is not None]))
    except InvalidEmbedding as error:
        template = templates[int(error.metadata.get("number", 0))].id
        raise InvalidEmbedding(
            f"the template {template} cannot be mapped: {error.message}; or delete it",
            metadata={**error.metadata, "template": template},
        ) from error
    return [
        Point(point.id, under_contract(dict(point.payload), contract, owned), vector)
        for point, vector in zip(templates, vectors, strict=True)
    ]


def _alike(point: Point, other: Point | None) -> bool:
    return other is not None and not _changes(point, other)


def _changes(point: Point, other: Point) -> dict[str, Any]:
    """Return the fields of a point that its counterpart has not, without those that belong to a contract."""
    owned = OWNED if _is_template(point) else OWNED_BY_IDENTITY
    wanted: Mapping[str, Any] = point.payload
    names = {*wanted, *other.payload} - {*owned}
    # A field that is missing is one without a value.
    return {name: wanted.get(name) for name in names if wanted.get(name) != other.payload.get(name)}
