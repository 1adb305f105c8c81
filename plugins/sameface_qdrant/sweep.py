"""The sweep: what has expired is ignored by every comparison at once, and erased by this later."""

import time

from sameface_qdrant import records
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import SamefaceError
from sameface_qdrant.galleries import Galleries
from sameface_qdrant.identities import Identities
from sameface_qdrant.records import META
from sameface_qdrant.templates import Templates
from sameface_qdrant.values import ErasureReceipt

_PAGE = 200


async def sweep(
    engine: Engine, galleries: Galleries, identities: Identities, templates: Templates
) -> list[ErasureReceipt]:
    """Erase identities and templates whose expiry is past; returns the receipts.

    What another service erases or prolongs meanwhile is left alone.
    """
    receipts: list[ErasureReceipt] = []
    start: str | None = None
    while True:
        points, start = await engine.scroll(META, Where({"kind": records.GALLERY}), _PAGE, start)
        for point in points:
            receipts += await _sweep_gallery(engine, galleries, identities, templates, str(point.payload["id"]))
        if start is None:
            return receipts


async def _sweep_gallery(
    engine: Engine, galleries: Galleries, identities: Identities, templates: Templates, gallery: str
) -> list[ErasureReceipt]:
    receipts: list[ErasureReceipt] = []
    try:
        tenant = await galleries.tenant(gallery)
        for point in await _expired(engine, tenant.collection, tenant.uid, records.IDENTITY):
            identity = str(point.payload["identity"])
            present = await identities.get(gallery, identity)
            if present.expire_time is not None and present.expire_time.timestamp() <= time.time():
                # The etag refuses where it was prolonged in between.
                receipts.append(await identities.delete(gallery, identity, force=True, etag=present.etag))
        for point in await _expired(engine, tenant.collection, tenant.uid, records.TEMPLATE):
            receipts.append(await templates.delete(gallery, str(point.payload["identity"]), point.id))
    except SamefaceError:
        # Gone or changed meanwhile, or the store does not answer: the next sweep finds what is left.
        return receipts
    return receipts


async def _expired(engine: Engine, collection: str, uid: str, kind: str) -> list[Point]:
    where = Where({"gallery": uid, "kind": kind}, expired_at=time.time())
    points, _ = await engine.scroll(collection, where, _PAGE)
    return points
