"""Templates: get, list, change, erase. They enter by `sameface_qdrant.store.enrolment`."""

import time
import uuid
from datetime import UTC, datetime

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, TemplateNotFound
from sameface_qdrant.store import payloads
from sameface_qdrant.store.galleries import LOST_RACES, Galleries, Tenant
from sameface_qdrant.store.identities import Identities
from sameface_qdrant.store.write_lock import Writes, uncut
from sameface_qdrant.values.erasure import ErasedResource, ErasureReceipt
from sameface_qdrant.values.paging import Page, check_page
from sameface_qdrant.values.template import Template


class Templates:
    """Reached as ``store.templates``."""

    def __init__(self, engine: Engine, galleries: Galleries, identities: Identities, writes: Writes) -> None:
        self._engine = engine
        self._galleries = galleries
        self._identities = identities
        self._writes = writes

    async def get(self, gallery: str, identity: str, template: str, *, with_vector: bool = False) -> Template:
        """Return a template, or raise GalleryNotFound, IdentityNotFound or TemplateNotFound."""
        tenant = await self._galleries.tenant(gallery)
        await self._identities.record(tenant, identity)
        point = await self._record(tenant, identity, template, with_vector=with_vector)
        return payloads.template_of(point, gallery)

    async def list(self, gallery: str, identity: str, *, page_size: int = 100, page_token: str = "") -> Page[Template]:
        """Return one page of an identity's templates, in a stable order."""
        start = check_page(page_size, page_token)
        tenant = await self._galleries.tenant(gallery)
        await self._identities.record(tenant, identity)
        where = payloads.of_identity(tenant.uid, identity, payloads.TEMPLATE)
        points, following = await self._engine.scroll(tenant.collection, where, page_size, start)
        return Page(tuple(payloads.template_of(point, gallery) for point in points), following or "")

    @uncut
    async def update(self, gallery: str, identity: str, template: str, *, expire_time: datetime | None) -> Template:
        """Change when a template expires; None is never (its identity's expiry holds all the same).

        Raises:
            GalleryNotFound, IdentityNotFound, TemplateNotFound: there is no such thing.
            InvalidArgument: the time is past or in no time zone.
            TemplateLimitReached: it had expired, and the identity would have more in force than the policy allows.
            ConcurrentUpdate: other services were faster again and again.
        """
        payloads.check_to_come(expire_time, datetime.now(UTC))
        for _ in range(LOST_RACES):
            async with self._writes.turn:
                tenant = await self._galleries.tenant(gallery)
                record = await self._identities.record(tenant, identity)
                point = await self._record(tenant, identity, template)
                own = payloads.seconds(expire_time)
                effective = payloads.earlier(own, record.payload.get("expires"))
                await self._identities.check_revived(tenant, identity, [(point, effective)])
                # The record first: who changes the identity's own expiry at this moment finds it changed.
                if not await self._identities.touch(tenant, record):
                    continue
                this = Where({"gallery": tenant.uid, "identity": identity}, ids=(point.id,))
                changed = {"own_expires": own, "expires": effective}
                await self._engine.set_payload(tenant.collection, this, changed)
                written = await self._record(tenant, identity, template)
            await self._engine.commit(tenant.collection)
            return payloads.template_of(written, gallery)
        raise ConcurrentUpdate(
            f"the identity {identity!r} was changed by another service again and again; repeat the call",
            metadata={"gallery": gallery, "identity": identity},
        )

    @uncut
    async def delete(self, gallery: str, identity: str, template: str) -> ErasureReceipt:
        """Erase one template, or raise GalleryNotFound, IdentityNotFound or TemplateNotFound."""
        tenant = await self._galleries.tenant(gallery)
        await self._identities.record(tenant, identity)
        point = await self._record(tenant, identity, template)
        erasures = self._galleries.erasures
        seen = await erasures.look(tenant.collection, tenant.gallery.contract.dimension, [point.id])
        async with self._writes.turn:
            tenant = await self._galleries.tenant(gallery)
            record = await self._identities.record(tenant, identity)
            point = await self._record(tenant, identity, template)
            receipt = await erasures.begin(
                seen, ErasedResource.TEMPLATE, gallery, identity=identity, template=point.id, templates=1
            )
            await self._engine.delete(tenant.collection, [point.id])
            changed = payloads.next_revision(record.payload, uuid.uuid4().hex, time.time())
            unchanged = Where({"revision": record.payload["revision"]})
            await self._engine.upsert(tenant.collection, [Point(record.id, changed)], only_if=unchanged)
            receipt = await erasures.check(receipt, seen)
        await self._engine.commit(tenant.collection, erase=True)
        return await erasures.settle(receipt, seen)

    @uncut
    async def delete_expired(self, gallery: str) -> ErasureReceipt | None:
        """Erase the templates of a gallery that have expired, with one receipt; None where there are none."""
        tenant = await self._galleries.tenant(gallery)
        now = time.time()
        expired = Where({"gallery": tenant.uid, "kind": payloads.TEMPLATE}, expired_at=now)
        if not await self._engine.count(tenant.collection, expired):
            return None
        erasures = self._galleries.erasures
        seen = await erasures.look(tenant.collection, tenant.gallery.contract.dimension, expired)
        async with self._writes.turn:
            tenant = await self._galleries.tenant(gallery)
            # Again, and by the filter: what was prolonged meanwhile stays.
            count = await self._engine.count(tenant.collection, expired)
            if not count:
                return None
            receipt = await erasures.begin(seen, ErasedResource.TEMPLATE, gallery, templates=count)
            await self._engine.delete(tenant.collection, expired)
            receipt = await erasures.check(receipt, seen)
        await self._engine.commit(tenant.collection, erase=True)
        return await erasures.settle(receipt, seen)

    async def _record(self, tenant: Tenant, identity: str, template: str, *, with_vector: bool = False) -> Point:
        try:
            key = str(uuid.UUID(template))
        except ValueError:
            key = ""
        found = await self._engine.get(tenant.collection, [key] if key else [], with_vector=with_vector)
        point = found.get(key)
        owner = (payloads.TEMPLATE, tenant.uid, identity)
        if point is None or tuple(point.payload[name] for name in ("kind", "gallery", "identity")) != owner:
            raise TemplateNotFound(
                f"the identity {identity!r} of {tenant.gallery.id!r} has no template {template[:64]!r}",
                metadata={"gallery": tenant.gallery.id, "identity": identity, "template": template[:64]},
            )
        return point
