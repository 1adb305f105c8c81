"""Counts what is in the store, in the background: galleries, identities, templates, migrations, pending erasures."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sameface.metrics.migrations import Migrating, count_migrations
from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import GalleryNotFound
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.payloads import IDENTITY, META, RECEIPT, TEMPLATE
from sameface_qdrant.store.receipts import receipt_of
from sameface_qdrant.store.store import Store
from sameface_qdrant.values.erasure import ErasureState
from sameface_qdrant.values.gallery import Gallery

log = logging.getLogger(__name__)

PAGE = 1000
OLDEST_OF = 256
"""The oldest pending erasure is looked for among so many. There are seldom more than a few."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in the store."""

    galleries: int
    identities: int
    templates: int
    pending: int
    """Erasures that are pending."""
    oldest_pending: float | None
    """When the oldest of them was asked for, in seconds of the epoch; None without."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Identities of the galleries that were asked for."""
    time: float = 0.0
    """When this was counted, in seconds of the epoch."""
    migrating: Migrating = field(default_factory=Migrating)


async def count_contents(store: Store, galleries: Sequence[str] = ()) -> Contents:
    """Count what is in the store, and the identities of ``galleries`` one by one. One that does not exist has none.

    Raises:
        SamefaceError: the store does not answer.
    """
    engine, collections, found, token = store.engine, set[str](), 0, ""
    migrating = list[Gallery]()
    while True:
        page = await store.galleries.list(page_size=PAGE, page_token=token)
        found += len(page.items)
        collections |= {gallery.contract.key for gallery in page.items}
        migrating += [gallery for gallery in page.items if gallery.migration is not None]
        if not (token := page.next_token):
            break
    counts = dict.fromkeys((IDENTITY, TEMPLATE), 0)
    for collection in sorted(collections):
        for kind in counts:
            counts[kind] += await engine.count(collection, Where({"kind": kind}))
    for gallery in migrating:
        # It is stored under two contracts. The one that it does not decide under holds copies.
        link = gallery.migration
        assert link is not None
        copies = (link.old if link.promoted else link.new).key
        if copies in collections:
            for kind in counts:
                counts[kind] -= await engine.count(copies, gallery_filter(gallery.uid, kind))
    pending = Where({"kind": RECEIPT, "state": ErasureState.PENDING.value})
    points, _ = await engine.scroll(META, pending, OLDEST_OF)
    asked = [receipt_of(point.payload).erase_time.timestamp() for point in points]
    return Contents(
        found,
        counts[IDENTITY],
        counts[TEMPLATE],
        await engine.count(META, pending),
        min(asked, default=None),
        {gallery: await _size(store, gallery) for gallery in galleries},
        time.time(),
        await count_migrations(store),
    )


async def _size(store: Store, gallery: str) -> int:
    try:
        tenant = await store.galleries.tenant(gallery)
    except GalleryNotFound:
        return 0
    return await store.engine.count(tenant.collection, gallery_filter(tenant.uid, IDENTITY))


class Counting:
    """Counts again and again."""

    def __init__(self, store: Store, galleries: Sequence[str], every_s: float) -> None:
        self._store, self._galleries, self._every_s = store, galleries, every_s
        self.contents: Contents | None = None
        """The last count; None before the first one."""

    async def run(self) -> None:
        """Count for ever. A count that fails is left out; its time shows that."""
        told = False
        while True:
            try:
                self.contents = await count_contents(self._store, self._galleries)
                told = False
            except Exception as error:
                if not told:
                    log.warning("what is in the store could not be counted for metrics: %s", error)
                told = True
            await asyncio.sleep(self._every_s)
