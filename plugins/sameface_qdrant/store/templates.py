"""Templates: get, list, change, erase. `sameface_qdrant.store.enrolment` adds them."""

import uuid
from datetime import UTC, datetime

from sameface_qdrant.concurrency import together
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, TemplateNotFound
from sameface_qdrant.store import payloads
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.conditional_write import ATTEMPTS, confirmed, is_pending, overtaken, repeated
from sameface_qdrant.store.erasure import Removal
from sameface_qdrant.store.filters import identity_filter
from sameface_qdrant.store.galleries import Galleries, Tenant
from sameface_qdrant.store.identities import Identities
from sameface_qdrant.store.move import finish_arrival
from sameface_qdrant.store.write_lock import WriteLock, runs_to_completion
from sameface_qdrant.values.argument_types import checks_arguments
from sameface_qdrant.values.erasure import ErasedResource, ErasureReceipt
from sameface_qdrant.values.paging import Page, check_page, continued
from sameface_qdrant.values.schema import check_writable, schema_of
from sameface_qdrant.values.template import Template


@checks_arguments
class Templates:
    """Reached as ``store.templates``."""

    def __init__(self, engine: Engine, galleries: Galleries, identities: Identities, write_lock: WriteLock) -> None:
        self._engine = engine
        self._galleries = galleries
        self._identities = identities
        self._write_lock = write_lock

    async def get(self, gallery: str, identity: str, template: str, *, with_vector: bool = False) -> Template:
        """Return a template, or raise GalleryNotFound, IdentityNotFound or TemplateNotFound."""
        tenant = await self._galleries.tenant(gallery)
        _, point = await together(
            self._engine,
            self._identities.record(tenant, identity),
            self._record(tenant, identity, template, with_vector=with_vector),
        )
        return payloads.template_of(point, gallery)

    @continued
    async def list(self, gallery: str, identity: str, *, page_size: int = 100, page_token: str = "") -> Page[Template]:
        """Return one page of an identity's templates, in a stable order."""
        start = check_page(page_size, page_token)
        tenant = await self._galleries.tenant(gallery)
        where = confirmed(self._engine, identity_filter(tenant.uid, identity, payloads.TEMPLATE))
        _, (points, following) = await together(
            self._engine,
            self._identities.record(tenant, identity),
            self._engine.scroll(tenant.collection, where, page_size, start),
        )
        return Page(tuple(payloads.template_of(point, gallery) for point in points), following or "")

    @runs_to_completion
    async def update(self, gallery: str, identity: str, template: str, *, expire_time: datetime | None) -> Template:
        """Change when a template expires; None means never. The expiry of its identity still applies.

        Raises:
            GalleryNotFound, IdentityNotFound, TemplateNotFound: one of them does not exist.
            InvalidArgument: the time is in the past or has no time zone.
            TemplateLimitReached: it had expired, and the identity would have more in force than the policy allows.
            ConcurrentUpdate: other services were faster at every attempt.
        """
        payloads.check_future(expire_time, datetime.now(UTC))
        for _ in range(ATTEMPTS):
            async with self._write_lock.of(gallery, identity):
                tenant = await self._galleries.tenant(gallery)
                record = await self._identities.record(tenant, identity)
                point = await self._record(tenant, identity, template)
                own = payloads.seconds(expire_time)
                effective = payloads.earliest(own, record.payload.get("expires"))
                await self._identities.check_renewal(tenant, identity, [(point, effective)])
                # The record first, so that a service that changes the identity's expiry now finds it changed.
                if not await self._identities.touch(tenant, record):
                    continue
                this = Where({"gallery": tenant.uid, "identity": identity}, ids=(point.id,))
                changed = {"own_expires": own, "expires": effective}
                await self._engine.set_payload(tenant.collection, this, changed)
                written = await self._record(tenant, identity, template)
            await self._engine.commit(tenant.collection)
            return payloads.template_of(written, gallery)
        raise ConcurrentUpdate(
            f"other services changed the identity {identity!r} at every attempt; repeat the call",
            metadata={"gallery": gallery, "identity": identity},
        )

    @runs_to_completion
    async def delete(self, gallery: str, identity: str, template: str) -> ErasureReceipt:
        """Erase one template, or raise GalleryNotFound, IdentityNotFound or TemplateNotFound.

        Raises also:
            ConcurrentUpdate: other services were faster at every attempt.
        """
        return await repeated(lambda: self._delete(gallery, identity, template))

    async def _delete(self, gallery: str, identity: str, template: str) -> ErasureReceipt:
        owner: tuple[Tenant, Point] | None = None

        async def find() -> Removal:
            nonlocal owner
            tenant = await self._galleries.tenant(gallery)
            record, point = await together(
                self._engine,
                self._identities.record(tenant, identity),
                self._record(tenant, identity, template),
            )
            check_writable(schema_of(record.payload), f"the identity {identity!r}")
            owner = tenant, record
            return Removal(
                tenant.collection,
                tenant.gallery.contract.dimension,
                [point.id],
                ErasedResource.TEMPLATE,
                gallery,
                templates=1,
                identity=identity,
                template=point.id,
            )

        async def touch_identity(removal: Removal) -> None:
            # A service that read the identity before finds it changed.
            assert owner is not None
            arriving = await finish_arrival(self._engine, *owner)
            if arriving or owner[1].payload["moving_to"] or await self._identities.touch(*owner) is None:
                raise overtaken(gallery, identity)

        async def check_identity(removal: Removal) -> None:
            # A move that has begun meanwhile, or has ended, may have copied the template.
            assert owner is not None
            record = await self._identities.find(owner[0], identity)
            if record is None or record.payload["moving_to"]:
                raise overtaken(gallery, identity)

        receipt = await self._galleries.erasures.erase(find, before=touch_identity, afterwards=check_identity)
        assert receipt is not None
        return receipt

    @runs_to_completion
    async def delete_expired(self, gallery: str) -> ErasureReceipt | None:
        """Erase the expired templates of a gallery, and return one receipt; None if there are none."""
        now = time_now()

        async def find() -> Removal | None:
            # Filter both times, so that a template with a later expiry meanwhile stays.
            tenant = await self._galleries.tenant(gallery)
            expired = Where({"gallery": tenant.uid, "kind": payloads.TEMPLATE}, expired_at=now)
            count = await self._engine.count(tenant.collection, expired)
            dimension = tenant.gallery.contract.dimension
            removal = Removal(tenant.collection, dimension, expired, ErasedResource.TEMPLATE, gallery, templates=count)
            return removal if count else None

        return await self._galleries.erasures.erase(find)

    async def _record(self, tenant: Tenant, identity: str, template: str, *, with_vector: bool = False) -> Point:
        try:
            key = str(uuid.UUID(template))
        except ValueError:
            key = ""
        found = await self._engine.get(tenant.collection, [key] if key else [], with_vector=with_vector)
        point = found.get(key)
        owner = (payloads.TEMPLATE, tenant.uid, identity)
        if (
            point is None
            or is_pending(point)
            or tuple(point.payload[name] for name in ("kind", "gallery", "identity")) != owner
        ):
            raise TemplateNotFound(
                f"the identity {identity!r} of {tenant.gallery.id!r} has no template {template[:64]!r}; list its "
                "templates to find the id",
                metadata={"gallery": tenant.gallery.id, "identity": identity, "template": template[:64]},
            )
        return point
