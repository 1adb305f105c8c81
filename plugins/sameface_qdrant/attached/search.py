"""An attached collection, as `sameface_qdrant.recognition` searches it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sameface_qdrant.attached.passed_over import PassedOver
from sameface_qdrant.attached.target import Id
from sameface_qdrant.concurrency import nothing, together
from sameface_qdrant.recognition import ScoredTemplate
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.identity import Identity
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.vectors import Vector

if TYPE_CHECKING:
    from sameface_qdrant.attached.queries import AttachedCollection


@dataclass(frozen=True, slots=True)
class AttachedSearch:
    """Identities have no records here, so they have no display names and no thresholds."""

    collection: "AttachedCollection"
    passed_over: PassedOver
    gallery: Gallery
    counted: int
    """Identities at the last count."""
    exclusive: bool = False
    """See `GallerySearch`: others may use the collection."""
    templates_expected: int = 4
    """See `GallerySearch`. Nothing limits the templates of an identity here."""

    async def size(self) -> int:
        """See `GallerySearch`."""
        return self.counted

    async def identity(self, identity: Id) -> Identity:
        """See `GallerySearch`; one that does not exist has no templates."""
        return Identity(self.gallery.id, str(identity))

    async def nearest(
        self, vector: Vector, limit: int, *, excluding: Sequence[Id] = (), origin: EmbeddingOrigin
    ) -> list[ScoredTemplate[Id]]:
        """See `GallerySearch`. All of its templates count as native."""
        return await self._nearest(vector, limit, excluding=excluding)

    async def nearest_to_claim(
        self, identity: Id, vector: Vector, *, others: bool
    ) -> tuple[list[ScoredTemplate[Id]], list[ScoredTemplate[Id]]]:
        """See `GallerySearch`."""
        return await together(
            self,
            self._nearest(vector, 1, only=identity),
            self._nearest(vector, 1, excluding=[identity]) if others else nothing([]),
        )

    async def _nearest(
        self, vector: Vector, limit: int, *, only: Id | None = None, excluding: Sequence[Id] = ()
    ) -> list[ScoredTemplate[Id]]:
        found = await self.collection.nearest(
            vector, limit, only=only, excluding=excluding, passed_over=self.passed_over
        )
        return [ScoredTemplate(one.identity, str(one.id), one.score) for one in found]

    async def display_names(self, identities: Sequence[Id]) -> list[str]:
        """See `GallerySearch`."""
        return [""] * len(identities)
