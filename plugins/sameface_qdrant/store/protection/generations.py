"""Reads and writes the points of a gallery in its stored forms, of which there are several during a re-key.

The forms are given in the order in which they are looked through: the old generation, that of copies that do not count
yet, and the new one; or one alone. See `sameface_qdrant.store.protection.engine`.
"""

import asyncio
from collections.abc import Collection, Sequence

from sameface_qdrant.engines.base import TENANT_FIELD, Engine, Hit, Point, Where
from sameface_qdrant.store.protection.points import Form, is_newer

PAGE = 500
FEW = 16
"""More points are converted in a thread."""


class Generations:
    """The points of one collection."""

    def __init__(self, engine: Engine, collection: str) -> None:
        self._engine, self._collection = engine, collection

    async def get(self, forms: Sequence[Form], ids: Sequence[str], with_vector: bool) -> dict[str, Point]:
        """Return the points that exist, by id."""
        found: dict[str, Point] = {}
        for form in counting(forms):
            # Elsewhere a later revision is never in the new generation while a point is in the old one.
            sought = ids if self._engine.exclusive else [one for one in ids if one not in found]
            if not sought:
                break
            stored = await self._engine.get(
                self._collection, [form.keys.stored_id(one) for one in sought], with_vector=with_vector
            )
            for point in stored.values():
                if point.payload.get(TENANT_FIELD) != form.tenant:
                    continue
                opened = form.opened(point)
                if opened.id not in found or is_newer(opened, found[opened.id]):
                    found[opened.id] = opened
        return {one: found[one] for one in ids if one in found}

    async def scroll(
        self, forms: Sequence[Form], where: Where, limit: int, start: str | None
    ) -> tuple[list[Point], str | None]:
        """Return one page of the points that match, and the id that the next one starts with.

        ``forms`` holds only those of points that count.
        """
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
                points, following = await self._engine.scroll(
                    self._collection, form.where(where), max(left, 1), following
                )
                if not left:
                    if points:
                        return found, points[0].id
                    break
                found += await self._deciding(forms, number, list(map(form.opened, points)))
                if following is None:
                    break
                if len(found) == limit:
                    return found, following
        return found, None

    async def _deciding(self, forms: Sequence[Form], number: int, points: Sequence[Point]) -> Sequence[Point]:
        """Return the points of one generation without those that count in the other one."""
        if len(forms) == 1 or not points:
            return points
        other = await self.get([forms[1 - number]], [point.id for point in points], False)
        if number == 0:
            return [one for one in points if one.id not in other or not is_newer(other[one.id], one)]
        return [one for one in points if one.id not in other or is_newer(one, other[one.id])]

    async def stored_ids(self, where: Where) -> list[str]:
        """Return the stored ids of all points that match a filter on stored points."""
        found: list[str] = []
        start: str | None = None
        while True:
            points, start = await self._engine.scroll(self._collection, where, PAGE, start)
            found += [point.id for point in points]
            if start is None:
                return found

    async def insert(self, forms: Sequence[Form], points: Sequence[Point]) -> None:
        """Insert points that are in no generation yet into the new one."""
        if not points:
            return
        old, staged, new = forms
        there = await self.get([old], [point.id for point in points], False)
        fresh = await converted(new, [point for point in points if point.id not in there])
        if fresh:
            # Copies of points that have been removed from the old generation.
            left_over = Where({TENANT_FIELD: staged.tenant}, ids=tuple(point.id for point in fresh))
            await self._engine.delete(self._collection, left_over)
            await self._engine.upsert(self._collection, fresh, insert_only=True)

    async def replace(self, forms: Sequence[Form], points: Sequence[Point]) -> None:
        """Write points to the new generation, whatever is there, and remove them from the old one."""
        old, _, new = forms
        await self._engine.upsert(self._collection, await converted(new, points))
        # Durable first: an interrupted flush must not remove only the old ones.
        await self._engine.commit(self._collection)
        gone = Where({TENANT_FIELD: old.tenant}, ids=tuple(old.keys.stored_id(point.id) for point in points))
        await self._engine.delete(self._collection, gone)


def counting(forms: Sequence[Form]) -> list[Form]:
    """Return the forms of points that count."""
    return [form for form in forms if not form.staged]


async def converted(form: Form, points: Sequence[Point]) -> list[Point]:
    """Return the stored form of points; many are converted in a thread, so that the loop goes on."""
    if len(points) <= FEW:
        return [form.stored(point) for point in points]
    return await asyncio.to_thread(lambda: [form.stored(point) for point in points])


def merged(found: Collection[list[Hit]], limit: int) -> list[Hit]:
    """Return the best of several lists of neighbours, each point once."""
    if len(found) == 1:
        return next(iter(found))
    by_id: dict[str, Hit] = {}
    for hits in found:
        for hit in hits:
            by_id.setdefault(hit.id, hit)
    return sorted(by_id.values(), key=lambda hit: -hit.score)[:limit]
