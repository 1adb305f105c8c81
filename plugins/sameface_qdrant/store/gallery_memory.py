"""Remembers galleries and their sizes for decisions, so that these need not read them every time.

- A gallery's record, with its policy: where only this process writes, never old. Else at most as old as the bound of
  `GalleryMemory`. A change or deletion through this store counts from its acknowledgement on.
- The size of a gallery of fewer than `LARGE` identities: never old. It is counted for each decision.
- A larger size: counted at most one second ago for every `IDENTITIES_PER_S` identities, and at most the bound of
  `GallerySizes` ago.

Writes read the record, see `Galleries.tenant`. Of this they use the size alone, for the guard against collisions.

If other services add r identities a second, the true size is at most 1 + r / `IDENTITIES_PER_S` times the one that was
used. The false positive identification rate of a threshold from the model card grows by no more than that factor:
at 100 a second by 5 %. Thresholds of the policy and of the request do not depend on the size. What this process adds is
added to the size at once; what it removes counts at the next count, so that the threshold is too strict meanwhile.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sameface_qdrant.engines.base import Engine, Point
from sameface_qdrant.store import payloads
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.tenant import Tenant

GALLERY_MAX_AGE_S, SIZE_MAX_AGE_S = 5.0, 60.0
"""The bounds that `sameface_qdrant.Store.over` takes if none are given."""
LARGE = 1000
"""From this many identities on a size is remembered."""
IDENTITIES_PER_S = 2000
"""A size is used again for one second per so many identities. So counting costs a server the same small part of its
time whatever the size, as the time of a count grows with the size."""
MOST_REMEMBERED = 4096


class GalleryMemory:
    """Keeps the records of galleries by id, each at most ``max_age_s`` seconds old."""

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._tenants: dict[str, tuple[Tenant, float]] = {}
        self._changes = 0

    @property
    def max_age_s(self) -> float:
        """How old a record may be."""
        return self._max_age_s

    @property
    def moment(self) -> tuple[int, float]:
        """When a read begins, for `keep`."""
        return self._changes, time.monotonic()

    def keep(self, tenant: Tenant, moment: tuple[int, float]) -> None:
        """Remember a record whose read began at ``moment``, unless any gallery was changed since: it may be older."""
        changes, began = moment
        if changes == self._changes:
            _limit(self._tenants)
            self._tenants[tenant.gallery.id] = tenant, began

    def find(self, gallery: str) -> Tenant | None:
        """Return a gallery as it was read at most ``max_age_s`` ago."""
        tenant, began = self._tenants.get(gallery, (None, 0.0))
        return tenant if time.monotonic() - began < self._max_age_s else None

    def drop(self, gallery: str) -> None:
        """Drop a record that is no longer stored."""
        self._tenants.pop(gallery, None)

    def forget(self, gallery: str) -> None:
        """Drop a record that this process has changed, and keep nothing of reads that run now."""
        self._changes += 1
        self.drop(gallery)


@dataclass(slots=True)
class _Size:
    identities: int
    began: float
    """When the count began, by the monotonic clock."""


class GallerySizes:
    """Counts the identities of galleries, and uses a large count again for at most ``max_age_s`` seconds.

    A count in use is renewed in the background once half of its time is over. So under steady load no decision waits
    for a count.
    """

    def __init__(self, engine: Engine, max_age_s: float) -> None:
        self._engine = engine
        self._max_age_s = max_age_s
        self._sizes: dict[str, _Size] = {}
        self._counting: dict[str, asyncio.Task[int]] = {}

    async def of(self, tenant: Tenant) -> int:
        """Return how many identities a gallery has; see the module for how old that may be."""
        known = self._sizes.get(tenant.uid)
        if known is None:
            return await self._count(tenant)
        age, most = time.monotonic() - known.began, self._max_age(known.identities)
        if age >= most:
            counted = await asyncio.shield(self._renew(tenant))
            # A small size must be that of this moment, and this count may have begun before the call.
            return counted if counted >= LARGE else await self._count(tenant)
        if age >= most / 2:
            self._renew(tenant)
        return known.identities

    def forget(self, uid: str) -> bool:
        """Count a gallery's size again for the next decision. Return whether it was remembered."""
        return self._sizes.pop(uid, None) is not None

    def watching(self, engine: Engine) -> Engine:
        """Return the engine, such that the identities that are inserted through it are added to remembered sizes."""
        return engine if engine.exclusive else cast(Engine, _WatchedEngine(engine, self))

    def add(self, points: Sequence[Point]) -> None:
        """Add the identities among new points to the remembered sizes."""
        for point in points:
            size = self._sizes.get(point.payload.get("gallery", ""))
            if size is not None and point.payload["kind"] == payloads.IDENTITY:
                size.identities += 1

    async def aclose(self) -> None:
        """Stop counting."""
        counts = list(self._counting.values())
        for count in counts:
            count.cancel()
        await asyncio.gather(*counts, return_exceptions=True)

    def _max_age(self, identities: int) -> float:
        return min(self._max_age_s, identities / IDENTITIES_PER_S)

    async def _count(self, tenant: Tenant) -> int:
        began, known = time.monotonic(), self._sizes.get(tenant.uid)
        at_first = 0 if known is None else known.identities
        identities = await self._engine.count(tenant.collection, gallery_filter(tenant.uid, payloads.IDENTITY))
        self._sizes.pop(tenant.uid, None)
        if known is not None:
            # Added meanwhile, and perhaps not counted. The next count corrects what was counted twice.
            identities += known.identities - at_first
        if identities >= LARGE and not self._engine.exclusive and self._max_age_s:
            _limit(self._sizes)
            self._sizes[tenant.uid] = _Size(identities, began)
        return identities

    def _renew(self, tenant: Tenant) -> asyncio.Task[int]:
        running = self._counting.get(tenant.uid)
        if running is None:
            running = self._counting[tenant.uid] = asyncio.create_task(self._count(tenant))
            running.add_done_callback(lambda count: self._counted(tenant.uid, count))
        return running

    def _counted(self, uid: str, count: asyncio.Task[int]) -> None:
        del self._counting[uid]
        if not count.cancelled():
            count.exception()  # asyncio logs an exception that nobody retrieves


class LargeSearches:
    """Galleries in which some identity had more templates than a first search usually returns, by key."""

    def __init__(self) -> None:
        self._uids: dict[str, None] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._uids

    def add(self, uid: str) -> None:
        """Remember a gallery."""
        _limit(self._uids)
        self._uids[uid] = None


class _WatchedEngine:
    """Everything but `upsert` is the engine's own."""

    def __init__(self, engine: Engine, sizes: GallerySizes) -> None:
        self._engine = engine
        self._sizes = sizes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def upsert(self, collection: str, points: Sequence[Point], **options: Any) -> None:
        """See `Engine.upsert`."""
        try:
            await self._engine.upsert(collection, points, **options)
        finally:
            # Also after a lost answer, and for what existed already: the next count corrects a size that is too large.
            if options.get("insert_only"):
                self._sizes.add(points)


def _limit(remembered: dict[str, Any]) -> None:
    """Drop the entry that was added first, if there are very many."""
    if len(remembered) >= MOST_REMEMBERED:
        del remembered[next(iter(remembered))]
