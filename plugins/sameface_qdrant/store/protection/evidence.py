"""Searches an engine's files for the points of protected galleries as they are stored."""

from collections.abc import Sequence
from typing import Any

from sameface_qdrant.engines.base import ByteSearch, Engine, ErasureEvidence, Point
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.protection.generations import counting
from sameface_qdrant.store.protection.state import Protections
from sameface_qdrant.values.ids import tag_of


class ProtectedEvidence:
    """Everything but `search_bytes` is the engine's own."""

    def __init__(self, engine: Engine, protections: Protections, evidence: ErasureEvidence) -> None:
        self._engine, self._protections, self._evidence = engine, protections, evidence

    def __getattr__(self, name: str) -> Any:
        return getattr(self._evidence, name)

    async def search_bytes(self, collection: str, points: Sequence[Point]) -> tuple[ByteSearch, ...]:
        """See `ErasureEvidence.search_bytes`."""
        stored: list[Point] = []
        by_gallery: dict[str, list[str]] = {}
        for point in points:
            known = None if collection == META else self._protections.of_tag(tag_of(point.id))
            if known is None:
                stored.append(point)
            else:
                by_gallery.setdefault(known.uid, []).append(point.id)
        for uid, ids in by_gallery.items():
            known = await self._protections.current(uid)
            for form in counting(await self._protections.forms(known, vectors=False)):
                # As they are stored: an embedding that is rotated again differs in its last bits.
                chosen = [form.keys.stored_id(one) for one in ids]
                stored += (await self._engine.get(collection, chosen, with_vector=True)).values()
        return await self._evidence.search_bytes(collection, stored)
