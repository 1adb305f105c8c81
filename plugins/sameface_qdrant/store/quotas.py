"""Holds the galleries of each tenant to its quotas.

What they hold is counted, and remembered for a short time together with what was added since. Before something is
refused it is counted again. One service never exceeds a quota, but may refuse what would just fit while it writes for
another gallery of the tenant. Several services may exceed it together, by what they write within `COUNTED_FOR_S`.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sameface_qdrant.concurrency import together
from sameface_qdrant.engines.base import Engine, Where
from sameface_qdrant.errors import QuotaExceeded
from sameface_qdrant.store import payloads
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.tenant import Tenant
from sameface_qdrant.values.quota import Holding, Quota, template_bytes

COUNTED_FOR_S = 10.0


class Quotas:
    """Reached as ``store.galleries.quotas``. An engine counts for it; there may be no quota at all."""

    def __init__(self, engine: Engine, quotas: Sequence[Quota] = ()) -> None:
        self._engine = engine
        self._quotas = tuple(quotas)
        self._counted: dict[Quota, tuple[Holding, float]] = {}
        """What was counted, with what was written since; and when, in monotonic seconds."""
        self._admitted: dict[Quota, Holding] = {}
        """What is being written."""
        self._ended: dict[Quota, Holding] = {}
        """Everything that was written since the beginning."""

    def cover(self, gallery: str) -> bool:
        """Return whether a quota is for this gallery."""
        return any(quota.covers(gallery) for quota in self._quotas)

    @asynccontextmanager
    async def admission(self) -> AsyncIterator["Admission"]:
        """Admit what is written inside. It counts from its admission on."""
        admission = Admission(self)
        try:
            yield admission
        finally:
            for quota, more in admission.admitted:
                self._admitted[quota] -= more
                self._ended[quota] = self._ended.get(quota, Holding()) + more
                if quota in self._counted:
                    holding, at = self._counted[quota]
                    # Also if it was not written: before anything is refused, it is counted again.
                    self._counted[quota] = holding + more, at

    async def check(self, gallery: str, more: Holding) -> list[Quota]:
        """Return the quotas that are for a gallery, which need not exist yet.

        Raises:
            QuotaExceeded: one of them does not allow ``more``.
        """
        ours = [quota for quota in self._quotas if quota.covers(gallery)]
        counted = set()
        while True:
            # No await after this, so that of two calls at once the second finds what the first one was admitted.
            old = [one for one in ours if one not in counted and (self._is_old(one) or self._exceeded(one, more))]
            if not old:
                break
            await self._count(old[0])
            counted.add(old[0])
        for quota in ours:
            if exceeded := self._exceeded(quota, more):
                limit, used = getattr(quota, exceeded), getattr(self._present(quota), exceeded)
                raise QuotaExceeded(
                    f"the quota of {quota.gallery} is {limit} {exceeded}, and {used} are used; delete some, or ask the "
                    "operator for a larger quota",
                    metadata={"quota": quota.gallery, "what": exceeded, "limit": limit},
                )
        return ours

    def admit(self, quota: Quota, more: Holding) -> None:
        """Count what is going to be written."""
        self._admitted[quota] = self._admitted.get(quota, Holding()) + more

    def _is_old(self, quota: Quota) -> bool:
        return quota not in self._counted or time.monotonic() - self._counted[quota][1] > COUNTED_FOR_S

    def _present(self, quota: Quota) -> Holding:
        return self._counted[quota][0] + self._admitted.get(quota, Holding())

    def _exceeded(self, quota: Quota, more: Holding) -> str:
        return self._present(quota).exceeded(quota, more)

    async def _count(self, quota: Quota) -> None:
        began, ended = time.monotonic(), self._ended.get(quota, Holding())
        holding, start = Holding(), None
        while True:
            points, start = await self._engine.scroll(META, Where({"kind": payloads.GALLERY}), 1000, start)
            galleries = [one for point in points if quota.covers((one := payloads.gallery_of(point.payload)).id)]
            tenants = [Tenant(gallery.uid, gallery) for gallery in galleries]
            for held in await together(self._engine, *(self._held(tenant, quota) for tenant in tenants)):
                holding += held
            if start is None:
                break
        # What was written meanwhile may be in the count or not.
        self._counted[quota] = holding + (self._ended.get(quota, Holding()) - ended), began

    async def _held(self, tenant: Tenant, quota: Quota) -> Holding:
        """Return what a gallery holds, of what the quota limits."""
        contract = tenant.gallery.contract
        await self._engine.ensure(tenant.collection, contract.dimension)
        identities = templates = 0
        if quota.identities is not None:
            identities = await self._engine.count(tenant.collection, gallery_filter(tenant.uid, payloads.IDENTITY))
        if quota.bytes is not None:
            templates = await self._engine.count(tenant.collection, gallery_filter(tenant.uid, payloads.TEMPLATE))
        return Holding(1, identities, templates * template_bytes(contract.dimension))


class Admission:
    """What one call is going to write."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self.admitted: list[tuple[Quota, Holding]] = []

    async def gallery(self, gallery: str) -> None:
        """Admit a new gallery, or raise QuotaExceeded."""
        await self._admit(gallery, Holding(galleries=1))

    async def enrolment(self, tenant: Tenant, identities: int, templates: int) -> None:
        """Admit so many more identities and templates of a gallery, or raise QuotaExceeded."""
        added = templates * template_bytes(tenant.gallery.contract.dimension)
        await self._admit(tenant.gallery.id, Holding(identities=identities, bytes=added))

    async def _admit(self, gallery: str, more: Holding) -> None:
        for quota in await self._quotas.check(gallery, more):
            self._quotas.admit(quota, more)
            self.admitted.append((quota, more))
