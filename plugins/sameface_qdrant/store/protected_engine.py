"""An engine that stores the points of protected galleries in another form, and returns them as they were given.

The store above it sees ids, embeddings and names as callers know them. What reaches the engine below is rotated and
encrypted, see `sameface_qdrant.store.protected_points`. Points of other galleries pass unchanged.

While a gallery is being re-keyed (`sameface_qdrant.store.rekey`), its points are in two generations. Then

- reads look through the old generation first and the new one after it. A point is moved in this direction, so none is
  missed. Of a point that is found in both, the old one counts, unless a later revision of it is in the new one.
- new points are written to the new generation, and changes and removals to the old one first, then to the new one.

Where several services write, a change is repeated if the gallery's state was changed meanwhile.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar, cast

from sameface_qdrant.engines.base import (
    TENANT_FIELD,
    ByteSearch,
    Engine,
    ErasureEvidence,
    Hit,
    Point,
    Where,
)
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.protected_points import Form, has_sealed, is_newer
from sameface_qdrant.store.protected_records import ProtectedRecords
from sameface_qdrant.store.protection_state import LEASE_S, Known, Protections
from sameface_qdrant.values.ids import is_protected_uid, tag_of
from sameface_qdrant.values.vectors import Vector

Result = TypeVar("Result")

COUNTED = 1000
"""While a gallery is being re-keyed, up to this many points are counted one by one, as some may be stored twice."""
PAGE = 500
FEW = 16


class ProtectedEngine:
    """Everything but the methods below is the engine's own."""

    def __init__(self, engine: Engine, protections: Protections) -> None:
        self.stored = engine
        """The engine below, with the stored forms."""
        self.protections = protections
        self.records = ProtectedRecords(engine, protections)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stored, name)

    @property
    def erasure_evidence(self) -> ErasureEvidence | None:
        """See `Engine.erasure_evidence`; it searches for the bytes of the stored forms."""
        evidence = self.stored.erasure_evidence
        return None if evidence is None else cast(ErasureEvidence, _ProtectedEvidence(self, evidence))

    # Reads.

    async def get(self, collection: str, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, Point]:
        """See `Engine.get`."""
        if collection == META:
            return await self.records.get(ids, with_vector=with_vector)
        plain, protected = self._divided(ids)
        if not protected:
            return await self.stored.get(collection, ids, with_vector=with_vector)
        found = await self.stored.get(collection, plain, with_vector=with_vector) if plain else {}
        for uid, mine in protected.items():

            async def read(forms: Sequence[Form], mine: Sequence[str] = mine) -> dict[str, Point]:
                return await self._get(collection, forms, mine, with_vector)

            found |= await self._reading(uid, read, vectors=with_vector)
        return found

    async def nearest(
        self, collection: str, vector: Vector, where: Where, limit: int, *, min_score: float | None = None
    ) -> list[Hit]:
        """See `Engine.nearest`."""
        known = self._of_filter(collection, where)
        if known is None:
            return await self.stored.nearest(collection, vector, where, limit, min_score=min_score)

        async def read(forms: Sequence[Form]) -> list[Hit]:
            found = []
            for form in counting(forms):
                turned = cast(Vector, form.turned(vector))
                hits = await self.stored.nearest(collection, turned, form.where(where), limit, min_score=min_score)
                found.append([form.opened_hit(hit) for hit in hits])
            return _merged(found, limit)

        return await self._reading(known.uid, read, vectors=True)

    async def nearest_each(
        self, collection: str, searches: Sequence[tuple[Vector, Where]], limit: int, *, fields: Sequence[str]
    ) -> list[list[Hit]]:
        """See `Engine.nearest_each`."""
        owners = {known and known.uid for _, where in searches for known in [self._of_filter(collection, where)]}
        if owners <= {None}:
            return await self.stored.nearest_each(collection, searches, limit, fields=fields)
        assert len(owners) == 1, "searches of one call concern one gallery"
        uid = cast(str, owners.pop())

        async def read(forms: Sequence[Form]) -> list[list[Hit]]:
            found: list[list[list[Hit]]] = []
            for form in counting(forms):
                # One probe is often compared under several filters.
                turned = {id(vector): form.turned(vector) for vector, _ in searches}
                mapped = [(cast(Vector, turned[id(vector)]), form.where(where)) for vector, where in searches]
                results = await self.stored.nearest_each(collection, mapped, limit, fields=form.needed(fields))
                found.append([[form.opened_hit(hit) for hit in hits] for hits in results])
            return [_merged(lists, limit) for lists in zip(*found, strict=True)]

        return await self._reading(uid, read, vectors=True)

    async def scroll(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        """See `Engine.scroll`.

        While a gallery is being re-keyed, a point that is moved between two pages is on both. None is missed.
        """
        if collection == META:
            return await self.records.scroll(where, limit, start)
        known = self._of_filter(collection, where)
        if known is None:
            return await self.stored.scroll(collection, where, limit, start)

        async def read(forms: Sequence[Form]) -> tuple[list[Point], str | None]:
            return await self._scroll(collection, counting(forms), where, limit, start)

        return await self._reading(known.uid, read)

    async def count(self, collection: str, where: Where) -> int:
        """See `Engine.count`.

        While a gallery is being re-keyed, a large count may be too high by what is stored twice.
        """
        known = self._of_filter(collection, where)
        if known is None:
            return await self.stored.count(collection, where)

        async def read(forms: Sequence[Form]) -> int:
            looked_at = counting(forms)
            counted = [await self.stored.count(collection, form.where(where)) for form in looked_at]
            if len(looked_at) == 1 or not all(counted) or sum(counted) > COUNTED:
                return sum(counted)
            found, _ = await self._scroll(collection, looked_at, where, 2 * COUNTED, None)
            return len(found)

        return await self._reading(known.uid, read)

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
        """See `Engine.upsert`. The points of one call belong to one gallery."""
        if collection == META:
            await self.records.upsert(points, insert_only=insert_only, only_if=only_if, companions=companions)
            return
        written = [*companions, *points]
        known = self.protections.find(written[0].payload.get(TENANT_FIELD)) if written else None
        if known is None:
            await self.stored.upsert(
                collection, points, insert_only=insert_only, only_if=only_if, companions=companions
            )
            return
        assert all(point.payload[TENANT_FIELD] == known.uid for point in written), "one call concerns one gallery"

        async def write(forms: Sequence[Form]) -> None:
            if len(forms) == 1:
                (form,) = forms
                await self.stored.upsert(
                    collection,
                    await _converted(form, points),
                    insert_only=insert_only,
                    only_if=None if only_if is None else form.where(only_if),
                    companions=await _converted(form, companions),
                )
            elif insert_only:
                await self._insert(collection, forms, written)
            elif only_if is not None:
                await self._insert(collection, forms, companions)
                for form in forms:
                    stored = [form.stored(point) for point in points]
                    await self.stored.upsert(collection, stored, only_if=form.where(only_if))
            else:
                await self._insert(collection, forms, companions)
                await self._replace(collection, forms, points)

        await self._writing(known.uid, write, vectors=any(point.vector is not None for point in written))

    async def set_payload(self, collection: str, where: Where, payload: Mapping[str, Any]) -> None:
        """See `Engine.set_payload`."""
        known = self._of_filter(collection, where)
        if known is None:
            await self.stored.set_payload(collection, where, payload)
            return

        async def write(forms: Sequence[Form]) -> None:
            for form in forms:
                mapped = form.where(where)
                if not has_sealed(payload):
                    await self.stored.set_payload(collection, mapped, payload)
                    continue
                # A sealed value is another one for each point.
                for identifier in await self._stored_ids(collection, mapped):
                    this = Where({TENANT_FIELD: form.tenant}, ids=(identifier,))
                    await self.stored.set_payload(collection, this, form.fields(identifier, payload))

        await self._writing(known.uid, write)

    async def delete(self, collection: str, where: Where | Sequence[str]) -> None:
        """See `Engine.delete`."""
        if isinstance(where, Where):
            known = self._of_filter(collection, where)
            if known is None:
                await self.stored.delete(collection, where)
                return
            chosen = where

            async def remove(forms: Sequence[Form]) -> None:
                for form in forms:
                    await self.stored.delete(collection, form.where(chosen))

            await self._writing(known.uid, remove)
            return
        plain, protected = self._divided([] if collection == META else where)
        if not protected:
            await self.stored.delete(collection, where)
            return
        if plain:
            await self.stored.delete(collection, plain)
        for uid, mine in protected.items():

            async def remove_ids(forms: Sequence[Form], mine: Sequence[str] = mine) -> None:
                for form in counting(forms):
                    await self.stored.delete(collection, [form.keys.stored_id(one) for one in mine])

            await self._writing(uid, remove_ids)

    # How.

    async def _reading(
        self, uid: str, read: Callable[[Sequence[Form]], Awaitable[Result]], *, vectors: bool = False
    ) -> Result:
        while True:
            known = await self.protections.current(uid)
            result = await read(await self.protections.forms(known, vectors=vectors))
            if not self.exclusive and time.monotonic() - known.read_at > LEASE_S:
                await self.protections.read(uid)
            if self._is_unchanged(known):
                return result

    async def _writing(
        self, uid: str, write: Callable[[Sequence[Form]], Awaitable[None]], *, vectors: bool = False
    ) -> None:
        while True:
            known = await self.protections.current(uid)
            await write(await self.protections.forms(known, vectors=vectors))
            if not self.exclusive:
                await self.protections.read(uid)
            if self._is_unchanged(known):
                return

    def _is_unchanged(self, known: Known) -> bool:
        now = self.protections.find(known.uid)
        return now is None or now.protection == known.protection

    def _of_filter(self, collection: str, where: Where) -> Known | None:
        if collection == META:
            return None
        if TENANT_FIELD in where.equals:
            uid = str(where.equals[TENANT_FIELD])
            known = self.protections.find(uid)
            assert known is not None or not is_protected_uid(uid), "the record of a protected gallery is read first"
            return known
        return self.protections.of_tag(tag_of(where.ids[0])) if where.ids else None

    def _divided(self, ids: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
        """Return the ids outside of protected galleries, and the others by their gallery."""
        plain: list[str] = []
        protected: dict[str, list[str]] = {}
        for one in ids:
            known = self.protections.of_tag(tag_of(one))
            if known is None:
                plain.append(one)
            else:
                protected.setdefault(known.uid, []).append(one)
        return plain, protected

    async def _get(
        self, collection: str, forms: Sequence[Form], ids: Sequence[str], with_vector: bool
    ) -> dict[str, Point]:
        found: dict[str, Point] = {}
        for form in counting(forms):
            # Elsewhere a later revision is never in the new generation while a point is in the old one.
            sought = ids if self.exclusive else [one for one in ids if one not in found]
            if not sought:
                break
            stored = await self.stored.get(
                collection, [form.keys.stored_id(one) for one in sought], with_vector=with_vector
            )
            for point in stored.values():
                if point.payload.get(TENANT_FIELD) != form.tenant:
                    continue
                opened = form.opened(point)
                if opened.id not in found or is_newer(opened, found[opened.id]):
                    found[opened.id] = opened
        return {one: found[one] for one in ids if one in found}

    async def _scroll(
        self, collection: str, forms: Sequence[Form], where: Where, limit: int, start: str | None
    ) -> tuple[list[Point], str | None]:
        # A token of an earlier generation begins anew, so that nothing is missed.
        told = [start is not None and form.keys.tells(start) for form in forms]
        begin = told.index(True) if any(told) else 0
        following = start if any(told) else None
        found: list[Point] = []
        for number in range(begin, len(forms)):
            form = forms[number]
            while True:
                # At the end of a page, look whether there is a next one.
                left = limit - len(found)
                points, following = await self.stored.scroll(collection, form.where(where), max(left, 1), following)
                if not left:
                    if points:
                        return found, points[0].id
                    break
                found += await self._deciding(collection, forms, number, list(map(form.opened, points)))
                if following is None:
                    break
                if len(found) == limit:
                    return found, following
        return found, None

    async def _deciding(
        self, collection: str, forms: Sequence[Form], number: int, points: Sequence[Point]
    ) -> Sequence[Point]:
        """Return the points of one generation without those that count in the other one."""
        if len(forms) == 1 or not points:
            return points
        other = await self._get(collection, [forms[1 - number]], [point.id for point in points], False)
        if number == 0:
            return [one for one in points if one.id not in other or not is_newer(other[one.id], one)]
        return [one for one in points if one.id not in other or is_newer(one, other[one.id])]

    async def _stored_ids(self, collection: str, where: Where) -> list[str]:
        found: list[str] = []
        start: str | None = None
        while True:
            points, start = await self.stored.scroll(collection, where, PAGE, start)
            found += [point.id for point in points]
            if start is None:
                return found

    async def _insert(self, collection: str, forms: Sequence[Form], points: Sequence[Point]) -> None:
        """Insert points that are in no generation yet into the new one."""
        if not points:
            return
        old, staged, new = forms
        there = await self._get(collection, [old], [point.id for point in points], False)
        fresh = await _converted(new, [point for point in points if point.id not in there])
        if fresh:
            # Copies of points that have been removed from the old generation.
            left_over = Where({TENANT_FIELD: staged.tenant}, ids=tuple(point.id for point in fresh))
            await self.stored.delete(collection, left_over)
            await self.stored.upsert(collection, fresh, insert_only=True)

    async def _replace(self, collection: str, forms: Sequence[Form], points: Sequence[Point]) -> None:
        """Write points to the new generation, whatever is there, and remove them from the old one."""
        old, _, new = forms
        await self.stored.upsert(collection, await _converted(new, points))
        # Durable first: an interrupted flush must not remove only the old ones.
        await self.stored.commit(collection)
        gone = Where({TENANT_FIELD: old.tenant}, ids=tuple(old.keys.stored_id(point.id) for point in points))
        await self.stored.delete(collection, gone)


class _ProtectedEvidence:
    """Everything but `search_bytes` is the engine's own."""

    def __init__(self, engine: ProtectedEngine, evidence: ErasureEvidence) -> None:
        self._engine, self._evidence = engine, evidence

    def __getattr__(self, name: str) -> Any:
        return getattr(self._evidence, name)

    async def search_bytes(self, collection: str, points: Sequence[Point]) -> tuple[ByteSearch, ...]:
        """See `ErasureEvidence.search_bytes`."""
        stored: list[Point] = []
        by_gallery: dict[str, list[str]] = {}
        for point in points:
            known = None if collection == META else self._engine.protections.of_tag(tag_of(point.id))
            if known is None:
                stored.append(point)
            else:
                by_gallery.setdefault(known.uid, []).append(point.id)
        for uid, ids in by_gallery.items():
            known = await self._engine.protections.current(uid)
            for form in counting(await self._engine.protections.forms(known, vectors=False)):
                # As they are stored: an embedding that is rotated again differs in its last bits.
                chosen = [form.keys.stored_id(one) for one in ids]
                stored += (await self._engine.stored.get(collection, chosen, with_vector=True)).values()
        return await self._evidence.search_bytes(collection, stored)


def counting(forms: Sequence[Form]) -> list[Form]:
    """Return the forms of points that count."""
    return [form for form in forms if not form.staged]


async def _converted(form: Form, points: Sequence[Point]) -> list[Point]:
    """Return the stored form of points; many are converted in a thread, so that the loop goes on."""
    if len(points) <= FEW:
        return [form.stored(point) for point in points]
    return await asyncio.to_thread(lambda: [form.stored(point) for point in points])


def _merged(found: Collection[list[Hit]], limit: int) -> list[Hit]:
    """Return the best of several lists of neighbours, each point once."""
    if len(found) == 1:
        return next(iter(found))
    by_id: dict[str, Hit] = {}
    for hits in found:
        for hit in hits:
            by_id.setdefault(hit.id, hit)
    return sorted(by_id.values(), key=lambda hit: -hit.score)[:limit]
