"""An engine that keeps the templates of a migrating gallery under both of its contracts.

A migrating gallery has its points in two collections, under the same ids. The primary one is that of the contract that
the gallery decides under. Reads see it alone. The secondary one is made from it by passes
(`sameface_qdrant.store.migrations.passes`). This layer does what must not wait for a pass:

- A removal reaches the secondary collection first, and then the primary one. So nothing that is erased under one
  contract stays under the other, whatever is interrupted.
- What is made durable, or erased from the files, in the primary collection is so in the secondary one before.
- A write is refused while the gallery's contract is exchanged (`Fence`), and a write under a contract that the gallery
  no longer has.

The records of galleries pass this layer, so it knows each gallery as it was read last. Where several services write, a
write to a migrating gallery reads the record again afterwards, see `_check_after`.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from sameface_qdrant.engines.base import TENANT_FIELD, Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate
from sameface_qdrant.store.migration_link import Link, link_of, secondary_of
from sameface_qdrant.store.migrations.copies import ERASING, under_contract
from sameface_qdrant.store.migrations.known import KnownGalleries
from sameface_qdrant.store.payloads import META, TEMPLATE, gallery_point_id
from sameface_qdrant.store.protection.state import LEASE_S
from sameface_qdrant.store.template_origin import ORIGIN
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.vectors import Vector

AT_ONCE = 500
LATE_S = LEASE_S


@dataclass(frozen=True, slots=True)
class NativeVector:
    """The embedding of a new template under the secondary contract, made from the same photo."""

    template: str
    vector: Vector


class BothContracts:
    """Everything but the methods below is the engine's own."""

    def __init__(self, engine: Engine) -> None:
        self.below = engine
        """The engine that has each collection as it is."""
        self.exclusive = engine.exclusive
        self.known = KnownGalleries(engine.exclusive)
        self._written: set[str] = set()
        """Secondary collections with changes that are not durable yet."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    # What is known.

    async def read_link(self, gallery: str) -> Link | None:
        """Read a gallery's record; None if there is none."""
        key = gallery_point_id(gallery)
        found = (await self.get(META, [key])).get(key)
        if found is None:
            self.known.drop_others(gallery, "")
        return None if found is None else link_of(found.payload)

    def secondaries(self, collection: str) -> list[Link]:
        """Return the migrating galleries with this primary collection."""
        return [one for one in self.known if one.migration is not None and one.primary == collection]

    async def _note(self, link: Link | None, collection: str, where: Where | Sequence[str]) -> None:
        """Note that points of a gallery, if it is watched, are about to be changed."""
        if link is None or not self.known.is_watched(link.uid):
            return
        if where == Where({TENANT_FIELD: link.uid}):
            self.known.note(link.uid, None)
        else:
            self.known.note(link.uid, await self._ids(collection, where) if isinstance(where, Where) else where)

    # Reads, which tell about galleries.

    async def get(self, collection: str, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, Point]:
        """See `Engine.get`."""
        began = time.monotonic()
        found = await self.below.get(collection, ids, with_vector=with_vector)
        if collection == META:
            self.known.learn(found.values(), began)
        return found

    async def scroll(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        """See `Engine.scroll`."""
        began = time.monotonic()
        found, following = await self.below.scroll(collection, where, limit, start)
        if collection == META:
            self.known.learn(found, began)
        return found, following

    async def ensure(self, collection: str, dimension: int) -> None:
        """See `Engine.ensure`; opens the secondary collections too."""
        await self.below.ensure(collection, dimension)
        for contract in {link.secondary for link in self.secondaries(collection)}:
            if contract is not None:
                await self.below.ensure(contract.key, contract.dimension)

    # Writes.

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
        points = [_unmarked(point) for point in points]
        written = [*companions, *points]
        link = self.known.check_before(collection, written[0].payload.get(TENANT_FIELD)) if written else None
        await self._note(link, collection, [point.id for point in written])
        await self.below.upsert(collection, points, insert_only=insert_only, only_if=only_if, companions=companions)
        try:
            await self._check_after(link)
        except ConcurrentUpdate:
            await self._take_back(collection, points, companions)
            raise

    async def set_payload(self, collection: str, where: Where, payload: Mapping[str, Any]) -> None:
        """See `Engine.set_payload`."""
        link = self.known.check_before(collection, where.equals.get(TENANT_FIELD))
        await self._note(link, collection, where)
        if link is not None and link.migration is not None and link.migration.promoted:
            payload = {**payload, ERASING: None}  # what is changed is there to stay
        await self.below.set_payload(collection, where, payload)
        await self._check_after(link)

    async def delete(self, collection: str, where: Where | Sequence[str]) -> None:
        """See `Engine.delete`; from the secondary collection first."""
        if collection == META:
            await self.below.delete(collection, where)
            return
        links = await self._concerned(collection, where)
        for link in links:
            await self._note(link, collection, where)
        removed = {link.uid: await self._counterparts(collection, link, where) for link in links}
        for link in links:
            await self._mark(collection, link, removed[link.uid])
            await self._delete_secondary(link, removed[link.uid])
        await self.below.delete(collection, where)
        if not self.exclusive:
            # What another service has copied between the two removals.
            for link in links:
                await self._delete_secondary(link, removed[link.uid])
                await self._unmark(collection, link, removed[link.uid])
                await self._check_after(link)

    async def commit(self, collection: str, *, erase: bool = False) -> None:
        """See `Engine.commit`; in the secondary collections before."""
        for key in {secondary_of(link.migration).key for link in self.secondaries(collection) if link.migration}:
            if key in self._written:
                self._written.discard(key)
                try:
                    await self.below.commit(key, erase=erase)
                except BaseException:
                    self._written.add(key)
                    raise
        await self.below.commit(collection, erase=erase)

    async def wait_for_late_copies(self, uid: object) -> None:
        """Wait until no copy comes any more that a service was writing for a gallery when it was killed."""
        link = self.known.find(uid)
        if link is not None and link.migration is not None and not self.exclusive:
            await asyncio.sleep(LATE_S)

    # The secondary collection.

    async def add_native(self, collection: str, uid: str, natives: Sequence[NativeVector]) -> None:
        """Store new templates under the secondary contract too, whose embeddings the caller gave.

        A template that has a native one there keeps it. What is removed meanwhile is removed there as well.
        """
        link = self.known.check_before(collection, uid)
        contract = None if link is None or link.ending is not None else link.secondary
        if contract is None or not natives:
            return
        ids = [native.template for native in natives]
        present = await self.below.get(contract.key, ids)
        stored = await self.below.get(collection, ids)
        points = [
            Point(native.template, under_contract(stored[native.template].payload, contract), native.vector)
            for native in natives
            if native.template in stored
            and (native.template not in present or ORIGIN in present[native.template].payload)
        ]
        if not points:
            return
        assert link is not None
        self._written.add(contract.key)
        replaced = [point.id for point in points if point.id in present]
        if replaced:
            # Not overwritten, because a field that is missing in the new payload would stay.
            await self.below.delete(contract.key, Where({TENANT_FIELD: uid}, ids=tuple(replaced)))
        await self.below.upsert(contract.key, points)
        await self._check_secondary(link, contract, [point.id for point in points])

    async def carry(self, collection: str, uid: str, copies: Mapping[str, Point]) -> None:
        """Copy points under the secondary contract too, for copies that were made in the primary one.

        ``copies`` are those, by the ids of their originals.
        """
        link = self.known.check_before(collection, uid)
        contract = None if link is None or link.ending is not None else link.secondary
        if contract is None or not copies:
            return
        found = await self.below.get(contract.key, list(copies), with_vector=True)
        points = [
            Point(copies[one].id, under_contract(copies[one].payload, contract, found[one].payload), found[one].vector)
            for one in copies
            if one in found
        ]
        if points:
            assert link is not None
            self._written.add(contract.key)
            await self.below.upsert(contract.key, points, insert_only=True)
            await self._check_secondary(link, contract, [point.id for point in points])

    async def _check_secondary(self, link: Link, contract: Contract, ids: Sequence[str]) -> None:
        """Remove copies again that came too late: after their originals were removed, or after the migration's end."""
        if self.exclusive:
            return  # nobody else writes while the caller holds the lock
        if stale := await self.stale_copies(link, ids):
            await self.below.delete(contract.key, Where({TENANT_FIELD: link.uid}, ids=stale))

    async def is_live(self, link: Link) -> bool:
        """Return whether a gallery is still in the migration, and under the contract, that a record named."""
        now = await self.read_link(link.gallery)
        if now is None or now.uid != link.uid or now.migration is None or link.migration is None:
            return False
        return now.migration == link.migration and now.ending is None

    async def stale_copies(self, link: Link, ids: Sequence[str]) -> tuple[str, ...]:
        """Return which points must not stay in what was the secondary collection when a record was read.

        Somebody has written them there as copies. A copy must not stay after its original was removed, or after the end
        of the migration. Once the collection is the primary one, what is there is no copy any more.
        """
        now = await self.read_link(link.gallery)
        if now is None or now.uid != link.uid or link.migration is None or link.secondary is None:
            return tuple(ids)
        if now.migration is None or now.migration.id != link.migration.id or now.ending is not None:
            return () if now.primary == link.secondary.key else tuple(ids)
        there = await self.below.get(link.primary, ids)
        return tuple(one for one in ids if one not in there)

    async def _take_back(self, collection: str, points: Sequence[Point], companions: Sequence[Point]) -> None:
        """Remove what was written under a contract that the gallery no longer has; its caller writes it again."""
        uid = str([*companions, *points][0].payload[TENANT_FIELD])
        now = self.known.find(uid)
        # Under the kept contract the next pass makes an identity's record like the present one again.
        kept = now is not None and now.migration is not None and now.ending is None
        if ids := tuple(point.id for point in (companions if kept else (*companions, *points))):
            await self.below.delete(collection, Where({TENANT_FIELD: uid}, ids=ids))

    async def _concerned(self, collection: str, where: Where | Sequence[str]) -> list[Link]:
        """Return the migrating galleries that a removal is for."""
        if isinstance(where, Where):
            uids = {where.equals.get(TENANT_FIELD)}
        elif any(link.primary == collection or link.is_shut for link in self.known):
            uids = {point.payload[TENANT_FIELD] for point in (await self.below.get(collection, where)).values()}
        else:
            return []
        links = [self.known.check_before(collection, uid) for uid in uids]
        return [link for link in links if link is not None and link.migration is not None]

    async def _counterparts(self, collection: str, link: Link, where: Where | Sequence[str]) -> Where | None:
        """Return the filter on the points of the secondary collection whose primary ones are removed; None for none."""
        if not isinstance(where, Where):
            return Where({TENANT_FIELD: link.uid}, ids=tuple(where)) if where else None
        if where == Where(where.equals) and where.equals.keys() <= {TENANT_FIELD, "identity", "kind"}:
            return where  # alike in both: ids derive from these
        ids = await self._ids(collection, where)
        return Where({TENANT_FIELD: link.uid}, ids=tuple(ids)) if ids else None

    async def _ids(self, collection: str, where: Where) -> list[str]:
        ids: list[str] = []
        start: str | None = None
        while True:
            points, start = await self.below.scroll(collection, where, AT_ONCE, start)
            ids += [point.id for point in points]
            if start is None:
                return ids

    async def _mark(self, collection: str, link: Link, where: Where | None) -> None:
        """Note in the primary collection what is about to be erased, if nothing can make its other form again."""
        assert link.migration is not None
        if link.migration.promoted and where is not None and where != Where({TENANT_FIELD: link.uid}):
            for part in _templates(where):
                await self.below.set_payload(collection, part, {ERASING: link.migration.id})

    async def _unmark(self, collection: str, link: Link, where: Where | None) -> None:
        """Take the mark from templates that were not erased: another service has changed them meanwhile."""
        assert link.migration is not None
        if link.migration.promoted and where is not None:
            for part in _templates(where, {ERASING: link.migration.id}):
                await self.below.set_payload(collection, part, {ERASING: None})

    async def acknowledge(self, collection: str, uid: str, ids: Sequence[str]) -> None:
        """Take note that templates are there to stay, which an erasure that was cut off may have marked."""
        link = self.known.find(uid)
        if link is not None and link.migration is not None and link.primary == collection and ids:
            await self._unmark(collection, link, Where({TENANT_FIELD: uid}, ids=tuple(ids)))

    async def end_erasures(self, link: Link) -> None:
        """End the erasures of a gallery that were cut off. Nothing writes meanwhile: the gallery is fenced.

        A template whose other form is still there was not erased. It stays.
        """
        assert link.migration is not None
        assert link.secondary is not None
        where = Where({TENANT_FIELD: link.uid, ERASING: link.migration.id})
        marked = await self._ids(link.primary, where)
        there = await self.below.get(link.secondary.key, marked)
        if there:
            await self._unmark(link.primary, link, Where({TENANT_FIELD: link.uid}, ids=tuple(there)))
        if gone := [one for one in marked if one not in there]:
            await self.below.delete(link.primary, gone)
            await self.below.commit(link.primary, erase=True)

    async def _delete_secondary(self, link: Link, where: Where | None) -> None:
        contract = link.secondary
        if contract is None or where is None:
            return
        self._written.add(contract.key)
        for part in _parts(where):
            await self.below.delete(contract.key, part)

    async def _check_after(self, link: Link | None) -> None:
        """Refuse a write of a call that read the gallery before its contract was exchanged, and ended after that.

        Nobody finds what it wrote. Its caller repeats it, under the contract that the gallery has now.
        """
        if link is None or link.migration is None or self.exclusive:
            return
        now = await self.read_link(link.gallery)
        if now is not None and now.uid == link.uid:  # else deleted: whoever deletes removes what it finds
            self.known.check_after(link, now)


def _unmarked(point: Point) -> Point:
    """Return a point that is written without the mark of an erasure: it is there to stay."""
    if not point.payload.get(ERASING):
        return point
    return replace(point, payload={name: value for name, value in point.payload.items() if name != ERASING})


def _templates(where: Where, also: Mapping[str, str] = MappingProxyType({})) -> Iterator[Where]:
    """Return a filter as several ones, on the templates alone that match, and that have some fields."""
    if where.equals.get("kind", TEMPLATE) == TEMPLATE:
        yield from _parts(replace(where, equals={**where.equals, "kind": TEMPLATE, **also}))


def _parts(where: Where) -> Iterator[Where]:
    """Return a filter as several ones with at most `AT_ONCE` ids each."""
    if not where.ids:
        yield where
    for first in range(0, len(where.ids), AT_ONCE):
        yield replace(where, ids=where.ids[first : first + AT_ONCE])
