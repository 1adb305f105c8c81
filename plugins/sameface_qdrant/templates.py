"""Templates: enrol, get, list, erase.

Concurrent writers. Every write to an identity also writes the identity's record with the next revision, in the same
batch. Within a process writes take turns; Qdrant Edge admits one process. On a server the record is written on the
condition that its revision is still the one that was read. The templates of the batch are new, so they are written
whatever becomes of the record; a writer that does not find its mark on the record afterwards takes its own templates
back and answers ConcurrentUpdate. Caps hold once every call has returned, and a repeat acknowledges only what stays.
"""

import hashlib
import hmac
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sameface_qdrant import records
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    InvalidArgument,
    RequestIdReused,
    TemplateLimitReached,
    TemplateNotFound,
)
from sameface_qdrant.galleries import Galleries, Tenant
from sameface_qdrant.identities import Identities
from sameface_qdrant.ids import check_id, check_labels, point_id
from sameface_qdrant.paging import check_page
from sameface_qdrant.values import NO_LABELS, ErasedResource, ErasureReceipt, NewTemplate, Page, Template
from sameface_qdrant.vectors import units_under
from sameface_qdrant.writes import Writes, uncut


class Templates:
    """Reached as ``store.templates``."""

    def __init__(
        self, engine: Engine, galleries: Galleries, identities: Identities, writes: Writes, secret: bytes
    ) -> None:
        self._engine = engine
        self._galleries = galleries
        self._identities = identities
        self._writes = writes
        self._secret = secret

    async def check(
        self,
        gallery: str,
        identity: str,
        templates: Sequence[NewTemplate],
        *,
        create_identity: bool,
        labels: Mapping[str, str] = NO_LABELS,
    ) -> None:
        """Raise what `enroll` would raise, and store nothing."""
        _check_new(identity, templates, labels)
        tenant = await self._galleries.tenant(gallery)
        units_under(tenant.gallery.contract, templates)
        record = await self._identities.find(tenant, identity)
        await self._check_room(tenant, identity, record, len(templates), create_identity)

    @uncut
    async def enroll(
        self,
        gallery: str,
        identity: str,
        templates: Sequence[NewTemplate],
        *,
        request_id: str,
        create_identity: bool,
        display_name: str,
        labels: Mapping[str, str],
    ) -> tuple[Template, ...]:
        """See `sameface_qdrant.Store.enroll`."""
        _check_new(identity, templates, labels)
        async with self._writes.turn:
            # Read under the lock: a gallery that is being erased must not receive templates afterwards.
            tenant = await self._galleries.tenant(gallery)
            vectors = units_under(tenant.gallery.contract, templates)
            digests = [
                self._digest(new.content or vector.tobytes()) for new, vector in zip(templates, vectors, strict=True)
            ]
            keys = [
                point_id(records.TEMPLATE, tenant.uid, identity, f"{request_id}/{number}" if request_id else digest)
                for number, digest in enumerate(digests)
            ]
            now = time.time()
            found = await self._engine.get(tenant.collection, keys)
            # An expired template does not stand in the way of its renewal.
            present = {key: point for key, point in found.items() if records.in_force(point.payload, now)}
            for key, digest in zip(keys, digests, strict=True):
                if key in present and present[key].payload["digest"] != digest:
                    raise RequestIdReused(
                        f"request_id {request_id} was used before for another photo or embedding",
                        metadata={"field": "request_id", "request_id": request_id},
                    )
            record = await self._identities.find(tenant, identity)
            await self._check_settled(tenant, identity, record, present.values(), now)
            mark = uuid.uuid4().hex
            worn = record.payload["labels"] if record else labels
            points = [
                records.template_point(
                    key,
                    tenant.uid,
                    identity,
                    vector,
                    contract_key=new.contract.key,
                    provenance=new.provenance,
                    labels=worn,
                    digest=digest,
                    mark=mark,
                    now=now,
                    expires=records.seconds(new.expire_time),
                )
                for key, vector, new, digest in zip(keys, vectors, templates, digests, strict=True)
                if key not in present
            ]
            if points:
                if expired := [key for key in found if key not in present]:
                    await self._engine.delete(tenant.collection, expired)
                await self._check_room(tenant, identity, record, len(points), create_identity)
                payload = (
                    records.next_revision(record.payload, mark, now)
                    if record
                    else records.identity_payload(
                        tenant.uid,
                        identity,
                        display_name=display_name,
                        labels=labels,
                        verify_threshold=None,
                        mark=mark,
                        now=now,
                        request_id=request_id,
                    )
                )
                await self._write_with_identity(tenant, identity, payload, mark, record, points)
                present = await self._engine.get(tenant.collection, keys)
        # Also for a repeat: what it found may not be durable yet.
        await self._engine.commit(tenant.collection)
        return tuple(records.template_of(present[key], gallery) for key in keys)

    async def get(self, gallery: str, identity: str, template: str, *, with_vector: bool = False) -> Template:
        """Return a template, or raise GalleryNotFound, IdentityNotFound or TemplateNotFound."""
        tenant = await self._galleries.tenant(gallery)
        await self._identities.record(tenant, identity)
        point = await self._record(tenant, identity, template, with_vector=with_vector)
        return records.template_of(point, gallery)

    async def list(self, gallery: str, identity: str, *, page_size: int = 100, page_token: str = "") -> Page[Template]:
        """Return one page of an identity's templates, in a stable order."""
        start = check_page(page_size, page_token)
        tenant = await self._galleries.tenant(gallery)
        await self._identities.record(tenant, identity)
        where = records.of_identity(tenant.uid, identity, records.TEMPLATE)
        points, following = await self._engine.scroll(tenant.collection, where, page_size, start)
        return Page(tuple(records.template_of(point, gallery) for point in points), following or "")

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
            changed = records.next_revision(record.payload, uuid.uuid4().hex, time.time())
            unchanged = Where({"revision": record.payload["revision"]})
            await self._engine.upsert(tenant.collection, [Point(record.id, changed)], only_if=unchanged)
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
        owner = (records.TEMPLATE, tenant.uid, identity)
        if point is None or tuple(point.payload[name] for name in ("kind", "gallery", "identity")) != owner:
            raise TemplateNotFound(
                f"the identity {identity!r} of {tenant.gallery.id!r} has no template {template[:64]!r}",
                metadata={"gallery": tenant.gallery.id, "identity": identity, "template": template[:64]},
            )
        return point

    async def _check_room(
        self, tenant: Tenant, identity: str, record: Point | None, more: int, create_identity: bool
    ) -> None:
        if record is None and not create_identity:
            await self._identities.record(tenant, identity)
        held = await self._identities.template_count(tenant, identity, valid_at=time.time()) if record else 0
        limit = tenant.gallery.policy.max_templates
        if held + more > limit:
            raise TemplateLimitReached(
                f"the identity {identity!r} has {held} templates and {more} more would exceed the limit of {limit}",
                metadata={"identity": identity, "templates": held, "limit": limit},
            )

    async def _write_with_identity(
        self,
        tenant: Tenant,
        identity: str,
        payload: dict[str, Any],
        mark: str,
        record: Point | None,
        points: Sequence[Point],
    ) -> None:
        """Write templates together with their identity's record, which tells concurrent writers apart."""
        key = records.identity_point_id(tenant.uid, identity)
        batch = [Point(key, payload), *points]
        if self._engine.exclusive:
            await self._engine.upsert(tenant.collection, batch)
            return
        unchanged = Where({"revision": record.payload["revision"]}) if record else None
        await self._engine.upsert(tenant.collection, batch, insert_only=record is None, only_if=unchanged)
        stored = (await self._engine.get(tenant.collection, [key])).get(key)
        won = stored is not None and mark in stored.payload["marks"]
        if not await self._galleries.still_there(tenant):
            await self._engine.delete(tenant.collection, Where({"gallery": tenant.uid}))
            raise _overtaken(tenant, identity)
        if not won:
            # Only what this call wrote: a service that handles the same request has written the same ids.
            await self._engine.delete(tenant.collection, Where({"gallery": tenant.uid, "mark": mark}))
            raise _overtaken(tenant, identity)

    async def _check_settled(
        self, tenant: Tenant, identity: str, record: Point | None, present: Iterable[Point], now: float
    ) -> None:
        """Refuse to acknowledge a template that another service may be about to take back."""
        if self._engine.exclusive:
            return
        if not all(records.settled(point.payload, record.payload if record else None, now) for point in present):
            raise _overtaken(tenant, identity)

    def _digest(self, content: bytes) -> str:
        return hmac.new(self._secret, content, hashlib.sha256).hexdigest()


def _check_new(identity: str, templates: Sequence[NewTemplate], labels: Mapping[str, str]) -> None:
    check_id(identity, "identity")
    check_labels(labels)
    now = datetime.now(UTC)
    for new in templates:
        if new.expire_time is None:
            continue
        if new.expire_time.tzinfo is None:
            raise InvalidArgument(
                f"expire_time is {new.expire_time}, in no time zone; give it one", metadata={"field": "expire_time"}
            )
        if new.expire_time <= now:
            raise InvalidArgument(
                f"expire_time is {new.expire_time:%Y-%m-%d %H:%M:%S%z}, which is past; expected a time to come",
                metadata={"field": "expire_time"},
            )


def _overtaken(tenant: Tenant, identity: str) -> ConcurrentUpdate:
    return ConcurrentUpdate(
        f"the identity {identity!r} or its gallery was changed by another service; repeat the call",
        metadata={"gallery": tenant.gallery.id, "identity": identity},
    )
