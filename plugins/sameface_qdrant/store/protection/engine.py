"""An engine that stores the points of protected galleries in another form, and returns them as they were given.

The store above it sees ids, embeddings and names as callers know them. What reaches the engine below is rotated and
encrypted, see `sameface_qdrant.store.protection.points`. Points of other galleries pass unchanged.

While a gallery is being re-keyed (`sameface_qdrant.store.protection.rekey`), its points are in two generations. Then

- reads look through the old generation first and the new one after it. A point is moved in this direction, so none is
  missed. Of a point that is found in both, the old one counts, unless a later revision of it is in the new one.
- new points are written to the new generation, and changes and removals to the old one first, then to the new one.

Where several services write, a change is repeated if the gallery's state was changed meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from sameface_qdrant.engines.base import TENANT_FIELD, Engine, ErasureEvidence, Hit, Point, Where
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.protection.attempts import Attempts
from sameface_qdrant.store.protection.evidence import ProtectedEvidence
from sameface_qdrant.store.protection.generations import Generations, converted, counting, merged
from sameface_qdrant.store.protection.points import Form, has_sealed, in_clear, tenant_of
from sameface_qdrant.store.protection.records import ProtectedRecords
from sameface_qdrant.store.protection.state import Known, Protections
from sameface_qdrant.values.ids import is_protected_uid, tag_of
from sameface_qdrant.values.vectors import Vector

COUNTED = 1000
"""While a gallery is being re-keyed, up to this many points are counted one by one, as some may be stored twice."""


class ProtectedEngine:
    """Everything but the methods below is the engine's own."""

    def __init__(self, engine: Engine, protections: Protections, *, strict: bool = False) -> None:
        """With ``strict``, lists of galleries and receipts fail if a key is missing, and leave nothing out."""
        self._strict = strict
        self.stored = engine
        """The engine below, with the stored forms."""
        self.exclusive = engine.exclusive
        """As of the engine. Each read asks for it."""
        self.protections = protections
        self.records = ProtectedRecords(engine, protections)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stored, name)

    @property
    def erasure_evidence(self) -> ErasureEvidence | None:
        """See `Engine.erasure_evidence`; it searches for the bytes of the stored forms."""
        evidence = self.stored.erasure_evidence
        return (
            None
            if evidence is None
            else cast(ErasureEvidence, ProtectedEvidence(self.stored, self.protections, evidence))
        )

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
                return await self._points(collection).get(forms, mine, with_vector)

            found |= await self._attempts(collection).reading(uid, read, vectors=with_vector)
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
            return merged(found, limit)

        return await self._attempts(collection).reading(known.uid, read, vectors=True)

    async def nearest_each(
        self,
        collection: str,
        searches: Sequence[tuple[Vector, Where]],
        limit: int,
        *,
        fields: Sequence[str],
        exact: bool = False,
    ) -> list[list[Hit]]:
        """See `Engine.nearest_each`."""
        owners = {known and known.uid for _, where in searches for known in [self._of_filter(collection, where)]}
        if owners <= {None}:
            return await self.stored.nearest_each(collection, searches, limit, fields=fields, exact=exact)
        assert len(owners) == 1, "searches of one call concern one gallery"
        uid = cast(str, owners.pop())

        async def read(forms: Sequence[Form]) -> list[list[Hit]]:
            found: list[list[list[Hit]]] = []
            for form in counting(forms):
                # One probe is often compared under several filters.
                turned = {id(vector): form.turned(vector) for vector, _ in searches}
                mapped = [(cast(Vector, turned[id(vector)]), form.where(where)) for vector, where in searches]
                needed = form.needed(fields)
                results = await self.stored.nearest_each(collection, mapped, limit, fields=needed, exact=exact)
                found.append([[form.opened_hit(hit) for hit in hits] for hits in results])
            return [merged(lists, limit) for lists in zip(*found, strict=True)]

        return await self._attempts(collection).reading(uid, read, vectors=True)

    async def scroll(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        """See `Engine.scroll`.

        While a gallery is being re-keyed, a point that is moved between two pages is on both. None is missed.
        """
        if collection == META:
            return await self.records.scroll(where, limit, start, strict=self._strict)
        known = self._of_filter(collection, where)
        if known is None:
            return await self.stored.scroll(collection, where, limit, start)

        async def read(forms: Sequence[Form]) -> tuple[list[Point], str | None]:
            return await self._points(collection).scroll(counting(forms), where, limit, start)

        return await self._attempts(collection).reading(known.uid, read)

    async def count(self, collection: str, where: Where) -> int:
        """See `Engine.count`.

        While a gallery is being re-keyed, a large count may be too high by what is stored twice. A count of all
        records of a kind needs no key otherwise.
        """
        known = self._of_filter(collection, where)
        if known is None:
            return await self.stored.count(collection, where)
        known = await self.protections.current(known.uid)
        if in_clear(where) and known.protection.following is None:
            mine = {**where.equals, TENANT_FIELD: tenant_of(known.uid, known.protection.current.number)}
            counted = await self.stored.count(collection, replace(where, equals=mine))
            if self.exclusive or (await self.protections.current(known.uid)).protection == known.protection:
                return counted

        async def read(forms: Sequence[Form]) -> int:
            looked_at = counting(forms)
            counted = [await self.stored.count(collection, form.where(where)) for form in looked_at]
            if len(looked_at) == 1 or not all(counted) or sum(counted) > COUNTED:
                return sum(counted)
            found, _ = await self._points(collection).scroll(looked_at, where, 2 * COUNTED, None)
            return len(found)

        return await self._attempts(collection).reading(known.uid, read)

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
        known = (
            self._of_filter(collection, Where({TENANT_FIELD: written[0].payload[TENANT_FIELD]})) if written else None
        )
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
                    await converted(form, points),
                    insert_only=insert_only,
                    only_if=None if only_if is None else form.where(only_if),
                    companions=await converted(form, companions),
                )
            elif insert_only:
                await self._points(collection).insert(forms, written)
            elif only_if is not None:
                await self._points(collection).insert(forms, companions)
                for form in forms:
                    stored = [form.stored(point) for point in points]
                    await self.stored.upsert(collection, stored, only_if=form.where(only_if))
            else:
                await self._points(collection).insert(forms, companions)
                await self._points(collection).replace(forms, points)

        await self._attempts(collection).writing(
            known.uid, write, vectors=any(point.vector is not None for point in written)
        )

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
                for identifier in await self._points(collection).stored_ids(mapped):
                    this = Where({TENANT_FIELD: form.tenant}, ids=(identifier,))
                    await self.stored.set_payload(collection, this, form.fields(identifier, payload))

        await self._attempts(collection).writing(known.uid, write)

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

            await self._attempts(collection).writing(known.uid, remove)
            if chosen == Where({TENANT_FIELD: known.uid}):  # the whole gallery
                await self._attempts(collection).remove_past(known.uid, known.protection)
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

            await self._attempts(collection).writing(uid, remove_ids)

    async def set_resting(self, collection: str, uid: str, ids: Sequence[str], *, rested: bool) -> None:
        """Encrypt the embeddings of points of a protected gallery, or make them fit to be searched again.

        The gallery is not being re-keyed. A point that was removed meanwhile stays removed.
        """

        async def write(forms: Sequence[Form]) -> None:
            (form,) = forms
            chosen = [form.keys.stored_id(one) for one in ids]
            present = await self.stored.get(collection, chosen, with_vector=True)
            made = [form.rested(point) if rested else form.woken(point) for point in present.values()]
            await self.stored.upsert(collection, made, only_if=Where({TENANT_FIELD: form.tenant}))

        await self._attempts(collection).writing(uid, write)

    # How.

    def _points(self, collection: str) -> Generations:
        return Generations(self.stored, collection)

    def _attempts(self, collection: str) -> Attempts:
        return Attempts(self.stored, self.protections, collection)

    def _of_filter(self, collection: str, where: Where) -> Known | None:
        if collection == META:
            return None
        if TENANT_FIELD in where.equals:
            uid = str(where.equals[TENANT_FIELD])
            known = self.protections.find(uid)
            if known is None and is_protected_uid(uid):
                raise not_read()
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


def not_read() -> InvalidArgument:
    """Return the error for a `Gallery` of a protected gallery that was kept while the store was opened again."""
    return InvalidArgument(
        "the protected gallery was read before the store was opened; give its id, or read it again",
        metadata={"field": "gallery"},
    )
