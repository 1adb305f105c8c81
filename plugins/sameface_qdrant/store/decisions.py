"""Verification, identification and search in the galleries of a store."""

import time

from numpy.typing import ArrayLike

from sameface_qdrant import recognition
from sameface_qdrant.engines.base import Engine, Point
from sameface_qdrant.errors import ContractMismatch
from sameface_qdrant.policy import check_override
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import confirmed
from sameface_qdrant.store.filters import search_filter
from sameface_qdrant.store.galleries import Galleries
from sameface_qdrant.store.gallery_search import StoredGallerySearch, on_recent
from sameface_qdrant.store.identities import Identities
from sameface_qdrant.store.tenant import Tenant
from sameface_qdrant.values.decision import Decision, Probe, Scope
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.template import FoundTemplate, TemplateFilter
from sameface_qdrant.values.vectors import Vector, units_under


class Decisions:
    """Reached as ``store.verify``, ``store.identify`` and ``store.search``."""

    def __init__(self, engine: Engine, galleries: Galleries, identities: Identities) -> None:
        self._engine = engine
        self._galleries = galleries
        self._identities = identities

    async def verify(
        self,
        gallery: str | Gallery,
        identity: str,
        probe: Probe | ArrayLike,
        *,
        scope: Scope | None,
        threshold: float | None,
        margin: float | None,
    ) -> Decision:
        """See `sameface_qdrant.Store.verify`."""
        recognition.check_overrides(threshold, "verify_threshold", margin)

        given = probe if isinstance(probe, Probe) else _BareVector(probe)

        async def decide(tenant: Tenant) -> Decision:
            search, vector = self._search(tenant, given)
            return await recognition.verify(search, identity, vector, scope=scope, threshold=threshold, margin=margin)

        return await on_recent(self._galleries, gallery, decide, lambda decision: True)

    async def identify(
        self,
        gallery: str | Gallery,
        probe: Probe | ArrayLike,
        *,
        threshold: float | None,
        margin: float | None,
        limit: int,
    ) -> Decision:
        """See `sameface_qdrant.Store.identify`."""
        recognition.check_overrides(threshold, "identify_threshold", margin)
        recognition.check_limit(limit)

        given = probe if isinstance(probe, Probe) else _BareVector(probe)

        async def decide(tenant: Tenant) -> Decision:
            search, vector = self._search(tenant, given)
            return await recognition.identify(search, vector, threshold=threshold, margin=margin, limit=limit)

        return await on_recent(self._galleries, gallery, decide, lambda decision: bool(decision.candidates))

    async def search(
        self,
        gallery: str | Gallery,
        probe: Probe | ArrayLike,
        *,
        where: TemplateFilter,
        limit: int,
        min_score: float | None,
    ) -> tuple[FoundTemplate, ...]:
        """See `sameface_qdrant.Store.search`."""
        check_override(min_score, "min_score", -1.0, 1.0)
        recognition.check_limit(limit)

        given = probe if isinstance(probe, Probe) else _BareVector(probe)

        async def find(tenant: Tenant) -> tuple[FoundTemplate, ...]:
            search, vector = self._search(tenant, given)
            looked_at = confirmed(self._engine, search_filter(tenant.uid, where, time.time()))
            hits = await self._engine.nearest(tenant.collection, vector, looked_at, limit, min_score=min_score)
            names = await search.display_names([hit.payload["identity"] for hit in hits])
            return tuple(
                FoundTemplate(payloads.template_of(Point(hit.id, hit.payload), tenant.gallery.id), hit.score, name)
                for hit, name in zip(hits, names, strict=True)
            )

        return await on_recent(self._galleries, gallery, find, bool)

    def _search(self, tenant: Tenant, given: "Probe | _BareVector") -> tuple[StoredGallerySearch, Vector]:
        probe = given if isinstance(given, Probe) else given.probe(tenant.gallery)
        (vector,) = units_under(tenant.gallery.contract, [probe])
        return StoredGallerySearch(self._engine, self._identities, self._galleries, tenant), vector


class _BareVector:
    """A probe that a caller gave without its contract: it is one under the contract that the gallery had at first."""

    def __init__(self, vector: ArrayLike) -> None:
        self._vector = vector
        self._probe: Probe | None = None

    def probe(self, gallery: Gallery) -> Probe:
        """Return the probe, or raise ContractMismatch if the vector may be one under another contract."""
        if self._probe is None:
            if gallery.migration is not None:
                raise ContractMismatch(
                    f"the gallery {gallery.id!r} is being migrated, and the vector has no contract; give a Probe with "
                    f"the contract that it was made under, for a decision one of {gallery.contract.key}",
                    metadata={"expected": gallery.contract.key},
                )
            self._probe = Probe(self._vector, gallery.contract)
        return self._probe
