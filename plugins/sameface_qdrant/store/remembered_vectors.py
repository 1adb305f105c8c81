"""An engine that compares very many new templates with a gallery at once, by vectors that it keeps in memory.

Only over an engine whose one writer is this process, so that every write passes here and the vectors are never old. A
gallery's vectors are read once guards have asked for `WORTH` comparisons with it, and dropped when nobody has asked for
`IDLE_S` seconds, or where all of them would take more than `MOST_BYTES`. The engine itself compares then. A write that
was not understood, or whose outcome is unknown, drops them too.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from sameface_qdrant.engines.base import TENANT_FIELD, Engine, Hit, Point, Where
from sameface_qdrant.store.guard_searches import Asked, Search, guards_ask, removed_by
from sameface_qdrant.store.payloads import TEMPLATE
from sameface_qdrant.store.remembered_gallery import KNOWN_FIELDS, RememberedGallery, add, hit_of, queries_of
from sameface_qdrant.store.vector_table import VectorTable
from sameface_qdrant.values.schema import SCHEMA_FIELD

WORTH = 256
"""So many searches take an engine about as long as reading the vectors once."""
MANY = 1 / 8
"""Calls with fewer searches than this share of `WORTH` do not count: single enrolments would gain nothing."""
MOST_BYTES = 256 << 20
"""Bound of the memory for all galleries together: 524,288 vectors of 128 numbers."""
IDLE_S = 60.0
PAGE = 1000
"""Templates that are read at once: a long read would hold Python's lock."""
_DECIDING = frozenset({TENANT_FIELD, "identity", "kind", "expires", SCHEMA_FIELD})
"""Payload fields that a table depends on."""

Key = tuple[str, str]
"""Collection, and what its points hold in the field that names their gallery."""


def remembering(engine: Engine) -> Engine:
    """Return the engine with fast comparisons for guards, if this process is its only writer."""
    if not engine.exclusive or isinstance(engine, RememberingEngine):
        return engine
    return cast(Engine, RememberingEngine(engine))


class RememberingEngine:
    """Everything but the methods below is the engine's own."""

    def __init__(self, engine: Engine) -> None:
        self.worth, self.most_bytes, self.idle_s = WORTH, MOST_BYTES, IDLE_S
        self._engine = engine
        self.exclusive = engine.exclusive  # asked for several times by every decision
        self._remembered: dict[Key, RememberedGallery] = {}
        self._asked: dict[Key, int] = {}
        self._changes = 0
        """Counts beginnings and ends of writes."""
        self._timer: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    @property
    def remembered_bytes(self) -> int:
        """The memory that is in use for vectors, in bytes."""
        return sum(one.table.bytes for one in self._remembered.values())

    async def nearest_each(
        self,
        collection: str,
        searches: Sequence[Search],
        limit: int,
        *,
        fields: Sequence[str],
        exact: bool = False,
    ) -> list[list[Hit]]:
        """See `Engine.nearest_each`; the searches of guards are answered from memory, once they are many."""
        asked = guards_ask(searches, limit) if exact else None
        found = None if asked is None else await self._table(collection, asked, len(searches))
        if asked is None or found is None:
            return await self._engine.nearest_each(collection, searches, limit, fields=fields, exact=exact)
        table = found.table
        if asked.own:
            nearest = [
                table.own(identity, vector, asked.now, limit)
                for (vector, _), identity in zip(searches, asked.identities, strict=True)
            ]
        else:
            best = await found.best(queries_of(searches, asked), asked.now)
            if best.epoch != table.epoch or self._remembered.get((collection, asked.tenant)) is not found:
                # The gallery was changed meanwhile.
                return await self._engine.nearest_each(collection, searches, limit, fields=fields, exact=exact)
            pairs = zip(best.scores.tolist(), best.best.tolist(), strict=True)
            nearest = [[(score, row)] if row >= 0 else [] for score, row in pairs]
        return await self._hits(collection, table, nearest, fields)

    async def anticipate(self, collection: str, searches: Sequence[Search]) -> None:
        """Begin searches that guards will ask for soon, so that the rest takes less time; without a table do nothing.

        What is written until then is found all the same.
        """
        asked = guards_ask(searches, 1)
        found = None if asked is None else self._remembered.get((collection, asked.tenant))
        if asked is None or found is None or asked.own:
            return
        await found.look_ahead(queries_of(searches, asked), asked.now)

    async def upsert(
        self,
        collection: str,
        points: Sequence[Point],
        *,
        insert_only: bool = False,
        only_if: Where | None = None,
        companions: Sequence[Point] = (),
    ) -> None:
        """See `Engine.upsert`."""
        async with self._writing(collection):
            await self._engine.upsert(
                collection, points, insert_only=insert_only, only_if=only_if, companions=companions
            )
            if only_if is not None:
                self._forget(collection)
            self._put(collection, companions, insert_only=True)
            self._put(collection, points, insert_only=insert_only)

    async def set_payload(self, collection: str, where: Where, payload: Mapping[str, Any]) -> None:
        """See `Engine.set_payload`."""
        async with self._writing(collection):
            await self._engine.set_payload(collection, where, payload)
            if not _DECIDING.isdisjoint(payload):
                self._forget(collection)

    async def delete(self, collection: str, where: Where | Sequence[str]) -> None:
        """See `Engine.delete`."""
        async with self._writing(collection):
            await self._engine.delete(collection, where)
            for key, found in list(self._remembered.items()):
                if key[0] != collection:
                    continue
                removed = removed_by(found.table, key[1], where)
                if removed is None:
                    del self._remembered[key]
                else:
                    found.table.remove(removed)

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        self._remembered.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._engine.aclose()

    def _writing(self, collection: str) -> "_Writing":
        return _Writing(self, collection)

    def _put(self, collection: str, points: Sequence[Point], *, insert_only: bool) -> None:
        if not any(key[0] == collection for key in self._remembered):
            return
        for point in points:
            if point.vector is None or point.payload.get("kind") != TEMPLATE:
                continue
            found = self._remembered.get((collection, point.payload[TENANT_FIELD]))
            if found is not None and not (insert_only and point.id in found.table):
                add(found.table, point, point.vector)
        if self.remembered_bytes > self.most_bytes:
            self._forget(collection)

    def _forget(self, collection: str) -> None:
        for key in [key for key in self._remembered if key[0] == collection]:
            del self._remembered[key]

    async def _table(self, collection: str, asked: Asked, searches: int) -> RememberedGallery | None:
        """Return the vectors of a gallery if they are in memory, or if it is worth to read them now."""
        key = (collection, asked.tenant)
        found = self._remembered.get(key)
        if found is None:
            if searches < MANY * self.worth:
                return None
            self._asked[key] = self._asked.get(key, 0) + searches
            if self._asked[key] < self.worth:
                return None
            del self._asked[key]
            found = await self._read(collection, asked.tenant)
            if found is None:
                return None
            self._remembered[key] = found
        found.used = time.monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.idle_s, self._drop_idle)
        return found

    async def _read(self, collection: str, tenant: str) -> RememberedGallery | None:
        """Read the vectors of a gallery; None if they are too many, or were changed meanwhile."""
        changes, mine = self._changes, Where({TENANT_FIELD: tenant, "kind": TEMPLATE})
        count = await self._engine.count(collection, mine)
        table, start = None, None
        while True:
            points, start = await self._page(collection, mine, start)
            for point in points:
                if point.vector is None:
                    continue
                if table is None:
                    table = VectorTable(len(point.vector), room=count)
                    if not self._make_room(table.bytes):
                        return None
                add(table, point, point.vector)
            if start is None:
                break
        if changes != self._changes:
            return None
        # An empty gallery has no vector that would tell the dimension. The engine compares with nothing at once.
        return None if table is None else RememberedGallery(table, time.monotonic())

    async def _page(self, collection: str, mine: Where, start: str | None) -> tuple[Iterable[Point], str | None]:
        with_vectors = getattr(self._engine, "scroll_with_vectors", None)
        if with_vectors is not None:
            found: tuple[list[Point], str | None] = await with_vectors(collection, mine, PAGE, start)
            return found
        points, start = await self._engine.scroll(collection, mine, PAGE, start)
        read = await self._engine.get(collection, [point.id for point in points], with_vector=True)
        return read.values(), start

    def _make_room(self, needed: int) -> bool:
        """Drop what was not used for the longest time. Return whether there is room then."""
        for key in sorted(self._remembered, key=lambda key: self._remembered[key].used):
            if self.remembered_bytes + needed <= self.most_bytes:
                break
            del self._remembered[key]
        return needed <= self.most_bytes

    def _drop_idle(self) -> None:
        self._timer, now = None, time.monotonic()
        self._asked.clear()
        for key in [key for key, found in self._remembered.items() if now - found.used >= self.idle_s]:
            del self._remembered[key]
        if self._remembered:
            self._timer = asyncio.get_running_loop().call_later(self.idle_s, self._drop_idle)

    async def _hits(
        self, collection: str, table: VectorTable, nearest: Sequence[Sequence[tuple[float, int]]], fields: Sequence[str]
    ) -> list[list[Hit]]:
        if KNOWN_FIELDS.issuperset(fields):
            return [[hit_of(table, score, row) for score, row in hits] for hits in nearest]
        named = [[hit_of(table, score, row) for score, row in hits] for hits in nearest]
        read = await self._engine.get(collection, list({hit.id for hits in named for hit in hits}))
        return [[replace(hit, payload=read[hit.id].payload) for hit in hits if hit.id in read] for hits in named]


class _Writing:
    """Counts a write, and forgets the vectors of a collection if it fails: all or a part of it may be stored."""

    def __init__(self, engine: RememberingEngine, collection: str) -> None:
        self._engine, self._collection = engine, collection

    async def __aenter__(self) -> None:
        self._engine._changes += 1

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._engine._changes += 1
        if kind is not None:
            self._engine._forget(self._collection)
