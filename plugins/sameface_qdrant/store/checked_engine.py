"""An engine whose reads refuse what this release would misread.

The store reads through it alone, so no record escapes the check. Writes are checked where a record changes, see
`sameface_qdrant.store.conditional_write`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from sameface_qdrant.engines.base import Engine, Hit, Point, Where
from sameface_qdrant.values.schema import SCHEMA_FIELD, check_readable, is_readable_payload, schema_of
from sameface_qdrant.values.vectors import Vector

_CHECKED = (SCHEMA_FIELD, "kind")
"""Payload fields that the check reads, and names a record by."""


def checked(engine: Engine) -> Engine:
    """Return the engine with reads that raise StoreTooNew for a record which this release would misread."""
    return cast(Engine, _CheckedEngine(engine))


class _CheckedEngine:
    """Everything but the methods below is the engine's own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.exclusive = engine.exclusive
        """As of the engine. Each read asks for it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def get(self, collection: str, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, Point]:
        """See `Engine.get`."""
        found = await self._engine.get(collection, ids, with_vector=with_vector)
        _check(found.values())
        return found

    async def nearest(
        self, collection: str, vector: Vector, where: Where, limit: int, *, min_score: float | None = None
    ) -> list[Hit]:
        """See `Engine.nearest`."""
        hits = await self._engine.nearest(collection, vector, where, limit, min_score=min_score)
        _check(hits)
        return hits

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
        needed = (*fields, *_CHECKED)
        found = await self._engine.nearest_each(collection, searches, limit, fields=needed, exact=exact)
        for hits in found:
            _check(hits)
        return found

    async def scroll(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        """See `Engine.scroll`."""
        points, following = await self._engine.scroll(collection, where, limit, start)
        _check(points)
        return points, following

    async def scroll_with_vectors(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        """Return what `scroll` returns, with vectors."""
        scroll = getattr(self._engine, "scroll_with_vectors", None)
        if scroll is None:
            points, following = await self.scroll(collection, where, limit, start)
            found = await self.get(collection, [point.id for point in points], with_vector=True)
            return list(found.values()), following
        points, following = await scroll(collection, where, limit, start)
        _check(points)
        return points, following


def _check(read: Iterable[Point | Hit]) -> None:
    for point in read:
        # The name takes longer than the test, and there may be many hits.
        if not is_readable_payload(point.payload):
            check_readable(schema_of(point.payload), _name(point))


def _name(point: Point | Hit) -> str:
    kind = point.payload.get("kind", "record")
    if kind == "secret":
        return "the store"
    chosen_by_caller = {"gallery": point.payload.get("id"), "identity": point.payload.get("identity")}
    return f"the {kind} {chosen_by_caller.get(kind) or point.id!r}"
