"""One gallery of the store, as `sameface_qdrant.recognition` searches it."""

import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import repeat
from typing import TypeVar

from sameface_qdrant.engines.base import Engine, Where
from sameface_qdrant.errors import ContractMismatch, IdentityNotFound, InvalidEmbedding, ThresholdNotCalibrated
from sameface_qdrant.policy.origins import origins_in
from sameface_qdrant.recognition import ScoredTemplate
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import confirmed
from sameface_qdrant.store.galleries import Galleries
from sameface_qdrant.store.identities import Identities
from sameface_qdrant.store.migrations.copies import exchanged
from sameface_qdrant.store.template_origin import of_origin
from sameface_qdrant.store.tenant import Tenant
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.identity import Identity
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.vectors import Vector

Result = TypeVar("Result")

_USUAL_TEMPLATES = 4
_MAY_BE_OLD = (IdentityNotFound, ThresholdNotCalibrated, ContractMismatch, InvalidEmbedding)


class StoredGallerySearch:
    """Searches the templates that are in force when it is created. A method is at most one read of the engine."""

    def __init__(self, engine: Engine, identities: Identities, galleries: Galleries, tenant: Tenant) -> None:
        self._engine = engine
        self._identities = identities
        self._galleries = galleries
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
        most = self.gallery.policy.max_templates
        # A second search is cheap on an embedded engine. On a server it is another round trip. So where one was needed,
        # the first is larger from then on.
        return most if self._tenant.uid in self._galleries.large_searches else min(most, _USUAL_TEMPLATES)

    async def size(self) -> int:
        """See `GallerySearch`; a large size may have been counted before, see `GallerySizes`."""
        return await self._galleries.sizes.of(self._tenant)

    async def identity(self, identity: str) -> Identity:
        """See `GallerySearch`."""
        record = await self._identities.record(self._tenant, identity)
        return payloads.identity_of(record.payload, self._tenant.gallery.id, template_count=0)

    async def nearest(
        self, vector: Vector, limit: int, *, excluding: Sequence[str] = (), origin: EmbeddingOrigin
    ) -> list[ScoredTemplate[str]]:
        """See `GallerySearch`."""
        if excluding and not self._engine.exclusive:
            self._galleries.large_searches.add(self._tenant.uid)
        (found,) = await self._nearest(vector, limit, (origin, self._where(excluding=excluding)))
        return found

    async def nearest_to_claim(
        self, identity: str, vector: Vector, *, others: bool
    ) -> tuple[list[ScoredTemplate[str]], list[ScoredTemplate[str]]]:
        """See `GallerySearch`."""
        own = self._where(only=identity)
        filters = [own, self._where(excluding=[identity])] if others else [own]
        if self._tenant.gallery.mapped is None:
            claims, *rivals = await self._nearest(
                vector, 1, *zip(repeat(EmbeddingOrigin.NATIVE), filters, strict=False)
            )
            return claims, rivals[0] if others else []
        origins = origins_in(self.gallery)
        searches = [(origin, where) for where in filters for origin in origins]
        found = [hit for hits in await self._nearest(vector, 1, *searches) for hit in hits]
        return [hit for hit in found if hit.identity == identity], [hit for hit in found if hit.identity != identity]

    def _where(self, *, only: str | None = None, excluding: Sequence[str] = ()) -> Where:
        where = Where(
            {"gallery": self._tenant.uid, **({} if only is None else {"identity": only})},
            excludes={"identity": excluding[0]} if len(excluding) == 1 else {},
            outside={"identity": tuple(excluding)} if len(excluding) > 1 else {},
            valid_at=self._now,
        )
        return confirmed(self._engine, where)

    async def _nearest(
        self, vector: Vector, limit: int, *searches: tuple[EmbeddingOrigin, Where]
    ) -> list[list[ScoredTemplate[str]]]:
        # Without mapped templates in the gallery the condition would only cost time.
        several = self._tenant.gallery.mapped is not None
        asked = [(vector, of_origin(where, origin) if several else where) for origin, where in searches]
        found = await self._engine.nearest_each(self._tenant.collection, asked, limit, fields=("identity",))
        return [
            [ScoredTemplate(hit.payload["identity"], hit.id, hit.score, origin) for hit in hits]
            for (origin, _), hits in zip(searches, found, strict=True)
        ]

    async def display_names(self, identities: Sequence[str]) -> list[str]:
        """See `GallerySearch`."""
        keys = [payloads.identity_point_id(self._tenant.uid, identity) for identity in identities]
        found = await self._engine.get(self._tenant.collection, keys)
        # While a move or a deletion removes templates, their record may be gone already.
        return [found[key].payload["display_name"] if key in found else "" for key in keys]


async def on_recent(
    galleries: Galleries,
    gallery: str | Gallery,
    decide: Callable[[Tenant], Awaitable[Result]],
    found: Callable[[Result], bool],
) -> Result:
    """Decide by a gallery as it was read a short time ago; again as it is now, if it may have changed.

    A gallery that was deleted, and perhaps made again, leaves no points under its old key. So a result in which
    something was ``found`` is one of a gallery that exists. If nothing was found, or an error may come from an old
    record, the record is read, and the size counted.

    Args:
        galleries: those of the store.
        gallery: its id, or one that the caller has read.
        decide: makes the decision by a record.
        found: whether a result contains something of the gallery.

    Raises:
        GalleryNotFound: it is not stored any more.
    """
    tenant = await galleries.recent_tenant(gallery)
    try:
        result = await decide(tenant)
        if found(result) and not galleries.is_exchanged(tenant):
            return result
    except _MAY_BE_OLD:
        if (current := await _current(galleries, gallery, tenant)) == tenant:
            raise
        return await decide(current)
    current = await _current(galleries, gallery, tenant)
    recounted = galleries.sizes.forget(tenant.uid)
    return await decide(current) if recounted or current != tenant else result


async def _current(galleries: Galleries, gallery: str | Gallery, tenant: Tenant) -> Tenant:
    if isinstance(gallery, str):
        return await galleries.tenant(gallery)
    if not await galleries.is_current(tenant):
        raise galleries.not_found(gallery.id)
    if galleries.is_exchanged(tenant):
        raise exchanged(gallery.id)
    return tenant
