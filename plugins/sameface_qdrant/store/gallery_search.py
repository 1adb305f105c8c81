"""One gallery of the store, as `sameface_qdrant.recognition` searches it."""

import time
from collections.abc import Sequence

from sameface_qdrant.engines.base import Engine, Where
from sameface_qdrant.recognition import ScoredTemplate
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import confirmed
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.store.identities import Identities
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.identity import Identity
from sameface_qdrant.values.vectors import Vector

_USUAL_TEMPLATES = 4


class StoredGallerySearch:
    """Searches the templates that are in force when it is created. Every method is one read of the engine."""

    def __init__(self, engine: Engine, identities: Identities, tenant: Tenant) -> None:
        self._engine = engine
        self._identities = identities
        self._tenant = tenant
        self._now = time.time()

    @property
    def gallery(self) -> Gallery:
        """See `GallerySearch`."""
        return self._tenant.gallery

    @property
    def exclusive(self) -> bool:
        """See `GallerySearch`."""
        return self._engine.exclusive

    @property
    def templates_expected(self) -> int:
        """See `GallerySearch`."""
        # A second search is cheap on an embedded engine. On a server it is another round trip, so the first is larger.
        most = self.gallery.policy.max_templates
        return min(most, _USUAL_TEMPLATES) if self._engine.exclusive else most

    async def size(self) -> int:
        """See `GallerySearch`."""
        where = gallery_filter(self._tenant.uid, payloads.IDENTITY)
        return await self._engine.count(self._tenant.collection, where)

    async def identity(self, identity: str) -> Identity:
        """See `GallerySearch`."""
        record = await self._identities.record(self._tenant, identity)
        return payloads.identity_of(record.payload, self.gallery.id, template_count=0)

    async def nearest(
        self, vector: Vector, limit: int, *, only: str | None = None, excluding: Sequence[str] = ()
    ) -> list[ScoredTemplate[str]]:
        """See `GallerySearch`."""
        where = Where(
            {"gallery": self._tenant.uid, **({} if only is None else {"identity": only})},
            excludes={"identity": excluding[0]} if len(excluding) == 1 else {},
            outside={"identity": tuple(excluding)} if len(excluding) > 1 else {},
            valid_at=self._now,
        )
        hits = await self._engine.nearest(self._tenant.collection, vector, confirmed(self._engine, where), limit)
        return [ScoredTemplate(hit.payload["identity"], hit.id, hit.score) for hit in hits]

    async def display_names(self, identities: Sequence[str]) -> list[str]:
        """See `GallerySearch`."""
        keys = [payloads.identity_point_id(self._tenant.uid, identity) for identity in identities]
        found = await self._engine.get(self._tenant.collection, keys)
        # While a move or a deletion removes templates, their record may be gone already.
        return [found[key].payload["display_name"] if key in found else "" for key in keys]
