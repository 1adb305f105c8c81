"""The sweep erases expired identities and templates. Comparisons ignore them from the moment when they expire.

Where several services write, it also finishes what a service left undone that crashed: deletions, and templates that
were never confirmed.
"""

import dataclasses
import logging
import time

from sameface_qdrant.engines.base import Engine, Where
from sameface_qdrant.errors import GalleryNotFound, SamefaceError
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import CLOSED, PENDING, STATE, is_left_over
from sameface_qdrant.store.galleries import Galleries
from sameface_qdrant.store.identities import Identities
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.templates import Templates
from sameface_qdrant.values.erasure import ErasureReceipt

log = logging.getLogger(__name__)

_PAGE = 200


async def sweep(
    engine: Engine, galleries: Galleries, identities: Identities, templates: Templates
) -> list[ErasureReceipt]:
    """Erase expired identities and templates, and return the receipts.

    It skips those that another service erases meanwhile or gives a later expiry. The next sweep repeats what failed.
    """
    receipts: list[ErasureReceipt] = []
    start: str | None = None
    while True:
        points, start = await engine.scroll(META, Where({"kind": payloads.GALLERY}), _PAGE, start)
        for point in points:
            gallery = str(point.payload["id"])
            for identity in await _expired_identities(engine, galleries, gallery):
                receipts += await _erase_identity(identities, gallery, identity)
            receipts += await _erase_templates(templates, gallery)
            if not engine.exclusive:
                receipts += await _finish(engine, galleries, identities, gallery)
        if start is None:
            return receipts


async def _expired_identities(engine: Engine, galleries: Galleries, gallery: str) -> list[str]:
    try:
        tenant = await galleries.tenant(gallery)
        where = Where({"gallery": tenant.uid, "kind": payloads.IDENTITY}, expired_at=time.time())
        points, _ = await engine.scroll(tenant.collection, where, _PAGE)
    except GalleryNotFound:
        return []  # deleted meanwhile
    except SamefaceError as error:
        log.info("a gallery was left for the next sweep: %s", error.reason)
        return []
    return [str(point.payload["identity"]) for point in points]


async def _erase_identity(identities: Identities, gallery: str, identity: str) -> list[ErasureReceipt]:
    try:
        present = await identities.get(gallery, identity)
        if present.expire_time is None or present.expire_time.timestamp() > time.time():
            return []
        # With this etag the deletion fails if the expiry is changed in between.
        return [await identities.delete(gallery, identity, force=True, etag=present.etag)]
    except SamefaceError as error:
        log.info("an expired identity was left for the next sweep: %s", error.reason)
        return []


async def _erase_templates(templates: Templates, gallery: str) -> list[ErasureReceipt]:
    try:
        receipt = await templates.delete_expired(gallery)
    except SamefaceError as error:
        log.info("expired templates were left for the next sweep: %s", error.reason)
        return []
    return [] if receipt is None else [receipt]


async def _finish(engine: Engine, galleries: Galleries, identities: Identities, gallery: str) -> list[ErasureReceipt]:
    """Finish the deletions that a crash interrupted, and remove templates that nobody will confirm any more."""
    receipts = []
    try:
        tenant = await galleries.tenant(gallery)
        closed, _ = await engine.scroll(tenant.collection, Where({"gallery": tenant.uid, STATE: CLOSED}), _PAGE)
        for record in filter(is_left_over, closed):
            receipts.append(await identities.delete(gallery, record.payload["identity"], force=True))
        pending = Where({"gallery": tenant.uid, STATE: PENDING})
        found, _ = await engine.scroll(tenant.collection, pending, _PAGE)
        if ids := tuple(point.id for point in filter(is_left_over, found)):
            await engine.delete(tenant.collection, dataclasses.replace(pending, ids=ids))
    except SamefaceError as error:
        log.info("what a crash left in a gallery stays for the next sweep: %s", error.reason)
    return receipts
